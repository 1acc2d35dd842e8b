//! Reading files to hash them.

use std::cell::RefCell;
use std::os::fd::AsFd;

use builder_cache::content::DataDigest;
use rustix::io::Errno;

use super::error::empty_data;

/// Files up to this size are read at once.
const AT_ONCE: usize = 256 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Lends the thread's buffer of at least `size` bytes. Nothing that uses rayon may be called inside.
pub(crate) fn with_buffer<T>(size: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < size {
            buffer.resize(size, 0);
        }
        work(&mut buffer[..size])
    })
}

/// Hashes an open file from its start to its end.
pub(crate) fn hash_file(file: impl AsFd, expected: u64) -> Result<DataDigest, Errno> {
    if expected == 0 {
        // Files of pseudo file systems claim to be empty and are not; those are not contexts.
        return Ok(empty_data());
    }
    let file = file.as_fd();
    // One byte more than expected, so that one read usually sees the end, too.
    let size = usize::try_from(expected).unwrap_or(AT_ONCE).saturating_add(1).min(AT_ONCE);
    with_buffer(size, |buffer| {
        let mut hasher: Option<blake3::Hasher> = None;
        let mut read = 0_u64;
        loop {
            let length = match rustix::io::read(file, &mut *buffer) {
                Ok(length) => length,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            };
            read += length as u64;
            let ended = length == 0 || (read == expected && length < buffer.len());
            match &mut hasher {
                None if ended => return Ok(DataDigest::of(&buffer[..length])),
                Some(hasher) => {
                    hasher.update(&buffer[..length]);
                }
                None => {
                    hasher.insert(blake3::Hasher::new()).update(&buffer[..length]);
                }
            }
            if let (Some(hasher), true) = (&hasher, ended) {
                return Ok(DataDigest::from_bytes(*hasher.finalize().as_bytes()));
            }
        }
    })
}

//! Copies the bytes of one file.

use std::os::fd::{AsFd, BorrowedFd};

use builder_cache::content::DataDigest;
use rustix::fs::{FileType, SeekFrom, Stat};
use rustix::io::Errno;

use crate::context::root::{self, join};
use crate::context::{Entry, EntryContent, FileSource, SourceError, Stamp, hash_file, with_buffer};

use super::error::CopyError;

/// Files below this size are copied with one read and one write.
const SMALL: u64 = 128 * 1024;
/// How much is read at a time where the kernel can't copy by itself.
const CHUNK: usize = 256 * 1024;

/// Copies a file to a new and empty one; returns the digest of its bytes.
///
/// When the source can change (a local context), what is copied is compared with what was scanned: by its stamp,
/// before and after, and by its digest wherever the bytes pass through our hands.
pub(super) fn copy_file(
    source: &FileSource,
    directory: &[u8],
    entry: &Entry,
    to: BorrowedFd<'_>,
    to_path: &dyn Fn() -> Vec<u8>,
) -> Result<DataDigest, CopyError> {
    let path = join(directory, &entry.name);
    let changed = || CopyError::from(SourceError::changed(&path));
    let failed = |error: Errno| match error {
        Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::STALE => changed(),
        error => SourceError::read("read", &path, error).into(),
    };
    let expected = match entry.content {
        EntryContent::File(data) => data,
        _ => None,
    };
    // A socket, which is copied as an empty file.
    if entry.stamp.file_type() == FileType::Socket {
        return Ok(DataDigest::of(b""));
    }
    let from = root::open_file(source.root(), &path).map_err(failed)?;
    let stat = rustix::fs::fstat(&from).map_err(failed)?;
    let same = |stat: &Stat| {
        let stamp = Stamp::of(stat);
        stamp.file_type() == FileType::RegularFile && (!source.verify() || stamp == entry.stamp)
    };
    if !same(&stat) {
        return Err(changed());
    }
    let size = stat.st_size as u64;
    let write_failed = |error: Errno| CopyError::write("write", &to_path(), error);
    let dense = (stat.st_blocks as u64).saturating_mul(512) >= size;
    let (data, seen) = if size < SMALL && dense {
        (copy_small(&from, size, to, failed, write_failed)?.ok_or_else(changed)?, true)
    } else if rustix::fs::ioctl_ficlone(to, &from).is_ok() {
        (data_of(&from, expected, size).map_err(failed)?, false)
    } else if dense && expected.is_some() && !copies_in_kernel(&from, to, size).map_err(write_failed)? {
        (copy_hashing(&from, to, failed, write_failed)?, true)
    } else {
        copy_extents(&from, to, size, failed, write_failed)?;
        (data_of(&from, expected, size).map_err(failed)?, false)
    };
    if source.verify() {
        let unchanged = if seen { expected == Some(data) } else { same(&rustix::fs::fstat(&from).map_err(failed)?) };
        if !unchanged {
            return Err(changed());
        }
    }
    Ok(data)
}

/// The digest that is known, or else that of the bytes, read once more from memory.
fn data_of(from: impl AsFd, expected: Option<DataDigest>, size: u64) -> Result<DataDigest, Errno> {
    if let Some(data) = expected {
        return Ok(data);
    }
    rustix::fs::seek(&from, SeekFrom::Start(0))?;
    hash_file(from, size)
}

/// Writes all of `bytes`.
pub(super) fn write_all(to: impl AsFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(&to, bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// `None` when the file has another size by now.
fn copy_small<E>(
    from: impl AsFd,
    size: u64,
    to: BorrowedFd<'_>,
    read_failed: impl Fn(Errno) -> E,
    write_failed: impl Fn(Errno) -> E,
) -> Result<Option<DataDigest>, E> {
    if size == 0 {
        return Ok(Some(DataDigest::of(b"")));
    }
    let size = size as usize;
    // One byte more tells a file that grew.
    with_buffer(size + 1, |buffer| {
        let mut filled = 0;
        while filled < size {
            let read = rustix::io::retry_on_intr(|| rustix::io::read(&from, &mut buffer[filled..]));
            match read.map_err(&read_failed)? {
                0 => return Ok(None),
                read => filled += read,
            }
        }
        if filled > size {
            return Ok(None);
        }
        write_all(to, &buffer[..size]).map_err(write_failed)?;
        Ok(Some(DataDigest::of(&buffer[..size])))
    })
}

fn copy_hashing<E>(
    from: impl AsFd,
    to: BorrowedFd<'_>,
    read_failed: impl Fn(Errno) -> E,
    write_failed: impl Fn(Errno) -> E,
) -> Result<DataDigest, E> {
    with_buffer(CHUNK, |buffer| {
        let mut hasher = blake3::Hasher::new();
        loop {
            let read = rustix::io::retry_on_intr(|| rustix::io::read(&from, &mut *buffer)).map_err(&read_failed)?;
            if read == 0 {
                return Ok(DataDigest::from_bytes(*hasher.finalize().as_bytes()));
            }
            hasher.update(&buffer[..read]);
            write_all(to, &buffer[..read]).map_err(&write_failed)?;
        }
    })
}

/// Copies a dense file within the kernel; `false` (and nothing done) where the two file systems can't.
fn copies_in_kernel(from: impl AsFd, to: BorrowedFd<'_>, size: u64) -> Result<bool, Errno> {
    let (mut from_at, mut to_at) = (0, 0);
    while from_at < size {
        let left = usize::try_from(size - from_at).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(&from, Some(&mut from_at), to, Some(&mut to_at), left) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) if from_at == 0 && cannot(error) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn cannot(error: Errno) -> bool {
    matches!(error, Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::PERM)
}

/// Copies only what is not a hole.
fn copy_extents<E>(
    from: impl AsFd,
    to: BorrowedFd<'_>,
    size: u64,
    read_failed: impl Fn(Errno) -> E + Copy,
    write_failed: impl Fn(Errno) -> E + Copy,
) -> Result<(), E> {
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(&from, SeekFrom::Data(at)) {
            Ok(start) => start,
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            // No holes on this file system.
            Err(Errno::INVAL) => at,
            Err(error) => return Err(read_failed(error)),
        };
        let end = match rustix::fs::seek(&from, SeekFrom::Hole(start)) {
            Ok(end) => end.min(size),
            Err(Errno::INVAL | Errno::NXIO) => size,
            Err(error) => return Err(read_failed(error)),
        };
        copy_range(&from, to, start, end, read_failed, write_failed)?;
        at = end.max(start + 1);
    }
    rustix::fs::ftruncate(to, size).map_err(write_failed)
}

fn copy_range<E>(
    from: impl AsFd,
    to: BorrowedFd<'_>,
    start: u64,
    end: u64,
    read_failed: impl Fn(Errno) -> E,
    write_failed: impl Fn(Errno) -> E,
) -> Result<(), E> {
    let (mut from_at, mut to_at) = (start, start);
    while from_at < end {
        let left = usize::try_from(end - from_at).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(&from, Some(&mut from_at), to, Some(&mut to_at), left) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) if cannot(error) => break,
            Err(error) => return Err(write_failed(error)),
        }
    }
    with_buffer(CHUNK, |buffer| {
        while from_at < end {
            let wanted = usize::try_from(end - from_at).unwrap_or(CHUNK).min(CHUNK);
            let read = rustix::io::retry_on_intr(|| rustix::io::pread(&from, &mut buffer[..wanted], from_at));
            let read = read.map_err(&read_failed)?;
            if read == 0 {
                return Ok(());
            }
            let mut written = 0;
            while written < read {
                let bytes = &buffer[written..read];
                let wrote = rustix::io::retry_on_intr(|| rustix::io::pwrite(to, bytes, from_at + written as u64));
                written += wrote.map_err(&write_failed)?;
            }
            from_at += read as u64;
        }
        Ok(())
    })
}

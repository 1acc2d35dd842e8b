//! `Packages.db`, rpm's own database (SUSE).
//!
//! ```text
//! header: "RpmP", version, generation, pages of slots; 32 bytes in all, which take the place of two slots
//! slots:  "Slot", number of the package or 0, block, blocks      16 bytes each, 256 to a page
//! block:  "BlbS", number of the package, checksum, length; then the package's header     blocks have 16 bytes
//! ```
//!
//! All numbers are little endian.

use std::io::{Read, Seek, SeekFrom};

use super::HEADER;
use crate::sbom::root::Root;

const MAGIC: u32 = u32::from_le_bytes(*b"RpmP");
const SLOT: u32 = u32::from_le_bytes(*b"Slot");
const BLOB: u32 = u32::from_le_bytes(*b"BlbS");

/// How many pages of slots there are at most: half a million packages.
const PAGES: usize = 2048;

pub(super) fn headers(root: &Root<'_>, path: &str, take: &mut dyn FnMut(&[u8])) -> Result<(), String> {
    let (mut file, size) = root.open(path).ok_or("it is gone")?;
    let failed = |error: std::io::Error| error.to_string();
    let mut first = [0; 32];
    file.read_exact(&mut first).map_err(failed)?;
    if number(&first, 0) != MAGIC || number(&first, 4) != 0 {
        return Err("it does not begin like one".to_owned());
    }
    let pages = number(&first, 12) as usize;
    if pages == 0 || pages > PAGES {
        return Err(format!("it has {pages} pages of slots"));
    }
    let mut slots = vec![0; pages * 4096 - first.len()];
    file.read_exact(&mut slots).map_err(failed)?;
    let mut header = Vec::new();
    let mut left = size;
    for slot in slots.as_chunks::<16>().0 {
        if number(slot, 0) != SLOT {
            return Err("it has a slot that is none".to_owned());
        }
        let package = number(slot, 4);
        if package == 0 {
            continue;
        }
        let at = u64::from(number(slot, 8)) * 16;
        file.seek(SeekFrom::Start(at)).map_err(failed)?;
        let mut blob = [0; 16];
        file.read_exact(&mut blob).map_err(failed)?;
        let length = number(&blob, 12) as usize;
        if number(&blob, 0) != BLOB || number(&blob, 4) != package || length > HEADER || length as u64 > size {
            return Err(format!("package {package} is not where it should be"));
        }
        // Packages do not share their bytes; a database in which they do could be read for ever.
        left = left.checked_sub(length as u64).ok_or("its packages are larger than it is")?;
        header.resize(length, 0);
        file.read_exact(&mut header).map_err(failed)?;
        take(&header);
    }
    Ok(())
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::super::header::tests::header;
    use super::*;

    /// A database with these headers.
    fn database(headers: &[Vec<u8>]) -> Vec<u8> {
        let numbers = |numbers: [u32; 4]| numbers.map(u32::to_le_bytes).concat();
        let mut bytes = [numbers([MAGIC, 0, 1, 1]), vec![0; 16]].concat();
        let mut blobs = Vec::new();
        for place in 0..254 {
            let Some(header) = headers.get(place) else {
                bytes.extend(numbers([SLOT, 0, 0, 0]));
                continue;
            };
            let number = place as u32 + 1;
            bytes.extend(numbers([SLOT, number, ((4096 + blobs.len()) / 16) as u32, 1]));
            blobs.extend(numbers([BLOB, number, 0, header.len() as u32]));
            blobs.extend(header);
            blobs.resize(blobs.len().next_multiple_of(16), 0);
        }
        [bytes, blobs].concat()
    }

    #[test]
    fn packages_are_found_behind_slots() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = [header(&[(1000, "a"), (1001, "1")], None), header(&[(1000, "b"), (1001, "2")], Some(1))];
        let bytes = database(&wanted);
        let read = |bytes: &[u8]| {
            std::fs::write(dir.path().join("Packages.db"), bytes).unwrap();
            let fd = std::os::fd::OwnedFd::from(std::fs::File::open(dir.path()).unwrap());
            let mut found = Vec::new();
            headers(&Root::new(&fd), "Packages.db", &mut |header| found.push(header.to_vec())).map(|()| found)
        };
        assert_eq!(read(&bytes).as_deref(), Ok(&wanted[..]));
        assert!(read(&bytes[..bytes.len() - 64]).is_err(), "cut off");
        let mut shared = bytes.clone();
        shared.truncate(4096 + 16 + 5000.min(wanted[0].len()));
        for place in 0..254_usize {
            let slot = 32 + place * 16;
            shared[slot + 4..slot + 8].copy_from_slice(&1_u32.to_le_bytes());
            shared[slot + 8..slot + 12].copy_from_slice(&(4096_u32 / 16).to_le_bytes());
        }
        assert_eq!(read(&shared), Err("its packages are larger than it is".to_owned()));
        for at in [0, 12, 32, 40, 4096, 4100, 4108] {
            let mut lies = bytes.clone();
            lies[at..at + 4].copy_from_slice(&0xffff_fff0_u32.to_le_bytes());
            assert!(read(&lies).is_err(), "{at}");
        }
    }
}

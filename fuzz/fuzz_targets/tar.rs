//! Tars, compressed or not: any bytes give entries and then the end or an error, in bounded memory; what was read can
//! be written, and reading that gives the same.
//!
//! The first byte says whether headers get their right checksum, which mutation would never find.

#![no_main]

use std::io::Read;

use builder_image::compress::decoder;
use builder_image::tar::{Entry, Kind, Limits, Reader, padding, write};
use libfuzzer_sys::fuzz_target;

const RECORD: usize = 512;
const LIMITS: Limits = Limits { metadata: 64 << 10, bytes: Some(8 << 20), entries: Some(200) };

fuzz_target!(|data: &[u8]| {
    let Some((&first, rest)) = data.split_first() else { return };
    let mut bytes = rest.to_vec();
    if first & 1 == 1 {
        mend_checksums(&mut bytes);
    }
    let Ok((_, decoded)) = decoder(bytes.as_slice()) else { return };
    // What a stream unpacks to is bounded by whoever unpacks; here it is by this.
    let mut reader = Reader::new(decoded.take(16 << 20), LIMITS);
    let mut files = 0;
    let mut buffer = vec![0; 4096];
    let mut total: u64 = 0;
    while let Ok(Some(entry)) = reader.next_entry() {
        files += 1;
        total += entry.size;
        assert!(files <= 200 && total <= 8 << 20, "the limits hold");
        check(&entry);
        // Every other entry is skipped instead of read.
        if files % 2 == 0 {
            continue;
        }
        let expected = match &entry.segments {
            Some(segments) => segments.iter().map(|segment| segment.length).sum(),
            None => entry.size,
        };
        let mut stored = 0;
        loop {
            match reader.read_data(&mut buffer) {
                Ok(0) => {
                    assert_eq!(stored, expected, "a file is as long as it says");
                    break;
                }
                Ok(count) => stored += count as u64,
                Err(_) => return,
            }
        }
    }
});

fn check(entry: &Entry) {
    assert!(entry.mode <= 0o7777);
    assert!(entry.mtime_nanos < 1_000_000_000);
    let mut behind = 0;
    for segment in entry.segments.iter().flatten() {
        assert!(segment.offset >= behind);
        behind = segment.offset + segment.length;
    }
    assert!(behind <= entry.size);
    // Archives older than ustar mark a directory by its slash; what it holds is skipped, as Go does it.
    let old_directory = entry.kind == Kind::Directory && entry.path.ends_with(b"/");
    assert!(entry.size == 0 || entry.kind == Kind::File || old_directory, "only files have data");
    round_trip(entry);
}

/// Writes an entry and reads it. Sparse files are written whole; names that a header cannot hold are left out.
fn round_trip(entry: &Entry) {
    let mut entry = Entry { segments: None, offset: 0, ..entry.clone() };
    if entry.kind != Kind::File {
        entry.size = 0;
    }
    let link = match &entry.kind {
        Kind::Symlink(target) | Kind::HardLink(target) => target.as_slice(),
        _ => b"x",
    };
    if entry.path.is_empty() || link.is_empty() || entry.path.contains(&0) || link.contains(&0) || entry.size > 64 << 10
    {
        return;
    }
    if entry.kind == Kind::File && entry.path.ends_with(b"/") {
        return;
    }
    if entry.kind == Kind::Directory && !entry.path.ends_with(b"/") {
        entry.path.push(b'/');
    }
    if let Kind::CharDevice(major, minor) | Kind::BlockDevice(major, minor) = entry.kind
        && major.max(minor) > 0o777_7777
    {
        return;
    }
    let mut bytes = Vec::new();
    write::header(&entry, &mut bytes);
    assert_eq!(bytes.len() % RECORD, 0);
    bytes.resize(bytes.len() + entry.size as usize + padding(entry.size), 7);
    bytes.extend(write::END);
    let mut reader = Reader::new(bytes.as_slice(), Limits::default());
    let again = reader.next_entry().unwrap_or_else(|error| panic!("{error}: {entry:?}"));
    let again = again.map(|again| Entry { offset: 0, ..again });
    assert_eq!(again.as_ref(), Some(&entry));
    assert_eq!(reader.next_entry().unwrap_or_else(|error| panic!("{error}: {entry:?}")), None);
}

/// Gives headers the sum that they should have, going from one to the next by their sizes.
fn mend_checksums(bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(header) = bytes.get_mut(at..at + RECORD) {
        if header.iter().all(|&byte| byte == 0) {
            return;
        }
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let digits: String = header[124..136].iter().map(|&byte| char::from(byte)).collect();
        let size = usize::from_str_radix(digits.trim_matches(['\0', ' ']), 8).unwrap_or(0);
        at += RECORD + size.min(1 << 20).next_multiple_of(RECORD);
    }
}

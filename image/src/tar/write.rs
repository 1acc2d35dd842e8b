//! One entry → header bytes, the same for the same entry always.
//!
//! The form is what Go's `archive/tar` writes and every registry client reads: ustar; a PAX header before it only for
//! what ustar can't hold: paths that are long or not ASCII, sizes of 8 GiB and more, owners above 2,097,151, times
//! before 1970 or after 2242, extended attributes. The ustar field then holds the best it can (the path's ASCII
//! part, zero for a number). No user or group names. Never GNU extensions, never sparse files.

use std::io::{self, Write};

use tar::{EntryType, Header, UstarHeader};

use super::entry::{Entry, Kind};
use super::{RECORD, pax};

/// What ends a tar.
pub const END: [u8; 2 * RECORD] = [0; 2 * RECORD];

const OCTAL_7: u64 = 0o777_7777;
const OCTAL_11: u64 = 0o777_7777_7777;
const SIZE_MAX_NAME: usize = 100;

/// Appends the entry's header or headers to `out`. The data and its padding are to follow.
pub fn header(entry: &Entry, out: &mut Vec<u8>) {
    let mut extended = Vec::new();
    let mut header = Header::new_ustar();
    let path = with_slash(entry);
    let link: &[u8] = match &entry.kind {
        Kind::Symlink(target) | Kind::HardLink(target) => target,
        _ => &[],
    };
    let size = if entry.kind == Kind::File { entry.size } else { 0 };

    set_path(&mut header, &path, &mut extended);
    if let Some(ustar) = header.as_ustar_mut() {
        set_link(ustar, link, &mut extended);
    }
    let mut number = |value: u64, limit: u64, key: &[u8]| {
        if value <= limit {
            return value;
        }
        pax::push_record(&mut extended, key, value.to_string().as_bytes());
        0
    };
    header.set_size(number(size, OCTAL_11, b"size"));
    header.set_uid(number(u64::from(entry.uid), OCTAL_7, b"uid"));
    header.set_gid(number(u64::from(entry.gid), OCTAL_7, b"gid"));
    header.set_mtime(mtime(entry, &mut extended));
    header.set_mode(entry.mode & 0o7777);
    header.set_entry_type(match entry.kind {
        Kind::File => EntryType::Regular,
        Kind::Directory => EntryType::Directory,
        Kind::Symlink(_) => EntryType::Symlink,
        Kind::HardLink(_) => EntryType::Link,
        Kind::CharDevice(..) => EntryType::Char,
        Kind::BlockDevice(..) => EntryType::Block,
        Kind::Fifo => EntryType::Fifo,
    });
    if let (Kind::CharDevice(major, minor) | Kind::BlockDevice(major, minor), Some(ustar)) =
        (&entry.kind, header.as_ustar_mut())
    {
        ustar.set_device_major(*major);
        ustar.set_device_minor(*minor);
    }
    header.set_cksum();
    for xattr in &entry.xattrs {
        pax::push_xattr(&mut extended, xattr);
    }
    if !extended.is_empty() {
        push_extended(&path, &extended, out);
    }
    out.extend_from_slice(header.as_bytes());
}

/// A file of a tar that is made here and not found on a disk: an archive's `manifest.json`.
pub fn file(path: &str, size: u64) -> Vec<u8> {
    plain(path, Kind::File, 0o644, size)
}

/// A directory of such a tar.
pub fn directory(path: &str) -> Vec<u8> {
    plain(path, Kind::Directory, 0o755, 0)
}

/// The entry of such a file.
pub(crate) fn entry(path: &str, size: u64) -> Entry {
    made(path, Kind::File, 0o644, size)
}

fn plain(path: &str, kind: Kind, mode: u32, size: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(RECORD);
    header(&made(path, kind, mode, size), &mut out);
    out
}

fn made(path: &str, kind: Kind, mode: u32, size: u64) -> Entry {
    Entry {
        path: path.as_bytes().to_vec(),
        kind,
        mode,
        uid: 0,
        gid: 0,
        mtime: 0,
        mtime_nanos: 0,
        xattrs: Vec::new(),
        size,
        segments: None,
        offset: 0,
    }
}

/// Writes a small file with its header and padding.
pub fn small_file(out: &mut dyn Write, path: &str, bytes: &[u8]) -> io::Result<()> {
    out.write_all(&file(path, bytes.len() as u64))?;
    out.write_all(bytes)?;
    out.write_all(&END[..super::padding(bytes.len() as u64)])
}

fn with_slash(entry: &Entry) -> Vec<u8> {
    let mut path = entry.path.clone();
    if entry.kind == Kind::Directory && !path.ends_with(b"/") {
        path.push(b'/');
    }
    path
}

fn set_path(header: &mut Header, path: &[u8], extended: &mut Vec<u8>) {
    let Some(ustar) = header.as_ustar_mut() else { return };
    if path.is_ascii()
        && let Some((prefix, name)) = split(path, ustar.prefix.len())
    {
        ustar.prefix[..prefix.len()].copy_from_slice(prefix);
        ustar.name[..name.len()].copy_from_slice(name);
        return;
    }
    pax::push_record(extended, b"path", path);
    copy_ascii(path, &mut ustar.name);
}

fn set_link(ustar: &mut UstarHeader, link: &[u8], extended: &mut Vec<u8>) {
    if link.is_ascii() && link.len() <= ustar.linkname.len() {
        ustar.linkname[..link.len()].copy_from_slice(link);
        return;
    }
    pax::push_record(extended, b"linkpath", link);
    copy_ascii(link, &mut ustar.linkname);
}

/// ustar's two fields, cut at a slash that belongs to neither.
fn split(path: &[u8], prefix_limit: usize) -> Option<(&[u8], &[u8])> {
    if path.len() <= SIZE_MAX_NAME {
        return Some((&[], path));
    }
    // The last byte may be a directory's own slash; the name must not be empty.
    let end = path.len().checked_sub(1)?.min(prefix_limit + 1);
    let cut = path[..end].iter().rposition(|&byte| byte == b'/').filter(|&cut| cut > 0)?;
    let (prefix, name) = (&path[..cut], &path[cut + 1..]);
    (name.len() <= SIZE_MAX_NAME && prefix.len() <= prefix_limit).then_some((prefix, name))
}

fn copy_ascii(text: &[u8], field: &mut [u8]) {
    let ascii = text.iter().filter(|byte| byte.is_ascii());
    for (place, byte) in field.iter_mut().zip(ascii) {
        *place = *byte;
    }
}

/// The header's time; what it can't hold goes into the extended header.
fn mtime(entry: &Entry, extended: &mut Vec<u8>) -> u64 {
    let fits = u64::try_from(entry.mtime).ok().filter(|&seconds| seconds <= OCTAL_11);
    if fits.is_none() || entry.mtime_nanos != 0 {
        pax::push_record(extended, b"mtime", time(entry.mtime, entry.mtime_nanos).as_bytes());
    }
    fits.unwrap_or(0)
}

fn time(seconds: i64, nanos: u32) -> String {
    if nanos == 0 {
        return seconds.to_string();
    }
    let text = if seconds < 0 {
        format!("-{}.{:09}", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanos)
    } else {
        format!("{seconds}.{nanos:09}")
    };
    text.trim_end_matches('0').to_owned()
}

fn push_extended(path: &[u8], records: &[u8], out: &mut Vec<u8>) {
    let mut header = Header::new_ustar();
    if let Some(ustar) = header.as_ustar_mut() {
        let base = path.strip_suffix(b"/").unwrap_or(path).rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        copy_ascii(&[b"PaxHeaders.0/", base].concat(), &mut ustar.name);
    }
    header.set_size(records.len() as u64);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_mode(0o644);
    header.set_entry_type(EntryType::XHeader);
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(records);
    out.extend_from_slice(&END[..super::padding(records.len() as u64)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_paths_are_cut_at_a_slash() {
        let long = |directory: usize, name: usize| [vec![b'd'; directory], vec![b'/'], vec![b'n'; name]].concat();
        assert!(split(&long(3, 90), 155).is_some_and(|(prefix, name)| prefix.is_empty() && name.len() == 94));
        assert!(split(&long(155, 100), 155).is_some_and(|(prefix, name)| prefix.len() == 155 && name.len() == 100));
        assert!(split(&long(156, 100), 155).is_none());
        assert!(split(&long(100, 101), 155).is_none());
        assert!(split(&[b'n'; 101], 155).is_none());
        assert!(split(&[[b'n'; 100].as_slice(), b"/"].concat(), 155).is_none(), "a name must not be empty");
        assert!(split(&[b"/", [b'n'; 100].as_slice()].concat(), 155).is_none(), "nor a prefix");
    }

    #[test]
    fn times_are_exact() {
        for (seconds, nanos, text) in
            [(5, 0, "5"), (5, 500_000_000, "5.5"), (-2, 750_000_000, "-1.25"), (-1, 1, "-0.999999999")]
        {
            assert_eq!(time(seconds, nanos), text);
            assert_eq!(super::super::number::time(text.as_bytes()), Some((seconds, nanos)));
        }
    }
}

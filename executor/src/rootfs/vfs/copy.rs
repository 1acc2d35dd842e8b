//! Copying one file with everything that belongs to it.

use std::ffi::{CStr, CString};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, SeekFrom, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::{Result, failed};

/// Marks a directory of a layer that hides what is below it.
pub(super) const OPAQUE: &CStr = c"trusted.overlay.opaque";

/// Makes `to` what `from` is, directories aside.
pub(super) fn node(from: &Path, metadata: &Metadata, to: &Path) -> Result<()> {
    let kind = FileType::from_raw_mode(metadata.mode());
    match kind {
        FileType::RegularFile => contents(from, metadata, to).map_err(failed("copy", from))?,
        FileType::Symlink => {
            let target = fs::read_link(from).map_err(failed("read the link", from))?;
            std::os::unix::fs::symlink(target, to).map_err(failed("make the link", to))?;
        }
        kind => rustix::fs::mknodat(CWD, to, kind, Mode::from_raw_mode(0o600), metadata.rdev())
            .map_err(failed("make", to))?,
    }
    attributes(from, metadata, to)
}

/// Gives `to` the owner, permissions, extended attributes and times of `from`.
pub(super) fn attributes(from: &Path, metadata: &Metadata, to: &Path) -> Result<()> {
    let owner = (Some(Uid::from_raw(metadata.uid())), Some(Gid::from_raw(metadata.gid())));
    rustix::fs::chownat(CWD, to, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("chown", to))?;
    if !metadata.is_symlink() {
        rustix::fs::chmodat(CWD, to, Mode::from_raw_mode(metadata.mode() & 0o7777), AtFlags::empty())
            .map_err(failed("chmod", to))?;
    }
    // After chown, which takes file capabilities away.
    for (name, value) in xattrs(from)? {
        rustix::fs::lsetxattr(to, &name, &value, XattrFlags::empty()).map_err(failed("set an attribute of", to))?;
    }
    let times = Timestamps {
        last_access: Timespec { tv_sec: metadata.atime(), tv_nsec: metadata.atime_nsec() },
        last_modification: Timespec { tv_sec: metadata.mtime(), tv_nsec: metadata.mtime_nsec() },
    };
    rustix::fs::utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("set the times of", to))
}

/// The extended attributes that belong to a file and not to its place in a layer, sorted.
pub(in crate::rootfs) fn xattrs(path: &Path) -> Result<Vec<(CString, Vec<u8>)>> {
    let mut names = vec![0u8; 4096];
    let length = loop {
        match rustix::fs::llistxattr(path, &mut names[..]) {
            Ok(length) => break length,
            Err(Errno::RANGE) if names.len() < 1 << 20 => names.resize(names.len() * 4, 0),
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(error) => return Err(failed("list the attributes of", path)(error)),
        }
    };
    let mut out = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
            continue;
        }
        let Ok(name) = CString::new(name) else { continue };
        if let Some(value) = xattr(path, &name)? {
            out.push((name, value));
        }
    }
    out.sort();
    Ok(out)
}

/// One extended attribute.
pub(super) fn xattr(path: &Path, name: &CStr) -> Result<Option<Vec<u8>>> {
    let mut value = vec![0u8; 256];
    loop {
        match rustix::fs::lgetxattr(path, name, &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                return Ok(Some(value));
            }
            Err(Errno::RANGE) if value.len() < 1 << 17 => value.resize(value.len() * 8, 0),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            Err(error) => return Err(failed("read an attribute of", path)(error)),
        }
    }
}

/// Copies bytes: shared where the file system can, else in the kernel, holes kept either way.
fn contents(from: &Path, metadata: &Metadata, to: &Path) -> io::Result<()> {
    let source = File::open(from)?;
    let target = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    if metadata.len() >= 64 * 1024 && rustix::fs::ioctl_ficlone(&target, &source).is_ok() {
        return Ok(());
    }
    let length = metadata.len();
    let mut at = 0;
    while at < length {
        let (start, end) = match rustix::fs::seek(&source, SeekFrom::Data(at)) {
            Ok(start) => (start, rustix::fs::seek(&source, SeekFrom::Hole(start))?.min(length)),
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            // A file system that knows no holes.
            Err(_) => (at, length),
        };
        range(&source, &target, start, end)?;
        at = end.max(start + 1);
    }
    target.set_len(length)
}

fn range(source: impl AsFd, target: impl AsFd, start: u64, end: u64) -> io::Result<()> {
    let (mut from, mut to) = (start, start);
    while from < end {
        let step = usize::try_from(end - from).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::copy_file_range(&source, Some(&mut from), &target, Some(&mut to), step) {
            // The file got shorter.
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                return by_hand(source, target, from, end);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn by_hand(source: impl AsFd, target: impl AsFd, mut at: u64, end: u64) -> io::Result<()> {
    let mut buffer = vec![0u8; 256 * 1024];
    while at < end {
        let step = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
        let length = rustix::io::pread(&source, &mut buffer[..step], at)?;
        if length == 0 {
            break;
        }
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            let written = rustix::io::pwrite(&target, rest, at)?;
            at += written as u64;
            rest = &rest[written..];
        }
    }
    Ok(())
}

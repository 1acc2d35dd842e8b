//! Opening and looking at paths beneath a directory that is held open.
//!
//! Paths are relative, clean and free of links on the way (whoever has links to follow uses
//! [`super::resolve`] first); the kernel is told to refuse links and to stay beneath the root, so that a
//! directory that is swapped for a link meanwhile leads to an error and never outside.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, RawDir, ResolveFlags, Stat};
use rustix::io::Errno;

use builder_cache::content::{read_xattrs, xattr_counts};

use super::entry::Xattr;

/// The kernel's limit for a list of attributes, and for the value of one.
const MAX_ATTRIBUTE: usize = 64 * 1024;

/// `directory/name`, where the root is the empty path.
pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() {
        return name.to_vec();
    }
    let mut path = Vec::with_capacity(directory.len() + 1 + name.len());
    path.extend_from_slice(directory);
    path.push(b'/');
    path.extend_from_slice(name);
    path
}

/// The directory and the name of a path that is not the root.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// The components of a path.
pub(crate) fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty())
}

/// Opens a directory for reading.
pub(crate) fn open_directory(root: impl AsFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    open(root, path, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// Opens a file for reading; a fifo does not block.
pub(crate) fn open_file(root: impl AsFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    open(root, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)
}

fn open(root: impl AsFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        // EAGAIN: something was renamed meanwhile and the kernel could not be sure; it asks to be asked again.
        match rustix::fs::openat2(root.as_fd(), path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

/// What is at a path, links not followed; `None` when there is nothing.
pub(crate) fn stat(root: impl AsFd, path: &[u8]) -> Result<Option<Stat>, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    match rustix::fs::statat(root, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A name in a directory and its type, as far as the directory tells.
#[derive(Debug)]
pub(crate) struct Name {
    pub(crate) name: Box<[u8]>,
    pub(crate) file_type: rustix::fs::FileType,
}

/// The names in an open directory, in the kernel's order.
pub(crate) fn list(directory: impl AsFd) -> Result<Vec<Name>, Errno> {
    let mut names = Vec::new();
    let mut buffer = Vec::with_capacity(32 * 1024);
    let mut raw = RawDir::new(directory, buffer.spare_capacity_mut());
    while let Some(entry) = raw.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(Name { name: name.into(), file_type: entry.file_type() });
        }
    }
    Ok(names)
}

/// The attributes that count of an open file or directory.
pub(crate) fn attributes(file: impl AsFd) -> std::io::Result<Option<Box<[Xattr]>>> {
    // Most have none: one call tells.
    let mut names = [0_u8; 64];
    match rustix::fs::flistxattr(file.as_fd(), &mut names) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(None),
        Ok(_) | Err(Errno::RANGE) => {}
        Err(error) => return Err(error.into()),
    }
    let found = read_xattrs(file)?;
    Ok((!found.is_empty()).then(|| found.into_boxed_slice()))
}

/// The attributes that count of something that can't be opened: a link, a device, a fifo. Unlike links on the way,
/// a directory that is swapped meanwhile can't do harm: it is named by its descriptor.
pub(crate) fn attributes_at(directory: impl AsFd, name: &[u8]) -> std::io::Result<Option<Box<[Xattr]>>> {
    use std::os::fd::AsRawFd;
    let mut path = format!("/proc/self/fd/{}/", directory.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    let mut small = [0_u8; 256];
    let mut large = Vec::new();
    let names = match rustix::fs::llistxattr(path.as_slice(), &mut small) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(None),
        Ok(length) => &small[..length],
        Err(Errno::RANGE) => {
            large.resize(MAX_ATTRIBUTE, 0);
            let length = rustix::fs::llistxattr(path.as_slice(), &mut large)?;
            &large[..length]
        }
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::new();
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty() && xattr_counts(name)) {
        let mut value = vec![0; MAX_ATTRIBUTE];
        match rustix::fs::lgetxattr(path.as_slice(), name, &mut value) {
            Ok(length) => value.truncate(length),
            Err(Errno::NODATA) => continue,
            Err(error) => return Err(error.into()),
        }
        found.push((name.to_vec(), value));
    }
    found.sort_unstable();
    Ok((!found.is_empty()).then(|| found.into_boxed_slice()))
}

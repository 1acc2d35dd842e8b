//! What a container changed: its upper directory compared with the image below it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use builder_cache::content::is_whiteout;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fgetxattr, openat, openat2, statat};
use rustix::io::Errno;

use crate::op::OpError;

/// How a path changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is another file, or something in the directory changed.
    Changed,
    /// It is gone.
    Deleted,
}

impl ChangeKind {
    /// As Docker prints it.
    pub fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Changed => 'C',
            Self::Deleted => 'D',
        }
    }
}

/// A path that is not as in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// How.
    pub kind: ChangeKind,
    /// The path, absolute.
    pub path: Vec<u8>,
}

/// Compares an upper directory with the open root of what lies below it. Sorted by path.
///
/// # Errors
/// When a directory can't be read.
pub fn changes(upper: &Path, image: &OwnedFd) -> Result<Vec<Change>, OpError> {
    let failed = |path: &[u8], error: Errno| OpError::Read { path: bytes(path), source: error.into() };
    let upper = openat(CWD, upper, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| failed(b"/", error))?;
    let mut found = Vec::new();
    let mut waiting = vec![Vec::new()];
    while let Some(path) = waiting.pop() {
        let directory = match open(&upper, &path, OFlags::RDONLY | OFlags::DIRECTORY) {
            // It runs and removed it.
            Err(Errno::NOENT) => continue,
            other => other.map_err(|error| failed(&path, error))?,
        };
        for name in names(&directory).map_err(|error| failed(&path, error))? {
            let Ok(stat) = statat(&directory, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let below = [path.as_slice(), b"/", &name].concat();
            let file_type = FileType::from_raw_mode(stat.st_mode);
            let kind = if file_type == FileType::CharacterDevice && is_whiteout(stat.st_rdev) {
                ChangeKind::Deleted
            } else if open(image, &below, OFlags::PATH | OFlags::NOFOLLOW).is_ok() {
                ChangeKind::Changed
            } else {
                ChangeKind::Added
            };
            if file_type == FileType::Directory {
                if kind == ChangeKind::Changed {
                    hidden(&upper, image, &below, &mut found);
                }
                waiting.push(below.clone());
            }
            found.push(Change { kind, path: below });
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

/// An opaque directory hides what the image has in it, as far as it was not made anew.
fn hidden(upper: &OwnedFd, image: &OwnedFd, path: &[u8], found: &mut Vec<Change>) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let Ok(above) = open(upper, path, flags) else { return };
    let mut value = [0; 1];
    let opaque = [c"trusted.overlay.opaque", c"user.overlay.opaque"]
        .into_iter()
        .any(|name| fgetxattr(&above, name, &mut value[..]).is_ok_and(|length| length == 1 && value == *b"y"));
    if !opaque {
        return;
    }
    let Ok(below) = open(image, path, flags) else { return };
    for name in names(&below).unwrap_or_default() {
        if statat(&above, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW).is_err() {
            found.push(Change { kind: ChangeKind::Deleted, path: [path, b"/", &name].concat() });
        }
    }
}

/// No link is followed: in an upper directory and below it the same path is the same place only without them.
fn open(root: impl AsFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = path.strip_prefix(b"/").filter(|path| !path.is_empty()).unwrap_or(b".");
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

fn names(directory: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}

fn bytes(path: &[u8]) -> std::path::PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(path).into()
}

//! One name in one directory, looked at relative to the open directory and never followed.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, major, minor};

use super::entry::{DataDigest, EntryDigest, EntryKind, EntryMeta, Xattrs, list, split_names, xattr_counts};
use super::whiteout::is_whiteout;
use crate::error::{At, Error, Result};

/// How everything is opened. Not blocking: should a pipe take the place of a file, opening it must not hang.
pub(super) const OPEN: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// Where to look.
pub(super) struct Place<'a> {
    pub(super) directory: BorrowedFd<'a>,
    pub(super) name: &'a [u8],
    /// The type as the directory lists it.
    pub(super) listed: FileType,
    /// The root of the part, for messages.
    pub(super) part: &'a Path,
    /// The directory below it, for messages.
    pub(super) below: &'a Path,
}

/// What a name in a lower part means for the directory above it.
pub(super) enum Found {
    Directory { opaque: bool },
    Whiteout,
    Other,
}

/// The extended attributes of a file.
pub(super) struct Attributes {
    /// Those that are part of what it is.
    pub(super) counting: Xattrs,
    /// Overlay marks the directory opaque.
    pub(super) opaque: bool,
}

impl Place<'_> {
    pub(super) fn path(&self) -> PathBuf {
        self.part.join(self.below).join(OsStr::from_bytes(self.name))
    }

    /// Its type; asks when the file system's listing does not tell.
    pub(super) fn kind(&self) -> Result<FileType> {
        if self.listed != FileType::Unknown {
            return Ok(self.listed);
        }
        Ok(FileType::from_raw_mode(self.stat()?.st_mode))
    }

    pub(super) fn open_directory(&self) -> Result<(OwnedFd, Attributes)> {
        let file = self.open(OFlags::DIRECTORY)?;
        let attributes = Attributes::read(file.as_fd(), || self.path())?;
        Ok((file, attributes))
    }

    pub(super) fn look(&self) -> Result<Found> {
        Ok(match self.kind()? {
            FileType::Directory => Found::Directory { opaque: self.open_directory()?.1.opaque },
            FileType::CharacterDevice if is_whiteout(self.stat()?.st_rdev) => Found::Whiteout,
            _ => Found::Other,
        })
    }

    /// Anything but a directory; `data` hashes the bytes of a file.
    pub(super) fn leaf(
        &self,
        data: impl FnOnce(&OwnedFd, &Stat) -> Result<(DataDigest, u64)>,
    ) -> Result<Option<(EntryKind, EntryDigest)>> {
        if self.kind()? == FileType::RegularFile {
            let file = self.open(OFlags::empty())?;
            let stat = rustix::fs::fstat(&file).at_with("look at", || self.path())?;
            let attributes = Attributes::read(file.as_fd(), || self.path())?;
            let (data, size) = data(&file, &stat)?;
            let meta = EntryMeta { size, xattrs: attributes.counting, ..meta_of(EntryKind::File, &stat) };
            return Ok(Some((EntryKind::File, meta.digest(Some(&data)))));
        }
        let stat = self.stat()?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => EntryKind::Symlink,
            FileType::CharacterDevice if is_whiteout(stat.st_rdev) => EntryKind::Whiteout,
            FileType::CharacterDevice => EntryKind::CharDevice,
            FileType::BlockDevice => EntryKind::BlockDevice,
            FileType::Fifo => EntryKind::Fifo,
            FileType::Socket => EntryKind::Socket,
            // Somebody put something else there meanwhile.
            FileType::RegularFile | FileType::Directory | FileType::Unknown => return Ok(None),
        };
        let mut meta = meta_of(kind, &stat);
        if kind == EntryKind::Symlink {
            let target = rustix::fs::readlinkat(self.directory, self.name, Vec::new());
            meta.target = target.at_with("read", || self.path())?.into_bytes();
        }
        if kind != EntryKind::Whiteout {
            meta.xattrs = self.attributes_of_special()?;
        }
        Ok(Some((kind, meta.digest(None))))
    }

    fn stat(&self) -> Result<Stat> {
        let stat = rustix::fs::statat(self.directory, self.name, AtFlags::SYMLINK_NOFOLLOW);
        stat.at_with("look at", || self.path())
    }

    fn open(&self, flags: OFlags) -> Result<OwnedFd> {
        let file = rustix::fs::openat(self.directory, self.name, OPEN | flags, Mode::empty());
        file.at_with("open", || self.path())
    }

    /// The attributes of what can't be opened: the path goes through the directory's descriptor and ends with the
    /// name, which is not followed.
    fn attributes_of_special(&self) -> Result<Xattrs> {
        let mut path = format!("/proc/self/fd/{}/", self.directory.as_raw_fd()).into_bytes();
        path.extend_from_slice(self.name);
        let path = CString::new(path).at_with("look at", || self.path())?;
        let names = list(|buffer| rustix::fs::llistxattr(&path, buffer)).at_with("look at", || self.path())?;
        split_names(&names)
            .filter(|name| xattr_counts(name))
            .map(|name| {
                let value = list(|buffer| rustix::fs::lgetxattr(&path, name, buffer));
                Ok((name.to_vec(), value.at_with("look at", || self.path())?))
            })
            .collect()
    }
}

impl Attributes {
    /// `path` is for messages.
    pub(super) fn read(file: BorrowedFd<'_>, path: impl Fn() -> PathBuf) -> Result<Self> {
        let names = list(|buffer| rustix::fs::flistxattr(file, buffer)).at_with("look at", &path)?;
        let mut attributes = Self { counting: Vec::new(), opaque: false };
        for name in split_names(&names) {
            let value = || list(|buffer| rustix::fs::fgetxattr(file, name, buffer)).at_with("look at", &path);
            match name {
                b"trusted.overlay.opaque" | b"user.overlay.opaque" => attributes.opaque |= value()? == b"y",
                b"trusted.overlay.redirect"
                | b"user.overlay.redirect"
                | b"trusted.overlay.metacopy"
                | b"user.overlay.metacopy" => {
                    let attribute = String::from_utf8_lossy(name).into_owned();
                    return Err(Error::OverlayFeature { path: path(), attribute });
                }
                name if xattr_counts(name) => attributes.counting.push((name.to_vec(), value()?)),
                _ => {}
            }
        }
        Ok(attributes)
    }
}

pub(super) fn meta_of(kind: EntryKind, stat: &Stat) -> EntryMeta {
    EntryMeta {
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: stat.st_size as u64,
        device: (major(stat.st_rdev), minor(stat.st_rdev)),
        ..EntryMeta::new(kind, stat.st_mode)
    }
}

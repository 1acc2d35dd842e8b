//! One entry of a scanned tree.

use builder_cache::content::{DataDigest, EntryDigest, EntryKind, EntryMeta};
use rustix::fs::{FileType, Stat};

use super::tree::DirectoryId;

/// What `stat` tells of an entry and what changes when the entry does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The file system.
    pub dev: u64,
    /// The inode.
    pub ino: u64,
    /// The size in bytes.
    pub size: u64,
    /// Last change of the bytes: seconds, nanoseconds.
    pub mtime: (i64, u32),
    /// Last change of anything: seconds, nanoseconds.
    pub ctime: (i64, u32),
    /// Type and permission bits.
    pub mode: u32,
}

impl Stamp {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            size: stat.st_size as u64,
            mtime: (stat.st_mtime, stat.st_mtime_nsec as u32),
            ctime: (stat.st_ctime, stat.st_ctime_nsec as u32),
            mode: stat.st_mode,
        }
    }

    pub(crate) fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }
}

/// A file, directory, link or device as it was found.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name in its directory; empty for the root of a scan.
    pub name: Box<[u8]>,
    /// What `stat` told.
    pub stamp: Stamp,
    /// User and group. Whatever a local context says, its files belong to 0:0.
    pub owner: (u32, u32),
    /// How many names the file has.
    pub links: u32,
    /// What it is and holds.
    pub content: EntryContent,
    /// The extended attributes that count, sorted.
    pub xattrs: Option<Box<[Xattr]>>,
}

/// Name and value.
pub type Xattr = (Vec<u8>, Vec<u8>);

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryContent {
    /// A regular file, with the digest of its bytes when it was asked for.
    File(Option<DataDigest>),
    /// A directory of the same tree.
    Directory(DirectoryId),
    /// A symbolic link and where it points.
    Symlink(Box<[u8]>),
    /// A character device, by major and minor number.
    CharDevice(u32, u32),
    /// A block device, by major and minor number.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
}

impl Entry {
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.content, EntryContent::Directory(_))
    }

    /// What counts of it, with this owner and mode. A copy of it has the digest of this.
    pub fn meta(&self, mode: u32, uid: u32, gid: u32) -> EntryMeta {
        let kind = match self.content {
            EntryContent::File(_) => EntryKind::File,
            EntryContent::Directory(_) => EntryKind::Directory,
            EntryContent::Symlink(_) => EntryKind::Symlink,
            EntryContent::CharDevice(..) => EntryKind::CharDevice,
            EntryContent::BlockDevice(..) => EntryKind::BlockDevice,
            EntryContent::Fifo => EntryKind::Fifo,
        };
        let mut meta = EntryMeta::new(kind, mode & 0o7777);
        (meta.uid, meta.gid) = (uid, gid);
        match &self.content {
            EntryContent::File(_) => meta.size = self.stamp.size,
            EntryContent::Symlink(target) => meta.target = target.to_vec(),
            EntryContent::CharDevice(major, minor) | EntryContent::BlockDevice(major, minor) => {
                meta.device = (*major, *minor);
            }
            EntryContent::Directory(_) | EntryContent::Fifo => {}
        }
        if let Some(xattrs) = &self.xattrs {
            meta.xattrs = xattrs.to_vec();
        }
        meta
    }

    /// Its digest; `None` for a file whose bytes were not hashed.
    pub(crate) fn digest(&self, modes: bool) -> Option<EntryDigest> {
        let data = match &self.content {
            EntryContent::File(data) => Some((*data)?),
            _ => None,
        };
        let (uid, gid) = self.owner;
        Some(self.meta(if modes { self.stamp.mode } else { 0 }, uid, gid).digest(data.as_ref()))
    }
}

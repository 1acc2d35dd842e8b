//! What a tar says of one file.

use super::sparse::Segment;

/// An extended attribute: name and value.
pub type Xattr = (Vec<u8>, Vec<u8>);

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path, as written.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permissions with set-id and sticky bits: 12 bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time in seconds since the epoch.
    pub mtime: i64,
    /// Nanoseconds after [`Entry::mtime`].
    pub mtime_nanos: u32,
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<Xattr>,
    /// Bytes of a file, holes included.
    pub size: u64,
    /// Where the stored bytes of a sparse file belong; all else is zero.
    pub segments: Option<Vec<Segment>>,
    /// Where the entry begins in the stream that it was read from.
    pub offset: u64,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link to this target.
    Symlink(Vec<u8>),
    /// Another name of this earlier entry.
    HardLink(Vec<u8>),
    /// A character device: major, minor.
    CharDevice(u32, u32),
    /// A block device: major, minor.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
}

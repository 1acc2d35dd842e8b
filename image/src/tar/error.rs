//! Why a tar can't be read, with the entry and the byte.

use std::io;

/// A tar could not be read or unpacked.
#[derive(Debug, thiserror::Error)]
#[error("{}{reason}", self.place())]
pub struct TarError {
    /// The entry's path, escaped; empty when it is not known.
    pub entry: String,
    /// Where it begins in the uncompressed stream.
    pub offset: u64,
    /// What is wrong; said by the error itself, so that it is no further cause.
    pub reason: Reason,
}

impl TarError {
    pub(crate) fn new(entry: &[u8], offset: u64, reason: impl Into<Reason>) -> Self {
        Self { entry: crate::text::show(entry), offset, reason: reason.into() }
    }

    fn place(&self) -> String {
        if self.entry.is_empty() {
            format!("tar at byte {}: ", self.offset)
        } else {
            format!("tar entry `{}` at byte {}: ", self.entry, self.offset)
        }
    }
}

/// What is wrong with an entry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The stream ends in the middle of it.
    #[error("the archive ends in the middle of it; it was cut off")]
    Truncated,
    /// The stream can't be read or decompressed.
    #[error("the archive can't be read: {0}")]
    Read(io::Error),
    /// Not a tar header.
    #[error("its header has a wrong checksum; this is not a tar, or it is damaged")]
    Checksum,
    /// One zero block, and then something else.
    #[error("an end mark is followed by more entries")]
    LoneZeroBlock,
    /// A number that is none.
    #[error("its {0} is not a number, or too large")]
    Number(&'static str),
    /// A size below zero.
    #[error("its size is negative")]
    NegativeSize,
    /// A type of entry that we do not know.
    #[error("it has the type `{}`, which is not supported", char::from(*.0).escape_default())]
    UnknownType(u8),
    /// A long name or an extended header that nobody needs.
    #[error("its {what} has {size} bytes; at most {limit} are accepted")]
    MetadataTooLarge {
        /// Which.
        what: &'static str,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// A broken extended header.
    #[error("its extended header is malformed: {0}")]
    Pax(&'static str),
    /// A global header that changes the meaning of what follows.
    #[error("a global extended header sets `{0}`, which readers understand in different ways")]
    GlobalOverride(String),
    /// An extended header or a long name that belongs to nothing.
    #[error("a long name or extended header belongs to no entry")]
    Dangling,
    /// Two names for one entry.
    #[error("a GNU long name and an extended header disagree on its path")]
    Conflict,
    /// A broken sparse map.
    #[error("its sparse map is malformed: {0}")]
    Sparse(&'static str),
    /// The path leads out of the root.
    #[error("its path leads outside of the root directory")]
    Escapes,
    /// A path with a zero byte.
    #[error("its path holds a zero byte")]
    ZeroByte,
    /// A path that no file system takes.
    #[error("its path is too long")]
    PathTooLong,
    /// The root can only be a directory.
    #[error("it would replace the root directory")]
    ReplacesRoot,
    /// A file, and there is a directory that has to stay.
    #[error("cannot overwrite directory with non-directory")]
    IsADirectory,
    /// A directory, and there is something else that has to stay.
    #[error("cannot overwrite non-directory with directory")]
    NotADirectory,
    /// A whiteout of nothing, of `.` or of `..`.
    #[error("it is a whiteout of nothing that a layer could remove")]
    BadWhiteout,
    /// `.wh.` where only removals may use it.
    #[error("names that begin with `.wh.` mean removals in a layer and can't be directories")]
    ReservedName,
    /// A hard link to what is not there.
    #[error("it is a hard link to `{0}`, which is not an earlier file of the archive")]
    LinkTarget(String),
    /// A parent that is not a directory.
    #[error("its parent `{0}` is not a directory")]
    Parent(String),
    /// The limit on what an archive may unpack to.
    #[error("the archive unpacks to more than the {0} bytes that are allowed")]
    TooLarge(u64),
    /// The limit on the number of entries.
    #[error("the archive has more than the {0} entries that are allowed")]
    TooMany(u64),
    /// The kernel refused.
    #[error("could not {action}: {error}")]
    System {
        /// What was to be done.
        action: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
}

//! Why files can't be copied.

use std::io;

use crate::context::SourceError;

/// Why a file op failed.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A path of the destination leads through something that is no directory.
    #[error("can't copy to `{destination}`: `{path}` is not a directory")]
    NotADirectory {
        /// Where the copy should go.
        destination: String,
        /// What is in the way.
        path: String,
    },
    /// A file should replace a directory.
    #[error("can't replace the directory `{path}` by a file")]
    FileOverDirectory {
        /// The directory.
        path: String,
    },
    /// A directory should replace something else.
    #[error("can't copy the directory `{source_path}` to `{path}`, which is not a directory{}",
        if *.link { " but a symbolic link (name what it points to instead)" } else { "" })]
    DirectoryOverFile {
        /// The source, below its root.
        source_path: String,
        /// What is there.
        path: String,
        /// It is a link.
        link: bool,
    },
    /// More links than the kernel would follow.
    #[error("`{path}` leads through too many symbolic links")]
    TooManyLinks {
        /// The destination.
        path: String,
    },
    /// A system call on the destination failed.
    #[error("can't {action} `{path}`: {error}")]
    Write {
        /// What failed, as a verb.
        action: &'static str,
        /// The path in the destination.
        path: String,
        /// What the kernel said.
        #[source]
        error: io::Error,
    },
    /// An owner is no user or group.
    #[error("`{owner}` can't own files: {reason}")]
    Owner {
        /// As written.
        owner: String,
        /// Why not.
        reason: String,
    },
    /// A mode is neither octal nor symbolic.
    #[error("`{mode}` is not a mode: use up to four octal digits, or the language of chmod(1) like `u=rwX,go=rX`")]
    Mode {
        /// As written.
        mode: String,
    },
    /// An action copies from an input that the op does not have.
    #[error("an action copies from input {input}, which the step does not have")]
    NoInput {
        /// Its number.
        input: usize,
    },
    /// An archive can't be unpacked.
    #[error("can't unpack `{path}`: {error}")]
    Unpack {
        /// The archive, below the root of its source.
        path: String,
        /// Why not.
        #[source]
        error: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl CopyError {
    pub(super) fn write(action: &'static str, path: &[u8], error: impl Into<io::Error>) -> Self {
        Self::Write { action, path: absolute(path), error: error.into() }
    }
}

/// A path of the destination for people.
pub(super) fn absolute(path: &[u8]) -> String {
    if path.is_empty() { "/".to_owned() } else { format!("/{}", crate::context::show(path)) }
}

//! Why files can't be had from a source.

use std::io;

use builder_cache::content::DataDigest;

use crate::pattern::PatternError;

/// Why a source can't be scanned or selected from.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A source without wildcards that is not there.
    #[error("\"/{source_path}\": not found{}", if *.ignored { ", an ignore pattern excludes it" } else { "" })]
    NotFound {
        /// The source as seen from the root.
        source_path: String,
        /// It is there, but an ignore pattern excludes it.
        ignored: bool,
    },
    /// A file or directory can't be read.
    #[error("can't {action} `{path}`: {error}")]
    Read {
        /// What failed, as a verb.
        action: &'static str,
        /// The path below the root of the source.
        path: String,
        /// What the kernel said.
        #[source]
        error: io::Error,
    },
    /// The directory of a context can't be opened.
    #[error("can't open the directory `{path}`: {error}")]
    Open {
        /// The directory.
        path: String,
        /// What the kernel said.
        #[source]
        error: io::Error,
    },
    /// A file is not what it was when it was looked at before.
    #[error("`{path}` changed during the build, build again when nothing writes to it")]
    Changed {
        /// The path below the root of the source.
        path: String,
    },
    /// More links than the kernel would follow.
    #[error("\"/{source_path}\": too many symbolic links")]
    TooManyLinks {
        /// The source as seen from the root.
        source_path: String,
    },
    /// A file that is read as a whole is larger than it may be.
    #[error("`{path}` is larger than {limit} bytes")]
    TooLarge {
        /// The path below the root of the source.
        path: String,
        /// How large it may be.
        limit: u64,
    },
    /// A digest was asked for of a source that was opened only to copy from.
    #[error("this source was opened without reading its files, so it has no digests")]
    NotHashed,
    /// A source or an exclusion is not a pattern.
    #[error("`{text}` is not a pattern: a `[` is not closed, a range is not complete, or it ends in `\\`")]
    Syntax {
        /// The source as written.
        text: String,
    },
    /// An ignore pattern is not one.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

impl SourceError {
    pub(crate) fn read(action: &'static str, path: &[u8], error: impl Into<io::Error>) -> Self {
        Self::Read { action, path: show(path), error: error.into() }
    }

    pub(crate) fn changed(path: &[u8]) -> Self {
        Self::Changed { path: show(path) }
    }
}

/// A path for people: bytes that are not UTF-8 and control characters are escaped; the root is `.`.
pub(crate) fn show(path: &[u8]) -> String {
    if path.is_empty() {
        return ".".to_owned();
    }
    let mut shown = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() {
                shown.extend(character.escape_default());
            } else {
                shown.push(character);
            }
        }
        for byte in chunk.invalid() {
            shown.extend(std::ascii::escape_default(*byte).map(char::from));
        }
    }
    shown
}

/// The digest of no bytes.
pub(super) fn empty_data() -> DataDigest {
    DataDigest::of(b"")
}

//! What can go wrong between a directory and a tar.

use std::io;
use std::path::PathBuf;

use builder_cache::DiffId;

use crate::block::Stopped;
use crate::tar::TarError;

/// A layer could not be written or applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system failed.
    #[error("could not {action} {path}")]
    Io {
        /// What was to be done.
        action: &'static str,
        /// The file, escaped.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file whose name means a removal.
    #[error("`{0}` can't be stored in an image layer, where names that begin with `.wh.` mean removals: rename it")]
    ReservedName(String),
    /// A directory in a form that only this overlay mount understands.
    #[error("`{path}` has the attribute {attribute}: mount layers with redirect_dir=off and metacopy=off")]
    OverlayFeature {
        /// The file.
        path: String,
        /// Its attribute.
        attribute: String,
    },
    /// Somebody writes to what must not change.
    #[error("`{0}` changed while it was read: try again when nothing writes to it")]
    Changed(String),
    /// Two roots of one export have a file of the same name.
    #[error("`{path}` of {second} can't be written over that of {first}: export with platform-split=true, or apart")]
    Overlap {
        /// The file.
        path: String,
        /// Whose file is written already.
        first: String,
        /// Whose file is in its way.
        second: String,
    },
    /// The tar has nowhere to go.
    #[error("could not write the layer's tar")]
    Sink(#[source] io::Error),
    /// The archive is broken or hostile.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// The archive is whole, and not the one that was announced.
    #[error("the layer unpacks to {found}, but its image says {expected}: it is damaged or was tampered with")]
    DiffId {
        /// As the image's config has it.
        expected: DiffId,
        /// What it is.
        found: DiffId,
    },
    /// A delta's base went away, or another failure of the store.
    #[error(transparent)]
    Store(#[from] builder_cache::Error),
    /// The reader of a stream stopped; it knows why.
    #[error(transparent)]
    Stopped(#[from] StoppedError),
}

/// The reader of a stream stopped.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the stream any more")]
pub struct StoppedError(());

impl From<Stopped> for Error {
    fn from(_: Stopped) -> Self {
        Self::Stopped(StoppedError(()))
    }
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &[u8], source: impl Into<io::Error>) -> Self {
        Self::Io { action, path: crate::text::show(path), source: source.into() }
    }

    pub(crate) fn at(action: &'static str, path: &std::path::Path, source: impl Into<io::Error>) -> Self {
        Self::Io { action, path: PathBuf::from(path).display().to_string(), source: source.into() }
    }
}

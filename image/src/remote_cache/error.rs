//! What can go wrong with a shared cache.

use std::error::Error as StdError;
use std::io;

use builder_cache::BlobDigest;

use crate::layer;

/// A shared cache could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] builder_cache::Error),
    /// A layer could not be packed.
    #[error(transparent)]
    Layer(#[from] layer::Error),
    /// A registry failed.
    #[error(transparent)]
    Registry(#[from] crate::registry::Error),
    /// There is no such cache.
    #[error("there is no cache at {0}")]
    Missing(String),
    /// What is there is something else.
    #[error("{place} is no cache of this builder: {reason}")]
    NotACache {
        /// Where.
        place: String,
        /// What it is, or what it lacks.
        reason: String,
    },
    /// It breaks a rule of the format.
    #[error("the cache at {place} is damaged: {reason}; nothing of it is used")]
    Damaged {
        /// Where.
        place: String,
        /// Which.
        reason: String,
    },
    /// A blob is not what its digest says.
    #[error("the blob {expected} of the cache at {place} is damaged: it has the digest {found}")]
    Digest {
        /// Where.
        place: String,
        /// What it should be.
        expected: BlobDigest,
        /// What it is.
        found: BlobDigest,
    },
    /// A blob is not there (any more).
    #[error("the cache at {place} has no blob {digest} (any more)")]
    NoBlob {
        /// Where.
        place: String,
        /// Which.
        digest: BlobDigest,
    },
    /// Reading or writing failed.
    #[error("the cache at {place} can't be {action}")]
    Io {
        /// Where.
        place: String,
        /// `read`, `written`.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A place of another kind failed.
    #[error("the cache at {place}: {reason}")]
    Other {
        /// Where.
        place: String,
        /// Why. It tells its own causes itself.
        reason: Box<dyn StdError + Send + Sync>,
    },
    /// What is to be sent is not to be had any more.
    #[error("the layer {layer} of step `{step}` is not there to be sent: {reason}")]
    NoLayer {
        /// Its name in the store, or its digest.
        layer: String,
        /// A step that made it.
        step: String,
        /// Why not.
        reason: String,
    },
    /// The work is over.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    pub(super) fn damaged(place: &str, reason: impl Into<String>) -> Self {
        Self::Damaged { place: place.to_owned(), reason: reason.into() }
    }

    pub(super) fn io(place: &str, action: &'static str, source: io::Error) -> Self {
        Self::Io { place: place.to_owned(), action, source }
    }
}

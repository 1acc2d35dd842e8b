//! What can go wrong while images are pushed.

use builder_cache::BlobDigest;

use crate::{archive, registry};

/// An image could not be pushed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The image can't be had from the store.
    #[error(transparent)]
    Image(#[from] archive::Error),
    /// The registry failed, or refused.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// The registry took a manifest for another one.
    #[error("the registry says that {name} is {found} after {expected} was sent")]
    OtherDigest {
        /// The reference.
        name: String,
        /// What was sent.
        expected: BlobDigest,
        /// What the registry says.
        found: BlobDigest,
    },
    /// Something else went wrong first.
    #[error("{0} was given up")]
    GivenUp(BlobDigest),
}

impl From<builder_cache::Error> for Error {
    fn from(error: builder_cache::Error) -> Self {
        Self::Image(error.into())
    }
}

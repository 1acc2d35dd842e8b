//! Why an image could not be pulled.

use std::io;

use builder_cache::{BlobDigest, LayerId};

use super::origin::OriginError;
use crate::{layer, registry};

/// Why an image could not be pulled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] builder_cache::Error),
    /// A layer can't be had where it should be.
    #[error("the layer {blob} can't be fetched from {location}")]
    Fetch {
        /// Its blob.
        blob: BlobDigest,
        /// Where it should be.
        location: String,
        /// Why not.
        source: OriginError,
    },
    /// A layer's blob is not what its manifest or its image's config says, or can't be written.
    #[error("the layer {blob} of {location} can't be unpacked")]
    Unpack {
        /// Its blob.
        blob: BlobDigest,
        /// Where it came from.
        location: String,
        /// Why not.
        source: Box<layer::Error>,
    },
    /// A layer's blob can't be kept.
    #[error("the layer {blob} can't be written to the store")]
    Keep {
        /// Its blob.
        blob: BlobDigest,
        /// What the kernel said.
        source: io::Error,
    },
    /// A blob is shorter or longer than its descriptor says.
    #[error("the layer {blob} of {location} has {found} bytes and should have {expected}: nothing of it was kept")]
    Size {
        /// Its blob.
        blob: BlobDigest,
        /// Where it came from.
        location: String,
        /// As the manifest has it.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// A layer has other files than the cache says that it comes from.
    #[error(
        "the layer {blob} of {location} does not have the files that the cache says it has: nothing of it was kept"
    )]
    Content {
        /// Its blob.
        blob: BlobDigest,
        /// Where it came from.
        location: String,
    },
    /// Nobody here knows what is at a layer's locations.
    #[error("the layer {layer} is not in the store, and nothing here can fetch it{}", known(.locations))]
    NoOrigin {
        /// Which.
        layer: LayerId,
        /// Where it is said to be.
        locations: Vec<String>,
    },
    /// The image is for other machines.
    #[error("{what} is not for {wanted}: it is for {found}")]
    NoPlatform {
        /// The reference.
        what: String,
        /// What was asked for.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// An index lists what its registry does not have: whoever copied it left that platform out.
    #[error("the registry does not have what {what} lists for {wanted}")]
    LeftOut {
        /// The reference.
        what: String,
        /// What was asked for.
        wanted: String,
        /// What the registry said.
        source: Box<registry::Error>,
    },
    /// The manifest is of something else.
    #[error("{what} is no image that can be unpacked: {reason}")]
    NotAnImage {
        /// The reference.
        what: String,
        /// What it is.
        reason: String,
    },
    /// The manifest or config makes no sense.
    #[error("the {part} of {what} is malformed: {reason}")]
    Malformed {
        /// Manifest, index or config.
        part: &'static str,
        /// The reference.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The work is over.
    #[error("cancelled")]
    Cancelled,
}

fn known(locations: &[String]) -> String {
    if locations.is_empty() { String::new() } else { format!(" from {}", locations.join(", ")) }
}

impl Error {
    /// There is no such image.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Registry(error) if error.is_not_found())
    }

    /// The work was ended.
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::Cancelled => true,
            Self::Registry(error) => error.is_cancelled(),
            Self::Fetch { source, .. } => {
                source.downcast_ref::<registry::Error>().is_some_and(registry::Error::is_cancelled)
            }
            _ => false,
        }
    }

    /// Another place would do no better.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Store(error) => !matches!(error, builder_cache::Error::DigestMismatch { .. }),
            Self::Unpack { source, .. } => !matches!(**source, layer::Error::DiffId { .. } | layer::Error::Tar(_)),
            Self::Keep { .. } => true,
            _ => self.is_cancelled(),
        }
    }
}

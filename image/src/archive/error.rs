//! What can go wrong with archives.

use std::io;

use builder_cache::{BlobDigest, DiffId};

use crate::layer;
use crate::reference::ParseReferenceError;
use crate::tar::TarError;

/// Images could not be saved or loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store failed, or a digest is wrong.
    #[error(transparent)]
    Store(#[from] builder_cache::Error),
    /// A layer could not be written or unpacked.
    #[error(transparent)]
    Layer(#[from] layer::Error),
    /// One layer of an image could not be unpacked.
    #[error("could not unpack layer {blob}")]
    Unpack {
        /// Its blob.
        blob: BlobDigest,
        /// Why.
        source: layer::Error,
    },
    /// The archive's tar is broken.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// The output can't be written.
    #[error("could not write the archive")]
    Write(#[source] io::Error),
    /// The input can't be read.
    #[error("could not read `{path}`")]
    Read {
        /// Which file.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Neither of the two formats.
    #[error("this is no image archive: it holds neither `manifest.json` (docker) nor `index.json` (OCI)")]
    NotAnArchive,
    /// Written by Docker before version 1.10.
    #[error("this archive was written by a Docker older than 1.10: save it again with a newer one")]
    TooOld,
    /// A file is missing.
    #[error("the archive has no `{0}`, which it refers to")]
    Missing(String),
    /// A file that must be small is not.
    #[error("`{path}` has {size} bytes; at most {limit} are accepted")]
    TooLarge {
        /// Which.
        path: String,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// Links that lead nowhere.
    #[error("`{0}` is a link that leads in a circle or out of the archive")]
    Link(String),
    /// Malformed JSON.
    #[error("`{path}` can't be understood")]
    Json {
        /// Which.
        path: String,
        /// Why.
        source: serde_json::Error,
    },
    /// Understood, but not what it must be.
    #[error("`{path}` is malformed: {reason}")]
    Malformed {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// A digest that does not fit what it names.
    #[error("`{path}` has the digest {found}, and should have {expected}: the archive is damaged or was tampered with")]
    Digest {
        /// Which.
        path: String,
        /// What it should be.
        expected: BlobDigest,
        /// What it is.
        found: BlobDigest,
    },
    /// No image for this machine.
    #[error("no image in the archive is for {wanted}; there are: {found}")]
    NoPlatform {
        /// This machine.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// A name in the archive that is none.
    #[error(transparent)]
    Reference(#[from] ParseReferenceError),
    /// The image to save is not in the store.
    #[error("the store has no image {0}")]
    NoImage(BlobDigest),
    /// A layer's tar can't be had any more.
    #[error("the store no longer has the layer {0} in the form that the image needs: build or load the image again")]
    NoLayerTar(DiffId),
}

impl Error {
    pub(super) fn json(path: &str) -> impl FnOnce(serde_json::Error) -> Self {
        let path = path.to_owned();
        |source| Self::Json { path, source }
    }

    pub(super) fn malformed(path: &str, reason: impl Into<String>) -> Self {
        Self::Malformed { path: path.to_owned(), reason: reason.into() }
    }
}

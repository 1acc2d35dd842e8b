//! Where a cache is kept.

use std::fmt::Debug;
use std::io::Read;

use builder_cache::{BlobDigest, BlobInfo, LayerSource};
use serde::{Deserialize, Serialize};

use super::error::Error;

/// A blob as a manifest lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Blob {
    /// What it is.
    pub media_type: String,
    /// The digest of its bytes.
    pub digest: BlobDigest,
    /// How many there are.
    pub size: u64,
}

impl Blob {
    /// Digest and size.
    pub fn info(&self) -> BlobInfo {
        BlobInfo { digest: self.digest, size: self.size }
    }
}

/// Opens a blob that is to be sent from an offset on; called again when a connection broke.
pub type Open<'a> = &'a (dyn Fn(u64) -> std::io::Result<Box<dyn Read + Send>> + Sync);

/// A place that keeps blobs by their digests, and one manifest by the name that it was made with. It may be used by
/// several threads at once, and by several builders: a blob that is there is not harmed by being put again.
///
/// Everything is synchronous; a backend that is not inside has a runtime of its own.
pub trait Backend: Debug + Send + Sync {
    /// What people call it: `registry docker.io/user/app:cache`. Without secrets.
    fn name(&self) -> String;

    /// Where its blobs are, in the words of [`LayerSource::location`]: what [`provider`](builder_cache::Provider)s
    /// find it by. Without secrets.
    fn location(&self) -> String;

    /// The manifest that the name stands for, or the one with a digest: at most 4 MiB. `None` when there is none.
    fn manifest(&self, digest: Option<&BlobDigest>) -> Result<Option<Vec<u8>>, Error>;

    /// Makes the name stand for a manifest whose blobs are all there. `blobs` are these, for a place that tidies up.
    fn put_manifest(&self, media_type: &str, bytes: &[u8], blobs: &[Blob]) -> Result<(), Error>;

    /// The bytes of a blob. The reader need not check them: whoever keeps them does.
    fn blob(&self, blob: &BlobInfo) -> Result<Box<dyn Read + Send>, Error>;

    /// Whether a blob is there. May be answered without asking when a manifest that is there lists it.
    fn has_blob(&self, blob: &BlobInfo) -> Result<bool, Error>;

    /// Takes a blob that is not there, if its bytes are what its digest says; `advance` hears how many of them are gone.
    fn put_blob(&self, blob: &BlobInfo, open: Open<'_>, advance: &(dyn Fn(u64) + Sync)) -> Result<(), Error>;

    /// Takes a blob over from another place that it can reach by itself. `false`: it has to be sent.
    fn take_over(&self, blob: &BlobInfo, from: &LayerSource) -> Result<bool, Error> {
        let _ = (blob, from);
        Ok(false)
    }

    /// How many blobs may be sent at once.
    fn parallel(&self) -> usize {
        4
    }
}

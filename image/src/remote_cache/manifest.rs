//! Manifests around caches: written as OCI artifacts; read as those, as images with a cache inside, and as indexes.

use builder_cache::BlobDigest;
use serde::{Deserialize, Serialize};

use super::backend::Blob;
use super::format::CONFIG_TYPE;

/// The media type of what is written.
pub(super) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// The largest manifest that is read.
pub(super) const MANIFEST_LIMIT: u64 = 4 << 20;
/// The blob of a cache without layers: some registries want one.
pub(super) const EMPTY: &[u8] = b"{}";
pub(super) const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";

/// What is written, in this order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    schema_version: u32,
    media_type: &'a str,
    artifact_type: &'a str,
    config: &'a Blob,
    layers: &'a [Blob],
}

/// A manifest or an index.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Read {
    pub(super) config: Option<Blob>,
    pub(super) layers: Vec<Blob>,
    pub(super) manifests: Vec<Child>,
}

/// An entry of an index.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Child {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: BlobDigest,
}

/// The bytes of a cache's manifest.
pub(super) fn write(config: &Blob, layers: &[Blob]) -> Result<Vec<u8>, serde_json::Error> {
    let written = Written { schema_version: 2, media_type: MANIFEST_TYPE, artifact_type: CONFIG_TYPE, config, layers };
    serde_json::to_vec(&written)
}

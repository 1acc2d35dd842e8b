//! The config of a cache: one JSON document.
//!
//! | field | what |
//! |---|---|
//! | `schema` | the version of this format |
//! | `keys` | the version of the keys' meaning: with another one nothing could be found |
//! | `layers` | each layer once: what its tar is, what its files are, and which blob of the manifest holds it. One that belongs to a base image has that image's chain id and no blob |
//! | `chains` | results: a layer upon an earlier chain (or upon nothing). Chains share what they have in common, so a stage of *n* steps takes *n* entries |
//! | `components` | what keys are made of, each once |
//! | `records` | steps: their components, in the order in which they are hashed, their name and their chain |
//! | `mounts` | cache mounts that travel along: key, name, and which blob of the manifest holds the files |
//!
//! Neither the recipe key nor the definition of a record is written down: both are digests of its components, and are
//! computed when it is read. Times and costs are of the run that made the result, so the same records always give the
//! same bytes.

use builder_cache::{BlobDigest, DiffId};
use builder_solver::{CacheKey, Component, ContentDigest};
use serde::{Deserialize, Serialize};

/// The media type of the config, by which a cache is known.
pub const CONFIG_TYPE: &str = "application/vnd.builder.cache.config.v1+json";

/// The version of the format.
pub(super) const SCHEMA: u32 = 1;

/// The largest config that is read.
pub(super) const CONFIG_LIMIT: u64 = 64 << 20;
/// How much there may be of anything.
pub(super) const MOST_RECORDS: usize = 200_000;
pub(super) const MOST_LAYERS: usize = 20_000;
pub(super) const MOST_CHAINS: usize = 200_000;
pub(super) const MOST_COMPONENTS: usize = 1_000_000;
pub(super) const MOST_MOUNTS: usize = 1_000;
/// How many bytes of names all records together may have in their keys.
pub(super) const MOST_HASHED: usize = 1 << 30;
/// How many layers may lie upon each other. No image has as many.
pub(super) const DEEPEST_CHAIN: u32 = 2_000;
/// How many layers with files a result may have to be of use: no overlay takes more.
pub(super) const MOST_MOUNTED: usize = 500;
/// The longest name of a step or of a mount, in bytes.
pub(super) const LONGEST_NAME: usize = 16 << 10;

/// The whole document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Document {
    pub(super) schema: u32,
    pub(super) keys: u32,
    pub(super) layers: Vec<LayerEntry>,
    /// Upon which earlier chain (`null`: upon nothing), which layer.
    pub(super) chains: Vec<(Option<u32>, u32)>,
    pub(super) components: Vec<Component>,
    pub(super) records: Vec<RecordEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) mounts: Vec<MountEntry>,
}

/// What can be told before all of a document is understood.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Versions {
    pub(super) schema: u32,
    #[serde(default)]
    pub(super) keys: u32,
}

/// A layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LayerEntry {
    pub(super) diff_id: DiffId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tar_size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<ContentDigest>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) empty: bool,
    /// When it was made, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) created: i64,
    /// Of a layer of a base image; it is found by that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) chain_id: Option<BlobDigest>,
    /// The position of its blob in the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) blob: Option<u32>,
    /// It came with an image: its tar is not what its files are written as.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) foreign: bool,
    /// How its blob was made, as in [`crate::compress::Encoding::recipe`], when a builder made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) packed: Option<String>,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RecordEntry {
    pub(super) name: String,
    pub(super) components: Vec<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<CacheKey>,
    /// Nothing: no layers at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) chain: Option<u32>,
    /// How long it took, in microseconds.
    #[serde(default, skip_serializing_if = "is_zero_cost")]
    pub(super) cost: u64,
    /// When it ran, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) created: i64,
}

/// A cache mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MountEntry {
    pub(super) key: CacheKey,
    pub(super) name: String,
    pub(super) blob: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde wants")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde wants")]
fn is_zero_cost(number: &u64) -> bool {
    *number == 0
}

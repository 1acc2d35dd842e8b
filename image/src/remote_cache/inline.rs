//! A cache inside of an image: the records of the steps whose layers the image has, as a member of its config.
//!
//! The layers are the image's own, so blobs are positions in its manifest. Times and costs are left out: the same files
//! must give the same image.

use std::collections::HashMap;

use builder_cache::{DiffId, LayerId, Snapshot, Store};
use serde_json::Value;

use super::collect::{Collected, Held};
use super::error::Error;
use super::format::{Document, LayerEntry, RecordEntry, SCHEMA};
use super::send::base_entry;
use crate::layer::recreate;

/// The member of an image's config.
pub const INLINE_KEY: &str = "io.builder.cache.v1";

/// What goes into the config of an image with these layers; `diff_ids` are what they are called there. What is
/// `collected` is of this image alone, with [`Mode::Min`](super::Mode::Min). `None` when the image has no step of its own.
///
/// # Errors
/// When the store can't be read.
pub fn inline(
    store: &Store,
    collected: &Collected,
    snapshot: &Snapshot,
    diff_ids: &[DiffId],
) -> Result<Option<Value>, Error> {
    let places: HashMap<LayerId, usize> =
        snapshot.layers.iter().enumerate().map(|(position, layer)| (*layer, position)).collect();
    let mut layers = Vec::with_capacity(collected.layers.len());
    for held in &collected.layers {
        let id = match held {
            Held::Base { .. } => {
                layers.push(base_entry(held));
                continue;
            }
            Held::Store(id) => id,
            // What was collected is not of this image alone.
            Held::Import(..) => return Ok(None),
        };
        let meta = store.layer(id)?.meta;
        // One that is equal to a layer of the image is that layer.
        let equal = || diff_ids.iter().position(|diff_id| meta.diff_id == Some(*diff_id));
        let place = places.get(id).copied().or_else(equal);
        let place = place.and_then(|position| Some((position, diff_ids.get(position)?)));
        let Some((position, diff_id)) = place else { return Ok(None) };
        layers.push(LayerEntry {
            diff_id: *diff_id,
            tar_size: meta.tar_size.filter(|_| meta.diff_id == Some(*diff_id)),
            content: meta.content,
            empty: meta.empty && meta.base.is_none(),
            created: 0,
            chain_id: None,
            blob: u32::try_from(position).ok(),
            foreign: recreate(store, id, diff_id)?.is_none(),
            packed: None,
        });
    }
    if layers.iter().all(|layer| layer.blob.is_none()) {
        return Ok(None);
    }
    let untimed = |record: &RecordEntry| RecordEntry { cost: 0, created: 0, ..record.clone() };
    let document = Document {
        schema: SCHEMA,
        keys: builder_solver::cache_key::VERSION,
        layers,
        chains: collected.chains.clone(),
        components: collected.components.clone(),
        records: collected.records.iter().map(untimed).collect(),
        mounts: Vec::new(),
    };
    serde_json::to_value(&document).map(Some).map_err(|error| Error::damaged("the image", error.to_string()))
}

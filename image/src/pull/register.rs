//! Images whose layers come later.

use builder_cache::{AbsentLayer, BlobDigest, DiffId, NewImage, Snapshot, Store};

use super::error::Error;
use super::resolve::Resolved;
use crate::archive::chain_ids;
use crate::platform::Platform;

/// An image of a registry that the store knows.
#[derive(Debug, Clone)]
pub struct Registered {
    /// Its id.
    pub id: BlobDigest,
    /// Its layers; those that were not there are absent.
    pub snapshot: Snapshot,
    /// Its manifest.
    pub manifest: BlobDigest,
    /// The index that listed the manifest.
    pub index: Option<BlobDigest>,
    /// Which machines it is for.
    pub platform: Platform,
}

impl Registered {
    /// The digest by which its repository knows it: of the index if there is one.
    pub fn digest(&self) -> BlobDigest {
        self.index.unwrap_or(self.manifest)
    }
}

/// Puts an image into the store, with manifest and config as they came. Layers that are not there are absent.
pub fn register(store: &Store, resolved: &Resolved) -> Result<Registered, Error> {
    let _lease = store.lease()?;
    let diff_ids: Vec<DiffId> = resolved.layers.iter().map(|(diff_id, _)| *diff_id).collect();
    let known = store.image(&resolved.id)?.filter(|known| known.diff_ids == diff_ids);
    let snapshot = match &known {
        // Its files are those that the registry has, wherever they came from.
        Some(known) => {
            for (layer, (diff_id, source)) in known.snapshot.layers.iter().zip(&resolved.layers) {
                if store.layer(layer)?.meta.diff_id == Some(*diff_id) {
                    store.add_layer_source(layer, source)?;
                }
            }
            known.snapshot.clone()
        }
        None => layers(store, resolved, &diff_ids)?,
    };
    let id = store.put_blob(&resolved.config)?;
    let manifest = store.put_blob(&resolved.manifest.bytes)?;
    let mut size = 0;
    for layer in &snapshot.layers {
        size += crate::assemble::layer_size(store, layer).map_err(|error| match error {
            crate::layer::Error::Store(error) => Error::Store(error),
            error => {
                Error::Malformed { part: "manifest", what: resolved.repository.clone(), reason: error.to_string() }
            }
        })?;
    }
    store.put_image(&NewImage {
        id,
        snapshot: snapshot.clone(),
        diff_ids,
        manifest: Some(manifest),
        created_ms: resolved.created_ms,
        size,
        target: known.and_then(|known| known.target),
    })?;
    let index = resolved.index.as_ref().map(|index| index.digest);
    Ok(Registered { id, snapshot, manifest, index, platform: resolved.platform.clone() })
}

fn layers(store: &Store, resolved: &Resolved, diff_ids: &[DiffId]) -> Result<Snapshot, Error> {
    let empty = DiffId::of(&[0; DiffId::EMPTY_TAR_SIZE]);
    let mut snapshot = Snapshot::scratch();
    for ((diff_id, source), chain_id) in resolved.layers.iter().zip(chain_ids(diff_ids)) {
        let id = store.put_absent_layer(&AbsentLayer {
            diff_id: *diff_id,
            tar_size: (*diff_id == empty).then_some(DiffId::EMPTY_TAR_SIZE as u64),
            chain_id: chain_id.to_string(),
            content: None,
            empty: *diff_id == empty,
            created_ms: None,
            parent: snapshot.layers.last().copied(),
            built: false,
            source: source.clone(),
        })?;
        snapshot = snapshot.with(id);
    }
    Ok(snapshot)
}

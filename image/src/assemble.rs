//! Layers and a config → an image of the store; and a root file system's tar → an image of one layer.

use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

use builder_cache::{BlobDigest, DiffId, LayerId, LayerMeta, NewImage, Snapshot, Store};
use builder_solver::CacheKey;
use serde_json::{Map, Value};

use crate::compress::Compression;
use crate::config::{created_ms, with_layers};
use crate::layer::{self, ApplyOptions, Error, WriteOptions, apply_layer, diff_id, formed_tar, layer_blob};
use crate::tar::Limits;

/// How to assemble an image.
#[derive(Debug, Clone, Copy, Default)]
pub struct AssembleOptions {
    /// No file of a layer that was built here is younger than this, in seconds since the epoch. Layers that came with
    /// an image stay as they are.
    pub clamp: Option<i64>,
    /// How layers are going to be stored, if that is known: then digest and blob are made in one pass.
    pub compression: Option<Compression>,
    /// The recipe key of the step whose result this is.
    pub target: Option<CacheKey>,
}

impl AssembleOptions {
    /// Layers that were built become other tars than their own.
    fn wants_files(&self) -> bool {
        self.clamp.is_some() || self.compression == Some(Compression::Estargz)
    }
}

/// An image that was put into the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembled {
    /// Its id: the digest of its config.
    pub id: BlobDigest,
    /// The digests of its layers' tars.
    pub diff_ids: Vec<DiffId>,
    /// The bytes of its files.
    pub size: u64,
}

/// Makes an image of a chain of layers. `config` is all of the config but `rootfs`, which is filled in.
pub fn assemble(
    store: &Store,
    config: &Map<String, Value>,
    snapshot: &Snapshot,
    options: &AssembleOptions,
) -> Result<Assembled, Error> {
    let mut size = 0;
    let mut diff_ids = Vec::with_capacity(snapshot.layers.len());
    if options.wants_files() {
        let absent = store.absent(snapshot)?;
        let built = absent.into_iter().map(|id| Ok((id, store.layer(&id)?.meta.source_blob.is_none())));
        let built = built.collect::<Result<Vec<_>, Error>>()?.into_iter().filter_map(|(id, built)| built.then_some(id));
        store.provide(&built.collect::<Vec<_>>())?;
    }
    for layer in &snapshot.layers {
        diff_ids.push(layer_digest(store, layer, options)?);
        size += layer_size(store, layer)?;
    }
    let id = store.put_blob(&with_layers(config, &diff_ids))?;
    store.put_image(&NewImage {
        id,
        snapshot: snapshot.clone(),
        diff_ids: diff_ids.clone(),
        manifest: None,
        created_ms: created_ms(config.get("created").and_then(Value::as_str)),
        size,
        target: options.target,
    })?;
    Ok(Assembled { id, diff_ids, size })
}

fn layer_digest(store: &Store, layer: &LayerId, options: &AssembleOptions) -> Result<DiffId, Error> {
    let known = store.layer(layer)?;
    let is_base = known.meta.source_blob.is_some();
    if is_base || (known.absent && !options.wants_files()) {
        // An absent layer is known by no more than this.
        if let Some(diff_id) = known.meta.diff_id {
            return Ok(diff_id);
        }
        return diff_id(store, layer).map(|tar| tar.diff_id);
    }
    let write = WriteOptions { clamp: options.clamp };
    match options.compression {
        None | Some(Compression::Uncompressed) => {
            formed_tar(store, layer, Compression::Uncompressed, &write).map(|tar| tar.diff_id)
        }
        Some(compression) => layer_blob(store, layer, compression, &write).map(|blob| blob.diff_id),
    }
}

/// The bytes of a layer's files, those of the layers that it is a delta of included.
pub fn layer_size(store: &Store, layer: &LayerId) -> Result<u64, Error> {
    let mut size = 0;
    let mut next = Some(*layer);
    while let Some(id) = next {
        let meta = store.layer(&id)?.meta;
        size += meta.size;
        next = meta.base;
    }
    Ok(size)
}

/// Makes an image of one layer from the tar of a root file system, compressed in any way or not.
pub fn import(
    store: &Store,
    input: impl Read + Send,
    config: &Map<String, Value>,
    limits: Limits,
) -> Result<Assembled, Error> {
    let layer = store.new_layer()?;
    let applied = apply_layer(input, layer.upper(), &ApplyOptions { limits, ..ApplyOptions::default() })?;
    let meta = LayerMeta {
        size: applied.size,
        files: applied.files,
        empty: applied.files == 0,
        created_ms: now_ms(),
        ..LayerMeta::default()
    };
    let snapshot = Snapshot::scratch().with(layer.commit(meta)?);
    assemble(store, config, &snapshot, &AssembleOptions::default())
}

pub(crate) fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// An image whose layers were found or unpacked, to be put into the store.
pub(crate) fn put_foreign(
    store: &Store,
    id: BlobDigest,
    snapshot: Snapshot,
    diff_ids: Vec<DiffId>,
    manifest: Option<BlobDigest>,
    created_ms: i64,
) -> Result<(), layer::Error> {
    let size = snapshot.layers.iter().map(|layer| layer_size(store, layer)).sum::<Result<u64, _>>()?;
    store.put_image(&NewImage { id, snapshot, diff_ids, manifest, created_ms, size, target: None })?;
    Ok(())
}

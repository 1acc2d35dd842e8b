//! What takes how much room, and for whom.

use std::collections::HashMap;
use std::fs;

use crate::error::Result;
use crate::id::{LayerId, Snapshot};
use crate::layer::{decode_chain, id_of};
use crate::store::Store;

/// What the store holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Each layer, oldest first.
    pub layers: Vec<LayerUsage>,
    /// Bytes of all layers.
    pub layer_bytes: u64,
    /// How many blobs.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// How many listings.
    pub trees: u64,
    /// The bytes of the database.
    pub database_bytes: u64,
    /// Records whose result is there.
    pub records: u64,
    /// Records that are kept for explanations only.
    pub evicted: u64,
    /// How many images.
    pub images: u64,
    /// Bytes of the layers that no image needs.
    pub reclaimable_bytes: u64,
}

/// One layer and who needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerUsage {
    /// Which.
    pub id: LayerId,
    /// Its own bytes.
    pub size: u64,
    /// Its own entries.
    pub files: u64,
    /// When it was made, in milliseconds since the epoch.
    pub created_ms: i64,
    /// When a record with it was last used.
    pub last_used_ms: Option<i64>,
    /// The layer that it is a delta of.
    pub base: Option<LayerId>,
    /// How many images need it.
    pub images: u64,
    /// How many records need it.
    pub records: u64,
}

impl Store {
    /// What the store holds, and for whom.
    pub fn usage(&self) -> Result<Usage> {
        let mut usage = self.read_consistent(|db| {
            let mut select = db.prepare("SELECT id, size, files, created_ms, base FROM layers ORDER BY seq")?;
            let layers = select.query_map([], |row| {
                Ok(LayerUsage {
                    id: id_of(row.get(0)?),
                    size: row.get::<_, i64>(1)? as u64,
                    files: row.get::<_, i64>(2)? as u64,
                    created_ms: row.get(3)?,
                    last_used_ms: None,
                    base: row.get::<_, Option<_>>(4)?.map(id_of),
                    images: 0,
                    records: 0,
                })
            })?;
            let mut layers = Needs::new(layers.collect::<rusqlite::Result<_>>()?);
            let mut usage = Usage::default();

            let mut select = db.prepare("SELECT output, last_used_ms FROM records")?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                match row.get::<_, Option<Vec<u8>>>(0)? {
                    None => usage.evicted += 1,
                    Some(output) => {
                        usage.records += 1;
                        let last_used_ms = row.get(1)?;
                        layers.count(&decode_chain(&output), |layer| {
                            layer.records += 1;
                            layer.last_used_ms = layer.last_used_ms.max(Some(last_used_ms));
                        });
                    }
                }
            }
            let mut select = db.prepare("SELECT layers FROM images")?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                usage.images += 1;
                layers.count(&decode_chain(&row.get::<_, Vec<u8>>(0)?), |layer| layer.images += 1);
            }
            usage.layers = layers.layers;
            (usage.blobs, usage.blob_bytes) =
                db.query_row("SELECT count(*), ifnull(sum(size), 0) FROM blobs", [], |row| {
                    Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64))
                })?;
            usage.trees = db.query_row("SELECT count(*) FROM trees", [], |row| row.get::<_, i64>(0))? as u64;
            Ok(usage)
        })?;
        usage.layer_bytes = usage.layers.iter().map(|layer| layer.size).sum();
        usage.reclaimable_bytes = usage.layers.iter().filter(|layer| layer.images == 0).map(|layer| layer.size).sum();
        usage.database_bytes = ["builder.db", "builder.db-wal"]
            .iter()
            .filter_map(|name| fs::metadata(self.root().join(name)).ok())
            .map(|file| file.len())
            .sum();
        Ok(usage)
    }
}

/// Layers with an index.
struct Needs {
    layers: Vec<LayerUsage>,
    positions: HashMap<LayerId, usize>,
}

impl Needs {
    fn new(layers: Vec<LayerUsage>) -> Self {
        let positions = layers.iter().enumerate().map(|(position, layer)| (layer.id, position)).collect();
        Self { layers, positions }
    }

    /// For each layer of a chain, and the bases of each.
    fn count(&mut self, chain: &Snapshot, mut count: impl FnMut(&mut LayerUsage)) {
        for id in &chain.layers {
            let mut next = Some(*id);
            while let Some(&position) = next.and_then(|id| self.positions.get(&id)) {
                let layer = &mut self.layers[position];
                count(layer);
                next = layer.base;
            }
        }
    }
}

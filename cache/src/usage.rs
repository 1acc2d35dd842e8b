//! What takes how much room, and for whom.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::id::{LayerId, Snapshot};
use crate::layer::{decode_chain, id_of};
use crate::mount;
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
    /// Bytes of the layers that no image needs, and of all cache mounts.
    pub reclaimable_bytes: u64,
    /// Each cache mount, oldest first.
    pub mounts: Vec<MountUsage>,
    /// Bytes of all cache mounts.
    pub mount_bytes: u64,
}

/// One cache mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountUsage {
    /// Its name in the store.
    pub id: String,
    /// What Dockerfiles call it.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// Its entries.
    pub files: u64,
    /// When it was made, in milliseconds since the epoch.
    pub created_ms: i64,
    /// When a step last used it.
    pub last_used_ms: i64,
    /// How many steps have used it.
    pub uses: u64,
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

/// How large a layer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LayerSize {
    /// The bytes of its files, those of the layers it is a delta of included. Of an absent layer: of its blob.
    pub bytes: u64,
    /// Its files are elsewhere.
    pub absent: bool,
}

impl Store {
    /// How large each layer is.
    pub fn layer_sizes(&self) -> Result<HashMap<LayerId, LayerSize>> {
        self.read_consistent(|db| {
            let mut select = db.prepare(
                "SELECT layers.id, base, absent, CASE WHEN absent THEN
                     ifnull((SELECT size FROM layer_sources WHERE layer = layers.id ORDER BY seq LIMIT 1), 0)
                 ELSE size END FROM layers ORDER BY seq",
            )?;
            let mut sizes = HashMap::new();
            let mut rows = select.query([])?;
            // Bases come before their deltas.
            while let Some(row) = rows.next()? {
                let below = row.get::<_, Option<_>>(1)?.and_then(|base| sizes.get(&id_of(base)));
                let below = below.map_or(0, |below: &LayerSize| below.bytes);
                let bytes = row.get::<_, i64>(3)? as u64 + below;
                sizes.insert(id_of(row.get(0)?), LayerSize { bytes, absent: row.get(2)? });
            }
            Ok(sizes)
        })
    }

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
            let mut select =
                db.prepare("SELECT id, name, created_ms, last_used_ms, uses FROM mounts ORDER BY created_ms, id")?;
            let mounts = select.query_map([], |row| {
                Ok(MountUsage {
                    id: mount::id_of(row.get(0)?).to_string(),
                    name: row.get(1)?,
                    size: 0,
                    files: 0,
                    created_ms: row.get(2)?,
                    last_used_ms: row.get(3)?,
                    uses: row.get::<_, i64>(4)? as u64,
                })
            })?;
            usage.mounts = mounts.collect::<rusqlite::Result<_>>()?;
            Ok(usage)
        })?;
        for mount in &mut usage.mounts {
            let found = measure(&self.root().join("mounts").join(&mount.id));
            (mount.size, mount.files) = (found.bytes, found.entries);
        }
        usage.mount_bytes = usage.mounts.iter().map(|mount| mount.size).sum();
        usage.layer_bytes = usage.layers.iter().map(|layer| layer.size).sum();
        let unneeded: u64 = usage.layers.iter().filter(|layer| layer.images == 0).map(|layer| layer.size).sum();
        usage.reclaimable_bytes = unneeded + usage.mount_bytes;
        usage.database_bytes = ["builder.db", "builder.db-wal"]
            .iter()
            .filter_map(|name| fs::metadata(self.root().join(name)).ok())
            .map(|file| file.len())
            .sum();
        Ok(usage)
    }
}

/// How much is in a directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Measured {
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
}

/// Counts what is in the `fs` of a cache mount, hard links once. Steps may be changing it, and what is there may be made
/// to confuse: what can't be looked at counts as nothing, and nothing outside is looked at.
pub(crate) fn measure(mount: &Path) -> Measured {
    measure_tree(mount.join("fs"))
}

/// The bytes of the files below a directory.
pub(crate) fn bytes_of_tree(directory: &Path) -> u64 {
    measure_tree(directory.to_owned()).bytes
}

fn measure_tree(directory: PathBuf) -> Measured {
    let mut found = Measured::default();
    let mut linked = HashSet::new();
    let mut waiting = vec![directory];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            // Of the entry itself, not of what a link leads to.
            let Ok(metadata) = entry.metadata() else { continue };
            found.entries += 1;
            if metadata.is_dir() {
                waiting.push(entry.path());
            } else if metadata.nlink() == 1 || linked.insert(metadata.ino()) {
                found.bytes += metadata.len();
            }
        }
    }
    found
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

//! Everything that goes with what was chosen.

use std::collections::HashSet;

use builder_solver::ContentDigest;
use rusqlite::{Connection, Transaction};

use super::Pruned;
use super::state::State;
use crate::content::ChildDigest;
use crate::error::{Error, Result};
use crate::id::{BlobDigest, LayerId};
use crate::tree;

/// How many records without a result are kept to explain misses.
const KEPT_EVICTED: usize = 1000;

/// What goes.
pub(super) struct Plan {
    pub(super) evicted: Vec<i64>,
    pub(super) forgotten: Vec<i64>,
    pub(super) images: Vec<BlobDigest>,
    pub(super) layers: Vec<(LayerId, u64)>,
    pub(super) blobs: Vec<(BlobDigest, u64)>,
    pub(super) trees: Vec<ContentDigest>,
    pub(super) mounts: Vec<(LayerId, u64)>,
}

impl Plan {
    /// Works out everything that goes with what was chosen.
    pub(super) fn new(state: State, db: &Connection) -> Result<Self> {
        let evicted: HashSet<_> = state.evicted.iter().copied().collect();
        let without_result: Vec<_> = state
            .records
            .iter()
            .filter(|record| record.output.is_none() || evicted.contains(&record.seq))
            .map(|record| record.seq)
            .collect();
        let forgotten = without_result[..without_result.len().saturating_sub(KEPT_EVICTED)].to_vec();
        let live_layers = state.live_layers();
        let live_blobs = state.live_blobs(&live_layers);

        let gone: HashSet<_> = forgotten.iter().collect();
        let kept = state.records.iter().filter(|record| !gone.contains(&record.seq));
        let roots = kept
            .flat_map(|record| record.files.iter().copied())
            .chain(live_layers.iter().filter_map(|id| state.layers.get(id)?.content));
        let live_trees = reachable_trees(db, roots)?;
        let mut select = db.prepare("SELECT digest FROM trees")?;
        let trees = select.query_map([], |row| Ok(ContentDigest::from_bytes(row.get(0)?)))?;
        let mut dead_trees = trees.collect::<rusqlite::Result<Vec<_>>>()?;
        dead_trees.retain(|digest| !live_trees.contains(digest));

        let dead_layers = state.layers.iter().filter(|(id, _)| !live_layers.contains(id));
        let dead_blobs = state.blobs.iter().filter(|(digest, _)| !live_blobs.contains(digest));
        Ok(Self {
            evicted: state.evicted,
            forgotten,
            images: state.removed_images,
            layers: dead_layers.map(|(id, layer)| (*id, layer.size)).collect(),
            blobs: dead_blobs.map(|(digest, size)| (*digest, *size)).collect(),
            trees: dead_trees,
            mounts: state.removed_mounts,
        })
    }

    pub(super) fn summary(&self) -> Pruned {
        let layer_bytes: u64 = self.layers.iter().map(|(_, size)| size).sum();
        let blob_bytes: u64 = self.blobs.iter().map(|(_, size)| size).sum();
        let mount_bytes: u64 = self.mounts.iter().map(|(_, size)| size).sum();
        Pruned {
            records: self.evicted.len() as u64,
            mounts: self.mounts.len() as u64,
            layers: self.layers.len() as u64,
            blobs: self.blobs.len() as u64,
            trees: self.trees.len() as u64,
            images: self.images.clone(),
            freed: layer_bytes + mount_bytes + blob_bytes,
        }
    }

    pub(super) fn changes_rows(&self) -> bool {
        !(self.evicted.is_empty()
            && self.forgotten.is_empty()
            && self.images.is_empty()
            && self.layers.is_empty()
            && self.blobs.is_empty()
            && self.mounts.is_empty()
            && self.trees.is_empty())
    }

    pub(super) fn apply(&self, db: &Transaction<'_>) -> Result<()> {
        let mut evict = db.prepare("UPDATE records SET output = NULL, boot = NULL WHERE seq = ?")?;
        for seq in &self.evicted {
            evict.execute([seq])?;
        }
        let mut forget = db.prepare("DELETE FROM records WHERE seq = ?")?;
        for seq in &self.forgotten {
            forget.execute([seq])?;
        }
        for id in &self.images {
            db.execute("DELETE FROM images WHERE id = ?", [id.as_bytes()])?;
            db.execute("DELETE FROM names WHERE image = ?", [id.as_bytes()])?;
            db.execute("DELETE FROM platforms WHERE image = ?", [id.as_bytes()])?;
        }
        let mut delete = db.prepare("DELETE FROM layers WHERE id = ?")?;
        for (id, _) in &self.layers {
            delete.execute([id.number() as i64])?;
        }
        let mut delete = db.prepare("DELETE FROM mounts WHERE id = ?")?;
        for (id, _) in &self.mounts {
            delete.execute([id.number() as i64])?;
        }
        let mut delete = db.prepare("DELETE FROM blobs WHERE digest = ?")?;
        for (digest, _) in &self.blobs {
            delete.execute([digest.as_bytes()])?;
        }
        db.execute("DELETE FROM layer_blobs WHERE blob NOT IN (SELECT digest FROM blobs)", [])?;
        db.execute("DELETE FROM layer_sources WHERE layer NOT IN (SELECT id FROM layers)", [])?;
        db.execute("DELETE FROM derived_tars WHERE layer NOT IN (SELECT id FROM layers)", [])?;
        let mut delete = db.prepare("DELETE FROM trees WHERE digest = ?")?;
        for digest in &self.trees {
            delete.execute([digest.as_bytes()])?;
        }
        Ok(())
    }
}

fn reachable_trees(db: &Connection, roots: impl Iterator<Item = ContentDigest>) -> Result<HashSet<ContentDigest>> {
    let mut live = HashSet::new();
    let mut waiting: Vec<_> = roots.collect();
    while let Some(digest) = waiting.pop() {
        if !live.insert(digest) {
            continue;
        }
        let listing = match tree::listing(db, &digest) {
            // A damaged one explains nothing; what only it refers to goes.
            Err(Error::DamagedTree(_)) => None,
            result => result?,
        };
        waiting.extend(listing.iter().flat_map(|listing| &listing.children).filter_map(|child| match child.digest {
            ChildDigest::Listing(digest) => Some(digest),
            ChildDigest::Entry(_) => None,
        }));
    }
    Ok(live)
}

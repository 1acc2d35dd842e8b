//! What the database says about who needs what, and the choice of what is not needed any more.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use builder_solver::{CacheKey, ContentDigest, Part};
use rusqlite::Connection;

use super::{PruneImagesOptions, PruneOptions};
use crate::container;
use crate::error::Result;
use crate::id::{BlobDigest, LayerId, Snapshot};
use crate::layer::{decode_chain, id_of};
use crate::mount;
use crate::record::{decode_components, inputs};
use crate::store::{Store, now_ms};
use crate::usage::measure;

/// All rows that matter for what stays.
pub(super) struct State {
    pub(super) layers: HashMap<LayerId, LayerRow>,
    pub(super) records: Vec<RecordRow>,
    pub(super) images: Vec<ImageRow>,
    pub(super) blobs: HashMap<BlobDigest, u64>,
    /// Packed layers: diff id and blob.
    pub(super) packed: Vec<([u8; 32], BlobDigest)>,
    pub(super) evicted: Vec<i64>,
    pub(super) removed_images: Vec<BlobDigest>,
    pub(super) mounts: Vec<MountRow>,
    pub(super) removed_mounts: Vec<(LayerId, u64)>,
    /// What containers run on.
    pub(super) containers: Vec<(BlobDigest, Snapshot)>,
}

pub(super) struct MountRow {
    pub(super) id: LayerId,
    pub(super) last_used_ms: i64,
    /// 0 until it was measured.
    pub(super) size: u64,
}

/// What a prune may take, one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Candidate {
    Record(i64),
    Mount(LayerId),
}

pub(super) struct LayerRow {
    pub(super) base: Option<LayerId>,
    pub(super) size: u64,
    pub(super) diff_id: Option<[u8; 32]>,
    pub(super) source: Option<BlobDigest>,
    pub(super) content: Option<ContentDigest>,
}

pub(super) struct RecordRow {
    pub(super) seq: i64,
    pub(super) recipe: CacheKey,
    pub(super) output: Option<Snapshot>,
    pub(super) last_used_ms: i64,
    pub(super) inputs: Vec<CacheKey>,
    pub(super) files: Vec<ContentDigest>,
}

pub(super) struct ImageRow {
    pub(super) id: BlobDigest,
    pub(super) snapshot: Snapshot,
    pub(super) diff_ids: Vec<[u8; 32]>,
    /// Its config, its manifest and what that refers to.
    pub(super) blobs: Vec<BlobDigest>,
    pub(super) manifest: Option<BlobDigest>,
    pub(super) target: Option<CacheKey>,
    pub(super) created_ms: i64,
    pub(super) named: bool,
}

impl State {
    pub(super) fn load(db: &Connection) -> Result<Self> {
        let mut select = db.prepare("SELECT id, base, size, diff_id, source_blob, content FROM layers")?;
        let layers = select.query_map([], |row| {
            let layer = LayerRow {
                base: row.get::<_, Option<_>>(1)?.map(id_of),
                size: row.get::<_, i64>(2)? as u64,
                diff_id: row.get(3)?,
                source: row.get::<_, Option<_>>(4)?.map(BlobDigest::from_bytes),
                content: row.get::<_, Option<_>>(5)?.map(ContentDigest::from_bytes),
            };
            Ok((id_of(row.get(0)?), layer))
        })?;
        let mut select =
            db.prepare("SELECT seq, recipe, output, last_used_ms, components FROM records ORDER BY seq")?;
        let records = select.query_map([], |row| {
            // Components that can't be read hold nothing; the record's own result is another column.
            let components = decode_components(row.get_ref(4)?.as_blob()?).unwrap_or_default();
            let files = components.iter().filter(|component| matches!(component.part, Part::Files(_)));
            Ok(RecordRow {
                seq: row.get(0)?,
                recipe: CacheKey::from_bytes(row.get(1)?),
                output: row.get_ref(2)?.as_blob_or_null()?.map(decode_chain),
                last_used_ms: row.get(3)?,
                inputs: inputs(&components).collect(),
                files: files.map(|component| component.digest).collect(),
            })
        })?;
        let mut select = db.prepare("SELECT digest, size FROM blobs")?;
        let blobs =
            select.query_map([], |row| Ok((BlobDigest::from_bytes(row.get(0)?), row.get::<_, i64>(1)? as u64)))?;
        let mut select = db.prepare("SELECT diff_id, blob FROM layer_blobs")?;
        let packed = select.query_map([], |row| Ok((row.get(0)?, BlobDigest::from_bytes(row.get(1)?))))?;
        let mut select = db.prepare("SELECT id, last_used_ms FROM mounts")?;
        let mounts = select
            .query_map([], |row| Ok(MountRow { id: mount::id_of(row.get(0)?), last_used_ms: row.get(1)?, size: 0 }))?;
        let mut state = Self {
            layers: layers.collect::<rusqlite::Result<_>>()?,
            records: records.collect::<rusqlite::Result<_>>()?,
            images: Vec::new(),
            blobs: blobs.collect::<rusqlite::Result<_>>()?,
            packed: packed.collect::<rusqlite::Result<_>>()?,
            evicted: Vec::new(),
            removed_images: Vec::new(),
            mounts: mounts.collect::<rusqlite::Result<_>>()?,
            removed_mounts: Vec::new(),
            containers: container::references(db)?,
        };
        let mut select = db.prepare(
            "SELECT id, layers, diff_ids, manifest, target, created_ms,
                    id IN (SELECT image FROM names WHERE instr(name, '@') = 0
                           UNION SELECT image FROM platforms WHERE instr(name, '@') = 0) FROM images",
        )?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let id = BlobDigest::from_bytes(row.get(0)?);
            state.images.push(ImageRow {
                id,
                snapshot: decode_chain(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?),
                diff_ids: row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?.as_chunks().0.to_vec(),
                blobs: vec![id],
                manifest: row.get::<_, Option<_>>(3)?.map(BlobDigest::from_bytes),
                target: row.get::<_, Option<_>>(4)?.map(CacheKey::from_bytes),
                created_ms: row.get(5)?,
                named: row.get(6)?,
            });
        }
        let positions: HashMap<_, _> = state.images.iter().enumerate().map(|(at, image)| (image.id, at)).collect();
        let mut select = db.prepare("SELECT names.image, name_blobs.blob FROM name_blobs JOIN names USING (name)")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let (image, blob) = (BlobDigest::from_bytes(row.get(0)?), BlobDigest::from_bytes(row.get(1)?));
            if let Some(at) = positions.get(&image) {
                state.images[*at].blobs.push(blob);
            }
        }
        Ok(state)
    }

    /// Adds the blobs that images need through their manifests.
    pub(super) fn follow_manifests(&mut self, store: &Store) {
        for image in &mut self.images {
            if let Some(manifest) = &image.manifest {
                image.blobs.extend(store.manifest_blobs(manifest));
            }
        }
    }

    /// The records that led to an image: those that its target goes back to, and those whose result is the lower end
    /// of its chain.
    fn led_to_images(&self) -> HashSet<i64> {
        let by_recipe: HashMap<_, _> = self.records.iter().map(|record| (record.recipe, record)).collect();
        let mut waiting: Vec<_> = self.images.iter().filter_map(|image| image.target).collect();
        let mut led = HashSet::new();
        while let Some(recipe) = waiting.pop() {
            if let Some(record) = by_recipe.get(&recipe)
                && led.insert(record.seq)
            {
                waiting.extend(&record.inputs);
            }
        }
        let mut lower_ends: HashSet<&[LayerId]> = HashSet::new();
        if !self.images.is_empty() {
            lower_ends.insert(&[]);
        }
        for image in &self.images {
            let layers = &image.snapshot.layers;
            // From the top: below an end that is known, all are.
            for length in (1..=layers.len()).rev() {
                if !lower_ends.insert(&layers[..length]) {
                    break;
                }
            }
        }
        for record in &self.records {
            if record.output.as_ref().is_some_and(|output| lower_ends.contains(output.layers.as_slice())) {
                led.insert(record.seq);
            }
        }
        led
    }

    /// Finds out how large the cache mounts are.
    pub(super) fn measure_mounts(&mut self, root: &Path) {
        for mount in &mut self.mounts {
            mount.size = measure(&mount::directory(root, mount.id)).bytes;
        }
    }

    /// Chooses records and cache mounts.
    pub(super) fn evict(&mut self, options: &PruneOptions) {
        let latest = before(options.older_than);
        let old_enough = |last_used_ms: i64| latest.is_none_or(|latest| last_used_ms <= latest);
        let mut candidates = Vec::new();
        if !options.only_mounts {
            let spared = if options.all { HashSet::new() } else { self.led_to_images() };
            let records = self.records.iter().filter(|record| record.output.is_some() && !spared.contains(&record.seq));
            candidates.extend(records.map(|record| (record.last_used_ms, Candidate::Record(record.seq))));
        }
        if options.takes_mounts() {
            candidates.extend(self.mounts.iter().map(|mount| (mount.last_used_ms, Candidate::Mount(mount.id))));
        }
        candidates.retain(|(last_used_ms, _)| old_enough(*last_used_ms));
        candidates.sort_unstable();
        let Some(keep) = options.keep_bytes else {
            self.choose(&candidates);
            return;
        };
        // How many of the oldest have to go, by halving: each probe is one pass over the references.
        let (mut enough, mut least) = (candidates.len(), 0);
        while least < enough {
            let probe = usize::midpoint(least, enough);
            self.choose(&candidates[..probe]);
            if self.bytes_left() <= keep {
                enough = probe;
            } else {
                least = probe + 1;
            }
        }
        self.choose(&candidates[..enough]);
    }

    fn choose(&mut self, candidates: &[(i64, Candidate)]) {
        self.evicted.clear();
        let mut mounts = HashSet::new();
        for (_, candidate) in candidates {
            match candidate {
                Candidate::Record(seq) => self.evicted.push(*seq),
                Candidate::Mount(id) => drop(mounts.insert(*id)),
            }
        }
        let removed = self.mounts.iter().filter(|mount| mounts.contains(&mount.id));
        self.removed_mounts = removed.map(|mount| (mount.id, mount.size)).collect();
    }

    /// Chooses images.
    pub(super) fn remove_images(&mut self, options: &PruneImagesOptions) {
        let latest = before(options.older_than);
        let keep: HashSet<_> =
            options.keep.iter().chain(self.containers.iter().map(|(image, _)| image)).copied().collect();
        let only: Option<HashSet<_>> = options.only.as_ref().map(|only| only.iter().collect());
        let (removed, kept) = std::mem::take(&mut self.images).into_iter().partition(|image| {
            (options.all || !image.named)
                && only.as_ref().is_none_or(|only| only.contains(&image.id))
                && latest.is_none_or(|latest| image.created_ms <= latest)
                && !keep.contains(&image.id)
        });
        self.images = kept;
        self.removed_images = removed.into_iter().map(|image: ImageRow| image.id).collect();
    }

    pub(super) fn live_layers(&self) -> HashSet<LayerId> {
        let evicted: HashSet<_> = self.evicted.iter().collect();
        let present = self.records.iter().filter(|record| !evicted.contains(&record.seq));
        let chains = present.filter_map(|record| record.output.as_ref());
        let chains = chains.chain(self.images.iter().map(|image| &image.snapshot));
        let chains = chains.chain(self.containers.iter().map(|(_, snapshot)| snapshot));
        let mut live = HashSet::new();
        for id in chains.flat_map(|chain| &chain.layers) {
            let mut next = Some(*id);
            while let Some(id) = next.filter(|id| live.insert(*id)) {
                next = self.layers.get(&id).and_then(|layer| layer.base);
            }
        }
        live
    }

    pub(super) fn live_blobs(&self, live_layers: &HashSet<LayerId>) -> HashSet<BlobDigest> {
        let layers = || live_layers.iter().filter_map(|id| self.layers.get(id));
        let diff_ids: HashSet<_> = layers()
            .filter_map(|layer| layer.diff_id)
            .chain(self.images.iter().flat_map(|image| image.diff_ids.iter().copied()))
            .collect();
        let packed = self.packed.iter().filter(|(diff_id, _)| diff_ids.contains(diff_id)).map(|(_, blob)| *blob);
        let of_images = self.images.iter().flat_map(|image| image.blobs.iter().copied());
        let of_containers = self.containers.iter().map(|(image, _)| *image);
        of_images.chain(of_containers).chain(packed).chain(layers().filter_map(|layer| layer.source)).collect()
    }

    fn bytes_left(&self) -> u64 {
        let layers = self.live_layers();
        let blobs = self.live_blobs(&layers);
        let layers: u64 = layers.iter().filter_map(|id| self.layers.get(id)).map(|layer| layer.size).sum();
        let blobs: u64 = blobs.iter().filter_map(|digest| self.blobs.get(digest)).sum();
        let removed: u64 = self.removed_mounts.iter().map(|(_, size)| size).sum();
        let mounts: u64 = self.mounts.iter().map(|mount| mount.size).sum();
        layers + blobs + mounts.saturating_sub(removed)
    }
}

/// The latest time that lies so long ago.
fn before(age: Option<Duration>) -> Option<i64> {
    age.map(|age| now_ms().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)))
}

//! Layers: directories in overlay form.
//!
//! A layer is written at `active/<session>/<id>/`, which becomes `snapshots/<id>/` with one rename. Its row comes after
//! that; a directory without a row is garbage.
//!
//! A delta layer has a base: its directory lies over the base's own, and both are one layer of an image. Bases exist
//! before their deltas and never change, so there are no cycles.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use builder_solver::ContentDigest;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::content;
use crate::error::{At, Error, Result};
use crate::id::{BlobDigest, DiffId, LayerId, Snapshot};
use crate::lock::Lease;
use crate::session::Session;
use crate::store::{Commit, Store};
use crate::trash;

/// What is known of a layer when it is committed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LayerMeta {
    /// What its files are, when that was computed already.
    pub content: Option<ContentDigest>,
    /// The digest of its tar, when that was computed already.
    pub diff_id: Option<DiffId>,
    /// The size of that tar.
    pub tar_size: Option<u64>,
    /// The OCI chain id of a layer that came with an image: finds it again ([`Store::layer_by_chain_id`]).
    pub chain_id: Option<String>,
    /// The layer that this one is a delta of. Both together are one layer of an image.
    pub base: Option<LayerId>,
    /// Bytes of its own files, hard links counted once.
    pub size: u64,
    /// Its own entries.
    pub files: u64,
    /// Changes nothing: skipped in mounts.
    pub empty: bool,
    /// When it was made, in milliseconds since the epoch.
    pub created_ms: i64,
    /// The blob that it was unpacked from.
    pub source_blob: Option<BlobDigest>,
}

/// A committed layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Its name.
    pub id: LayerId,
    /// What is known of it.
    pub meta: LayerMeta,
}

/// A layer that is being written. Dropped without [`ActiveLayer::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct ActiveLayer {
    store: Store,
    id: LayerId,
    directory: PathBuf,
    upper: PathBuf,
    work: PathBuf,
    committed: bool,
    _session: Arc<Session>,
    _lease: Lease,
}

impl ActiveLayer {
    fn begin(store: &Store) -> Result<Self> {
        let lease = store.lease()?;
        let session = store.session()?;
        let (number, directory) = session.fresh("")?;
        let active = Self {
            store: store.clone(),
            id: LayerId::from_number(number),
            upper: directory.join("fs"),
            work: directory.with_extension("work"),
            directory,
            committed: false,
            _session: session,
            _lease: lease,
        };
        for path in [&active.directory, &active.upper, &active.work] {
            fs::create_dir(path).at("create", path)?;
        }
        // It shows as the root directory of whatever is mounted with it on top, whatever the umask was.
        fs::set_permissions(&active.upper, fs::Permissions::from_mode(0o755)).at("create", &active.upper)?;
        Ok(active)
    }

    /// The id that it will have.
    pub fn id(&self) -> LayerId {
        self.id
    }

    /// The upper directory: what the layer will hold. Fresh, empty, mode 0755.
    pub fn upper(&self) -> &Path {
        &self.upper
    }

    /// The work directory for an overlay mount, on the same file system.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Makes the layer part of the store. Nothing may be mounted on it any more.
    pub fn commit(mut self, meta: LayerMeta) -> Result<LayerId> {
        let layer = Layer { id: self.id, meta };
        let target = layer_directory(self.store.root(), self.id);
        fs::rename(&self.directory, &target).at("create", &target)?;
        let inserted = self.store.write(Commit::Lazy, |db| insert(db, &layer, &self.store.inner.boot));
        if let Err(error) = inserted {
            trash::remove(self.store.root(), &target).ok();
            return Err(error);
        }
        // Overlay leaves one empty directory in its work directory; whatever else there is goes with the session.
        let _ = fs::remove_dir(self.work.join("work"));
        let _ = fs::remove_dir(&self.work);
        self.committed = true;
        Ok(self.id)
    }
}

impl Drop for ActiveLayer {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        for directory in [&self.directory, &self.work] {
            // What can't be removed now is swept away with the session.
            trash::remove(self.store.root(), directory).ok();
        }
    }
}

impl Store {
    /// Begins a layer.
    pub fn new_layer(&self) -> Result<ActiveLayer> {
        ActiveLayer::begin(self)
    }

    /// What is known of a layer.
    pub fn layer(&self, id: &LayerId) -> Result<Layer> {
        self.read(|db| {
            let mut select = db.prepare_cached(
                "SELECT content, diff_id, tar_size, chain_id, base, size, files, empty, created_ms, source_blob
                 FROM layers WHERE id = ?",
            )?;
            let meta = select.query_row([id.number() as i64], meta_of).optional()?.ok_or(Error::NoLayer(*id))?;
            Ok(Layer { id: *id, meta })
        })
    }

    /// The directories of one layer, topmost first: its own, then those of the layers it is a delta of.
    pub fn part_dirs(&self, id: &LayerId) -> Result<Vec<PathBuf>> {
        self.read_consistent(|db| {
            let mut directories = Vec::new();
            self.push_parts(db, *id, &mut directories)?;
            Ok(directories)
        })
    }

    /// The directories of a chain, topmost first, without those of empty layers.
    pub fn lower_dirs(&self, snapshot: &Snapshot) -> Result<Vec<PathBuf>> {
        self.read_consistent(|db| {
            let mut directories = Vec::new();
            for id in snapshot.layers.iter().rev() {
                self.push_parts(db, *id, &mut directories)?;
            }
            Ok(directories)
        })
    }

    fn push_parts(&self, db: &Connection, id: LayerId, directories: &mut Vec<PathBuf>) -> Result<()> {
        let mut select = db.prepare_cached("SELECT base, empty FROM layers WHERE id = ?")?;
        let mut next = Some(id);
        while let Some(id) = next {
            let row = select.query_row([id.number() as i64], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            let (base, empty): (Option<i64>, bool) = row.ok_or(Error::NoLayer(id))?;
            if !empty {
                directories.push(layer_directory(self.root(), id).join("fs"));
            }
            next = base.map(id_of);
        }
        Ok(())
    }

    /// Writes down what a layer's files are.
    pub fn set_layer_content(&self, id: &LayerId, content: &ContentDigest) -> Result<()> {
        self.write(Commit::Lazy, |db| {
            let changed = db
                .prepare_cached("UPDATE layers SET content = ? WHERE id = ?")?
                .execute(params![content.as_bytes(), id.number() as i64])?;
            if changed == 0 { Err(Error::NoLayer(*id)) } else { Ok(()) }
        })
    }

    /// Writes down the digest and the size of a layer's tar.
    pub fn set_layer_diff_id(&self, id: &LayerId, diff_id: &DiffId, tar_size: u64) -> Result<()> {
        self.write(Commit::Lazy, |db| {
            let changed = db
                .prepare_cached("UPDATE layers SET diff_id = ?, tar_size = ? WHERE id = ?")?
                .execute(params![diff_id.as_bytes(), tar_size as i64, id.number() as i64])?;
            if changed == 0 { Err(Error::NoLayer(*id)) } else { Ok(()) }
        })
    }

    /// The layer that was unpacked for this chain id.
    pub fn layer_by_chain_id(&self, chain_id: &str) -> Result<Option<LayerId>> {
        self.read(|db| {
            let mut select = db.prepare_cached("SELECT id FROM layers WHERE chain_id = ? ORDER BY seq LIMIT 1")?;
            Ok(select.query_row([chain_id], |row| row.get(0)).optional()?.map(id_of))
        })
    }

    /// The content digest of a whole chain, when that of each of its layers is known. Empty layers do not count.
    pub fn snapshot_content(&self, snapshot: &Snapshot) -> Result<Option<ContentDigest>> {
        self.read_consistent(|db| {
            let mut select = db.prepare_cached("SELECT content, empty AND base IS NULL FROM layers WHERE id = ?")?;
            let mut digests = Vec::with_capacity(snapshot.layers.len());
            for id in &snapshot.layers {
                let row = select.query_row([id.number() as i64], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
                match row.ok_or(Error::NoLayer(*id))? {
                    (_, true) => {}
                    (Some(content), false) => digests.push(ContentDigest::from_bytes(content)),
                    (None, false) => return Ok(None),
                }
            }
            Ok(Some(content::chain_content(&digests)))
        })
    }
}

/// `snapshots/<id>`.
pub(crate) fn layer_directory(root: &Path, id: LayerId) -> PathBuf {
    root.join("snapshots").join(id.to_string())
}

/// The id in a column.
pub(crate) fn id_of(column: i64) -> LayerId {
    LayerId::from_number(column as u64)
}

/// A chain as it is stored: eight bytes a layer.
pub(crate) fn encode_chain(snapshot: &Snapshot) -> Vec<u8> {
    snapshot.layers.iter().flat_map(|id| id.number().to_be_bytes()).collect()
}

/// The reverse of [`encode_chain`].
pub(crate) fn decode_chain(bytes: &[u8]) -> Snapshot {
    let (ids, _) = bytes.as_chunks::<8>();
    ids.iter().map(|id| LayerId::from_number(u64::from_be_bytes(*id))).collect()
}

/// Refuses a chain with a layer that is not there (any more).
pub(crate) fn require_layers(db: &Connection, layers: &[LayerId]) -> Result<()> {
    let mut select = db.prepare_cached("SELECT 1 FROM layers WHERE id = ?")?;
    for id in layers {
        if !select.exists([id.number() as i64])? {
            return Err(Error::NoLayer(*id));
        }
    }
    Ok(())
}

fn insert(db: &Connection, Layer { id, meta }: &Layer, boot: &str) -> Result<()> {
    require_layers(db, meta.base.as_slice())?;
    db.prepare_cached(
        "INSERT INTO layers
            (id, content, diff_id, tar_size, chain_id, base, size, files, empty, created_ms, source_blob, boot)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        id.number() as i64,
        meta.content.as_ref().map(ContentDigest::as_bytes),
        meta.diff_id.as_ref().map(DiffId::as_bytes),
        meta.tar_size.map(|size| size as i64),
        meta.chain_id,
        meta.base.map(|base| base.number() as i64),
        meta.size as i64,
        meta.files as i64,
        meta.empty,
        meta.created_ms,
        meta.source_blob.as_ref().map(BlobDigest::as_bytes),
        boot,
    ])?;
    Ok(())
}

fn meta_of(row: &Row<'_>) -> rusqlite::Result<LayerMeta> {
    Ok(LayerMeta {
        content: row.get::<_, Option<_>>(0)?.map(ContentDigest::from_bytes),
        diff_id: row.get::<_, Option<_>>(1)?.map(DiffId::from_bytes),
        tar_size: row.get::<_, Option<i64>>(2)?.map(|size| size as u64),
        chain_id: row.get(3)?,
        base: row.get::<_, Option<_>>(4)?.map(id_of),
        size: row.get::<_, i64>(5)? as u64,
        files: row.get::<_, i64>(6)? as u64,
        empty: row.get(7)?,
        created_ms: row.get(8)?,
        source_blob: row.get::<_, Option<_>>(9)?.map(BlobDigest::from_bytes),
    })
}

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

use crate::absent;
use crate::content;
use crate::error::{At, Error, Result};
use crate::id::{BlobDigest, DiffId, LayerId, Snapshot};
use crate::lock::{KeyLock, Lease};
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
    /// Its files are elsewhere ([`Store::provide`] brings them).
    pub absent: bool,
    /// The layer below it, when it was put without its files.
    pub parent: Option<LayerId>,
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
    /// Held while an absent layer is filled.
    fills: Option<KeyLock>,
    _session: Arc<Session>,
    _lease: Lease,
}

impl ActiveLayer {
    /// Gives an absent layer its files, which nobody else does as long as the lock is held.
    pub(crate) fn fill(store: &Store, id: LayerId, lock: KeyLock) -> Result<Self> {
        let mut active = Self::begin(store)?;
        active.id = id;
        active.fills = Some(lock);
        Ok(active)
    }

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
            fills: None,
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

    /// Turns it into the files of an absent layer, and waits for whoever is filling that. `None` when it is filled.
    pub fn filling(mut self, id: &LayerId) -> Result<Option<Self>> {
        let Some(lock) = self.store.lock_absent(id)? else { return Ok(None) };
        self.id = *id;
        self.fills = Some(lock);
        Ok(Some(self))
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
    #[expect(clippy::needless_pass_by_value, reason = "it is of no more use to the caller")]
    pub fn commit(mut self, meta: LayerMeta) -> Result<LayerId> {
        let target = layer_directory(self.store.root(), self.id);
        let fills = self.fills.is_some();
        if fills {
            // Of a process that was killed just before it could say that the layer was there.
            trash::discard(self.store.root(), &target)?;
        }
        fs::rename(&self.directory, &target).at("create", &target)?;
        let boot = &self.store.inner.boot;
        let inserted = self.store.write(Commit::Lazy, |db| {
            if fills { absent::filled(db, self.id, &meta, boot) } else { insert(db, self.id, &meta, boot) }
        });
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
                "SELECT content, diff_id, tar_size, chain_id, base, size, files, empty, created_ms, source_blob,
                        absent, parent
                 FROM layers WHERE id = ?",
            )?;
            let layer = |row: &Row<'_>| {
                let (absent, parent): (bool, Option<i64>) = (row.get(10)?, row.get(11)?);
                Ok(Layer { id: *id, meta: meta_of(row)?, absent, parent: parent.map(id_of) })
            };
            select.query_row([id.number() as i64], layer).optional()?.ok_or(Error::NoLayer(*id))
        })
    }

    /// The directories of one layer, topmost first: its own, then those of the layers it is a delta of.
    ///
    /// The files of an absent layer are brought first, which may take long.
    pub fn part_dirs(&self, id: &LayerId) -> Result<Vec<PathBuf>> {
        self.directories(std::slice::from_ref(id))
    }

    /// The directories of a chain, topmost first, without those of empty layers.
    ///
    /// The files of absent layers are brought first, which may take long.
    pub fn lower_dirs(&self, snapshot: &Snapshot) -> Result<Vec<PathBuf>> {
        self.directories(&snapshot.layers)
    }

    fn directories(&self, layers: &[LayerId]) -> Result<Vec<PathBuf>> {
        let parts = self.parts(layers)?;
        let absent: Vec<LayerId> = parts.iter().rev().filter(|part| part.absent).map(|part| part.id).collect();
        self.provide_absent(&absent)?;
        // What was absent may have turned out to be empty.
        let parts = if absent.is_empty() { parts } else { self.parts(layers)? };
        Ok(parts.iter().map(|part| layer_directory(self.root(), part.id).join("fs")).collect())
    }

    /// What layers are made of, topmost first.
    fn parts(&self, layers: &[LayerId]) -> Result<Vec<Part>> {
        self.read_consistent(|db| {
            let mut parts = Vec::with_capacity(layers.len());
            let mut select = db.prepare_cached("SELECT base, empty, absent FROM layers WHERE id = ?")?;
            for id in layers.iter().rev() {
                let mut next = Some(*id);
                while let Some(id) = next {
                    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
                    let row = select.query_row([id.number() as i64], row).optional()?;
                    let (base, empty, absent): (Option<i64>, bool, bool) = row.ok_or(Error::NoLayer(id))?;
                    if !empty {
                        parts.push(Part { id, absent });
                    }
                    next = base.map(id_of);
                }
            }
            Ok(parts)
        })
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

    /// The layer with this chain id, absent or not.
    pub fn layer_by_chain_id(&self, chain_id: &str) -> Result<Option<LayerId>> {
        self.read(|db| absent::by_chain_id(db, chain_id))
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

/// One directory of a layer.
struct Part {
    id: LayerId,
    absent: bool,
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

fn insert(db: &Connection, id: LayerId, meta: &LayerMeta, boot: &str) -> Result<()> {
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

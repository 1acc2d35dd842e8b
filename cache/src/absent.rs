//! Layers whose files are elsewhere: in a registry, in a shared cache. A base image whose steps are all cached is never
//! downloaded.
//!
//! An absent layer has its row and no directory. Whoever wants its files asks a [`Provider`] for them: by name
//! ([`Store::provide`]), or by asking for its directories. The provider takes the layer ([`Store::fill_layer`]), which
//! one process can have at a time, writes the files, and commits.
//!
//! The row of an absent layer has nothing behind it that a power cut could take away. A layer that was filled and whose
//! files did not reach the disk is absent again.

use std::error::Error as StdError;
use std::fmt::Debug;
use std::sync::{Arc, PoisonError};

use builder_solver::digest::FramedHasher;
use builder_solver::{CacheKey, ContentDigest};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::blob::BlobInfo;
use crate::error::{Error, Result};
use crate::id::{BlobDigest, DiffId, LayerId, Snapshot};
use crate::layer::{ActiveLayer, LayerMeta, decode_chain, id_of};
use crate::lock::KeyLock;
use crate::store::{Commit, Store, now_ms, random_number};

/// A layer that can be had, with what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsentLayer {
    /// The digest of its tar.
    pub diff_id: DiffId,
    /// The size of that tar.
    pub tar_size: Option<u64>,
    /// What finds it again ([`Store::layer_by_chain_id`]).
    pub chain_id: String,
    /// What its files are, when that is known: then content keys need no download.
    pub content: Option<ContentDigest>,
    /// Changes nothing: its files are never asked for.
    pub empty: bool,
    /// When it was made, in milliseconds since the epoch, when that is known; else now.
    pub created_ms: Option<i64>,
    /// The layer below. Directories that its tar implies without describing them look like those below.
    pub parent: Option<LayerId>,
    /// Steps made it, on another machine: its tar is the one that its files are written as, and counts as made here.
    pub built: bool,
    /// Where it can be had.
    pub source: LayerSource,
}

/// Where a layer's blob can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerSource {
    /// The blob: the tar, compressed in some way or not.
    pub blob: BlobInfo,
    /// How it is compressed, in the words of its manifest.
    pub media_type: String,
    /// Where, in the words of the provider: `registry:HOST/REPOSITORY`, `layout:/directory`.
    pub location: String,
    /// How the blob was made of the tar, when a builder made it: it is remembered under that ([`Store::set_layer_blob`]).
    pub recipe: Option<String>,
}

/// What a provider fails with.
pub type ProviderError = Box<dyn StdError + Send + Sync>;

/// Brings files and blobs that are elsewhere. Called on any thread, without any lock of the store held.
pub trait Provider: Debug + Send + Sync {
    /// Fills these layers, all of which are absent, with their files.
    ///
    /// # Errors
    /// When one of them can't be had.
    fn layers(&self, store: &Store, layers: &[LayerId]) -> Result<(), ProviderError>;

    /// Brings a blob into the store as it is.
    ///
    /// # Errors
    /// When it can't be had.
    fn blob(&self, store: &Store, source: &LayerSource) -> Result<(), ProviderError>;
}

/// Whether an absent layer can be filled now.
#[derive(Debug)]
pub enum Fill {
    /// Yes, by whoever holds this.
    Take(ActiveLayer),
    /// Somebody did it.
    Filled,
    /// Somebody is doing it.
    Busy,
}

impl Store {
    /// Sets what brings absent layers. The last one counts.
    pub fn set_provider(&self, provider: Arc<dyn Provider>) {
        *self.inner.provider.write().unwrap_or_else(PoisonError::into_inner) = Some(provider);
    }

    fn provider(&self) -> Option<Arc<dyn Provider>> {
        self.inner.provider.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds a layer without its files. One with the same chain id that is known, absent or not, is returned and gains
    /// the source.
    pub fn put_absent_layer(&self, layer: &AbsentLayer) -> Result<LayerId> {
        let _lease = self.lease()?;
        let known = self.read_consistent(|db| match by_chain_id(db, &layer.chain_id)? {
            Some(id) if has_source(db, id, &layer.source)? => Ok(Some(id)),
            _ => Ok(None),
        })?;
        if let Some(id) = known {
            return Ok(id);
        }
        let fresh = LayerId::from_number(random_number()?);
        self.write(Commit::Lazy, |db| {
            let id = match by_chain_id(db, &layer.chain_id)? {
                Some(id) => id,
                None => insert(db, fresh, layer)?,
            };
            add_source(db, id, &layer.source)?;
            Ok(id)
        })
    }

    /// Remembers that a layer's own blob can also be had there.
    pub fn add_layer_source(&self, id: &LayerId, source: &LayerSource) -> Result<()> {
        if self.read_consistent(|db| has_source(db, *id, source))? {
            return Ok(());
        }
        self.write(Commit::Lazy, |db| {
            crate::layer::require_layers(db, &[*id])?;
            add_source(db, *id, source)
        })
    }

    /// Where the layer's blob can be had; what was learned last comes first.
    pub fn layer_sources(&self, id: &LayerId) -> Result<Vec<LayerSource>> {
        self.read(|db| {
            let mut select = db.prepare_cached(
                "SELECT blob, size, media_type, location, recipe FROM layer_sources WHERE layer = ? ORDER BY seq DESC",
            )?;
            let sources = select.query_map([id.number() as i64], |row| {
                let digest = BlobDigest::from_bytes(row.get(0)?);
                let blob = BlobInfo { digest, size: row.get::<_, i64>(1)? as u64 };
                Ok(LayerSource { blob, media_type: row.get(2)?, location: row.get(3)?, recipe: row.get(4)? })
            })?;
            Ok(sources.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// The layers of a chain whose files are not there, bottom first.
    pub fn absent(&self, snapshot: &Snapshot) -> Result<Vec<LayerId>> {
        self.read_consistent(|db| absent_of(db, &snapshot.layers))
    }

    /// Brings the files of those of these layers that are absent, all at once.
    pub fn provide(&self, layers: &[LayerId]) -> Result<()> {
        let absent = self.read_consistent(|db| absent_of(db, layers))?;
        self.provide_absent(&absent)
    }

    /// Brings these layers' files, which are not there.
    pub(crate) fn provide_absent(&self, absent: &[LayerId]) -> Result<()> {
        let Some(first) = absent.first() else { return Ok(()) };
        let Some(provider) = self.provider() else {
            return Err(self.unavailable(*first)?);
        };
        let _lease = self.lease()?;
        provider.layers(self, absent).map_err(Error::Provider)?;
        match self.read_consistent(|db| absent_of(db, absent))?.first() {
            None => Ok(()),
            Some(left) => Err(self.unavailable(*left)?),
        }
    }

    /// Brings the blob that a layer came as, if it is not there. Tells whether it is now.
    pub fn provide_blob(&self, layer: &LayerId, digest: &BlobDigest) -> Result<bool> {
        if self.has_blob(digest)? {
            return Ok(true);
        }
        let Some(provider) = self.provider() else { return Ok(false) };
        let _lease = self.lease()?;
        let mut failed = None;
        for source in self.layer_sources(layer)?.into_iter().filter(|source| source.blob.digest == *digest) {
            match provider.blob(self, &source) {
                Ok(()) => return self.has_blob(digest),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(false), |error| Err(Error::Provider(error)))
    }

    fn unavailable(&self, layer: LayerId) -> Result<Error> {
        let location = self.layer_sources(&layer)?.into_iter().next().map(|source| source.location);
        Ok(Error::Absent { layer, location: location.unwrap_or_else(|| "nowhere".to_owned()) })
    }

    /// Takes an absent layer to fill it, and waits for whoever is doing that. `None` when it is filled.
    pub fn fill_layer(&self, id: &LayerId) -> Result<Option<ActiveLayer>> {
        self.lock_absent(id)?.map(|lock| ActiveLayer::fill(self, *id, lock)).transpose()
    }

    /// Waits until nobody fills the layer. `None` when that was done.
    pub(crate) fn lock_absent(&self, id: &LayerId) -> Result<Option<KeyLock>> {
        let lock = self.lock_key(&fill_key(*id))?;
        Ok(self.is_absent(*id)?.then_some(lock))
    }

    /// The same without waiting.
    pub fn try_fill_layer(&self, id: &LayerId) -> Result<Fill> {
        if !self.is_absent(*id)? {
            return Ok(Fill::Filled);
        }
        let Some(lock) = self.try_lock_key(&fill_key(*id))? else { return Ok(Fill::Busy) };
        Ok(if self.is_absent(*id)? { Fill::Take(ActiveLayer::fill(self, *id, lock)?) } else { Fill::Filled })
    }

    fn is_absent(&self, id: LayerId) -> Result<bool> {
        self.read(|db| {
            let mut select = db.prepare_cached("SELECT absent FROM layers WHERE id = ?")?;
            select.query_row([id.number() as i64], |row| row.get(0)).optional()?.ok_or(Error::NoLayer(id))
        })
    }
}

/// Held by whoever fills the layer.
fn fill_key(id: LayerId) -> CacheKey {
    CacheKey::from_bytes(FramedHasher::new("fill").part(&id.number().to_be_bytes()).finish())
}

/// The layer with this chain id.
pub(crate) fn by_chain_id(db: &Connection, chain_id: &str) -> Result<Option<LayerId>> {
    let mut select = db.prepare_cached("SELECT id FROM layers WHERE chain_id = ? ORDER BY absent, seq LIMIT 1")?;
    Ok(select.query_row([chain_id], |row| row.get(0)).optional()?.map(id_of))
}

/// Whether nothing is to be learned: the source is known as it is, and comes first if the layer is still to be fetched.
fn has_source(db: &Connection, id: LayerId, source: &LayerSource) -> Result<bool> {
    let mut select = db.prepare_cached(
        "SELECT 1 FROM layer_sources AS known
         WHERE layer = ? AND blob = ? AND location = ? AND size = ? AND media_type = ?
             AND NOT EXISTS (SELECT 1 FROM layer_sources AS later JOIN layers ON layers.id = later.layer
                             WHERE later.layer = known.layer AND later.seq > known.seq AND layers.absent)",
    )?;
    Ok(select.exists(params![
        id.number() as i64,
        source.blob.digest.as_bytes(),
        source.location,
        source.blob.size as i64,
        source.media_type
    ])?)
}

fn add_source(db: &Connection, id: LayerId, source: &LayerSource) -> Result<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO layer_sources (layer, blob, size, media_type, location, recipe)
         VALUES (?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        id.number() as i64,
        source.blob.digest.as_bytes(),
        source.blob.size as i64,
        source.media_type,
        source.location,
        source.recipe,
    ])?;
    Ok(())
}

/// What an absent layer has is in its row alone: it is as durable as the database, and carries no boot.
fn insert(db: &Connection, id: LayerId, layer: &AbsentLayer) -> Result<LayerId> {
    db.prepare_cached(
        "INSERT INTO layers
            (id, content, diff_id, tar_size, chain_id, size, files, empty, created_ms, source_blob, parent, absent)
         VALUES (?, ?, ?, ?, ?, 0, 0, ?, ?, ?, ?, 1)",
    )?
    .execute(params![
        id.number() as i64,
        layer.content.as_ref().map(ContentDigest::as_bytes),
        layer.diff_id.as_bytes(),
        layer.tar_size.map(|size| size as i64),
        layer.chain_id,
        layer.empty,
        layer.created_ms.unwrap_or_else(now_ms),
        (!layer.built).then(|| layer.source.blob.digest.as_bytes()),
        layer.parent.map(|parent| parent.number() as i64),
    ])?;
    Ok(id)
}

fn absent_of(db: &Connection, layers: &[LayerId]) -> Result<Vec<LayerId>> {
    let mut select = db.prepare_cached("SELECT absent AND NOT empty FROM layers WHERE id = ?")?;
    let mut absent = Vec::new();
    for id in layers {
        let row: Option<bool> = select.query_row([id.number() as i64], |row| row.get(0)).optional()?;
        if row.ok_or(Error::NoLayer(*id))? && !absent.contains(id) {
            absent.push(*id);
        }
    }
    Ok(absent)
}

/// An absent layer has its files: its row becomes that of a layer that was just written. What was known stays.
pub(crate) fn filled(db: &Connection, id: LayerId, meta: &LayerMeta, boot: &str) -> Result<()> {
    let changed = db
        .prepare_cached(
            "INSERT OR REPLACE INTO layers
                (id, content, diff_id, tar_size, chain_id, base, size, files, empty, created_ms, source_blob, parent,
                 absent, boot)
             SELECT id, ifnull(?2, content), ifnull(?3, diff_id), ifnull(?4, tar_size), chain_id, NULL, ?5, ?6, ?7,
                 created_ms, ifnull(?8, source_blob), parent, 0, ?9
             FROM layers WHERE id = ?1 AND absent",
        )?
        .execute(params![
            id.number() as i64,
            meta.content.as_ref().map(ContentDigest::as_bytes),
            meta.diff_id.as_ref().map(DiffId::as_bytes),
            meta.tar_size.map(|size| size as i64),
            meta.size as i64,
            meta.files as i64,
            meta.empty,
            meta.source_blob.as_ref().map(BlobDigest::as_bytes),
            boot,
        ])?;
    if changed == 0 {
        return Err(Error::NoLayer(id));
    }
    grow_images(db, &[(id, meta.size as i64)])
}

/// Lost layers that can be fetched again are absent from now on. Tells which.
pub(crate) fn revert(db: &Transaction<'_>, boot: &str) -> Result<Vec<LayerId>> {
    let lost = "boot <> ?1 AND base IS NULL AND chain_id IS NOT NULL AND diff_id IS NOT NULL
                AND id IN (SELECT layer FROM layer_sources)";
    let mut select = db.prepare(&format!("SELECT id, size FROM layers WHERE {lost}"))?;
    let layers = select.query_map([boot], |row| Ok((id_of(row.get(0)?), row.get::<_, i64>(1)?)))?;
    let layers = layers.collect::<rusqlite::Result<Vec<_>>>()?;
    let update = format!("UPDATE layers SET absent = 1, boot = NULL, size = 0, files = 0 WHERE {lost}");
    db.execute(&update, [boot])?;
    let smaller: Vec<_> = layers.iter().map(|(id, size)| (*id, -size)).collect();
    grow_images(db, &smaller)?;
    Ok(layers.into_iter().map(|(id, _)| id).collect())
}

/// The size of an image is that of the files that are there.
fn grow_images(db: &Connection, layers: &[(LayerId, i64)]) -> Result<()> {
    if layers.is_empty() {
        return Ok(());
    }
    let mut update = db.prepare_cached("UPDATE images SET size = max(0, size + ?) WHERE seq = ?")?;
    let mut select = db.prepare_cached("SELECT seq, layers FROM images")?;
    let mut rows = select.query([])?;
    let mut grown = Vec::new();
    while let Some(row) = rows.next()? {
        let chain = decode_chain(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?);
        let of = |id: &LayerId| layers.iter().find(|(layer, _)| layer == id).map(|(_, size)| *size);
        let growth: i64 = chain.layers.iter().filter_map(of).sum();
        if growth != 0 {
            grown.push((growth, row.get::<_, i64>(0)?));
        }
    }
    for (growth, seq) in grown {
        update.execute([growth, seq])?;
    }
    Ok(())
}

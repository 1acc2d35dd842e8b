//! Images: a config blob and a chain of layers. What they are called is in `name`.

use builder_solver::CacheKey;
use rusqlite::{Row, params};

use crate::error::{Error, Result};
use crate::id::{BlobDigest, DiffId, Snapshot};
use crate::layer::{decode_chain, encode_chain, require_layers};
use crate::name::{forget_image, is_named, names_of, platform_of};
use crate::store::{Commit, Store};

/// An image to put into the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewImage {
    /// The digest of its config blob, which must be in the store.
    pub id: BlobDigest,
    /// Its files.
    pub snapshot: Snapshot,
    /// The digests of its layers' tars, bottom first.
    pub diff_ids: Vec<DiffId>,
    /// Its manifest, when there is one (in the store); then it shows in `index.json`.
    pub manifest: Option<BlobDigest>,
    /// When it was created, in milliseconds since the epoch.
    pub created_ms: i64,
    /// The bytes of its files.
    pub size: u64,
    /// The recipe key of the step that it is the result of.
    pub target: Option<CacheKey>,
}

/// An image with its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The digest of its config blob.
    pub id: BlobDigest,
    /// Its files.
    pub snapshot: Snapshot,
    /// The digests of its layers' tars, bottom first.
    pub diff_ids: Vec<DiffId>,
    /// Its manifest, when there is one.
    pub manifest: Option<BlobDigest>,
    /// When it was created, in milliseconds since the epoch.
    pub created_ms: i64,
    /// The bytes of its files.
    pub size: u64,
    /// The recipe key of the step that it is the result of.
    pub target: Option<CacheKey>,
    /// Its names, sorted.
    pub names: Vec<String>,
    /// The names that mean it on its platform only, and another image where no platform is said; sorted.
    pub platform_of: Vec<String>,
}

/// What went away with an image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RemovedImage {
    /// The names that it had.
    pub names: Vec<String>,
    /// Bytes that were freed.
    pub freed: u64,
    /// Another builder uses the store: the files stay until the next prune.
    pub deferred: bool,
}

impl Store {
    /// Adds an image. An equal one is left alone, without a write. One with the same id and the same diff ids keeps
    /// its layers, which hold the same files and may be on the disk already.
    pub fn put_image(&self, image: &NewImage) -> Result<()> {
        let _lease = self.lease()?;
        let known = self.image(&image.id)?;
        if known.as_ref().is_some_and(|known| known.equals(image)) {
            return Ok(());
        }
        for blob in [Some(image.id), image.manifest].into_iter().flatten() {
            if !self.has_blob(&blob)? {
                return Err(Error::NoBlob(blob));
            }
        }
        let manifest_type = image.manifest.map(|manifest| self.manifest_type(&manifest)).transpose()?;
        let manifest = image.manifest.as_ref().map(BlobDigest::as_bytes);
        let target = image.target.as_ref().map(CacheKey::as_bytes);
        let same_files = known.is_some_and(|known| !known.diff_ids.is_empty() && known.diff_ids == image.diff_ids);
        self.write(Commit::Lazy, |db| {
            if same_files {
                let changed = db.execute(
                    "UPDATE images SET manifest = ?, manifest_type = ?, created_ms = ?, size = ?, target = ?
                     WHERE id = ?",
                    params![manifest, manifest_type, image.created_ms, image.size as i64, target, image.id.as_bytes()],
                )?;
                if changed > 0 {
                    return Ok(());
                }
            }
            require_layers(db, &image.snapshot.layers)?;
            db.execute(
                "INSERT OR REPLACE INTO images
                    (id, layers, diff_ids, manifest, manifest_type, created_ms, size, target, boot)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                params![
                    image.id.as_bytes(),
                    encode_chain(&image.snapshot),
                    image.diff_ids.iter().flat_map(|id| *id.as_bytes()).collect::<Vec<u8>>(),
                    manifest,
                    manifest_type,
                    image.created_ms,
                    image.size as i64,
                    target,
                    self.inner.boot,
                ],
            )?;
            Ok(())
        })?;
        self.write_index()
    }

    /// Removes an image and its names, what only they named for other platforms, and the files that nothing else needs.
    /// The records of the steps that led to it stay, and with them their layers.
    pub fn remove_image(&self, id: &BlobDigest) -> Result<RemovedImage> {
        let names = self.write(Commit::Durable, |db| forget_image(db, id)?.ok_or(Error::NoImage(*id)))?;
        self.write_index()?;
        match self.collect_garbage() {
            Ok(pruned) => Ok(RemovedImage { names, freed: pruned.freed, deferred: false }),
            Err(Error::InUse { .. }) => Ok(RemovedImage { names, freed: 0, deferred: true }),
            Err(error) => Err(error),
        }
    }

    /// Removes an image and its names like [`Store::remove_image`], but leaves the files to the next
    /// [`Store::collect_garbage`]: of many images, that is to be called once. Tells the names.
    pub fn forget_image(&self, id: &BlobDigest) -> Result<Vec<String>> {
        let names = self.write(Commit::Lazy, |db| forget_image(db, id)?.ok_or(Error::NoImage(*id)))?;
        self.write_index()?;
        Ok(names)
    }

    /// Removes an image unless it has a name, which somebody may have given it meanwhile. Tells whether it is gone.
    pub fn remove_nameless_image(&self, id: &BlobDigest) -> Result<bool> {
        let gone = self.write(Commit::Lazy, |db| {
            Ok(!is_named(db, id)? && db.execute("DELETE FROM images WHERE id = ?", [id.as_bytes()])? > 0)
        })?;
        if gone {
            self.write_index()?;
        }
        Ok(gone)
    }

    /// All images, newest first.
    pub fn images(&self) -> Result<Vec<Image>> {
        self.select_images("TRUE ORDER BY created_ms DESC, seq DESC", &[])
    }

    /// The image with this id.
    pub fn image(&self, id: &BlobDigest) -> Result<Option<Image>> {
        Ok(self.select_images("id = ?", &[id.as_bytes()])?.pop())
    }

    /// The image with this name.
    pub fn image_by_name(&self, name: &str) -> Result<Option<Image>> {
        Ok(self.select_images("id = (SELECT image FROM names WHERE name = ?)", &[&name])?.pop())
    }

    /// The images whose id begins like this, with or without `sha256:`. What can't begin an id finds nothing.
    pub fn images_by_id_prefix(&self, prefix: &str) -> Result<Vec<Image>> {
        let prefix = prefix.strip_prefix("sha256:").unwrap_or(prefix).to_ascii_lowercase();
        if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Ok(Vec::new());
        }
        // Digests are blobs: between the prefix filled up with 0 and with f.
        let bound = |fill: &str| {
            let hex = format!("sha256:{prefix}{}", fill.repeat(64 - prefix.len()));
            hex.parse::<BlobDigest>()
        };
        let (first, last) = (bound("0")?, bound("f")?);
        self.select_images("id BETWEEN ? AND ? ORDER BY id", &[first.as_bytes(), last.as_bytes()])
    }

    fn select_images(&self, condition: &str, values: &[&dyn rusqlite::ToSql]) -> Result<Vec<Image>> {
        self.read_consistent(|db| {
            let mut select = db.prepare_cached(&format!(
                "SELECT id, layers, diff_ids, manifest, created_ms, size, target FROM images WHERE {condition}"
            ))?;
            let mut images = select.query_map(values, image_of)?.collect::<rusqlite::Result<Vec<_>>>()?;
            for image in &mut images {
                image.names = names_of(db, &image.id)?;
                image.platform_of = platform_of(db, &image.id)?;
            }
            Ok(images)
        })
    }
}

impl Image {
    fn equals(&self, new: &NewImage) -> bool {
        let same_files = self.snapshot == new.snapshot || !self.diff_ids.is_empty();
        same_files
            && self.diff_ids == new.diff_ids
            && self.manifest == new.manifest
            && self.created_ms == new.created_ms
            && self.size == new.size
            && self.target == new.target
    }
}

fn image_of(row: &Row<'_>) -> rusqlite::Result<Image> {
    let (diff_ids, _) = row.get_ref(2)?.as_blob()?.as_chunks::<32>();
    Ok(Image {
        id: BlobDigest::from_bytes(row.get(0)?),
        snapshot: decode_chain(row.get_ref(1)?.as_blob()?),
        diff_ids: diff_ids.iter().copied().map(DiffId::from_bytes).collect(),
        manifest: row.get::<_, Option<_>>(3)?.map(BlobDigest::from_bytes),
        created_ms: row.get(4)?,
        size: row.get::<_, i64>(5)? as u64,
        target: row.get::<_, Option<_>>(6)?.map(CacheKey::from_bytes),
        names: Vec::new(),
        platform_of: Vec::new(),
    })
}

//! Names: what each of them stands for.
//!
//! A name stands for an image, or for several: one for each platform. Of several, one is what the name means when
//! nobody says a platform. A name can also keep in mind how the manifest of what it names is to be made; the store
//! does not look into that.
//!
//! A name keeps in mind which image it named when that was last on the disk: should a power cut take a new image
//! away, the name goes back to the old one instead of vanishing.

use rusqlite::{Connection, OptionalExtension, params};

use crate::error::{Error, Result};
use crate::id::BlobDigest;
use crate::store::{Commit, Store};

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The image that is meant when nobody says a platform.
    pub image: BlobDigest,
    /// All images with their platforms (`linux/arm64`), in order; empty when the name stands for one image.
    pub platforms: Vec<(String, BlobDigest)>,
    /// How the manifest is to be made, in the words of whoever gave the name.
    pub form: Option<String>,
    /// Blobs that the form speaks of: they stay as long as the name does. Sorted, each once.
    pub blobs: Vec<BlobDigest>,
}

impl Named {
    /// A name for one image.
    pub fn one(image: BlobDigest) -> Self {
        Self { image, platforms: Vec::new(), form: None, blobs: Vec::new() }
    }
}

impl Store {
    /// Names an image; `name` is a full reference (`docker.io/library/app:latest`). Tells what it named before. A
    /// name that names it already costs no write.
    pub fn tag(&self, name: &str, id: &BlobDigest) -> Result<Option<BlobDigest>> {
        self.set_name(name, &Named::one(*id))
    }

    /// Lets a name stand for this. Tells which image it named before.
    pub fn set_name(&self, name: &str, target: &Named) -> Result<Option<BlobDigest>> {
        let before = self.read_consistent(|db| named(db, name))?;
        if before.as_ref() == Some(target) {
            return Ok(before.map(|before| before.image));
        }
        let before = self.write(Commit::Lazy, |db| {
            let mut known = db.prepare_cached("SELECT 1 FROM images WHERE id = ?")?;
            for id in target.platforms.iter().map(|(_, id)| id).chain([&target.image]) {
                if !known.exists([id.as_bytes()])? {
                    return Err(Error::NoImage(*id));
                }
            }
            let mut known = db.prepare_cached("SELECT 1 FROM blobs WHERE digest = ?")?;
            for blob in &target.blobs {
                if !known.exists([blob.as_bytes()])? {
                    return Err(Error::NoBlob(*blob));
                }
            }
            let before = named(db, name)?;
            db.execute(
                "INSERT INTO names (name, image, form) VALUES (?, ?, ?)
                 ON CONFLICT (name) DO UPDATE SET image = excluded.image, form = excluded.form",
                params![name, target.image.as_bytes(), target.form],
            )?;
            db.execute("DELETE FROM platforms WHERE name = ?", [name])?;
            let mut insert = db.prepare_cached(
                "INSERT OR REPLACE INTO platforms (name, position, platform, image) VALUES (?, ?, ?, ?)",
            )?;
            for (position, (platform, image)) in target.platforms.iter().enumerate() {
                insert.execute(params![name, position as i64, platform, image.as_bytes()])?;
            }
            db.execute("DELETE FROM name_blobs WHERE name = ?", [name])?;
            let mut insert = db.prepare_cached("INSERT INTO name_blobs (name, blob) VALUES (?, ?)")?;
            for blob in &target.blobs {
                insert.execute(params![name, blob.as_bytes()])?;
            }
            Ok(before)
        })?;
        self.write_index()?;
        Ok(before.map(|before| before.image))
    }

    /// What a name stands for.
    pub fn name(&self, name: &str) -> Result<Option<Named>> {
        self.read_consistent(|db| named(db, name))
    }

    /// All names with what they stand for, sorted.
    pub fn names(&self) -> Result<Vec<(String, Named)>> {
        self.read_consistent(|db| {
            let mut select = db.prepare("SELECT name, image, form FROM names ORDER BY name")?;
            let rows = select.query_map([], |row| {
                let named = Named::one(BlobDigest::from_bytes(row.get(1)?));
                Ok((row.get::<_, String>(0)?, Named { form: row.get(2)?, ..named }))
            })?;
            let mut names = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            let mut add = |query: &str, add: &dyn Fn(&mut Named, &rusqlite::Row<'_>) -> rusqlite::Result<()>| {
                let mut select = db.prepare(query)?;
                let mut rows = select.query([])?;
                let mut at = 0;
                // Both sides are sorted by name.
                while let Some(row) = rows.next()? {
                    let name: String = row.get(0)?;
                    while names.get(at).is_some_and(|(known, _)| *known < name) {
                        at += 1;
                    }
                    if let Some((_, named)) = names.get_mut(at).filter(|(known, _)| *known == name) {
                        add(named, row)?;
                    }
                }
                Ok::<_, Error>(())
            };
            add("SELECT name, platform, image FROM platforms ORDER BY name, position", &|named, row| {
                named.platforms.push((row.get(1)?, BlobDigest::from_bytes(row.get(2)?)));
                Ok(())
            })?;
            add("SELECT name, blob FROM name_blobs ORDER BY name, blob", &|named, row| {
                named.blobs.push(BlobDigest::from_bytes(row.get(1)?));
                Ok(())
            })?;
            Ok(names)
        })
    }

    /// Takes a name away. Tells what it named.
    pub fn untag(&self, name: &str) -> Result<Option<BlobDigest>> {
        let before = self.write(Commit::Lazy, |db| {
            let before = named(db, name)?;
            db.execute("DELETE FROM names WHERE name = ?", [name])?;
            Ok(before)
        })?;
        if before.is_some() {
            self.write_index()?;
        }
        Ok(before.map(|before| before.image))
    }
}

fn named(db: &Connection, name: &str) -> Result<Option<Named>> {
    let mut select = db.prepare_cached("SELECT image, form FROM names WHERE name = ?")?;
    let found = select
        .query_row([name], |row| Ok(Named { form: row.get(1)?, ..Named::one(BlobDigest::from_bytes(row.get(0)?)) }))
        .optional()?;
    let Some(mut found) = found else { return Ok(None) };
    let mut select = db.prepare_cached("SELECT platform, image FROM platforms WHERE name = ? ORDER BY position")?;
    let platforms = select.query_map([name], |row| Ok((row.get(0)?, BlobDigest::from_bytes(row.get(1)?))))?;
    found.platforms = platforms.collect::<rusqlite::Result<_>>()?;
    let mut select = db.prepare_cached("SELECT blob FROM name_blobs WHERE name = ? ORDER BY blob")?;
    let blobs = select.query_map([name], |row| Ok(BlobDigest::from_bytes(row.get(0)?)))?;
    found.blobs = blobs.collect::<rusqlite::Result<_>>()?;
    Ok(Some(found))
}

/// The names that mean this image when nobody says a platform.
pub(crate) fn names_of(db: &Connection, id: &BlobDigest) -> Result<Vec<String>> {
    let mut select = db.prepare_cached("SELECT name FROM names WHERE image = ? ORDER BY name")?;
    let names = select.query_map([id.as_bytes()], |row| row.get(0))?;
    Ok(names.collect::<rusqlite::Result<_>>()?)
}

/// The names that mean this image for its platform only.
pub(crate) fn platform_of(db: &Connection, id: &BlobDigest) -> Result<Vec<String>> {
    let mut select = db.prepare_cached(
        "SELECT name FROM platforms WHERE image = ?1
         EXCEPT SELECT name FROM names WHERE image = ?1 ORDER BY name",
    )?;
    let names = select.query_map([id.as_bytes()], |row| row.get(0))?;
    Ok(names.collect::<rusqlite::Result<_>>()?)
}

/// Whether any name stands for this image.
pub(crate) fn is_named(db: &Connection, id: &BlobDigest) -> Result<bool> {
    let mut select = db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM names WHERE image = ?1) OR EXISTS (SELECT 1 FROM platforms WHERE image = ?1)",
    )?;
    Ok(select.query_row([id.as_bytes()], |row| row.get(0))?)
}

/// Removes an image's row and its names. What those names stood for on other platforms goes, too, unless something
/// else names it. Tells the names.
pub(crate) fn forget_image(db: &Connection, id: &BlobDigest) -> Result<Option<Vec<String>>> {
    if db.execute("DELETE FROM images WHERE id = ?", [id.as_bytes()])? == 0 {
        return Ok(None);
    }
    let names = names_of(db, id)?;
    let mut select = db.prepare_cached(
        "SELECT DISTINCT image FROM platforms WHERE name IN (SELECT name FROM names WHERE image = ?1) AND image <> ?1",
    )?;
    let others = select.query_map([id.as_bytes()], |row| Ok(BlobDigest::from_bytes(row.get(0)?)))?;
    let others = others.collect::<rusqlite::Result<Vec<_>>>()?;
    db.execute("DELETE FROM names WHERE image = ?", [id.as_bytes()])?;
    db.execute("DELETE FROM platforms WHERE image = ?", [id.as_bytes()])?;
    for other in others {
        if !is_named(db, &other)? {
            db.execute("DELETE FROM images WHERE id = ?", [other.as_bytes()])?;
        }
    }
    Ok(Some(names))
}

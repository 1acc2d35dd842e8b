//! `oci-layout` and `index.json`: they make an OCI image layout of the store, so that other tools read its images.
//!
//! The index lists the images that have a manifest, once for each of their names. It is a copy of what the database
//! says: written again when that changed, by one process at a time (a lock on `oci-layout`).

use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::Ordering;

use rusqlite::Connection;
use rustix::fs::FlockOperation;
use serde_json::{Value, json};

use crate::error::{At, Error, Result};
use crate::id::BlobDigest;
use crate::store::Store;

const EMPTY_INDEX: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

/// The media type of a manifest that does not tell its own.
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// The largest manifest that is looked into.
const MAX_MANIFEST: u64 = 4 * 1024 * 1024;

/// Writes both files of a new store.
pub(crate) fn set_up(root: &Path) -> Result<()> {
    for (name, content) in [("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#), ("index.json", EMPTY_INDEX)] {
        let path = root.join(name);
        if !path.exists() {
            fs::write(&path, content).at("write", &path)?;
        }
    }
    Ok(())
}

impl Store {
    /// Does many things with images and names, and writes `index.json` once after them.
    pub fn with_one_index<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        let later = &self.inner.index_later;
        later.fetch_add(1, Ordering::SeqCst);
        let done = work();
        later.fetch_sub(1, Ordering::SeqCst);
        self.write_index()?;
        Ok(done)
    }

    /// Brings `index.json` up to what the database says.
    pub(crate) fn write_index(&self) -> Result<()> {
        if self.inner.index_later.load(Ordering::SeqCst) > 0 {
            return Ok(());
        }
        let lock = self.root().join("oci-layout");
        let held = File::open(&lock).at("open", &lock)?;
        while let Err(error) = rustix::fs::flock(&held, FlockOperation::LockExclusive) {
            if error != rustix::io::Errno::INTR {
                return Err(Error::io("lock", lock, error));
            }
        }
        let index = self.read(manifests)?.to_string();
        let path = self.root().join("index.json");
        if fs::read(&path).is_ok_and(|old| old == index.as_bytes()) {
            return Ok(());
        }
        let new = self.root().join("index.json.new");
        fs::write(&new, index).at("write", &new)?;
        fs::rename(&new, &path).at("create", &path)
    }

    /// What a manifest says that it is.
    pub(crate) fn manifest_type(&self, manifest: &BlobDigest) -> Result<String> {
        let bytes = self.read_blob(manifest, MAX_MANIFEST)?;
        let parsed: Option<Value> = serde_json::from_slice(&bytes).ok();
        let own = parsed.as_ref().and_then(|manifest| manifest["mediaType"].as_str());
        Ok(own.unwrap_or(MANIFEST_TYPE).to_owned())
    }

    /// The blobs that a manifest (or an index of manifests) refers to. What can't be read refers to nothing.
    pub(crate) fn manifest_blobs(&self, manifest: &BlobDigest) -> Vec<BlobDigest> {
        let mut found = Vec::new();
        let mut waiting = vec![*manifest];
        while let Some(digest) = waiting.pop() {
            if found.contains(&digest) {
                continue;
            }
            found.push(digest);
            let Ok(bytes) = self.read_blob(&digest, MAX_MANIFEST) else { continue };
            let Ok(parsed) = serde_json::from_slice::<Value>(&bytes) else { continue };
            let digest_of = |descriptor: &Value| descriptor["digest"].as_str()?.parse::<BlobDigest>().ok();
            let list = |name: &str| parsed[name].as_array().into_iter().flatten().filter_map(digest_of);
            found.extend(digest_of(&parsed["config"]).into_iter().chain(list("layers")));
            waiting.extend(list("manifests"));
        }
        found
    }
}

fn manifests(db: &Connection) -> Result<Value> {
    let mut select = db.prepare(
        "SELECT images.manifest, images.manifest_type, blobs.size, names.name
         FROM images JOIN blobs ON blobs.digest = images.manifest LEFT JOIN names ON names.image = images.id
         ORDER BY images.seq, names.name",
    )?;
    let descriptors = select.query_map([], |row| {
        let digest = BlobDigest::from_bytes(row.get(0)?);
        let media_type: String = row.get(1)?;
        let size: i64 = row.get(2)?;
        let mut descriptor = json!({ "mediaType": media_type, "digest": digest.to_string(), "size": size });
        if let Some(name) = row.get::<_, Option<String>>(3)? {
            // The whole name: the store holds many images, and the tag alone would be ambiguous.
            descriptor["annotations"] =
                json!({ "io.containerd.image.name": name, "org.opencontainers.image.ref.name": name });
        }
        Ok(descriptor)
    })?;
    let descriptors = descriptors.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": descriptors,
    }))
}

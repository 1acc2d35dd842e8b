//! What killed processes left behind.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use crate::blob::remove_file;
use crate::container;
use crate::error::{At, Result};
use crate::id::BlobDigest;
use crate::layer::id_of;
use crate::lock::LockFile;
use crate::mount;
use crate::store::Store;
use crate::trash;

/// Removes layers, blobs and cache mounts that have no row: what a process left that was killed between rename and
/// insert. The caller has the store alone. Tells how many bytes of blobs that freed.
pub(crate) fn sweep_orphans(store: &Store) -> Result<u64> {
    let root = store.root();
    let known = store.read(|db| {
        let mut select = db.prepare("SELECT id FROM layers WHERE NOT absent")?;
        let layers = select.query_map([], |row| Ok(id_of(row.get(0)?).to_string()))?;
        let mut select = db.prepare("SELECT id FROM mounts")?;
        let mounts = select.query_map([], |row| Ok(mount::id_of(row.get(0)?).to_string()))?;
        let containers = container::names_of_directories(db)?.into_iter().map(Ok);
        let mut select = db.prepare("SELECT digest FROM blobs")?;
        let blobs = select.query_map([], |row| Ok(BlobDigest::from_bytes(row.get(0)?).hex()))?;
        Ok(layers.chain(mounts).chain(containers).chain(blobs).collect::<rusqlite::Result<HashSet<_>>>()?)
    })?;
    let mut freed = 0;
    for directory in
        [root.join("snapshots"), root.join("mounts"), root.join("containers"), root.join("blobs").join("sha256")]
    {
        for entry in fs::read_dir(&directory).at("list", &directory)? {
            let entry = entry.at("list", &directory)?;
            if entry.file_name().to_str().is_some_and(|name| known.contains(name)) {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                freed += remove_file(&entry.path())?;
            } else {
                trash::discard(root, &entry.path())?;
            }
        }
    }
    sweep_indexes(root)?;
    Ok(freed)
}

/// Removes indexes of contexts that were not written to their end.
fn sweep_indexes(root: &Path) -> Result<()> {
    let contexts = root.join("contexts");
    for entry in fs::read_dir(&contexts).at("list", &contexts)? {
        let entry = entry.at("list", &contexts)?;
        if entry.file_name().as_encoded_bytes().starts_with(b".index-") {
            remove_file(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes lock files of keys whose holder was killed.
pub(super) fn sweep_locks(root: &Path) -> Result<()> {
    let locks = root.join("locks");
    for entry in fs::read_dir(&locks).at("list", &locks)? {
        let entry = entry.at("list", &locks)?;
        if entry.file_name().len() == 64 {
            drop(LockFile::take_over(&entry.path())?);
        }
    }
    Ok(())
}

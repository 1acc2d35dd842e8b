//! What survives a power cut.
//!
//! A row carries the boot in which it was written until [`Store::sync`] has brought it, and the files behind it, to
//! the disk. The first open after a reboot drops rows that still carry another boot: their files may be empty or
//! half there. The order is what makes it safe:
//!
//! 1. note the newest row of each table;
//! 2. `syncfs`: everything that these rows speak of was written before they were;
//! 3. clear the mark of rows up to the noted ones, in a transaction that is on the disk when it returns.
//!
//! A flush that fails is final: the kernel forgets what it could not write and the next flush succeeds without it
//! (see "Can Applications Recover from fsync Failures?", ATC 2020). So these rows are marked as lost, and go with the
//! next open.

use std::collections::HashSet;
use std::fs::{self, File};

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::absent;
use crate::blob::{blob_path, remove_file};
use crate::container::{self, ContainerId};
use crate::error::{At, Error, Result};
use crate::id::{BlobDigest, LayerId};
use crate::layer::{decode_chain, id_of, layer_directory};
use crate::lock::{self, KeyLock, Wait};
use crate::mount;
use crate::prune;
use crate::schema::BOOT_TABLES;
use crate::store::{Commit, Store};
use crate::trash;

/// Stands for a boot that never comes back.
pub(crate) const LOST: &str = "lost";

/// The id of the machine's boot.
pub(crate) fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(fs::read_to_string(path).at("read", path)?.trim().to_owned())
}

impl Store {
    /// Whether anything was written that a power cut could take away.
    pub fn unsynced(&self) -> Result<bool> {
        let others = |db: &Connection| {
            let select = "SELECT EXISTS (SELECT 1 FROM mounts INDEXED BY mounts_unsynced WHERE boot IS NOT NULL)
                OR EXISTS (SELECT 1 FROM containers INDEXED BY containers_unsynced
                           WHERE boot IS NOT NULL AND remove = 0 AND finished_ms IS NOT NULL)";
            Ok(db.prepare_cached(select)?.query_row([], |row| row.get(0))?)
        };
        let rests = |newest: &[i64]| newest.iter().any(|newest| *newest > 0);
        Ok(rests(&self.newest_unsynced()?) || self.read(others)?)
    }

    /// Flushes the store to the disk, and marks what it holds durable. Does nothing when everything is.
    pub fn sync(&self) -> Result<()> {
        let newest = self.newest_unsynced()?;
        let mounts = self.resting_mounts()?;
        let containers = self.resting_containers()?;
        if newest.iter().all(|newest| *newest == 0) && mounts.is_empty() && containers.is_empty() {
            return Ok(());
        }
        let flushed = File::open(self.root()).and_then(|root| Ok(rustix::fs::syncfs(root)?));
        if let Err(error) = flushed {
            self.write(Commit::Lazy, |db| mark_lost(db, &newest))?;
            return Err(Error::io("flush", self.root(), error));
        }
        self.write(Commit::Durable, |db| {
            for (table, newest) in BOOT_TABLES.iter().zip(newest) {
                let sql = format!("UPDATE {table} SET boot = NULL WHERE boot IS NOT NULL AND boot <> ? AND seq <= ?");
                db.prepare_cached(&sql)?.execute(params![LOST, newest])?;
            }
            for seq in mounts {
                db.prepare_cached("UPDATE mounts SET boot = NULL WHERE boot <> ? AND seq = ?")?
                    .execute(params![LOST, seq])?;
            }
            for row in containers {
                db.prepare_cached("UPDATE containers SET boot = NULL WHERE id = ? AND version = ?")?
                    .execute(params![row.0.as_bytes(), row.1])?;
            }
            settle_names(db)
        })?;
        self.fold_log();
        Ok(())
    }

    /// The right to flush in the background. `None` when another process has it: it looks once more after it has given
    /// it back, and finds what is there by now.
    pub fn try_lock_flush(&self) -> Result<Option<KeyLock>> {
        KeyLock::try_take(&self.root().join("locks").join("flush"))
    }

    /// For each table the number of the newest row that is not durable, or 0.
    fn newest_unsynced(&self) -> Result<[i64; 4]> {
        self.read(|db| {
            // Left alone, the planner walks the whole table backwards for a row with a boot.
            let newest = |table: &str| {
                format!("(SELECT ifnull(max(seq), 0) FROM {table} INDEXED BY {table}_unsynced WHERE boot IS NOT NULL)")
            };
            let mut select = db.prepare_cached(&format!("SELECT {}", BOOT_TABLES.map(newest).join(", ")))?;
            Ok(select.query_row([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]))?)
        })
    }
}

/// Notes what names stand for, as far as all of that is on the disk.
fn settle_names(db: &Transaction<'_>) -> Result<()> {
    db.prepare_cached(
        "UPDATE names SET durable = image
         WHERE durable IS NOT image AND image IN (SELECT id FROM images WHERE boot IS NULL)
           AND NOT EXISTS (SELECT 1 FROM platforms WHERE platforms.name = names.name
                           AND platforms.image NOT IN (SELECT id FROM images WHERE boot IS NULL))",
    )?
    .execute([])?;
    Ok(())
}

/// A flush failed: what it should have covered goes with the next open.
fn mark_lost(db: &Transaction<'_>, newest: &[i64; 4]) -> Result<()> {
    for (table, newest) in BOOT_TABLES.iter().zip(newest) {
        let sql = format!("UPDATE {table} SET boot = ? WHERE boot IS NOT NULL AND seq <= ?");
        db.execute(&sql, params![LOST, newest])?;
    }
    db.execute("UPDATE mounts SET boot = ? WHERE boot IS NOT NULL", [LOST])?;
    // Nobody's files are taken away under a process that runs on them.
    db.execute("UPDATE containers SET boot = ? WHERE boot IS NOT NULL AND finished_ms IS NOT NULL", [LOST])?;
    set_boot(db, LOST)
}

/// The first open after a reboot drops what is not durable. One indexed read on any other.
pub(crate) fn drop_lost(store: &Store) -> Result<()> {
    let same = |db: &Connection| same_boot(db, &store.inner.boot);
    if store.read(same)? {
        return Ok(());
    }
    // Another process may be doing it. When it is done, it may build for long, which is nothing to wait for.
    lock::settle(store.root())?;
    if store.read(same)? {
        return Ok(());
    }
    {
        let _alone = store.alone(Wait::Yes)?;
        if store.read(same)? {
            return Ok(());
        }
        let lost = store.write(Commit::Durable, |db| {
            let lost = drop_rows(db, &store.inner.boot)?;
            set_boot(db, &store.inner.boot)?;
            Ok(lost)
        })?;
        for layer in lost.layers {
            trash::discard(store.root(), &layer_directory(store.root(), layer))?;
        }
        for mount in lost.mounts {
            trash::discard(store.root(), &mount::directory(store.root(), mount))?;
        }
        for id in lost.containers {
            trash::discard(store.root(), &container::directory(store.root(), id))?;
        }
        for blob in lost.blobs {
            remove_file(&blob_path(store.root(), &blob))?;
        }
        prune::sweep_orphans(store)?;
    }
    store.write_index()
}

fn same_boot(db: &Connection, boot: &str) -> Result<bool> {
    let mut select = db.prepare_cached("SELECT value FROM meta WHERE key = 'boot_id'")?;
    let stored: Option<String> = select.query_row([], |row| row.get(0)).optional()?;
    Ok(stored.is_some_and(|stored| stored == boot))
}

fn set_boot(db: &Connection, boot: &str) -> Result<()> {
    db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('boot_id', ?)", [boot])?;
    Ok(())
}

/// Files that nobody vouches for any more.
struct Lost {
    layers: Vec<LayerId>,
    blobs: Vec<BlobDigest>,
    mounts: Vec<LayerId>,
    containers: Vec<ContainerId>,
}

fn drop_rows(db: &Transaction<'_>, boot: &str) -> Result<Lost> {
    // Their directories go with those of the rest.
    let absent = absent::revert(db, boot)?;
    let mut select = db.prepare("SELECT id FROM layers WHERE boot <> ?")?;
    let mut layers = select.query_map([boot], |row| Ok(id_of(row.get(0)?)))?.collect::<rusqlite::Result<Vec<_>>>()?;
    layers.extend(absent);
    let mut select = db.prepare("SELECT digest FROM blobs WHERE boot <> ?")?;
    let blobs =
        select.query_map([boot], |row| Ok(BlobDigest::from_bytes(row.get(0)?)))?.collect::<rusqlite::Result<_>>()?;
    let mut select = db.prepare("SELECT id FROM mounts WHERE boot <> ?")?;
    let mounts = select.query_map([boot], |row| Ok(mount::id_of(row.get(0)?)))?.collect::<rusqlite::Result<_>>()?;
    for table in ["layers", "blobs", "images", "mounts"] {
        db.execute(&format!("DELETE FROM {table} WHERE boot <> ?"), [boot])?;
    }
    db.execute("DELETE FROM layer_sources WHERE layer NOT IN (SELECT id FROM layers)", [])?;
    // Their components still explain what changes next.
    db.execute("UPDATE records SET output = NULL, boot = NULL WHERE boot <> ?", [boot])?;
    let mut containers = container::drop_lost(db, boot)?;
    containers.extend(drop_incomplete(db)?);
    db.execute_batch(
        // A name for several platforms, or with blobs of its own, is whole, or goes back to what it was before.
        "CREATE TEMP TABLE broken AS
            SELECT name FROM names WHERE image NOT IN (SELECT id FROM images)
            UNION SELECT name FROM platforms WHERE image NOT IN (SELECT id FROM images)
            UNION SELECT name FROM name_blobs WHERE blob NOT IN (SELECT digest FROM blobs);
         UPDATE names SET image = ifnull(durable, image), form = NULL WHERE name IN (SELECT name FROM broken);
         DELETE FROM platforms WHERE name IN (SELECT name FROM broken);
         DELETE FROM name_blobs WHERE name IN (SELECT name FROM broken);
         DROP TABLE broken;
         DELETE FROM names WHERE image NOT IN (SELECT id FROM images);",
    )?;
    Ok(Lost { layers, blobs, mounts, containers })
}

/// What was written after a flush had failed may be on the disk and build on layers that are not.
fn drop_incomplete(db: &Transaction<'_>) -> Result<Vec<ContainerId>> {
    while db.execute("DELETE FROM layers WHERE base IS NOT NULL AND base NOT IN (SELECT id FROM layers)", [])? > 0 {}
    let mut select = db.prepare("SELECT id FROM layers")?;
    let there = select.query_map([], |row| Ok(id_of(row.get(0)?)))?.collect::<rusqlite::Result<HashSet<_>>>()?;
    for (list, drop) in [
        ("SELECT seq, output FROM records WHERE output IS NOT NULL", "UPDATE records SET output = NULL WHERE seq = ?"),
        ("SELECT seq, layers FROM images", "DELETE FROM images WHERE seq = ?"),
    ] {
        let mut select = db.prepare(list)?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let chain = decode_chain(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?);
            if chain.layers.iter().any(|layer| !there.contains(layer)) {
                db.execute(drop, [row.get::<_, i64>(0)?])?;
            }
        }
    }
    let mut containers = Vec::new();
    let mut select = db.prepare("SELECT id, layers FROM containers")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let chain = decode_chain(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?);
        if chain.layers.iter().any(|layer| !there.contains(layer)) {
            containers.push(ContainerId::from_bytes(row.get(0)?));
        }
    }
    for id in &containers {
        db.execute("DELETE FROM containers WHERE id = ?", [id.as_bytes()])?;
    }
    Ok(containers)
}

#[cfg(test)]
mod tests {
    use builder_solver::{CacheKey, Sharing};

    use super::*;
    use crate::id::Snapshot;
    use crate::image::NewImage;
    use crate::layer::LayerMeta;
    use crate::mount::TakenMount;
    use crate::name::Named;
    use crate::store::OpenOptions;

    #[test]
    fn a_cache_mount_that_lost_something_stays_lost_when_it_is_used_again() {
        let root = tempfile::tempdir().unwrap();
        let open = || OpenOptions::new().boot_id("boot").open(root.path()).unwrap();
        let key = CacheKey::from_bytes([1; 32]);
        let take = |store: &Store| {
            let fill = |_: &std::path::Path| Ok::<(), Error>(());
            match store.take_mount(&key, "n", Sharing::Shared, fill).unwrap() {
                TakenMount::Ready(mount) => mount,
                TakenMount::Busy(_) => panic!("nobody has it"),
            }
        };
        let store = open();
        let mount = take(&store);
        let lost = mount.path().to_owned();
        let newest = store.newest_unsynced().unwrap();
        store.write(Commit::Lazy, |db| mark_lost(db, &newest)).unwrap();
        drop(mount);
        drop(take(&store));
        store.sync().unwrap();
        drop(store);
        assert_ne!(take(&open()).path(), lost, "a new one takes its place");
    }

    #[test]
    fn one_process_flushes_in_the_background() {
        let root = tempfile::tempdir().unwrap();
        let store = OpenOptions::new().boot_id("boot").open(root.path()).unwrap();
        let turn = store.try_lock_flush().unwrap();
        assert!(turn.is_some() && store.try_lock_flush().unwrap().is_none());
        drop(turn);
        assert!(store.try_lock_flush().unwrap().is_some());
        store.collect_garbage().unwrap();
    }

    #[test]
    fn a_name_is_durable_when_all_its_platforms_are() {
        let root = tempfile::tempdir().unwrap();
        let store = OpenOptions::new().boot_id("boot").open(root.path()).unwrap();
        let put = |config: &str| {
            let id = store.put_blob(config.as_bytes()).unwrap();
            let snapshot = Snapshot::scratch();
            let (diff_ids, manifest, target) = (Vec::new(), None, None);
            let image = NewImage { id, snapshot, diff_ids, manifest, created_ms: 0, size: 0, target };
            store.put_image(&image).unwrap();
            id
        };
        let (old, own) = (put("old"), put("own"));
        store.set_name("n", &Named::one(old)).unwrap();
        store.sync().unwrap();
        let new = put("new");
        let platforms = vec![("linux/amd64".to_owned(), own), ("linux/arm64".to_owned(), new)];
        store.set_name("n", &Named { image: own, platforms, form: None, blobs: Vec::new() }).unwrap();
        // A flush that began before the name was given ends now.
        store.write(Commit::Lazy, settle_names).unwrap();
        drop(store);
        let store = OpenOptions::new().boot_id("next").open(root.path()).unwrap();
        assert_eq!(store.name("n").unwrap(), Some(Named::one(old)));
    }

    #[test]
    fn a_name_does_not_speak_of_blobs_that_a_power_cut_took() {
        let root = tempfile::tempdir().unwrap();
        let store = OpenOptions::new().boot_id("boot").open(root.path()).unwrap();
        let id = store.put_blob(b"config").unwrap();
        let (snapshot, diff_ids) = (Snapshot::scratch(), Vec::new());
        let image = NewImage { id, snapshot, diff_ids, manifest: None, created_ms: 0, size: 0, target: None };
        store.put_image(&image).unwrap();
        store.sync().unwrap();
        let blobs = vec![store.put_blob(b"said of it").unwrap()];
        store.set_name("n", &Named { form: Some("{}".into()), blobs, ..Named::one(id) }).unwrap();
        drop(store);
        let store = OpenOptions::new().boot_id("next").open(root.path()).unwrap();
        assert_eq!(store.name("n").unwrap(), Some(Named::one(id)));
    }

    #[test]
    fn what_could_not_be_flushed_goes_with_the_next_open() {
        let root = tempfile::tempdir().unwrap();
        let open = || OpenOptions::new().boot_id("boot").open(root.path()).unwrap();
        let store = open();
        let durable = store.new_layer().unwrap().commit(LayerMeta::default()).unwrap();
        store.sync().unwrap();
        let lost = store.new_layer().unwrap().commit(LayerMeta::default()).unwrap();
        let newest = store.newest_unsynced().unwrap();
        store.write(Commit::Lazy, |db| mark_lost(db, &newest)).unwrap();
        // What is written on top of it later is on the disk, but of no use.
        let delta = LayerMeta { base: Some(lost), ..LayerMeta::default() };
        let delta = store.new_layer().unwrap().commit(delta).unwrap();
        store.sync().unwrap();
        drop(store);
        let store = open();
        assert!(store.layer(&durable).is_ok());
        assert!(store.layer(&lost).is_err() && store.layer(&delta).is_err());
        assert!(!store.unsynced().unwrap());
        drop(store);
        assert!(open().layer(&durable).is_ok(), "and only once");
    }
}

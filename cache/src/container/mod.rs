//! Containers: an image's files under a directory for changes that stays when the process has ended.
//!
//! A container is `containers/<id>/`: `fs` and `work` are the upper and the work directory of its overlay, whatever else
//! is there belongs to who runs it. The directory is locked (`flock`) by the process that runs the container, and for a
//! short while by whoever changes or removes it; the kernel lets go of the lock when that process dies. So a container
//! whose row says that it runs and whose lock is free was killed together with its builder, and is written down as ended by whoever
//! notices first.
//!
//! Nothing of a container's image is pruned while its row is there. What a container wrote is durable when it was flushed
//! after it had ended; a power cut takes the others away whole.

mod id;
mod row;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Transaction, params};

pub use id::ContainerId;

use self::row::{COLUMNS, container_of};
use crate::error::{At, Error, Result};
use crate::id::{BlobDigest, Snapshot};
use crate::layer::{encode_chain, require_layers};
use crate::lock::{KeyLock, Mode, Wait, flock};
use crate::store::{Commit, Store, now_ms};
use crate::trash;

/// What a process that was killed ends with.
const KILLED: i32 = 137;

/// A container to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewContainer {
    /// Its id.
    pub id: ContainerId,
    /// What people call it.
    pub name: String,
    /// What it was made of.
    pub image: BlobDigest,
    /// The files of that.
    pub snapshot: Snapshot,
    /// How it was started, in the words of who starts it: the store does not look into that.
    pub description: String,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// What people call it.
    pub name: String,
    /// What it was made of.
    pub image: BlobDigest,
    /// The files of that.
    pub snapshot: Snapshot,
    /// How it was started.
    pub description: String,
    /// When it was made, in milliseconds since the epoch.
    pub created_ms: i64,
    /// When its process was started, if that went well.
    pub started_ms: Option<i64>,
    /// When it ended.
    pub finished_ms: Option<i64>,
    /// With what it ended.
    pub exit_code: i32,
    /// Who runs it, while it runs.
    pub holder: Option<Holder>,
}

/// The builder that runs a container. It holds the container's lock, so its number is nobody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The number of the process.
    pub pid: i32,
    /// Its descriptor that is the container's root.
    pub root: i32,
}

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    /// It was made, and its process never ran.
    Created,
    /// Its process runs.
    Running,
    /// Its process has ended.
    Exited,
}

impl Container {
    /// What it does.
    pub fn state(&self) -> ContainerState {
        match (self.started_ms, self.finished_ms) {
            (None, _) => ContainerState::Created,
            (Some(_), None) => ContainerState::Running,
            (Some(_), Some(_)) => ContainerState::Exited,
        }
    }
}

/// A container that nobody else runs, changes or removes until this is dropped.
#[derive(Debug)]
pub struct HeldContainer {
    store: Store,
    id: ContainerId,
    directory: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

impl HeldContainer {
    /// Which.
    pub fn id(&self) -> ContainerId {
        self.id
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What it changed: an upper directory.
    pub fn upper(&self) -> PathBuf {
        self.directory.join("fs")
    }

    /// The work directory for an overlay mount.
    pub fn work(&self) -> PathBuf {
        self.directory.join("work")
    }

    /// An empty work directory: an overlay that was not synced can't be mounted with its own again.
    pub fn fresh_work(&self) -> Result<PathBuf> {
        let work = self.work();
        trash::remove(self.store.root(), &work)?;
        fs::create_dir(&work).at("create", &work)?;
        Ok(work)
    }

    /// Writes down that its process runs.
    pub fn started(&self, holder: Holder) -> Result<()> {
        self.update("started_ms = ?2, pid = ?3, root = ?4", &[&now_ms(), &holder.pid, &holder.root])
    }

    /// Writes down that its process ended, or could not be started.
    pub fn finished(&self, exit_code: i32) -> Result<()> {
        trash::remove(self.store.root(), &self.work())?;
        self.end(exit_code)
    }

    /// Writes down that its process could not be run.
    pub fn never_ran(&self, exit_code: i32) -> Result<()> {
        self.update("started_ms = NULL", &[])?;
        self.finished(exit_code)
    }

    /// Writes down that its files change as long as this exists: what is flushed meanwhile is not all of it.
    pub fn changing(&self) -> Result<()> {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        self.update("version = version + 1, boot = ?2, pid = ?3, root = NULL", &[&self.store.inner.boot, &pid])
    }

    /// Removes it. What it changed is gone for good.
    pub fn remove(self) -> Result<()> {
        let store = self.store.clone();
        let delete = |condition: &str| format!("DELETE FROM containers WHERE id = ? AND {condition}");
        let lost_anyway = delete("boot IS NOT NULL");
        // A row that a power cut would bring back must not outlive its files.
        if store.write(Commit::Lazy, |db| Ok(db.execute(&lost_anyway, [self.id.as_bytes()])?))? == 0 {
            store.write(Commit::Durable, |db| Ok(db.execute(&delete("TRUE"), [self.id.as_bytes()])?))?;
        }
        trash::remove(store.root(), &self.directory)
    }

    fn end(&self, exit_code: i32) -> Result<()> {
        let work = trash::remove(self.store.root(), &self.work());
        let ended = self.update(
            "finished_ms = ?2, exit_code = ?3, pid = NULL, root = NULL, version = version + 1, boot = ?4",
            &[&now_ms(), &exit_code, &self.store.inner.boot],
        );
        ended.and(work)
    }

    fn update(&self, set: &str, values: &[&dyn rusqlite::ToSql]) -> Result<()> {
        let id: &dyn rusqlite::ToSql = self.id.as_bytes();
        let all: Vec<_> = std::iter::once(id).chain(values.iter().copied()).collect();
        self.store.write(Commit::Lazy, |db| {
            match db.execute(&format!("UPDATE containers SET {set} WHERE id = ?1"), all.as_slice())? {
                0 => Err(Error::NoContainer(self.id)),
                _ => Ok(()),
            }
        })
    }
}

impl Store {
    /// Makes a container and holds it.
    pub fn create_container(&self, new: &NewContainer) -> Result<HeldContainer> {
        let _lease = self.lease()?;
        let id = new.id;
        let directory = directory(self.root(), id);
        let make = || -> Result<File> {
            DirBuilder::new().mode(0o700).create(&directory).at("create", &directory)?;
            for path in [directory.join("fs"), directory.join("work")] {
                fs::create_dir(&path).at("create", &path)?;
            }
            let upper = directory.join("fs");
            // It shows as the root directory of the container, whatever the umask was.
            fs::set_permissions(&upper, fs::Permissions::from_mode(0o755)).at("create", &upper)?;
            let lock = File::open(&directory).at("open", &directory)?;
            flock(&lock, &directory, Mode::Exclusive, Wait::Yes)?;
            self.write(Commit::Lazy, |db| insert(db, new, &self.inner.boot))?;
            Ok(lock)
        };
        match make() {
            Ok(lock) => Ok(HeldContainer { store: self.clone(), id, directory, _lock: lock }),
            Err(error) => {
                trash::remove(self.root(), &directory).ok();
                Err(error)
            }
        }
    }

    /// All containers, newest first.
    pub fn containers(&self) -> Result<Vec<Container>> {
        self.select_containers("TRUE ORDER BY seq DESC", &[])
    }

    /// The containers that were made of this image, newest first.
    pub fn containers_of(&self, image: &BlobDigest) -> Result<Vec<Container>> {
        self.select_containers("image = ? ORDER BY seq DESC", &[image.as_bytes()])
    }

    /// The container with this id.
    pub fn container(&self, id: &ContainerId) -> Result<Option<Container>> {
        Ok(self.select_containers("id = ?", &[id.as_bytes()])?.pop())
    }

    /// The directory of a container. Whoever runs it has it open.
    pub fn container_directory(&self, id: &ContainerId) -> PathBuf {
        directory(self.root(), *id)
    }

    /// Where a container's changes are: an upper directory. It is only to be read by whoever does not hold it.
    pub fn container_upper(&self, id: &ContainerId) -> PathBuf {
        self.container_directory(id).join("fs")
    }

    /// The bytes of the files that a container changed.
    pub fn container_size(&self, id: &ContainerId) -> u64 {
        crate::usage::bytes_of_tree(&self.container_upper(id))
    }

    /// Takes a container to change or remove it. `None` when it runs, or somebody else has it and `wait` says not to
    /// wait; an error when it is gone.
    pub fn hold_container(&self, id: &ContainerId, wait: bool) -> Result<Option<HeldContainer>> {
        let path = directory(self.root(), *id);
        let lock = match File::open(&path) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Error::NoContainer(*id)),
            Err(error) => return Err(Error::io("open", &path, error)),
        };
        if !flock(&lock, &path, Mode::Exclusive, if wait { Wait::Yes } else { Wait::No })? {
            return Ok(None);
        }
        let held = HeldContainer { store: self.clone(), id: *id, directory: path, _lock: lock };
        let ended = self.read(|db| {
            let mut select = db.prepare_cached("SELECT finished_ms IS NOT NULL FROM containers WHERE id = ?")?;
            Ok(select.query_row([id.as_bytes()], |row| row.get(0)).optional()?)
        })?;
        match ended {
            None => Err(Error::NoContainer(*id)),
            Some(true) => Ok(Some(held)),
            Some(false) => {
                held.end(KILLED)?;
                Ok(Some(held))
            }
        }
    }

    /// Waits until nobody else lets the container stand still.
    pub fn lock_pause(&self, id: &ContainerId) -> Result<KeyLock> {
        KeyLock::take(&directory(self.root(), *id).join("pause"))
    }

    fn select_containers(&self, condition: &str, values: &[&dyn rusqlite::ToSql]) -> Result<Vec<Container>> {
        let select = || {
            self.read(|db| {
                let mut select = db.prepare(&format!("SELECT {COLUMNS} FROM containers WHERE {condition}"))?;
                Ok(select.query_map(values, container_of)?.collect::<rusqlite::Result<Vec<_>>>()?)
            })
        };
        let found = select()?;
        let mut noticed = false;
        for container in found.iter().filter(|container| container.finished_ms.is_none()) {
            noticed |= match self.hold_container(&container.id, false) {
                Ok(held) => held.is_some(),
                // Somebody removed it meanwhile.
                Err(Error::NoContainer(_)) => true,
                Err(error) => return Err(error),
            };
        }
        if noticed { select() } else { Ok(found) }
    }

    /// The containers at rest whose files were not flushed yet: the number of the row and its version.
    pub(crate) fn resting_containers(&self) -> Result<Vec<(i64, i64)>> {
        let rows = self.read(|db| {
            let mut select = db.prepare_cached(
                "SELECT seq, version, id, pid IS NOT NULL FROM containers INDEXED BY containers_unsynced
                 WHERE boot IS NOT NULL AND finished_ms IS NOT NULL",
            )?;
            let rows = select.query_map([], |row| {
                Ok((row.get(0)?, row.get(1)?, ContainerId::from_bytes(row.get(2)?), row.get(3)?))
            })?;
            Ok(rows.collect::<rusqlite::Result<Vec<(i64, i64, ContainerId, bool)>>>()?)
        })?;
        let mut resting = Vec::new();
        for (seq, version, id, is_changed) in rows {
            if is_changed {
                let path = directory(self.root(), id);
                // One that is gone has nothing to flush.
                let Ok(lock) = File::open(&path) else { continue };
                if !flock(&lock, &path, Mode::Exclusive, Wait::No)? {
                    continue;
                }
            }
            resting.push((seq, version));
        }
        Ok(resting)
    }
}

/// `containers/<id>`.
pub(crate) fn directory(root: &Path, id: ContainerId) -> PathBuf {
    root.join("containers").join(id.to_string())
}

/// The ids of all containers, as their directories are named.
pub(crate) fn names_of_directories(db: &Connection) -> Result<Vec<String>> {
    let mut select = db.prepare("SELECT id FROM containers")?;
    let ids = select.query_map([], |row| Ok(ContainerId::from_bytes(row.get(0)?).to_string()))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

/// What containers keep from being pruned: their images, and the layers of these.
pub(crate) fn references(db: &Connection) -> Result<Vec<(BlobDigest, Snapshot)>> {
    let mut select = db.prepare("SELECT image, layers FROM containers")?;
    let rows = select.query_map([], |row| {
        Ok((BlobDigest::from_bytes(row.get(0)?), crate::layer::decode_chain(row.get_ref(1)?.as_blob()?)))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Drops the rows that a power cut made worthless, and tells which.
pub(crate) fn drop_lost(db: &Transaction<'_>, boot: &str) -> Result<Vec<ContainerId>> {
    let mut delete = db.prepare("DELETE FROM containers WHERE boot <> ? RETURNING id")?;
    let rows = delete.query_map([boot], |row| Ok(ContainerId::from_bytes(row.get(0)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn insert(db: &Transaction<'_>, new: &NewContainer, boot: &str) -> Result<()> {
    require_layers(db, &new.snapshot.layers)?;
    let mut select = db.prepare_cached("SELECT id FROM containers WHERE name = ?")?;
    let owner = select.query_row([&new.name], |row| Ok(ContainerId::from_bytes(row.get(0)?))).optional()?;
    if let Some(id) = owner {
        return Err(Error::ContainerName { name: new.name.clone(), id });
    }
    db.prepare_cached(
        "INSERT INTO containers (id, name, image, layers, description, created_ms, boot) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        new.id.as_bytes(),
        new.name,
        new.image.as_bytes(),
        encode_chain(&new.snapshot),
        new.description,
        now_ms(),
        boot,
    ])?;
    Ok(())
}

#[cfg(test)]
mod tests;

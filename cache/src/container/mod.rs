//! Containers: an image's files under a directory for changes that stays when the process has ended.
//!
//! A container is `containers/<id>/`: `fs` and `work` are the upper and the work directory of its overlay, whatever else
//! is there belongs to who runs it. The directory is locked (`flock`) by the process that runs the container, and for a
//! short while by whoever changes or removes it; the kernel lets go of the lock when that process dies. So a container
//! whose row says that it runs and whose lock is free was killed together with its builder, and whoever
//! notices first writes it down as ended, or removes it when it was to go with its end. A directory without a row and
//! with a free lock is nobody's.
//!
//! Nothing of a container's image is pruned while its row is there. What a container wrote is durable when it was flushed
//! after it had ended; a power cut takes the others away whole.

mod held;
mod id;
mod row;

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Transaction};

pub use held::HeldContainer;
pub use id::ContainerId;

use self::row::{COLUMNS, container_of};
use crate::error::{At, Error, Result};
use crate::id::{BlobDigest, Snapshot};
use crate::lock::{KeyLock, Mode, Wait, flock};
use crate::store::Store;

/// A container to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewContainer {
    /// Its id.
    pub id: ContainerId,
    /// What people may call it: it gets the first of these that nobody has.
    pub names: Vec<String>,
    /// What it was made of.
    pub image: BlobDigest,
    /// The files of that.
    pub snapshot: Snapshot,
    /// How it was started, in the words of who starts it: the store does not look into that.
    pub description: String,
    /// When it was made, in milliseconds since the epoch.
    pub created_ms: i64,
    /// It goes when its process ends.
    pub remove: bool,
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
    /// It goes when its process ends.
    pub remove: bool,
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

impl Store {
    /// All containers, newest first.
    pub fn containers(&self) -> Result<Vec<Container>> {
        let found = self.select_containers("TRUE ORDER BY seq DESC", &[])?;
        self.sweep_directories(&found)?;
        Ok(found)
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

    /// Waits until nobody else lets the container stand still.
    pub fn lock_pause(&self, id: &ContainerId) -> Result<KeyLock> {
        KeyLock::take(&directory(self.root(), *id).join("pause"))
    }

    /// Removes those of `run --rm` that were killed with their builder.
    pub(crate) fn sweep_passing(&self) -> Result<()> {
        let ids = self.read(|db| {
            let mut select =
                db.prepare_cached("SELECT id FROM containers INDEXED BY containers_passing WHERE remove = 1")?;
            let ids = select.query_map([], |row| Ok(ContainerId::from_bytes(row.get(0)?)))?;
            Ok(ids.collect::<rusqlite::Result<Vec<_>>>()?)
        })?;
        ids.iter().try_for_each(|id| self.notice(id).map(drop))
    }

    /// Removes directories that are nobody's.
    fn sweep_directories(&self, known: &[Container]) -> Result<()> {
        let path = self.root().join("containers");
        let known: HashSet<ContainerId> = known.iter().map(|container| container.id).collect();
        for entry in fs::read_dir(&path).at("list", &path)? {
            let name = entry.at("list", &path)?.file_name();
            // With the lock taken it shows whether there is a row by now.
            if let Some(id) = name.to_str().and_then(|name| name.parse().ok()).filter(|id| !known.contains(id)) {
                self.notice(&id)?;
            }
        }
        Ok(())
    }

    /// Whether a container was not at rest and nobody ran it; it has ended now, or is gone.
    fn notice(&self, id: &ContainerId) -> Result<bool> {
        match self.hold_container(id, false) {
            Ok(held) => Ok(held.is_some()),
            // Somebody removed it meanwhile, or this did.
            Err(Error::NoContainer(_)) => Ok(true),
            Err(error) => Err(error),
        }
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
            noticed |= self.notice(&container.id)?;
        }
        if noticed { select() } else { Ok(found) }
    }

    /// The containers at rest whose files were not flushed yet, and the versions of their rows.
    pub(crate) fn resting_containers(&self) -> Result<Vec<(ContainerId, i64)>> {
        let rows = self.read(|db| {
            let mut select = db.prepare_cached(
                "SELECT version, id, pid IS NOT NULL FROM containers INDEXED BY containers_unsynced
                 WHERE boot IS NOT NULL AND remove = 0 AND finished_ms IS NOT NULL",
            )?;
            let rows =
                select.query_map([], |row| Ok((row.get(0)?, ContainerId::from_bytes(row.get(1)?), row.get(2)?)))?;
            Ok(rows.collect::<rusqlite::Result<Vec<(i64, ContainerId, bool)>>>()?)
        })?;
        let mut resting = Vec::new();
        for (version, id, is_changed) in rows {
            if is_changed {
                let path = directory(self.root(), id);
                // One that is gone has nothing to flush.
                let Ok(lock) = File::open(&path) else { continue };
                if !flock(&lock, &path, Mode::Exclusive, Wait::No)? {
                    continue;
                }
            }
            resting.push((id, version));
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

#[cfg(test)]
mod tests;

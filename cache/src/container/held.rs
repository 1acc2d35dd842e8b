//! Making, changing and removing a container.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{OptionalExtension, Transaction, params};

use super::{ContainerId, Holder, NewContainer, directory};
use crate::error::{At, Error, Result};
use crate::layer::{encode_chain, require_layers};
use crate::lock::{Mode, Wait, flock};
use crate::store::{Commit, Store, now_ms};
use crate::trash;

/// What a process that was killed ends with.
const KILLED: i32 = 137;

/// A container that nobody else runs, changes or removes until this is dropped.
#[derive(Debug)]
pub struct HeldContainer {
    store: Store,
    id: ContainerId,
    directory: PathBuf,
    remove: bool,
    /// What its row is made of, as long as it has none: it goes with this then.
    new: Option<NewContainer>,
    /// Locked as long as it is open.
    _lock: File,
}

impl Drop for HeldContainer {
    fn drop(&mut self) {
        if self.new.is_some() {
            trash::remove(self.store.root(), &self.directory).ok();
        }
    }
}

impl HeldContainer {
    /// Which.
    pub fn id(&self) -> ContainerId {
        self.id
    }

    /// It is removed when its process ends.
    pub fn is_passing(&self) -> bool {
        self.remove
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

    /// Writes down that its process runs, or is about to: from now on it is seen. Fails when its name is taken.
    pub fn started(&mut self, holder: Holder) -> Result<()> {
        if self.new.is_some() {
            return self.insert(Begun { started_ms: Some(now_ms()), holder: Some(holder), ..Begun::default() });
        }
        self.update("started_ms = ?2, pid = ?3, root = ?4", &[&now_ms(), &holder.pid, &holder.root])
    }

    /// Writes down that its process ended. One that is to be removed then is removed.
    pub fn finished(self, exit_code: i32) -> Result<()> {
        if self.remove { self.remove() } else { self.end(exit_code) }
    }

    /// Writes down that its process could not be run. One that is to be removed then is removed.
    pub fn never_ran(mut self, exit_code: i32) -> Result<()> {
        if self.remove {
            return self.remove();
        }
        let work = trash::remove(self.store.root(), &self.work());
        let ended = match self.new {
            Some(_) => self.insert(Begun { finished_ms: Some(now_ms()), exit_code, ..Begun::default() }),
            None => self.update_ended("started_ms = NULL, ", exit_code),
        };
        ended.and(work)
    }

    /// Writes down that its files change as long as this exists: what is flushed meanwhile is not all of it.
    pub fn changing(&self) -> Result<()> {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        self.update("version = version + 1, boot = ?2, pid = ?3, root = NULL", &[&self.store.inner.boot, &pid])
    }

    /// Removes it. What it changed is gone for good.
    pub fn remove(mut self) -> Result<()> {
        let store = self.store.clone();
        if self.new.take().is_none() {
            let delete = |condition: &str| format!("DELETE FROM containers WHERE id = ? AND {condition}");
            let lost_anyway = delete("boot IS NOT NULL");
            // A row that a power cut would bring back must not outlive its files.
            if store.write(Commit::Lazy, |db| Ok(db.execute(&lost_anyway, [self.id.as_bytes()])?))? == 0 {
                store.write(Commit::Durable, |db| Ok(db.execute(&delete("TRUE"), [self.id.as_bytes()])?))?;
            }
        }
        trash::remove(store.root(), &self.directory)
    }

    fn end(&self, exit_code: i32) -> Result<()> {
        let work = trash::remove(self.store.root(), &self.work());
        self.update_ended("", exit_code).and(work)
    }

    fn update_ended(&self, set: &str, exit_code: i32) -> Result<()> {
        let ended = "finished_ms = ?2, exit_code = ?3, pid = NULL, root = NULL, version = version + 1, boot = ?4";
        self.update(&format!("{set}{ended}"), &[&now_ms(), &exit_code, &self.store.inner.boot])
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

    fn insert(&mut self, begun: Begun) -> Result<()> {
        if let Some(new) = &self.new {
            self.store.write(Commit::Lazy, |db| insert(db, new, begun, &self.store.inner.boot))?;
        }
        self.new = None;
        Ok(())
    }
}

/// What a row says from the beginning.
#[derive(Default, Clone, Copy)]
struct Begun {
    started_ms: Option<i64>,
    finished_ms: Option<i64>,
    exit_code: i32,
    holder: Option<Holder>,
}

impl Store {
    /// Makes a container and holds it. Nobody sees it before [`HeldContainer::started`] or
    /// [`HeldContainer::never_ran`]: so that one transaction is enough for its beginning.
    pub fn create_container(&self, new: NewContainer) -> Result<HeldContainer> {
        let _lease = self.lease()?;
        self.sweep_passing()?;
        let id = new.id;
        let directory = directory(self.root(), id);
        // Under its name it is locked from the beginning.
        let fresh = directory.with_extension("new");
        let make = || -> Result<File> {
            DirBuilder::new().mode(0o700).create(&fresh).at("create", &fresh)?;
            for path in [fresh.join("fs"), fresh.join("work")] {
                fs::create_dir(&path).at("create", &path)?;
            }
            let upper = fresh.join("fs");
            // It shows as the root directory of the container, whatever the umask was.
            fs::set_permissions(&upper, fs::Permissions::from_mode(0o755)).at("create", &upper)?;
            let lock = File::open(&fresh).at("open", &fresh)?;
            flock(&lock, &fresh, Mode::Exclusive, Wait::Yes)?;
            fs::rename(&fresh, &directory).at("create", &directory)?;
            Ok(lock)
        };
        match make() {
            Ok(lock) => {
                let remove = new.remove;
                Ok(HeldContainer { store: self.clone(), id, directory, remove, new: Some(new), _lock: lock })
            }
            Err(error) => {
                trash::remove(self.root(), &fresh).ok();
                Err(error)
            }
        }
    }

    /// Takes a container to change or remove it. `None` when it runs, or somebody else has it and `wait` says not to
    /// wait; an error when it is gone. One that was killed with its builder is written down as ended, or removed if
    /// that was its wish.
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
        let found = self.read(|db| {
            let mut select =
                db.prepare_cached("SELECT finished_ms IS NOT NULL, remove FROM containers WHERE id = ?")?;
            Ok(select.query_row([id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
        })?;
        let Some((ended, remove)) = found else {
            // Its builder was killed before it had a row, or while it removed it.
            trash::discard(self.root(), &path)?;
            return Err(Error::NoContainer(*id));
        };
        let held = HeldContainer { store: self.clone(), id: *id, directory: path, remove, new: None, _lock: lock };
        match (ended, remove) {
            (true, _) => Ok(Some(held)),
            (false, false) => {
                held.end(KILLED)?;
                Ok(Some(held))
            }
            (false, true) => {
                held.remove()?;
                Err(Error::NoContainer(*id))
            }
        }
    }
}

fn insert(db: &Transaction<'_>, new: &NewContainer, begun: Begun, boot: &str) -> Result<()> {
    require_layers(db, &new.snapshot.layers)?;
    let mut select = db.prepare_cached(
        "SELECT id FROM containers WHERE name = ?1 AND remove = 0
         UNION ALL SELECT id FROM containers WHERE name = ?1 AND remove = 1",
    )?;
    let mut taken = None;
    let mut name = new.names.is_empty().then(|| new.id.short());
    for wish in &new.names {
        let owner = select.query_row([wish], |row| Ok(ContainerId::from_bytes(row.get(0)?))).optional()?;
        taken = owner.map(|id| Error::ContainerName { name: wish.clone(), id });
        if taken.is_none() {
            name = Some(wish.clone());
            break;
        }
    }
    if let Some(error) = taken {
        return Err(error);
    }
    db.prepare_cached(
        "INSERT INTO containers (id, name, image, layers, created_ms, started_ms, finished_ms, exit_code, pid, root,
                                 remove, boot, description)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        new.id.as_bytes(),
        name,
        new.image.as_bytes(),
        encode_chain(&new.snapshot),
        new.created_ms,
        begun.started_ms,
        begun.finished_ms,
        begun.exit_code,
        begun.holder.map(|holder| holder.pid),
        begun.holder.map(|holder| holder.root),
        new.remove,
        boot,
        new.description,
    ])?;
    Ok(())
}

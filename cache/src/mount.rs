//! Cache mounts: directories that outlive a build (`RUN --mount=type=cache`).
//!
//! A key (what a Dockerfile calls the cache, and what it is seeded with) can have several directories: one for
//! everybody who shares it, more when some want one for themselves at the same time. Each is `mounts/<id>/fs`; the
//! directory above it is locked (`flock`) by whoever uses it, shared or alone, and the kernel lets go of it when the
//! process dies. A prune needs the store for itself, so it never meets one in use.
//!
//! What a step writes there is synced by nobody. A directory counts as durable when it was not in use while the store
//! was flushed and has not been used since; a power cut takes the others away whole.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use builder_solver::{CacheKey, Sharing};
use rusqlite::{Connection, Transaction, params};

use crate::durability::LOST;
use crate::error::{At, Error, Result};
use crate::id::LayerId;
use crate::lock::{Lease, Mode, Wait, flock};
use crate::store::{Commit, Store, now_ms};
use crate::trash;

/// A cache mount that this process may use until it is dropped.
#[derive(Debug)]
pub struct CacheDirectory {
    store: Store,
    id: MountId,
    path: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
    _lease: Lease,
}

/// What [`Store::take_mount`] got.
#[derive(Debug)]
pub enum TakenMount {
    /// The directory, to be used now.
    Ready(CacheDirectory),
    /// Somebody has it for itself.
    Busy(BusyMount),
}

/// A cache mount to wait for.
#[derive(Debug)]
pub struct BusyMount {
    store: Store,
    id: MountId,
    lock: File,
    lease: Lease,
}

/// A directory among the mounts is named as layers are.
type MountId = LayerId;

impl CacheDirectory {
    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn new(store: &Store, id: MountId, lock: File, lease: Lease) -> Self {
        Self { store: store.clone(), id, path: directory(store.root(), id).join("fs"), _lock: lock, _lease: lease }
    }
}

impl Drop for CacheDirectory {
    fn drop(&mut self) {
        // Until now it was written to. If that can't be written down, the last use is the one that was.
        self.store.write(Commit::Lazy, |db| note_use(db, self.id, &self.store.inner.boot, false)).ok();
    }
}

impl BusyMount {
    /// Waits until nobody else uses it.
    pub fn wait(self) -> Result<CacheDirectory> {
        let Self { store, id, lock, lease } = self;
        flock(&lock, &directory(store.root(), id), Mode::Exclusive, Wait::Yes)?;
        store.write(Commit::Lazy, |db| note_use(db, id, &store.inner.boot, true))?;
        Ok(CacheDirectory::new(&store, id, lock, lease))
    }
}

impl Store {
    /// A directory of the cache mount `key`, made and given to `fill` when there is none that may be used. `name` is
    /// what people call it.
    pub fn take_mount<E: From<Error>>(
        &self,
        key: &CacheKey,
        name: &str,
        sharing: Sharing,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<TakenMount, E> {
        let lease = self.lease()?;
        // One at a time looks and makes, so that those who share get the same.
        let _turn = self.lock_key(key)?;
        let mode = match sharing {
            Sharing::Shared => Mode::Shared,
            Sharing::Private | Sharing::Locked => Mode::Exclusive,
        };
        let mut busy = None;
        for id in self.read(|db| mounts_of(db, key))? {
            let path = directory(self.root(), id);
            let lock = match File::open(&path) {
                Ok(lock) => lock,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::io("open", &path, error).into()),
            };
            if flock(&lock, &path, mode, Wait::No)? {
                self.write(Commit::Lazy, |db| note_use(db, id, &self.inner.boot, true))?;
                return Ok(TakenMount::Ready(CacheDirectory::new(self, id, lock, lease)));
            }
            busy.get_or_insert((id, lock));
        }
        if let (Sharing::Locked, Some((id, lock))) = (sharing, busy) {
            return Ok(TakenMount::Busy(BusyMount { store: self.clone(), id, lock, lease }));
        }
        let (id, lock) = self.make_mount(key, name, mode, fill)?;
        Ok(TakenMount::Ready(CacheDirectory::new(self, id, lock, lease)))
    }

    /// A directory of the cache mount `key` that nobody uses just now, to be read. Nothing is made.
    pub fn resting_mount(&self, key: &CacheKey) -> Result<Option<CacheDirectory>> {
        let lease = self.lease()?;
        let _turn = self.lock_key(key)?;
        for id in self.read(|db| mounts_of(db, key))? {
            let path = directory(self.root(), id);
            let Ok(lock) = File::open(&path) else { continue };
            if flock(&lock, &path, Mode::Exclusive, Wait::No)? {
                return Ok(Some(CacheDirectory::new(self, id, lock, lease)));
            }
        }
        Ok(None)
    }

    fn make_mount<E: From<Error>>(
        &self,
        key: &CacheKey,
        name: &str,
        mode: Mode,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(MountId, File), E> {
        let session = self.session()?;
        let (number, aside) = session.fresh("")?;
        let id = MountId::from_number(number);
        let make = || -> Result<(), E> {
            DirBuilder::new().mode(0o700).create(&aside).at("create", &aside)?;
            let inner = aside.join("fs");
            fs::create_dir(&inner).at("create", &inner)?;
            fs::set_permissions(&inner, fs::Permissions::from_mode(0o755)).at("create", &inner)?;
            fill(&inner)
        };
        let path = directory(self.root(), id);
        let publish = || -> Result<File> {
            let lock = File::open(&aside).at("open", &aside)?;
            flock(&lock, &aside, mode, Wait::No)?;
            fs::rename(&aside, &path).at("create", &path)?;
            self.write(Commit::Lazy, |db| insert(db, id, key, name, &self.inner.boot))?;
            Ok(lock)
        };
        match make().and_then(|()| Ok(publish()?)) {
            Ok(lock) => Ok((id, lock)),
            Err(error) => {
                for leftover in [&aside, &path] {
                    trash::remove(self.root(), leftover).ok();
                }
                Err(error)
            }
        }
    }

    /// Those that nobody uses just now: what is flushed next covers all that was written to them.
    pub(crate) fn resting_mounts(&self) -> Result<Vec<i64>> {
        let rows = self.read(|db| {
            let mut select =
                db.prepare_cached("SELECT seq, id, key FROM mounts INDEXED BY mounts_unsynced WHERE boot IS NOT NULL")?;
            let rows =
                select.query_map([], |row| Ok((row.get(0)?, id_of(row.get(1)?), CacheKey::from_bytes(row.get(2)?))))?;
            Ok(rows.collect::<rusqlite::Result<Vec<(i64, MountId, CacheKey)>>>()?)
        })?;
        let mut resting = Vec::new();
        for (seq, id, key) in rows {
            // Nobody may take the short moment for a use.
            let Some(_turn) = self.try_lock_key(&key)? else { continue };
            let path = directory(self.root(), id);
            // One that is gone has nothing to flush.
            let Ok(lock) = File::open(&path) else { continue };
            if flock(&lock, &path, Mode::Exclusive, Wait::No)? {
                resting.push(seq);
            }
        }
        Ok(resting)
    }
}

/// `mounts/<id>`.
pub(crate) fn directory(root: &Path, id: MountId) -> PathBuf {
    root.join("mounts").join(id.to_string())
}

pub(crate) fn id_of(column: i64) -> MountId {
    MountId::from_number(column as u64)
}

/// The directories of a key, oldest first.
fn mounts_of(db: &Connection, key: &CacheKey) -> Result<Vec<MountId>> {
    let mut select = db.prepare_cached("SELECT id FROM mounts WHERE key = ? ORDER BY created_ms, id")?;
    let ids = select.query_map([key.as_bytes()], |row| Ok(id_of(row.get(0)?)))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

fn insert(db: &Transaction<'_>, id: MountId, key: &CacheKey, name: &str, boot: &str) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO mounts (id, key, name, created_ms, last_used_ms, uses, boot) VALUES (?1, ?2, ?3, ?4, ?4, 1, ?5)",
    )?
    .execute(params![id.number() as i64, key.as_bytes(), name, now_ms(), boot])?;
    Ok(())
}

/// Under a new number, so that a flush that is going on does not take it for covered.
fn note_use(db: &Transaction<'_>, id: MountId, boot: &str, begins: bool) -> Result<()> {
    let mut select =
        db.prepare_cached("DELETE FROM mounts WHERE id = ? RETURNING key, name, created_ms, uses, boot")?;
    let mut rows = select.query([id.number() as i64])?;
    let Some(row) = rows.next()? else { return Ok(()) };
    let (key, name): ([u8; 32], String) = (row.get(0)?, row.get(1)?);
    let (created, uses): (i64, i64) = (row.get(2)?, row.get(3)?);
    let before: Option<String> = row.get(4)?;
    while rows.next()?.is_some() {}
    // What a failed flush lost does not come back by using the rest.
    let boot = before.as_deref().filter(|before| *before == LOST).unwrap_or(boot);
    db.prepare_cached(
        "INSERT INTO mounts (id, key, name, created_ms, last_used_ms, uses, boot) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![id.number() as i64, key, name, created, now_ms(), uses + i64::from(begins), boot])?;
    Ok(())
}

//! Locks between processes: `flock` on files of the store. The kernel lets go of them when their holder dies, so
//! there are no stale ones.
//!
//! A key's lock file is removed by the holder when it lets go. Whoever waited on the removed file gets a lock that
//! keeps nobody out, sees that the file has no name any more, and tries again.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard};

use builder_solver::CacheKey;
use rustix::fs::FlockOperation;

use crate::error::{At, Error, Result};
use crate::store::{Store, locked};

/// Holds a key until it is dropped.
#[derive(Debug)]
pub struct KeyLock {
    _file: LockFile,
}

/// While one exists, nothing is deleted from the store. Clones count as one each.
#[derive(Debug, Clone)]
pub struct Lease {
    file: Arc<File>,
}

/// A lock file of its own that goes away with its holder.
#[derive(Debug)]
pub(crate) struct LockFile {
    path: PathBuf,
    /// Locked as long as it is open.
    _file: File,
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // While the lock is still held, so that nobody can have it under this name yet.
        std::fs::remove_file(&self.path).ok();
    }
}

impl LockFile {
    /// Takes the lock at `path`, and waits for it.
    pub(crate) fn take(path: &Path) -> Result<Self> {
        loop {
            let file = open(path)?;
            flock(&file, path, Mode::Exclusive, Wait::Yes)?;
            if has_name(&file, path)? {
                return Ok(Self { path: path.to_owned(), _file: file });
            }
        }
    }

    /// Takes the lock at `path` unless somebody has it.
    pub(crate) fn try_take(path: &Path) -> Result<Option<Self>> {
        loop {
            let file = open(path)?;
            if !flock(&file, path, Mode::Exclusive, Wait::No)? {
                return Ok(None);
            }
            if has_name(&file, path)? {
                return Ok(Some(Self { path: path.to_owned(), _file: file }));
            }
        }
    }

    /// Takes the lock at `path` if the file is there and nobody holds it: its holder died.
    pub(crate) fn take_over(path: &Path) -> Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("open", path, error)),
        };
        if flock(&file, path, Mode::Exclusive, Wait::No)? && has_name(&file, path)? {
            Ok(Some(Self { path: path.to_owned(), _file: file }))
        } else {
            Ok(None)
        }
    }
}

impl KeyLock {
    pub(crate) fn take(path: &Path) -> Result<Self> {
        Ok(Self { _file: LockFile::take(path)? })
    }

    pub(crate) fn try_take(path: &Path) -> Result<Option<Self>> {
        Ok(LockFile::try_take(path)?.map(|file| Self { _file: file }))
    }
}

impl Store {
    /// Waits until no other builder works on `key`. The kernel lets go of it when the process dies.
    pub fn lock_key(&self, key: &CacheKey) -> Result<KeyLock> {
        KeyLock::take(&self.key_path(key))
    }

    /// Takes the lock if nobody has it.
    pub fn try_lock_key(&self, key: &CacheKey) -> Result<Option<KeyLock>> {
        KeyLock::try_take(&self.key_path(key))
    }

    fn key_path(&self, key: &CacheKey) -> PathBuf {
        self.root().join("locks").join(key.to_string())
    }

    /// Keeps everybody from deleting from the store. Waits for a prune that is running.
    ///
    /// A builder takes one before it looks anything up. The first write takes one, too, and keeps it until the store
    /// is closed or this process prunes.
    pub fn lease(&self) -> Result<Lease> {
        let mut held = locked(&self.inner.lease);
        if let Some(lease) = &*held {
            return Ok(lease.clone());
        }
        let path = self.root().join("gc.lock");
        let file = open(&path)?;
        flock(&file, &path, Mode::Shared, Wait::Yes)?;
        let lease = Lease { file: Arc::new(file) };
        *held = Some(lease.clone());
        Ok(lease)
    }

    /// Lets go of the lease that was kept since the first write, unless somebody of this process holds one: what was
    /// written is referred to by now.
    pub fn rest(&self) {
        let mut held = locked(&self.inner.lease);
        if held.as_ref().is_some_and(|lease| Arc::strong_count(&lease.file) == 1) {
            *held = None;
        }
    }

    /// Has the store for itself, to delete from it.
    pub(crate) fn alone(&self, wait: Wait) -> Result<Alone<'_>> {
        let mut held = locked(&self.inner.lease);
        if held.as_ref().is_some_and(|lease| Arc::strong_count(&lease.file) > 1) {
            return Err(Error::InUse { path: self.root().to_owned() });
        }
        *held = None;
        let file = exclusive(self.root(), wait)?;
        Ok(Alone { _file: file, _held: held })
    }
}

/// Nobody else uses the store, not even another thread of this process.
#[derive(Debug)]
pub(crate) struct Alone<'a> {
    _file: File,
    _held: MutexGuard<'a, Option<Lease>>,
}

/// Whether to wait for a lock that somebody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    Yes,
    No,
}

/// With others, or alone.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mode {
    Shared,
    Exclusive,
}

/// The gc lock of the store at `root`, exclusively.
pub(crate) fn exclusive(root: &Path, wait: Wait) -> Result<File> {
    let path = root.join("gc.lock");
    let file = open(&path)?;
    if flock(&file, &path, Mode::Exclusive, wait)? { Ok(file) } else { Err(Error::InUse { path: root.to_owned() }) }
}

/// Waits until nobody has the gc lock exclusively: whoever sets a store up, or deletes from it, is done then.
pub(crate) fn settle(root: &Path) -> Result<()> {
    let path = root.join("gc.lock");
    flock(&open(&path)?, &path, Mode::Shared, Wait::Yes).map(drop)
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).at("open", path)
}

/// Takes the lock of an open file; tells whether it has it, which is always so after waiting.
pub(crate) fn flock(file: &File, path: &Path, mode: Mode, wait: Wait) -> Result<bool> {
    let operation = match (mode, wait) {
        (Mode::Shared, Wait::Yes) => FlockOperation::LockShared,
        (Mode::Shared, Wait::No) => FlockOperation::NonBlockingLockShared,
        (Mode::Exclusive, Wait::Yes) => FlockOperation::LockExclusive,
        (Mode::Exclusive, Wait::No) => FlockOperation::NonBlockingLockExclusive,
    };
    loop {
        match rustix::fs::flock(file, operation) {
            Ok(()) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(Error::io("lock", path, error)),
        }
    }
}

fn has_name(file: &File, path: &Path) -> Result<bool> {
    Ok(file.metadata().at("look at", path)?.nlink() > 0)
}

//! What a living process is writing: `active/<session>/`, spared by sweepers as long as `active/<session>.lock` is
//! locked.
//!
//! The lock is taken before the directory is made and let go after the directory is gone. So a directory without a
//! lock file, or with one that can be locked, belongs to nobody.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{At, Error, Result};
use crate::lock::LockFile;
use crate::store::{Store, locked, random_number};
use crate::trash;

/// This process's place below `active/`. It exists from the first layer or blob on.
#[derive(Debug)]
pub(crate) struct Session {
    root: PathBuf,
    directory: PathBuf,
    _lock: LockFile,
}

impl Drop for Session {
    fn drop(&mut self) {
        trash::remove(&self.root, &self.directory).ok();
    }
}

impl Session {
    fn begin(root: &Path) -> Result<Self> {
        loop {
            let name = format!("{:016x}", random_number()?);
            let directory = root.join("active").join(&name);
            let Some(lock) = LockFile::try_take(&lock_of(&directory))? else { continue };
            fs::create_dir(&directory).at("create", &directory)?;
            return Ok(Self { root: root.to_owned(), directory, _lock: lock });
        }
    }

    /// A path below it that nobody uses.
    pub(crate) fn fresh(&self, prefix: &str) -> Result<(u64, PathBuf)> {
        let number = random_number()?;
        Ok((number, self.directory.join(format!("{prefix}{number:016x}"))))
    }
}

impl Store {
    pub(crate) fn session(&self) -> Result<Arc<Session>> {
        let mut held = locked(&self.inner.session);
        if let Some(session) = &*held {
            return Ok(Arc::clone(session));
        }
        let session = Arc::new(Session::begin(self.root())?);
        *held = Some(Arc::clone(&session));
        Ok(session)
    }
}

/// Throws away what dead processes were writing. Cheap: a listing with two names a living process.
pub(crate) fn sweep(root: &Path) -> Result<()> {
    let active = root.join("active");
    for entry in fs::read_dir(&active).at("list", &active)? {
        let path = entry.at("list", &active)?.path();
        if path.extension().is_some_and(|extension| extension == "lock") {
            // Holding the lock, so that it is taken away after its directory.
            if let Some(_dead) = LockFile::take_over(&path)? {
                trash::discard(root, &path.with_extension(""))?;
            }
        } else {
            match fs::symlink_metadata(lock_of(&path)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => trash::discard(root, &path)?,
                Err(error) => return Err(Error::io("look at", &path, error)),
            }
        }
    }
    Ok(())
}

fn lock_of(directory: &Path) -> PathBuf {
    directory.with_extension("lock")
}

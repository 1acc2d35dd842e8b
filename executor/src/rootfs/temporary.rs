//! Directories that live as long as a value, and not longer than its process.
//!
//! Each is locked by its owner. Whoever makes one removes those that nobody holds any more: what a killed process
//! left behind goes with the next one.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Error, Result};

/// A directory that is removed with this value.
#[derive(Debug)]
pub(super) struct Temporary {
    directory: tempfile::TempDir,
    _lock: File,
}

impl Temporary {
    /// Makes one in `<root>/tmp`.
    pub(super) fn below(root: &Path) -> Result<Self> {
        let parent = root.join("tmp");
        let failed = |source| Error::File { what: "make a directory in", path: parent.clone(), source };
        fs::create_dir_all(&parent).map_err(failed)?;
        sweep(&parent);
        loop {
            let directory = tempfile::Builder::new().prefix("rootfs-").tempdir_in(&parent).map_err(failed)?;
            let lock = match File::open(directory.path()) {
                Ok(lock) => lock,
                // A sweeper was faster than the lock.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
            };
            // A sweeper may have been faster than the lock: then there is nothing at the path, or it is locked.
            let locked = lock.try_lock().is_ok();
            let there = fs::metadata(directory.path())
                .is_ok_and(|there| lock.metadata().is_ok_and(|is| is.ino() == there.ino()));
            if locked && there {
                return Ok(Self { directory, _lock: lock });
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }
}

fn sweep(parent: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with("rootfs-")));
    for path in ours.map(|entry| entry.path()).collect::<Vec<PathBuf>>() {
        let Ok(directory) = File::open(&path) else { continue };
        if directory.try_lock().is_ok() {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_holds_is_swept() {
        let root = tempfile::tempdir().unwrap();
        let held = Temporary::below(root.path()).unwrap();
        fs::write(held.path().join("file"), "").unwrap();
        let left = root.path().join("tmp/rootfs-left/deep");
        fs::create_dir_all(&left).unwrap();
        let other = Temporary::below(root.path()).unwrap();
        assert!(!left.exists() && held.path().join("file").exists());
        let path = other.path().to_owned();
        drop(other);
        assert!(!path.exists());
    }
}

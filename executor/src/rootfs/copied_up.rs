//! Directories that overlay copied up for something that was removed again.
//!
//! A mount point that the image lacks is made before a step and removed after it, and the times of the directory it was
//! in are set back. Overlay has by then copied that directory to the layer. Such copies are removed again when they are
//! empty and otherwise like the original.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, Timespec, Timestamps};

use super::vfs;

#[derive(Debug)]
pub(super) struct CopiedUp {
    lower: Vec<PathBuf>,
    upper: PathBuf,
    /// Relative to the root, parents before what is in them.
    directories: Mutex<BTreeSet<PathBuf>>,
}

impl CopiedUp {
    pub(super) fn new(lower: Vec<PathBuf>, upper: &Path) -> Self {
        Self { lower, upper: upper.to_owned(), directories: Mutex::default() }
    }

    /// Notes `directory` and those above it that are not in the layer yet.
    pub(super) fn note(&self, directory: impl AsFd) {
        // For a mount that is attached nowhere the kernel tells the path from its root.
        let Ok(path) = fs::read_link(format!("/proc/self/fd/{}", directory.as_fd().as_raw_fd())) else { return };
        let Ok(path) = path.strip_prefix("/") else { return };
        let mut directories = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        for path in path.ancestors().filter(|path| !path.as_os_str().is_empty()) {
            if fs::symlink_metadata(self.upper.join(path)).is_err() {
                directories.insert(path.to_owned());
            }
        }
    }

    /// Removes the copies that say nothing.
    pub(super) fn remove(self) {
        let directories = self.directories.into_inner().unwrap_or_else(PoisonError::into_inner);
        for path in directories.iter().rev() {
            let copy = self.upper.join(path);
            let original = self.lower.iter().map(|lower| lower.join(path)).find(|path| path.is_dir());
            if original.is_some_and(|original| alike(&original, &copy)) {
                let above = copy.parent().map(|above| (above, fs::symlink_metadata(above)));
                // Refused by the kernel if there is anything in it.
                if fs::remove_dir(&copy).is_ok()
                    && let Some((above, Ok(metadata))) = above
                {
                    let _ = set_times(above, &metadata);
                }
            }
        }
    }
}

/// Gives a directory the times that it had.
fn set_times(directory: &Path, had: &fs::Metadata) -> rustix::io::Result<()> {
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps {
        last_access: time(had.atime(), had.atime_nsec()),
        last_modification: time(had.mtime(), had.mtime_nsec()),
    };
    rustix::fs::utimensat(rustix::fs::CWD, directory, &times, AtFlags::SYMLINK_NOFOLLOW)
}

fn alike(original: &Path, copy: &Path) -> bool {
    let (Ok(one), Ok(other)) = (fs::symlink_metadata(original), fs::symlink_metadata(copy)) else { return false };
    let facts = |found: &fs::Metadata| (found.mode(), found.uid(), found.gid(), found.mtime(), found.mtime_nsec());
    let attributes = (vfs::xattrs(original), vfs::xattrs(copy));
    facts(&one) == facts(&other)
        && matches!(attributes, (Ok(one), Ok(other)) if one == other)
        && !vfs::is_opaque(copy).unwrap_or(true)
}

//! Root file systems: a chain of layer directories as one tree.
//!
//! A [`Driver`] turns the directories of a [`Snapshot`](builder_cache::Snapshot), and one for changes, into a
//! [`RootMount`]: a mount that is attached nowhere. It is a descriptor, usable as the root of lookups ([`in_root`]) and as the root of one sandbox; when
//! the last descriptor is gone the mount is gone, however the process ended.
//!
//! Invariants: nobody attaches a mount in the host's mount name space; paths of images are only looked up with
//! [`in_root`]; what is in the directory for changes after [`RootMount::finish`] is a layer in overlay form,
//! whatever the driver.

mod copied_up;
mod driver;
pub mod in_root;
mod overlay;
mod temporary;
mod vfs;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

pub use driver::{Driver, DriverKind, Purpose};

/// What goes wrong with root file systems.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call that builds a mount failed.
    #[error("can't {what}: {source}")]
    Mount {
        /// What was attempted.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// More layers than an overlay takes.
    #[error("the image has {count} layers, an overlay takes {limit}: flatten it with `builder import`")]
    TooManyLayers {
        /// How many.
        count: usize,
        /// The kernel's limit.
        limit: usize,
    },
    /// A driver was asked for by name that does not work here.
    #[error("the driver {driver} does not work here: {reason}")]
    Driver {
        /// Its name.
        driver: &'static str,
        /// Why not.
        reason: String,
    },
    /// A file could not be copied, read or removed.
    #[error("can't {what} {path}: {source}", path = path.display())]
    File {
        /// What was attempted.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The store does not know the snapshot.
    #[error(transparent)]
    Store(#[from] builder_cache::Error),
}

/// Result of this module.
pub type Result<T> = std::result::Result<T, Error>;

/// A root file system, mounted nowhere.
#[derive(Debug)]
pub struct RootMount {
    fd: OwnedFd,
    writable: bool,
    copy: Option<vfs::WorkingCopy>,
    copied_up: Option<copied_up::CopiedUp>,
}

impl RootMount {
    /// Whether changes are possible.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// Unmounts, and completes the directory for changes. Without it (a failed step) that directory holds nothing
    /// of use.
    ///
    /// # Errors
    /// When the vfs driver can't write down the difference.
    pub fn finish(self) -> Result<()> {
        drop(self.fd);
        if let Some(copied_up) = self.copied_up {
            copied_up.remove();
        }
        match self.copy {
            Some(copy) => copy.write_difference(),
            None => Ok(()),
        }
    }

    /// Something is about to be made in `directory` that will be removed again. [`RootMount::finish`] then sees to
    /// it that not even a copy of the directory is left among the changes.
    pub(crate) fn will_be_restored(&self, directory: impl AsFd) {
        if let Some(copied_up) = &self.copied_up {
            copied_up.note(directory);
        }
    }
}

impl AsFd for RootMount {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

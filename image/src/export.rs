//! A root file system → a directory or a tar of the user's. The root is an open directory; mounting is not done here.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use crate::block::{Pulled, pull};
use crate::layer::{Error, Unpacked, unpack_stream, write_exact};
use crate::tar::{Reason, TarError};

pub use crate::layer::write_root as tar;

/// Copies everything below `root` into `directory`, which is made if it is missing: files with their holes, links, hard
/// links, devices, pipes, owners, modes, times and attributes. What is in `directory` already stays, unless something
/// of the same name replaces it; links in it are followed inside of it only. Who is not root gets files of his own.
///
/// `clamp`: no file is younger than this, in seconds since the epoch.
pub fn directory(root: &OwnedFd, directory: &Path, clamp: Option<i64>) -> Result<Unpacked, Error> {
    std::fs::create_dir_all(directory).map_err(|error| Error::at("create", directory, error))?;
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let target = rustix::fs::open(directory, flags, rustix::fs::Mode::empty())
        .map_err(|error| Error::at("open", directory, error))?;
    let Pulled { consumed, produced, .. } =
        pull(false, |out| write_exact(root, clamp, out), |input| unpack_stream(input, target.as_fd()));
    match (produced, consumed) {
        (Err(Error::Stopped(_)) | Ok(()), consumed) => consumed.map_err(Error::from),
        // The reader only saw the stream end.
        (Err(error), Ok(_) | Err(TarError { reason: Reason::Truncated, .. })) => Err(error),
        (Err(_), Err(error)) => Err(error.into()),
    }
}

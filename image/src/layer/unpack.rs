//! Any tar → files in a root that is in use: `ADD archive`, and exports to a directory.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use std::os::unix::ffi::OsStrExt;

use rustix::process::geteuid;

use super::error::Error;
use super::extract::{Extract, Place};
use super::input::{Consumed, read_tar};
use super::node::Rules;
use super::path::clean;
use crate::block::BlockReader;
use crate::tar::{Limits, Reader, TarError};

/// How to unpack an archive.
#[derive(Debug, Clone, Default)]
pub struct UnpackOptions {
    /// How much the archive may hold.
    pub limits: Limits,
    /// Everything belongs to this user and group, whatever the archive says.
    pub owner: Option<(u32, u32)>,
}

/// What was unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unpacked {
    /// Entries.
    pub files: u64,
    /// Bytes of regular files.
    pub size: u64,
}

/// Unpacks a tar, compressed in any way or not, into the directory `destination` of the open directory `root`, and
/// makes that directory if it is missing. Links are followed inside of `root` only, as in a process whose root it is.
pub fn unpack(
    input: impl Read + Send,
    root: BorrowedFd<'_>,
    destination: &Path,
    options: &UnpackOptions,
) -> Result<Unpacked, Error> {
    unpack_with(input, root, destination, options, false)
}

/// The same; with `kinds_stay` nothing but a directory takes the place of a directory, and the other way round.
pub(super) fn unpack_with(
    input: impl Read + Send,
    root: BorrowedFd<'_>,
    destination: &Path,
    options: &UnpackOptions,
    kinds_stay: bool,
) -> Result<Unpacked, Error> {
    let base = destination.as_os_str().as_bytes();
    let base = clean(base).map_err(|reason| TarError::new(base, 0, reason))?;
    let rules = Rules {
        owner: options.owner,
        best_effort_xattrs: true,
        // A directory with the set-group-id bit gives its group to what is made in it.
        made_by_root: false,
        keep_owner: false,
    };
    let Consumed { value, .. } = read_tar(input, options.limits, false, |reader| {
        let mut extract = Extract::new(root, Place::Root, base, rules);
        if kinds_stay {
            extract.keep_kinds();
        }
        extract.all(reader)?;
        Ok(extract.unpacked())
    })?;
    Ok(value)
}

/// Unpacks a tar that is not compressed into a directory of the user's. Owners are kept if they may be.
pub(crate) fn unpack_stream(input: &mut BlockReader, root: BorrowedFd<'_>) -> Result<Unpacked, TarError> {
    let rules = Rules { best_effort_xattrs: true, keep_owner: !geteuid().is_root(), ..Rules::default() };
    let mut extract = Extract::new(root.as_fd(), Place::Root, Vec::new(), rules);
    let mut reader = Reader::new(input, Limits::default());
    extract.all(&mut reader)?;
    reader.drain()?;
    Ok(Unpacked { files: extract.files, size: extract.size })
}

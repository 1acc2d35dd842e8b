//! A layer's tar → a directory in overlay form.
//!
//! Layers of one image can be applied at the same time, each to its own directory. What an entry's path implies but no
//! entry describes (`usr/bin/tool` without `usr/`) is made with mode 0755 for 0:0 and reported in
//! [`Applied::implied`]; when the layers below are there, [`inherit_parents`] gives such directories the owner and
//! mode that they have below. Overlay shows the topmost directory's, so without it `/tmp` would lose its sticky bit.

use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use builder_cache::{BlobInfo, DiffId};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Uid, fchown, fstat, openat2, statat};
use rustix::process::geteuid;

use super::error::Error;
use super::extract::{Extract, Place};
use super::input::{Consumed, read_tar};
use super::node::{self, Rules, open_root};
use crate::tar::{Limits, TarError};

/// How to apply a layer.
#[derive(Debug, Clone, Default)]
pub struct ApplyOptions {
    /// How much the archive may hold.
    pub limits: Limits,
    /// The digest that the tar must have; anything else is an error.
    pub diff_id: Option<DiffId>,
    /// Hash the stream as it comes, too ([`Applied::blob`]).
    pub hash_blob: bool,
    /// Directories of the layers below, topmost first, when they are there already.
    pub lowers: Vec<PathBuf>,
}

/// A layer that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The digest of the tar.
    pub diff_id: DiffId,
    /// The size of the tar.
    pub tar_size: u64,
    /// Digest and size of the stream as it came.
    pub blob: Option<BlobInfo>,
    /// Entries made.
    pub files: u64,
    /// Bytes of regular files, hard links counted once.
    pub size: u64,
    /// Directories that only paths spoke of.
    pub implied: Vec<Vec<u8>>,
}

/// Applies a layer's tar, compressed in any way or not, to the empty directory `directory`. After an error the
/// directory holds a part of the layer and is to be thrown away.
pub fn apply_layer(input: impl Read + Send, directory: &Path, options: &ApplyOptions) -> Result<Applied, Error> {
    let root = open_root(directory).map_err(|error| Error::at("open", directory, error))?;
    let rules = Rules { made_by_root: geteuid().is_root(), ..Rules::default() };
    let Consumed { value: (files, size, implied), tar, blob } =
        read_tar(input, options.limits, options.hash_blob, |reader| {
            let mut extract = Extract::new(root.as_fd(), Place::Layer, Vec::new(), rules);
            extract.all(reader)?;
            Ok((extract.files, extract.size, extract.implied.into_iter().collect::<Vec<_>>()))
        })?;
    if let Some(expected) = options.diff_id.filter(|expected| *expected != tar.digest) {
        return Err(Error::DiffId { expected, found: tar.digest });
    }
    inherit_parents(directory, &implied, &options.lowers)?;
    Ok(Applied { diff_id: tar.digest, tar_size: tar.size, blob, files, size, implied })
}

/// Gives the `implied` directories of a layer the owner, mode and time that they have in the layers below, whose
/// directories are given topmost first.
pub fn inherit_parents(directory: &Path, implied: &[Vec<u8>], lowers: &[PathBuf]) -> Result<(), Error> {
    if implied.is_empty() || lowers.is_empty() {
        return Ok(());
    }
    let open = |path: &Path| open_root(path).map_err(|error| Error::at("open", path, error));
    let root = open(directory)?;
    let lowers = lowers.iter().map(|lower| open(lower)).collect::<Result<Vec<_>, _>>()?;
    for path in implied {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let open_below = |root, flags| openat2(root, path.as_slice(), flags | OFlags::CLOEXEC, Mode::empty(), resolve);
        // What is found first counts, even if it is no directory: then the one here is new.
        let below = lowers.iter().find_map(|lower| open_below(lower, OFlags::PATH | OFlags::NOFOLLOW).ok());
        let Some(below) = below else { continue };
        let fail = |error: rustix::io::Errno| Error::io("set the owner and mode of", path, error);
        let stat = statat(&below, c"", AtFlags::EMPTY_PATH).map_err(fail)?;
        if !node::is_directory(&stat) {
            continue;
        }
        let fd = open_below(&root, OFlags::RDONLY | OFlags::DIRECTORY).map_err(fail)?;
        let now = fstat(&fd).map_err(fail)?;
        if (now.st_uid, now.st_gid) != (stat.st_uid, stat.st_gid) {
            fchown(&fd, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid))).map_err(fail)?;
        }
        node::finish_directory(fd.as_fd(), stat.st_mode & 0o7777, (stat.st_mtime, stat.st_mtime_nsec as u32))
            .map_err(|reason| TarError::new(path, 0, reason))?;
    }
    Ok(())
}

//! The local context: a directory of the person who builds.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use builder_solver::Selection;
use rustix::fs::{FileType, Mode, OFlags};

use super::digest::SelectionDigest;
use super::error::{SourceError, show};
use super::hash::with_buffer;
use super::resolve::{Found, ResolveError, probe, resolve_with};
use super::root;
use super::source::FileSource;
use crate::pattern::{IgnoreMatcher, clean_rooted};

/// A directory to build from. Cheap to open: nothing is scanned before it is selected.
#[derive(Debug)]
pub struct LocalContext {
    source: FileSource,
    directory: PathBuf,
}

impl LocalContext {
    /// Opens a directory. `index` is where its stat index is kept (`Store::context_index`); without one every file
    /// is read.
    pub fn open(directory: &Path, ignore: IgnoreMatcher, index: Option<PathBuf>) -> Result<Self, SourceError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(directory, flags, Mode::empty())
            .map_err(|error| SourceError::Open { path: directory.display().to_string(), error: error.into() })?;
        Ok(Self { source: FileSource::local(root, ignore, index), directory: directory.to_owned() })
    }

    /// Opens a directory that belongs to the build and that nobody changes. Its files keep their owners, and there is
    /// no ignore file.
    pub fn open_tree(directory: &Path) -> Result<Self, SourceError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(directory, flags, Mode::empty())
            .map_err(|error| SourceError::Open { path: directory.display().to_string(), error: error.into() })?;
        Ok(Self { source: FileSource::snapshot(root)?, directory: directory.to_owned() })
    }

    /// The directory as it was given.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The files to copy from.
    pub fn source(&self) -> &FileSource {
        &self.source
    }

    /// The digest of what selections pick; of everything when there are none. Writes the stat index.
    pub fn digest(&self, selections: &[Selection]) -> Result<SelectionDigest, SourceError> {
        self.source.digest(selections)
    }

    /// Reads a file, links followed inside the directory, whether or not an ignore pattern excludes it: the
    /// Dockerfile and the ignore file itself. `None` when it is not there.
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, SourceError> {
        read_file(self.source.root(), path, limit)
    }
}

/// Reads a regular file beneath `root`, links followed inside it.
pub(crate) fn read_file(root: impl AsFd, path: &str, limit: u64) -> Result<Option<Vec<u8>>, SourceError> {
    let root = root.as_fd();
    let wanted = clean_rooted(path.as_bytes());
    let resolved = resolve_with(&wanted, |path| probe(root, path)).map_err(|error| match error {
        ResolveError::TooManyLinks => SourceError::TooManyLinks { source_path: show(&wanted) },
        ResolveError::Probe(error) => SourceError::read("look at", &wanted, error),
    })?;
    if resolved.found == Found::Missing {
        return Ok(None);
    }
    let failed = |error: rustix::io::Errno| SourceError::read("read", &wanted, error);
    let file = root::open_file(root, &resolved.path).map_err(failed)?;
    let stat = rustix::fs::fstat(&file).map_err(failed)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        let error = std::io::Error::other("it is not a regular file");
        return Err(SourceError::read("read", &wanted, error));
    }
    let mut bytes = Vec::new();
    with_buffer(64 * 1024, |buffer| {
        loop {
            let length = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut *buffer)).map_err(failed)?;
            if length == 0 {
                return Ok(Some(std::mem::take(&mut bytes)));
            }
            bytes.extend_from_slice(&buffer[..length]);
            if bytes.len() as u64 > limit {
                return Err(SourceError::TooLarge { path: show(&wanted), limit });
            }
        }
    })
}

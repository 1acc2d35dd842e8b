//! `ADD`: archives among the sources are unpacked. How is somebody else's business ([`Extract`]); here is decided
//! what is one, and where it goes.

use std::fs::File;
use std::os::fd::BorrowedFd;

use builder_solver::CopyAction;

use crate::context::root::{self, join};
use crate::context::{Entry, EntryContent, FileSource, Item, SourceError, show};

use super::error::CopyError;
use super::plan::Plan;
use super::write::Written;

/// Unpacks archives.
pub trait Extractor {
    /// Whether the file is a tar archive with at least one entry, plain or compressed.
    fn is_archive(&self, file: File) -> bool;

    /// Unpacks it.
    ///
    /// # Errors
    /// Whatever is wrong with the archive, or with what it should be unpacked to.
    fn extract(&self, extraction: Extraction<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// What `ADD` unpacks with.
pub type Extract<'e> = dyn Extractor + Sync + 'e;

/// One archive to unpack.
#[derive(Debug)]
pub struct Extraction<'e> {
    /// The archive, read from its start.
    pub archive: File,
    /// The root of the destination.
    pub root: BorrowedFd<'e>,
    /// The directory to unpack into: there, relative to the root, without links.
    pub directory: &'e [u8],
    /// The owner of everything, instead of what the archive says.
    pub owner: Option<(u32, u32)>,
}

/// Carries a copy out whose sources may be archives; `true` when one was. Everything that was planned is written
/// before an archive is unpacked, in the order of the sources.
pub(super) fn copy_or_unpack<'a>(
    root: BorrowedFd<'a>,
    plan: &mut Plan<'a>,
    copy: &CopyAction,
    source: &'a FileSource,
    extract: &Extract<'_>,
    written: &mut Written,
) -> Result<bool, CopyError> {
    let mut unpacked = false;
    for item in source.select(&copy.selection)?.items {
        let ownership = plan.ownership(copy)?;
        let Some(archive) = open_archive(&item, source, extract)? else {
            plan.copy_item(copy, &item, source, &ownership)?;
            continue;
        };
        unpacked = true;
        let directory = plan.destination_directory(&copy.dest, &ownership)?;
        *written += plan.write(root, None)?;
        *plan = Plan::new(root)?;
        let owner = match copy.owner {
            builder_solver::Owner::Default => None,
            builder_solver::Owner::Named(_) => Some((ownership.uid, ownership.gid)),
        };
        let extraction = Extraction { archive, root, directory: &directory, owner };
        extract.extract(extraction).map_err(|error| CopyError::Unpack { path: show(&item.path), error })?;
    }
    Ok(unpacked)
}

/// The item as an open archive, if it is one.
fn open_archive(item: &Item, source: &FileSource, extract: &Extract<'_>) -> Result<Option<File>, CopyError> {
    let Some(entry) = item.content.entry() else { return Ok(None) };
    if !matches!(entry.content, EntryContent::File(_)) || entry.stamp.size == 0 {
        return Ok(None);
    }
    let path = join(&item.content.directory().path, &entry.name);
    let open = || -> Result<File, CopyError> {
        let file = root::open_file(source.root(), &path).map_err(|error| SourceError::read("read", &path, error))?;
        unchanged(&file, entry, source, &path)?;
        Ok(File::from(file))
    };
    if extract.is_archive(open()?) { open().map(Some) } else { Ok(None) }
}

fn unchanged(file: impl std::os::fd::AsFd, entry: &Entry, source: &FileSource, path: &[u8]) -> Result<(), SourceError> {
    let stat = rustix::fs::fstat(file).map_err(|error| SourceError::read("look at", path, error))?;
    if source.verify() && crate::context::Stamp::of(&stat) != entry.stamp {
        return Err(SourceError::changed(path));
    }
    Ok(())
}

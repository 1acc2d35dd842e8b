//! `COPY`, `ADD`, `WORKDIR`: changes to files that make one layer.
//!
//! When the same step ran before on the same base and few files differ, the new layer is a delta over the old one: only
//! what differs is written, and both directories together are the layer.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use builder_cache::content::Trees;
use builder_cache::{ActiveLayer, LayerId, LayerMeta, Snapshot};
use builder_image::compress::is_archive;
use builder_image::layer::{UnpackOptions, unpack};
use builder_solver::{CopyAction, FileAction, FileOp, LogStream, Op, Owner, Source, Task, Vertex};

use super::Inner;
use super::commit::{RootAttributes, commit_upper, now_ms};
use super::error::OpError;
use crate::context::FileSource;
use crate::copy::{self, Extraction, Extractor, Plan};
use crate::rootfs::{DriverKind, Purpose, RootMount};

/// How many deltas may lie over one another. Each costs a directory in every later mount.
const MAX_PARTS: usize = 8;

/// How many directories a chain may have for a delta to add one: mounts have a limit, which old kernels set low.
const MAX_DIRECTORIES: usize = 48;

/// Carries the actions out and commits the layer.
pub(super) fn run(inner: &Inner, task: &Task<Snapshot>) -> Result<Snapshot, OpError> {
    let Op::File(op) = &task.vertex.op else { return Err(OpError::Inputs { op: "file", expected: 1, found: 0 }) };
    let Some((base, others)) = task.inputs.split_first() else {
        return Err(OpError::Inputs { op: "file", expected: 1, found: 0 });
    };
    let base = &base.output;
    let sources: Vec<Opened<'_>> =
        others.iter().map(|input| Opened::open(inner, &input.vertex, &input.output)).collect::<Result<_, _>>()?;
    if let Some(layer) = write_delta(inner, op, base, &sources, task)? {
        return Ok(base.with(layer));
    }
    let active = inner.store.new_layer()?;
    let root = inner.driver.mount(&inner.store, base, Some((active.upper(), active.work())), Purpose::Files)?;
    tell_unknown_owners(root.as_fd(), op, task);
    let before = RootAttributes::of(&active)?;
    let is_overlay = inner.driver.probe()?.0 == DriverKind::Overlay;
    let applied = copy::apply(
        root.as_fd(),
        &op.actions,
        |input| sources.get(input.checked_sub(1)?).map(Opened::source),
        Some(&Archives),
    )?;
    root.finish()?;
    if task.cancel.is_cancelled() {
        return Err(OpError::Cancelled);
    }
    // Without overlay the upper directory is a difference, and need not hold all that was planned.
    let planned = applied.content.filter(|_| is_overlay);
    let layer = match planned {
        None => commit_upper(active, before)?,
        Some(content) => commit_known(inner, active, &content, applied.written, None)?,
    };
    Ok(base.with(layer))
}

/// Says in the step's output which owners the image does not know: BuildKit takes root for them and says nothing.
fn tell_unknown_owners(root: BorrowedFd<'_>, op: &FileOp, task: &Task<Snapshot>) {
    let owners: HashSet<&Owner> = op
        .actions
        .iter()
        .map(|action| match action {
            FileAction::Copy(copy) => &copy.owner,
            FileAction::Mkdir { owner, .. } | FileAction::Mkfile { owner, .. } => owner,
        })
        .collect();
    let sentences: BTreeSet<String> = owners.into_iter().flat_map(|owner| copy::unknown_names(root, owner)).collect();
    for told in sentences {
        task.log.write_blocking(LogStream::Stderr, format!("warning: {told}\n").into_bytes());
    }
}

/// Where the files of a copy come from.
enum Opened<'a> {
    Local(&'a FileSource),
    Snapshot(Box<MountedSource>),
}

/// A snapshot to copy from.
struct MountedSource {
    source: FileSource,
    /// The source reads from it.
    _root: RootMount,
}

impl<'a> Opened<'a> {
    fn open(inner: &'a Inner, vertex: &Vertex, output: &Snapshot) -> Result<Self, OpError> {
        if let Op::Source(Source::Local { name }) = &vertex.op {
            return Ok(Self::Local(inner.context(name)?.source()));
        }
        let root = inner.driver.mount(&inner.store, output, None, Purpose::Files)?;
        let source = FileSource::snapshot_to_copy(&root)?;
        Ok(Self::Snapshot(Box::new(MountedSource { source, _root: root })))
    }

    fn source(&self) -> &FileSource {
        match self {
            Self::Local(source) => source,
            Self::Snapshot(mounted) => &mounted.source,
        }
    }
}

/// Commits a layer whose content is known from the plan; nothing is read again.
fn commit_known(
    inner: &Inner,
    active: ActiveLayer,
    content: &Trees,
    written: copy::Written,
    base: Option<LayerId>,
) -> Result<LayerId, OpError> {
    let upper = active.upper();
    let mut entries = std::fs::read_dir(upper).map_err(|source| OpError::Write { path: upper.to_owned(), source })?;
    let empty = base.is_none() && entries.next().is_none();
    inner.store.put_trees(content)?;
    let meta = LayerMeta {
        content: Some(content.root),
        base,
        size: written.bytes,
        files: written.files,
        empty,
        created_ms: now_ms(),
        ..LayerMeta::default()
    };
    Ok(active.commit(meta)?)
}

/// Writes only the difference to the last result of this step, when that is possible and worth it.
fn write_delta(
    inner: &Inner,
    op: &FileOp,
    base: &Snapshot,
    sources: &[Opened<'_>],
    task: &Task<Snapshot>,
) -> Result<Option<LayerId>, OpError> {
    let ([FileAction::Copy(action)], [Opened::Local(source)]) = (op.actions.as_slice(), sources) else {
        return Ok(None);
    };
    let Some((last, below)) = task.previous.as_ref().and_then(|previous| previous.layers.split_last()) else {
        return Ok(None);
    };
    if below != base.layers || unpacks(action, source)? || inner.driver.probe()?.0 != DriverKind::Overlay {
        return Ok(None);
    }
    let (Some(old), parts) = (inner.store.layer(last)?.meta.content, inner.store.part_dirs(last)?) else {
        return Ok(None);
    };
    if parts.len() >= MAX_PARTS {
        return Ok(None);
    }
    let base_root = inner.driver.mount(&inner.store, base, None, Purpose::Files)?;
    let mut plan = Plan::new(base_root.as_fd())?;
    plan.copy(action, source)?;
    let Some(delta) = plan.delta(&old, |digest| inner.store.get_tree(digest).ok().flatten()) else { return Ok(None) };
    // A layer on nothing may be put on top of anything later (`--link`), where its removals would remove.
    let nothing_to_hide = !base.layers.is_empty() || delta.remove.is_empty();
    if !nothing_to_hide || !delta.removes_nothing_of(&base_root)? {
        return Ok(None);
    }
    let mut lower = parts;
    lower.extend(inner.store.lower_dirs(base)?);
    if lower.len() > MAX_DIRECTORIES {
        return Ok(None);
    }
    let active = inner.store.new_layer()?;
    let root = inner.driver.mount_directories(lower, Some((active.upper(), active.work())), Purpose::Files)?;
    let written = plan.write(root.as_fd(), Some(&delta))?;
    let content = plan.content();
    root.finish()?;
    match content {
        Some(content) => commit_known(inner, active, &content, written, Some(*last)).map(Some),
        None => Ok(None),
    }
}

/// An `ADD` is as good as a `COPY` when nothing that it selects is an archive; finding that out means opening the files.
fn unpacks(action: &CopyAction, source: &FileSource) -> Result<bool, OpError> {
    if !action.unpack {
        return Ok(false);
    }
    let items = source.select(&action.selection)?.items;
    Ok(items.iter().any(|item| item.content.entry().is_some()))
}

/// Archives are unpacked by the image crate's hardened reader.
struct Archives;

impl Extractor for Archives {
    fn is_archive(&self, file: File) -> bool {
        is_archive(file)
    }

    fn extract(&self, extraction: Extraction<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let options = UnpackOptions { owner: extraction.owner, ..UnpackOptions::default() };
        let directory = Path::new(std::ffi::OsStr::from_bytes(extraction.directory));
        unpack(extraction.archive, extraction.root, directory, &options)?;
        Ok(())
    }
}

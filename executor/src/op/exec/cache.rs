//! Cache mounts of a step: which directory of the store each one is, and what it begins with.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt::Debug;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use builder_cache::{CacheDirectory, Snapshot, TakenMount};
use builder_solver::digest::FramedHasher;
use builder_solver::{
    CacheKey, CacheMount, CopyAction, Exec, FileAction, LogStream, MountKind, Owner, Selection, Sharing, Task,
};
use rustix::fs::{Mode, OFlags};

use crate::context::FileSource;
use crate::copy;
use crate::op::{BuildWorker, Inner, OpError};
use crate::rootfs::{Purpose, in_root};

/// What a cache mount is like when nothing is said about it.
const USUAL: (u32, u32, u32) = (0o755, 0, 0);

/// The directories of a step's cache mounts, by the position of the mount.
pub(super) type Caches = BTreeMap<usize, Arc<CacheDirectory>>;

/// Takes the cache mounts of `exec`, waiting for those that others have for themselves.
///
/// Every step takes them in the order of their keys, so that two that want the same ones never wait for each other.
pub(super) async fn take(worker: &BuildWorker, exec: &Exec, task: &Task<Snapshot>) -> Result<Caches, OpError> {
    let mut wanted: BTreeMap<CacheKey, (CacheMount, Vec<usize>)> = BTreeMap::new();
    for (position, mount) in exec.mounts.iter().enumerate() {
        let MountKind::Cache(cache) = &mount.kind else { continue };
        let (first, positions) = wanted.entry(key(cache, task)?).or_insert_with(|| (cache.clone(), Vec::new()));
        // One that is mounted twice is taken once, in the way that asks for most.
        if first.sharing == Sharing::Shared || cache.sharing == Sharing::Locked {
            first.sharing = cache.sharing;
        }
        positions.push(position);
    }
    let mut caches = Caches::new();
    for (key, (cache, positions)) in wanted {
        let directory = Arc::new(take_one(worker, key, cache, task).await?);
        caches.extend(positions.into_iter().map(|position| (position, Arc::clone(&directory))));
    }
    Ok(caches)
}

async fn take_one(
    worker: &BuildWorker,
    key: CacheKey,
    cache: CacheMount,
    task: &Task<Snapshot>,
) -> Result<CacheDirectory, OpError> {
    let name = cache.id.strip_prefix('/').unwrap_or(&cache.id).to_owned();
    let seed = match &cache.seed {
        Some((input, _)) => Some(input_of(task, *input)?),
        None => None,
    };
    let shown = name.clone();
    let log = task.log.clone();
    let taken = worker
        .blocking(move |inner| {
            let fill = |directory: &Path| {
                let carried = inner.options.mounts.as_deref().filter(|_| cache.seed.is_none());
                match carried.map(|carried| carried.fill(&key, directory)) {
                    None | Some(Ok(())) => {}
                    Some(Err(error)) => {
                        let note =
                            format!("the cache mount {name} begins without what was to be carried to it: {error}\n");
                        log.write_blocking(LogStream::Stderr, note.into_bytes());
                        empty(directory)?;
                    }
                }
                fill(inner, &cache, seed.as_ref(), directory)
            };
            inner.store.take_mount(&key, &name, cache.sharing, fill)
        })
        .await?;
    match taken {
        TakenMount::Ready(directory) => Ok(directory),
        TakenMount::Busy(busy) => {
            let note = format!("waiting for the cache mount {shown}, which another step has locked\n");
            task.log.write(LogStream::Stderr, note.into_bytes()).await;
            tokio::select! {
                directory = worker.blocking(move |_| Ok(busy.wait()?)) => directory,
                () = task.cancel.cancelled() => Err(OpError::Cancelled),
            }
        }
    }
}

fn input_of(task: &Task<Snapshot>, input: usize) -> Result<Snapshot, OpError> {
    let missing = || OpError::Inputs { op: "exec", expected: input + 1, found: task.inputs.len() };
    Ok(task.inputs.get(input).ok_or_else(missing)?.output.clone())
}

/// Brings what cache mounts begin with from elsewhere.
pub trait CarriedMounts: Debug + Send + Sync {
    /// Puts the files of a mount into its directory, which is empty; leaves it empty when there are none. After an error
    /// it may hold anything.
    ///
    /// # Errors
    /// When there are files that can't be had.
    fn fill(&self, key: &CacheKey, directory: &Path) -> Result<(), Box<dyn StdError + Send + Sync>>;
}

/// The key of a cache mount on any machine; `None` for one that begins with the files of an image or a stage.
pub fn mount_key(cache: &CacheMount) -> Option<CacheKey> {
    cache.seed.is_none().then(|| CacheKey::from_bytes(unseeded(cache).finish()))
}

fn unseeded(cache: &CacheMount) -> FramedHasher {
    let mut hasher = FramedHasher::new("cache mount");
    hasher.part(cache.id.as_bytes());
    for number in [cache.mode, cache.uid, cache.gid] {
        hasher.number(u64::from(number));
    }
    hasher
}

fn empty(directory: &Path) -> Result<(), OpError> {
    let write = |source| OpError::Write { path: directory.to_owned(), source };
    for entry in fs::read_dir(directory).map_err(write)? {
        let entry = entry.map_err(write)?;
        let removed = if entry.file_type().map_err(write)?.is_dir() {
            fs::remove_dir_all(entry.path())
        } else {
            fs::remove_file(entry.path())
        };
        removed.map_err(write)?;
    }
    Ok(())
}

/// Two mounts are the same cache when they have the same id, begin with the same files, and look the same. The path
/// that somebody writes into an id is never one of the store.
fn key(cache: &CacheMount, task: &Task<Snapshot>) -> Result<CacheKey, OpError> {
    let mut hasher = unseeded(cache);
    if let Some((input, source)) = &cache.seed {
        hasher.part(source.as_bytes());
        for layer in input_of(task, *input)?.layers {
            hasher.part(layer.to_string().as_bytes());
        }
    }
    Ok(CacheKey::from_bytes(hasher.finish()))
}

/// Makes a new cache mount what it begins as.
fn fill(inner: &Inner, cache: &CacheMount, seed: Option<&Snapshot>, directory: &Path) -> Result<(), OpError> {
    let (mut mode, mut uid, mut gid) = (cache.mode, cache.uid, cache.gid);
    if let (Some(snapshot), Some((_, source))) = (seed, &cache.seed) {
        let root = inner.driver.mount(&inner.store, snapshot, None, Purpose::Files)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let found = in_root::open(&root, Path::new(source), flags, Mode::empty())
            .map_err(|error| OpError::Mount { what: format!("seed a cache mount from {source}"), source: error })?;
        let stat = rustix::fs::fstat(&found)
            .map_err(|error| OpError::Mount { what: format!("look at {source}"), source: error.into() })?;
        if (mode, uid, gid) == USUAL {
            (mode, uid, gid) = (stat.st_mode, stat.st_uid, stat.st_gid);
        }
        // From the directory itself: what is above it, and links to it, have been dealt with.
        let files = FileSource::snapshot_to_copy(&found)?;
        let selection = Selection { sources: vec!["/".to_owned()], exclude: Vec::new(), parents: false };
        let action =
            CopyAction { input: 1, selection, dest: "/".to_owned(), owner: Owner::Default, mode: None, unpack: false };
        let write = |source| OpError::Write { path: directory.to_owned(), source };
        let target = fs::File::open(directory).map_err(write)?;
        copy::apply(target.as_fd(), &[FileAction::Copy(action)], |_| Some(&files), None)?;
    }
    let write = |source| OpError::Write { path: directory.to_owned(), source };
    let is = fs::metadata(directory).map_err(write)?;
    if (is.uid(), is.gid()) != (uid, gid) {
        std::os::unix::fs::chown(directory, Some(uid), Some(gid)).map_err(write)?;
    }
    fs::set_permissions(directory, fs::Permissions::from_mode(mode & 0o7777)).map_err(write)
}

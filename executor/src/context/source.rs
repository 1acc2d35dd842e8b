//! A directory that files are copied from, held open, with what was scanned of it.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use builder_solver::Selection;
use rustix::fs::FileType;
use rustix::time::{ClockId, clock_gettime};

use super::entry::{Entry, EntryContent, Stamp};
use super::error::SourceError;
use super::index::{Index, Known};
use super::root::{self, split};
use super::scan::{Device, Pending, Scanner, is_stable};
use super::select::Selected;
use super::tree::{Branch, Directory, DirectoryId, Tree};
use crate::pattern::{IgnoreMatcher, MatchState};

/// A tree of files to copy from: a local context, or the root of a snapshot.
#[derive(Debug)]
pub struct FileSource {
    root: OwnedFd,
    ignore: IgnoreMatcher,
    hash: bool,
    /// Compare what is copied with what was scanned.
    verify: bool,
    index: Option<Mutex<Indexes>>,
    scanned: Mutex<Scanned>,
    /// What selections picked.
    selected: Mutex<HashMap<Selection, Selected>>,
}

#[derive(Debug)]
struct Indexes {
    file: Option<PathBuf>,
    /// As it was loaded.
    loaded: Arc<Index>,
    /// With what this process read since.
    current: Arc<Index>,
    learned: bool,
}

#[derive(Debug, Default)]
struct Scanned {
    trees: Vec<Scan>,
    leaves: HashMap<Vec<u8>, Lookup>,
}

/// What is at a path that was looked at.
#[derive(Debug, Clone)]
enum Lookup {
    /// A pattern excludes it, or nothing can be copied from it.
    Excluded,
    Branch(Branch),
}

impl Lookup {
    fn branch(self) -> Option<Branch> {
        match self {
            Self::Excluded => None,
            Self::Branch(branch) => Some(branch),
        }
    }
}

impl From<Option<Branch>> for Lookup {
    fn from(branch: Option<Branch>) -> Self {
        branch.map_or(Self::Excluded, Self::Branch)
    }
}

#[derive(Debug)]
struct Scan {
    path: Vec<u8>,
    /// `None`: a pattern excludes all of it.
    branch: Option<Branch>,
    start: (i64, u32),
}

impl FileSource {
    /// The root of a snapshot, which nobody changes, to copy from and to ask for digests: selected files are read.
    pub fn snapshot(root: impl AsFd) -> Result<Self, SourceError> {
        Self::of_snapshot(root, true)
    }

    /// The root of a snapshot, only to copy from: files are read when they are copied, and not before. It has no
    /// digests.
    pub fn snapshot_to_copy(root: impl AsFd) -> Result<Self, SourceError> {
        Self::of_snapshot(root, false)
    }

    fn of_snapshot(root: impl AsFd, hash: bool) -> Result<Self, SourceError> {
        let root = rustix::io::fcntl_dupfd_cloexec(root, 0).map_err(|error| SourceError::read("open", b"", error))?;
        let ignore = IgnoreMatcher::default();
        Ok(Self {
            root,
            ignore,
            hash,
            verify: false,
            index: None,
            scanned: Mutex::default(),
            selected: Mutex::default(),
        })
    }

    /// A directory that others may change, with an index file.
    pub(super) fn local(root: OwnedFd, ignore: IgnoreMatcher, index: Option<PathBuf>) -> Self {
        let loaded = Arc::new(index.as_deref().map(Index::load).unwrap_or_default());
        let current = Arc::clone(&loaded);
        let indexes = Indexes { file: index, loaded, current, learned: false };
        let index = Some(Mutex::new(indexes));
        Self { root, ignore, hash: true, verify: true, index, scanned: Mutex::default(), selected: Mutex::default() }
    }

    /// What a selection picked before.
    pub(super) fn selected(&self, selection: &Selection) -> Option<Selected> {
        lock(&self.selected).get(selection).cloned()
    }

    /// Keeps what a selection picked, unless somebody was faster; tells what is kept.
    pub(super) fn remember(&self, selection: &Selection, selected: Selected) -> Selected {
        lock(&self.selected).entry(selection.clone()).or_insert(selected).clone()
    }

    /// The directory.
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Whether files may change between scan and copy.
    pub(crate) fn verify(&self) -> bool {
        self.verify
    }

    pub(super) fn ignore(&self) -> &IgnoreMatcher {
        &self.ignore
    }

    /// Everything below the directory `path` (no links on the way); `None` when a pattern excludes all of it.
    pub(super) fn branch(&self, path: &[u8]) -> Result<Option<Branch>, SourceError> {
        let mut scanned = lock(&self.scanned);
        if let Some(known) = scanned.branch(path) {
            return Ok(known.branch());
        }
        let start = now();
        let branch = self.with_scanner(start, |scanner| {
            let (own, device) = self.directory_entry(path)?;
            let (excluded, state) = self.state(path);
            let pending = Pending { path: path.to_vec(), own, state, excluded, device };
            let tree = Arc::new(scanner.tree(pending)?);
            let branch = Branch { tree, root: DirectoryId::ROOT };
            Ok((!excluded || !branch.directory().entries.is_empty()).then_some(branch))
        })?;
        if let (Some(index), Some(branch)) = (&self.index, &branch) {
            lock(index).learn(&branch.tree, start);
        }
        scanned.trees.push(Scan { path: path.to_vec(), branch: branch.clone(), start });
        Ok(branch)
    }

    /// The entry at `path`, which is no directory: a tree with nothing but that entry. `None` when a pattern excludes
    /// it, or for a socket.
    pub(super) fn leaf(&self, path: &[u8]) -> Result<Option<Branch>, SourceError> {
        let mut scanned = lock(&self.scanned);
        if let Some(known) = scanned.leaf(path) {
            return Ok(known.branch());
        }
        let leaf = if self.ignore.excludes_path(path) { None } else { self.scan_leaf(path)? };
        scanned.leaves.insert(path.to_vec(), leaf.clone().into());
        Ok(leaf)
    }

    fn scan_leaf(&self, path: &[u8]) -> Result<Option<Branch>, SourceError> {
        let (parent, name) = split(path);
        let failed = |error| SourceError::read("look at", path, error);
        let directory = root::open_directory(&self.root, parent).map_err(failed)?;
        let stat = root::stat(&directory, name).map_err(failed)?.ok_or_else(|| SourceError::changed(path))?;
        let file_type = FileType::from_raw_mode(stat.st_mode);
        match file_type {
            FileType::Socket if self.index.is_none() => return Ok(None),
            FileType::Directory => return Err(SourceError::changed(path)),
            _ => {}
        }
        let (own, device) = self.directory_entry(parent)?;
        let start = now();
        let entry = self.with_scanner(start, |scanner| {
            scanner.entry(directory.as_fd(), parent, name.into(), file_type, Some(stat), device)
        })?;
        let directory = Directory { path: parent.into(), own, entries: vec![entry], indexed: device.stable };
        let leaf = Branch::single(directory);
        if let Some(index) = &self.index {
            lock(index).learn(&leaf.tree, start);
        }
        Ok(Some(leaf))
    }

    /// A directory's own entry, with its attributes.
    pub(super) fn directory_entry(&self, path: &[u8]) -> Result<(Entry, Device), SourceError> {
        let failed = |error| SourceError::read("read the directory", path, error);
        let directory = root::open_directory(&self.root, path).map_err(failed)?;
        let stat = rustix::fs::fstat(&directory).map_err(failed)?;
        let root_stat = rustix::fs::fstat(&self.root).map_err(failed)?;
        let device = Device { dev: root_stat.st_dev, stable: is_stable(&self.root) }.of(stat.st_dev, &directory);
        let xattrs =
            root::attributes(&directory).map_err(|error| SourceError::read("read the attributes of", path, error))?;
        let entry = Entry {
            name: split(path).1.into(),
            stamp: Stamp::of(&stat),
            owner: if self.index.is_some() { (0, 0) } else { (stat.st_uid, stat.st_gid) },
            links: 1,
            content: EntryContent::Directory(DirectoryId::ROOT),
            xattrs,
        };
        Ok((entry, device))
    }

    fn state(&self, path: &[u8]) -> (bool, MatchState) {
        let mut state = self.ignore.root();
        let mut excluded = false;
        if !path.is_empty() {
            let ends = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(end, _)| end);
            for end in ends.chain([path.len()]) {
                (excluded, state) = self.ignore.matches(&path[..end], &state);
            }
        }
        (excluded, state)
    }

    fn with_scanner<T>(
        &self,
        start: (i64, u32),
        work: impl FnOnce(&Scanner<'_>) -> Result<T, SourceError>,
    ) -> Result<T, SourceError> {
        let index = self.index.as_ref().map(|index| Arc::clone(&lock(index).current));
        let scanner = Scanner {
            root: self.root.as_fd(),
            ignore: &self.ignore,
            index: index.as_deref(),
            hash: self.hash,
            start,
            learned: AtomicBool::new(false),
        };
        let result = work(&scanner)?;
        if let (true, Some(index)) = (scanner.learned.into_inner(), &self.index) {
            lock(index).learned = true;
        }
        Ok(result)
    }

    /// Writes the index file if something was learned since the last time. An index that can't be written only makes
    /// the next scan slower, so that is not an error.
    pub fn save_index(&self) {
        let Some(index) = &self.index else { return };
        let scanned = lock(&self.scanned);
        let mut index = lock(index);
        if !std::mem::take(&mut index.learned) {
            return;
        }
        let Some(file) = &index.file else { return };
        let trees = scanned.trees.iter().filter_map(|scan| Some((scan.branch.as_ref()?, scan.start)));
        // A leaf was scanned at an unknown moment; what `current` says of it is right.
        let current = &index.current;
        let leaves = scanned.leaves.values().filter_map(|leaf| leaf.clone().branch()).flat_map(|leaf| {
            leaf.directory().entries.iter().filter_map(|entry| current.get(&entry.stamp)).collect::<Vec<_>>()
        });
        let found = leaves.chain(trees.flat_map(|(branch, start)| known(&branch.tree, start))).collect();
        let merged = index.loaded.merged(found, true);
        let _ = merged.save(file);
        index.loaded = Arc::new(merged);
    }
}

impl Drop for FileSource {
    fn drop(&mut self) {
        self.save_index();
    }
}

impl Indexes {
    fn learn(&mut self, tree: &Tree, start: (i64, u32)) {
        if self.learned {
            self.current = Arc::new(self.current.merged(known(tree, start).collect(), false));
        }
    }
}

/// What a tree tells of its files.
fn known(tree: &Tree, start: (i64, u32)) -> impl Iterator<Item = Known> {
    tree.directories().iter().filter(|directory| directory.indexed).flat_map(move |directory| {
        directory.entries.iter().filter_map(move |entry| match entry.content {
            EntryContent::File(Some(data)) => Some(Known::new(entry.stamp, data, entry.xattrs.clone(), start)),
            _ => None,
        })
    })
}

impl Scanned {
    /// What is known of a directory: scanned itself, or below one that was.
    fn branch(&self, path: &[u8]) -> Option<Lookup> {
        for scan in &self.trees {
            let Some(rest) = below(&scan.path, path) else { continue };
            let Some(branch) = &scan.branch else { return Some(Lookup::Excluded) };
            if rest.is_empty() {
                return Some(Lookup::Branch(branch.clone()));
            }
            let Some((directory, position)) = branch.tree.find(rest) else { return Some(Lookup::Excluded) };
            let entry = &branch.tree.directory(directory).entries[position];
            if let EntryContent::Directory(id) = entry.content {
                return Some(Lookup::Branch(branch.child(id)));
            }
        }
        None
    }

    fn leaf(&self, path: &[u8]) -> Option<Lookup> {
        if let Some(known) = self.leaves.get(path) {
            return Some(known.clone());
        }
        for scan in &self.trees {
            let Some(rest) = below(&scan.path, path).filter(|rest| !rest.is_empty()) else { continue };
            let Some(branch) = &scan.branch else { return Some(Lookup::Excluded) };
            let Some((id, position)) = branch.tree.find(rest) else { return Some(Lookup::Excluded) };
            let parent = branch.tree.directory(id);
            if parent.entries[position].is_directory() {
                continue;
            }
            let directory = Directory {
                path: parent.path.clone(),
                own: parent.own.clone(),
                entries: vec![parent.entries[position].clone()],
                indexed: parent.indexed,
            };
            return Some(Lookup::Branch(Branch::single(directory)));
        }
        None
    }
}

/// The part of `path` below `directory`.
fn below<'a>(directory: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    if directory.is_empty() {
        return Some(path);
    }
    match path.strip_prefix(directory)? {
        b"" => Some(b""),
        rest => rest.strip_prefix(b"/"),
    }
}

/// The time by the clock that stamps files.
fn now() -> (i64, u32) {
    let now = clock_gettime(ClockId::RealtimeCoarse);
    (now.tv_sec, now.tv_nsec as u32)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What a panicking thread leaves behind is only a scan that was not kept.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

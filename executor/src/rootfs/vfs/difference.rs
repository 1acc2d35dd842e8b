//! What a step changed in its working copy.
//!
//! Before the step every file's inode, times and attributes are noted. Afterwards a file with the same inode and
//! the same ctime is the same: ctime can't be set, and the notes are only taken once the clock of the file system
//! has moved past the last change made by us. Anything else is compared with the layer that it came from.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use builder_cache::content::make_whiteout;
use rustix::fs::{CWD, FileType};

use super::apply::is_whiteout;
use super::copy;
use super::{Result, failed};

/// The state of a tree.
#[derive(Debug)]
pub(super) struct Manifest {
    files: HashMap<PathBuf, Note>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Note {
    mode: u32,
    owner: (u32, u32),
    size: u64,
    inode: (u64, u64),
    modified: (i64, i64),
    changed: (i64, i64),
    device: u64,
}

impl Note {
    fn of(metadata: &Metadata) -> Self {
        Self {
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            size: metadata.len(),
            inode: (metadata.dev(), metadata.ino()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            device: metadata.rdev(),
        }
    }

    fn is_directory(&self) -> bool {
        FileType::from_raw_mode(self.mode) == FileType::Directory
    }
}

impl Manifest {
    /// Notes the state of `tree`, with a helper file in `beside`.
    pub(super) fn take(tree: &Path, beside: &Path) -> Result<Self> {
        let mut files = HashMap::new();
        walk(tree, Path::new(""), &mut files)?;
        let last = files.values().map(|note| note.changed).max().unwrap_or_default();
        let clock = beside.join("clock");
        loop {
            fs::write(&clock, "").map_err(failed("write", &clock))?;
            let now = fs::symlink_metadata(&clock).map_err(failed("look at", &clock))?;
            fs::remove_file(&clock).map_err(failed("remove", &clock))?;
            if (now.ctime(), now.ctime_nsec()) > last {
                return Ok(Self { files });
            }
        }
    }

    /// Moves what differs from `tree` to `upper`.
    pub(super) fn write_difference(&self, tree: &Path, lower: &[PathBuf], upper: &Path) -> Result<()> {
        let mut now = HashMap::new();
        walk(tree, Path::new(""), &mut now)?;
        let mut changed: HashSet<&Path> = HashSet::new();
        let mut names: HashMap<(u64, u64), Vec<&Path>> = HashMap::new();
        for (path, note) in &now {
            if !note.is_directory() {
                names.entry(note.inode).or_default().push(path);
            }
            if self.differs(path, note, tree, lower)? {
                changed.insert(path);
            }
        }
        // A file that is changed or new under one name is so under all of its names.
        for group in names.values().filter(|group| group.len() > 1) {
            if group.iter().any(|path| changed.contains(path)) {
                changed.extend(group);
            }
        }
        Writer { before: &self.files, now: &now, changed: &changed, tree, upper }.write()
    }

    fn differs(&self, path: &Path, note: &Note, tree: &Path, lower: &[PathBuf]) -> Result<bool> {
        let Some(before) = self.files.get(path) else { return Ok(true) };
        if before == note {
            return Ok(false);
        }
        let kind = FileType::from_raw_mode(note.mode);
        if (before.mode, before.owner, before.device) != (note.mode, note.owner, note.device) {
            return Ok(true);
        }
        if kind != FileType::Directory && (before.size, before.modified) != (note.size, note.modified) {
            return Ok(true);
        }
        let here = tree.join(path);
        let Some(origin) = origin(path, lower) else { return Ok(true) };
        if copy::xattrs(&here)? != copy::xattrs(&origin)? {
            return Ok(true);
        }
        match kind {
            FileType::RegularFile => same_bytes(&here, &origin).map(|same| !same).map_err(failed("compare", &here)),
            FileType::Symlink => Ok(fs::read_link(&here).ok() != fs::read_link(&origin).ok()),
            _ => Ok(false),
        }
    }
}

/// The file of the layers that `path` shows.
fn origin(path: &Path, lower: &[PathBuf]) -> Option<PathBuf> {
    lower
        .iter()
        .map(|layer| layer.join(path))
        .find(|candidate| fs::symlink_metadata(candidate).is_ok_and(|metadata| !is_whiteout(&metadata)))
}

fn walk(tree: &Path, path: &Path, files: &mut HashMap<PathBuf, Note>) -> Result<()> {
    let here = tree.join(path);
    let metadata = fs::symlink_metadata(&here).map_err(failed("look at", &here))?;
    files.insert(path.to_owned(), Note::of(&metadata));
    if metadata.is_dir() {
        for entry in fs::read_dir(&here).map_err(failed("read", &here))? {
            let entry = entry.map_err(failed("read", &here))?;
            walk(tree, &path.join(entry.file_name()), files)?;
        }
    }
    Ok(())
}

fn same_bytes(one: &Path, other: &Path) -> std::io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let (mut left, mut right) = (vec![0u8; 128 * 1024], vec![0u8; 128 * 1024]);
    loop {
        let length = one.read(&mut left)?;
        if length == 0 {
            return Ok(other.read(&mut right)? == 0);
        }
        if other.read_exact(&mut right[..length]).is_err() || left[..length] != right[..length] {
            return Ok(false);
        }
    }
}

struct Writer<'a> {
    before: &'a HashMap<PathBuf, Note>,
    now: &'a HashMap<PathBuf, Note>,
    changed: &'a HashSet<&'a Path>,
    tree: &'a Path,
    upper: &'a Path,
}

impl Writer<'_> {
    fn write(&self) -> Result<()> {
        let root = Path::new("");
        let mut made = HashMap::from([(root.to_owned(), self.metadata(root)?)]);
        // Parents come before what is in them.
        let mut paths: Vec<&PathBuf> = self.now.keys().chain(self.before.keys()).collect();
        paths.sort();
        paths.dedup();
        let mut moved: Option<&Path> = None;
        let mut gone: Option<&Path> = None;
        for path in paths {
            if path.as_os_str().is_empty() || [moved, gone].into_iter().flatten().any(|other| path.starts_with(other)) {
                continue;
            }
            let (before, now) = (self.before.get(path), self.now.get(path));
            match now {
                None => {
                    // Below something that is no directory any more there is nothing to hide.
                    let parent = path.parent().and_then(|parent| self.now.get(parent));
                    if parent.is_some_and(Note::is_directory) {
                        self.parents(path, &mut made)?;
                        self.whiteout(path)?;
                    }
                    gone = Some(path);
                }
                Some(note) if note.is_directory() && before.is_some_and(Note::is_directory) => {
                    if self.changed.contains(path.as_path()) {
                        self.parents(&path.join("x"), &mut made)?;
                    }
                }
                Some(note) if note.is_directory() => {
                    self.parents(path, &mut made)?;
                    self.take(path)?;
                    moved = Some(path);
                    // What was a file has no names below it to hide.
                }
                Some(_) if self.changed.contains(path.as_path()) => {
                    self.parents(path, &mut made)?;
                    self.take(path)?;
                }
                Some(_) => {}
            }
        }
        // Last, since every entry made changes the times of its directory.
        for (path, metadata) in &made {
            copy::attributes(&self.tree.join(path), metadata, &self.upper.join(path))?;
        }
        Ok(())
    }

    fn metadata(&self, path: &Path) -> Result<Metadata> {
        let path = self.tree.join(path);
        fs::symlink_metadata(&path).map_err(failed("look at", &path))
    }

    /// Makes the directories above `path`, and notes what they were before anything was moved out of them.
    fn parents(&self, path: &Path, made: &mut HashMap<PathBuf, Metadata>) -> Result<()> {
        let Some(parent) = path.parent() else { return Ok(()) };
        if !made.contains_key(parent) {
            made.insert(parent.to_owned(), self.metadata(parent)?);
            self.parents(parent, made)?;
            let directory = self.upper.join(parent);
            fs::create_dir(&directory).map_err(failed("make", &directory))?;
        }
        Ok(())
    }

    fn take(&self, path: &Path) -> Result<()> {
        let from = self.tree.join(path);
        // What looks like a whiteout to overlay can't be kept as a file: overlay does not let one be made, either.
        let metadata = self.metadata(path)?;
        if is_whiteout(&metadata) {
            return Ok(());
        }
        fs::rename(&from, self.upper.join(path)).map_err(failed("move", &from))
    }

    fn whiteout(&self, path: &Path) -> Result<()> {
        let path = self.upper.join(path);
        make_whiteout(CWD, path.as_os_str().as_bytes()).map_err(failed("make", &path))
    }
}

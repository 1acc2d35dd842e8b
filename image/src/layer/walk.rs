//! One walk over a layer's directories, in the order of its tar.
//!
//! A layer may consist of several directories, the topmost first ("parts": a delta over its base). They are merged as
//! an overlay mount would show them, but the marks of removal stay: the layer still removes what lies below it.
//!
//! Order: a directory, then what is in it, depth first. In a directory first its removals (the mark that hides
//! everything, then `.wh.*` by name), as the image specification recommends, then all else by the bytes of its
//! name.
//!
//! Directories are opened when their turn comes and closed with the last of their entries, so that the number of open
//! files stays small for any depth.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use builder_cache::content::is_whiteout;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat, fstat, openat2, statat};
use rustix::io::Errno;

use super::error::Error;
use super::path::{WHITEOUT, join};
use super::xattr::{self, Attributes};
use crate::tar::Xattr;

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
const OPEN_DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What is met on the way.
#[derive(Debug)]
pub(super) enum Step {
    /// A directory; what is in it follows.
    Directory(DirectoryStep),
    /// The directory hides what lies below it.
    Opaque(Vec<u8>),
    /// The path is removed.
    Whiteout(Vec<u8>),
    /// Anything else.
    Node(Node),
}

/// A directory's own description.
#[derive(Debug)]
pub(super) struct DirectoryStep {
    pub(super) path: Vec<u8>,
    pub(super) stat: Stat,
    pub(super) xattrs: Vec<Xattr>,
}

/// A file, link, device, pipe or socket that was not looked at yet.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) directory: Arc<Directory>,
    pub(super) part: usize,
    pub(super) name: Vec<u8>,
    pub(super) kind: FileType,
}

impl Node {
    pub(super) fn path(&self) -> Vec<u8> {
        join(&self.directory.path, &self.name)
    }

    /// What has this name in `parent`.
    pub(super) fn single(parent: OwnedFd, name: Vec<u8>, kind: FileType) -> Self {
        let directory = Arc::new(Directory { path: Vec::new(), parts: vec![(0, parent)] });
        Self { directory, part: 0, name, kind }
    }

    /// The open directory that it is in.
    pub(super) fn parent(&self) -> BorrowedFd<'_> {
        self.directory.parts[self.part].1.as_fd()
    }
}

/// An open directory of the merged tree: its parts, topmost first, each with the number of its root.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) path: Vec<u8>,
    parts: Vec<(usize, OwnedFd)>,
}

/// What removals mean in the directories walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Overlay upper directories.
    Layer,
    /// A root file system: nothing is a removal.
    Root,
}

#[derive(Debug)]
struct Item {
    name: Vec<u8>,
    /// Position in [`Directory::parts`].
    part: usize,
    kind: ItemKind,
}

#[derive(Debug, PartialEq, Eq)]
enum ItemKind {
    Whiteout,
    Directory,
    Node(FileType),
}

#[derive(Debug)]
struct Frame {
    path: Vec<u8>,
    /// Roots of this directory's parts.
    roots: Vec<usize>,
    items: std::vec::IntoIter<Item>,
    directory: Option<Arc<Directory>>,
}

/// The walk.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    roots: &'a [OwnedFd],
    form: Form,
    stack: Vec<Frame>,
    pending: Option<Step>,
    started: bool,
    buffer: Vec<u8>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(roots: &'a [OwnedFd], form: Form) -> Self {
        Self { roots, form, stack: Vec::new(), pending: None, started: false, buffer: Vec::with_capacity(64 << 10) }
    }

    fn step(&mut self) -> Result<Option<Step>, Error> {
        if !self.started {
            self.started = true;
            // A layer's tar has no entry for the root itself.
            let all: Vec<usize> = (0..self.roots.len()).collect();
            // A layer that changes nothing has no directory at all.
            if !all.is_empty() {
                self.enter(Vec::new(), &all)?;
            }
        }
        loop {
            if let Some(step) = self.pending.take() {
                return Ok(Some(step));
            }
            let Some(frame) = self.stack.last_mut() else { return Ok(None) };
            let Some(item) = frame.items.next() else {
                self.stack.pop();
                continue;
            };
            let path = || join(&frame.path, &item.name);
            match item.kind {
                ItemKind::Whiteout => return Ok(Some(Step::Whiteout(path()))),
                ItemKind::Directory => {
                    let path = path();
                    let candidates = frame.roots[item.part..].to_vec();
                    frame.directory = None;
                    return self.enter(path, &candidates).map(Step::Directory).map(Some);
                }
                ItemKind::Node(kind) => {
                    if frame.directory.is_none() {
                        frame.directory = Some(Arc::new(reopen(self.roots, &frame.path, &frame.roots)?));
                    }
                    let Some(directory) = frame.directory.clone() else { continue };
                    return Ok(Some(Step::Node(Node { directory, part: item.part, name: item.name, kind })));
                }
            }
        }
    }

    /// Opens the parts of a directory among the `candidates` and lists them.
    fn enter(&mut self, path: Vec<u8>, candidates: &[usize]) -> Result<DirectoryStep, Error> {
        let mut parts: Vec<(usize, OwnedFd)> = Vec::new();
        let mut top = None;
        let mut opaque = false;
        for &root in candidates {
            let fd = match open_directory(&self.roots[root], &path) {
                Ok(fd) => fd,
                Err(Errno::NOENT) if top.is_some() => continue,
                // A file or a removal in a lower part hides what lies below that part, and the directory above it
                // must go on hiding it.
                Err(Errno::NOTDIR | Errno::LOOP) if top.is_some() => {
                    opaque = true;
                    break;
                }
                Err(error) => return Err(Error::io("open", &path, error)),
            };
            let Attributes { kept, opaque: hides } = xattr::read(fd.as_fd(), &path)?;
            if top.is_none() {
                let stat = fstat(&fd).map_err(|error| Error::io("read", &path, error))?;
                top = Some(DirectoryStep { path: path.clone(), stat, xattrs: kept });
            }
            parts.push((root, fd));
            if hides && self.form == Form::Layer {
                opaque = true;
                break;
            }
        }
        let Some(top) = top else { return Err(Error::io("open", &path, Errno::NOENT)) };
        let items = self.list(&path, &parts)?;
        if opaque {
            self.pending = Some(Step::Opaque(path.clone()));
        }
        let roots = parts.iter().map(|(root, _)| *root).collect();
        let directory = Some(Arc::new(Directory { path: path.clone(), parts }));
        self.stack.push(Frame { path, roots, items: items.into_iter(), directory });
        Ok(top)
    }

    fn list(&mut self, path: &[u8], parts: &[(usize, OwnedFd)]) -> Result<Vec<Item>, Error> {
        let mut items = Vec::new();
        if let [(_, fd)] = parts {
            self.list_part(path, 0, fd, &mut |item| items.push(item))?;
        } else {
            let mut merged: BTreeMap<Vec<u8>, Item> = BTreeMap::new();
            for (part, (_, fd)) in parts.iter().enumerate() {
                // What a higher part has wins; directories look further down when they are entered.
                self.list_part(path, part, fd, &mut |item| {
                    merged.entry(item.name.clone()).or_insert(item);
                })?;
            }
            // What a higher part removes is something of a lower part: neither is in the layer.
            let lowest = self.roots.len() - 1;
            items.extend(
                merged.into_values().filter(|item| item.kind != ItemKind::Whiteout || parts[item.part].0 == lowest),
            );
        }
        items.sort_unstable_by(|a, b| {
            (a.kind != ItemKind::Whiteout, &a.name).cmp(&(b.kind != ItemKind::Whiteout, &b.name))
        });
        Ok(items)
    }

    fn list_part(&mut self, path: &[u8], part: usize, fd: &OwnedFd, add: &mut dyn FnMut(Item)) -> Result<(), Error> {
        let mut entries = RawDir::new(fd, self.buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|error| Error::io("list", path, error))?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let mut kind = entry.file_type();
            let mut removed = false;
            if matches!(kind, FileType::Unknown | FileType::CharacterDevice) {
                let stat = statat(fd, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|error| Error::io("read", &join(path, name), error))?;
                kind = FileType::from_raw_mode(stat.st_mode);
                removed = kind == FileType::CharacterDevice && is_whiteout(stat.st_rdev) && self.form == Form::Layer;
            }
            if self.form == Form::Layer && !removed && name.starts_with(WHITEOUT) {
                return Err(Error::ReservedName(crate::text::show(&join(path, name))));
            }
            let kind = match kind {
                _ if removed => ItemKind::Whiteout,
                FileType::Directory => ItemKind::Directory,
                FileType::Socket => continue,
                other => ItemKind::Node(other),
            };
            add(Item { name: name.to_vec(), part, kind });
        }
        Ok(())
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Step, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

fn open_directory(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    openat2(root, path, OPEN_DIRECTORY, Mode::empty(), RESOLVE)
}

fn reopen(roots: &[OwnedFd], path: &[u8], wanted: &[usize]) -> Result<Directory, Error> {
    let parts = wanted
        .iter()
        .map(|&root| Ok((root, open_directory(&roots[root], path)?)))
        .collect::<Result<_, Errno>>()
        .map_err(|error| Error::io("open", path, error))?;
    Ok(Directory { path: path.to_vec(), parts })
}

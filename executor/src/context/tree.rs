//! A scanned tree: directories in one list, parents before children.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use builder_cache::content::{Child, ChildDigest, EntryDigest, Listing};
use builder_solver::ContentDigest;
use rayon::prelude::*;

use super::entry::{Entry, EntryContent};

/// A directory of one [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DirectoryId(pub(crate) u32);

impl DirectoryId {
    pub(crate) const ROOT: Self = Self(0);

    pub(crate) fn new(index: usize) -> Self {
        Self(u32::try_from(index).expect("a scan has fewer than four billion directories"))
    }

    fn index(self) -> usize {
        self.0 as usize
    }
}

/// One directory and what is in it.
#[derive(Debug, Clone)]
pub struct Directory {
    /// Where it is, below the root of the source.
    pub path: Box<[u8]>,
    /// The directory itself.
    pub own: Entry,
    /// What is in it, sorted by name.
    pub entries: Vec<Entry>,
    /// Whether its entries may be in the stat index.
    pub(super) indexed: bool,
}

/// What was found below one directory.
#[derive(Debug, Default)]
pub struct Tree {
    directories: Vec<Directory>,
    /// The directories of each depth.
    levels: Vec<Range<usize>>,
    /// The digests of the directories, with modes and without.
    digests: [OnceLock<Option<Vec<ChildDigest>>>; 2],
}

/// A directory of a tree with all that is below it.
#[derive(Debug, Clone)]
pub struct Branch {
    /// The tree.
    pub tree: Arc<Tree>,
    /// The directory.
    pub root: DirectoryId,
}

impl Tree {
    pub(super) fn new(directories: Vec<Directory>, levels: Vec<Range<usize>>) -> Self {
        Self { directories, levels, digests: [OnceLock::new(), OnceLock::new()] }
    }

    /// A directory.
    pub fn directory(&self, id: DirectoryId) -> &Directory {
        &self.directories[id.index()]
    }

    /// All directories; some may have been cut off from the root by a filter.
    pub(super) fn directories(&self) -> &[Directory] {
        &self.directories
    }

    /// Goes down from the root: the entry at `path` (below the root of the tree), and the directory it is in.
    pub(super) fn find(&self, path: &[u8]) -> Option<(DirectoryId, usize)> {
        let mut directory = DirectoryId::ROOT;
        let mut found = None;
        for name in super::root::components(path) {
            if let Some((parent, position)) = found {
                let entry: &Entry = &self.directory(parent).entries[position];
                let EntryContent::Directory(id) = entry.content else { return None };
                directory = id;
            }
            let entries = &self.directory(directory).entries;
            found = Some((directory, entries.binary_search_by(|entry| (*entry.name).cmp(name)).ok()?));
        }
        found
    }

    /// The digest of every directory; `None` when bytes were not hashed.
    pub(super) fn digests(&self, modes: bool) -> Option<&[ChildDigest]> {
        self.digests[usize::from(modes)].get_or_init(|| self.compute_digests(modes)).as_deref()
    }

    fn compute_digests(&self, modes: bool) -> Option<Vec<ChildDigest>> {
        let placeholder = ChildDigest::Entry(EntryDigest::from_bytes([0; 32]));
        let mut digests = vec![placeholder; self.directories.len()];
        for level in self.levels.iter().rev() {
            let (_, from_here) = digests.split_at_mut(level.start);
            let (here, below) = from_here.split_at_mut(level.len());
            let offset = level.end;
            here.par_iter_mut().zip(&self.directories[level.clone()]).try_for_each(|(digest, directory)| {
                let child = |id: DirectoryId| below[id.index() - offset];
                *digest = directory.child_digest(modes, child)?;
                Some(())
            })?;
        }
        Some(digests)
    }

    /// The listing of a directory, without its own entry.
    pub(super) fn contents(&self, id: DirectoryId, modes: bool) -> Option<Listing> {
        let digests = self.digests(modes)?;
        self.directory(id).contents(modes, |child| digests[child.index()])
    }
}

impl Directory {
    fn contents(&self, modes: bool, child: impl Fn(DirectoryId) -> ChildDigest + Sync) -> Option<Listing> {
        let one = |entry: &Entry| {
            let digest = match entry.content {
                EntryContent::Directory(id) => child(id),
                _ => ChildDigest::Entry(entry.digest(modes)?),
            };
            Some(Child { name: entry.name.to_vec(), digest })
        };
        let children = if self.entries.len() < 2048 {
            self.entries.iter().map(one).collect::<Option<Vec<_>>>()
        } else {
            self.entries.par_iter().with_min_len(512).map(one).collect()
        }?;
        Some(Listing { own: None, children })
    }

    fn child_digest(&self, modes: bool, child: impl Fn(DirectoryId) -> ChildDigest + Sync) -> Option<ChildDigest> {
        let own = self.own.digest(modes)?;
        if self.entries.is_empty() {
            return Some(ChildDigest::Entry(own));
        }
        let listing = Listing { own: Some(own), ..self.contents(modes, child)? };
        Some(ChildDigest::Listing(Listing::digest(&listing.encode())))
    }
}

impl Branch {
    /// A tree of one directory.
    pub(super) fn single(directory: Directory) -> Self {
        let tree = Tree::new(vec![directory], std::iter::once(0..1).collect());
        Self { tree: Arc::new(tree), root: DirectoryId::ROOT }
    }

    /// The directory.
    pub fn directory(&self) -> &Directory {
        self.tree.directory(self.root)
    }

    /// The branch below one of its directories.
    #[must_use]
    pub fn child(&self, id: DirectoryId) -> Self {
        Self { tree: Arc::clone(&self.tree), root: id }
    }

    /// The listing of what is in it, without its own entry; `None` when bytes were not hashed.
    pub(super) fn contents(&self, modes: bool) -> Option<Listing> {
        self.tree.contents(self.root, modes)
    }

    /// The listings of all directories below it that have something in them, each encoded.
    pub(super) fn listings_below(&self, modes: bool, listings: &mut Vec<(ContentDigest, Vec<u8>)>) {
        let Some(digests) = self.tree.digests(modes) else { return };
        let mut open = vec![self.root];
        while let Some(id) = open.pop() {
            let directory = self.tree.directory(id);
            for entry in &directory.entries {
                if let EntryContent::Directory(child) = entry.content {
                    open.push(child);
                }
            }
            if id == self.root || directory.entries.is_empty() {
                continue;
            }
            let Some(own) = directory.own.digest(modes) else { continue };
            if let Some(listing) = directory.contents(modes, |child| digests[child.index()]) {
                let encoded = Listing { own: Some(own), ..listing }.encode();
                listings.push((Listing::digest(&encoded), encoded));
            }
        }
    }
}

//! The rules of file actions: from actions to a [`Plan`].

use std::collections::BTreeMap;

use builder_cache::content::DataDigest;
use builder_solver::{CopyAction, FileAction, FileMode, Owner};

use crate::context::resolve::{Found, ResolveError, Resolved, probe, resolve_with};
use crate::context::root::{components, join, split};
use crate::context::{Branch, DirectoryId, Entry, EntryContent, FileSource, Item, ItemContent, show};
use crate::pattern::clean_rooted;

use super::error::{CopyError, absolute};
use super::mode::Chmod;
use super::owner::resolve_owner;
use super::plan::{Attributes, DirectorySettings, Leaf, Origin, Plan, Planned, PlannedDirectory, read_attributes};

/// The mode of directories that nobody described.
const DEFAULT_DIRECTORY_MODE: u32 = 0o755;

/// Who owns copies and which mode they get.
#[derive(Debug, Clone)]
pub(super) struct Ownership {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The owner was named, so that it does not matter whose the source is.
    pub(super) named: bool,
    pub(super) chmod: Option<Chmod>,
}

impl Ownership {
    fn new(plan: &Plan<'_>, owner: &Owner, mode: Option<&FileMode>) -> Result<Self, CopyError> {
        let (uid, gid) = resolve_owner(plan.root, owner)?;
        let named = matches!(owner, Owner::Named(_));
        Ok(Self { uid, gid, named, chmod: mode.map(Chmod::new).transpose()? })
    }

    fn mode(&self, mode: u32, is_directory: bool) -> u32 {
        self.chmod.as_ref().map_or(mode & 0o7777, |chmod| chmod.apply(mode, is_directory))
    }

    /// Who owns the copy of an entry.
    fn owner(&self, entry: &Entry) -> (u32, u32) {
        if self.named { (self.uid, self.gid) } else { entry.owner }
    }

    fn directory(&self, entry: &Entry) -> DirectorySettings {
        let mode = self.mode(entry.stamp.mode, true);
        let (uid, gid) = self.owner(entry);
        let attributes = Attributes { mode, uid, gid, xattrs: entry.xattrs.clone() };
        DirectorySettings { attributes, mtime: Some(entry.stamp.mtime) }
    }

    fn made(&self, mode: u32) -> DirectorySettings {
        let attributes = Attributes { mode, uid: self.uid, gid: self.gid, xattrs: None };
        DirectorySettings { attributes, mtime: None }
    }
}

impl<'a> Plan<'a> {
    /// Adds an action; `source` gives the source of an input. Archives are copied as they are.
    pub fn add(
        &mut self,
        action: &FileAction,
        source: impl Fn(usize) -> Option<&'a FileSource>,
    ) -> Result<(), CopyError> {
        self.content.take();
        match action {
            FileAction::Copy(copy) => {
                let source = source(copy.input).ok_or(CopyError::NoInput { input: copy.input })?;
                self.copy(copy, source)
            }
            FileAction::Mkdir { path, mode, owner } => {
                let ownership = Ownership::new(self, owner, None)?;
                let resolved = self.resolve(path.as_bytes())?;
                self.make_directories(&resolved.path, &ownership.made(mode & 0o7777), &ownership)?;
                Ok(())
            }
            FileAction::Mkfile { dest, name, data, mode, owner } => {
                let ownership = Ownership::new(self, owner, Some(mode))?;
                let target = self.target(dest, name.as_bytes(), &ownership)?;
                let mode = ownership.mode(0o644, false);
                let origin = Origin::Data(self.data.len() as u32);
                let digest = Some(DataDigest::of(data));
                self.data.push(data.clone());
                let leaf = Leaf { origin, mode, uid: ownership.uid, gid: ownership.gid, data: digest, link_to: None };
                self.put(&target, leaf, &ownership)
            }
        }
    }

    /// Adds a copy.
    pub fn copy(&mut self, copy: &CopyAction, source: &'a FileSource) -> Result<(), CopyError> {
        let ownership = self.ownership(copy)?;
        for item in source.select(&copy.selection)?.items {
            self.copy_item(copy, &item, source, &ownership)?;
        }
        Ok(())
    }

    pub(super) fn ownership(&self, copy: &CopyAction) -> Result<Ownership, CopyError> {
        Ownership::new(self, &copy.owner, copy.mode.as_ref())
    }

    pub(super) fn copy_item(
        &mut self,
        copy: &CopyAction,
        item: &Item,
        source: &'a FileSource,
        ownership: &Ownership,
    ) -> Result<(), CopyError> {
        self.content.take();
        match &item.content {
            ItemContent::Entry(branch) => {
                let target = self.target(&copy.dest, split(&item.path).1, ownership)?;
                let branch_index = self.add_branch(branch, source);
                let leaf = Self::leaf(branch_index, branch, branch.root, 0, ownership);
                self.put(&target, leaf, ownership)
            }
            ItemContent::Directory(branch) => {
                let resolved = self.resolve(copy.dest.as_bytes())?;
                if resolved.found == Found::Other {
                    return Err(CopyError::DirectoryOverFile {
                        source_path: show(&item.path),
                        path: absolute(&resolved.path),
                        link: false,
                    });
                }
                let made = ownership.made(DEFAULT_DIRECTORY_MODE);
                let directory = self.make_directories(&resolved.path, &made, ownership)?;
                let branch_index = self.add_branch(branch, source);
                self.merge(branch_index, branch, directory, ownership)
            }
        }
    }

    fn add_branch(&mut self, branch: &Branch, source: &'a FileSource) -> u32 {
        self.branches.push((branch.clone(), source));
        (self.branches.len() - 1) as u32
    }

    /// Where a file called `name` goes when it is copied to `dest`.
    fn target(&mut self, dest: &str, name: &[u8], ownership: &Ownership) -> Result<Vec<u8>, CopyError> {
        let resolved = self.resolve(dest.as_bytes())?;
        let into = dest.ends_with('/') || dest.ends_with("/.") || resolved.found == Found::Directory;
        if !into {
            return Ok(resolved.path);
        }
        self.make_directories(&resolved.path, &ownership.made(DEFAULT_DIRECTORY_MODE), ownership)?;
        Ok(join(&resolved.path, name))
    }

    /// The directory that a destination names, made if it is missing.
    pub(super) fn destination_directory(&mut self, dest: &str, ownership: &Ownership) -> Result<Vec<u8>, CopyError> {
        self.content.take();
        let path = self.resolve(dest.as_bytes())?.path;
        self.make_directories(&path, &ownership.made(DEFAULT_DIRECTORY_MODE), ownership)?;
        Ok(path)
    }

    /// Puts a leaf at a path without links, whatever was planned there before.
    fn put(&mut self, target: &[u8], leaf: Leaf, ownership: &Ownership) -> Result<(), CopyError> {
        if target.is_empty() {
            return Err(CopyError::FileOverDirectory { path: absolute(target) });
        }
        let (parent, name) = split(target);
        let parent = self.make_directories(parent, &ownership.made(DEFAULT_DIRECTORY_MODE), ownership)?;
        self.put_in(parent, name.into(), leaf)
    }

    fn put_in(&mut self, parent: usize, name: Box<[u8]>, leaf: Leaf) -> Result<(), CopyError> {
        let directory = &self.directories[parent];
        let over_directory = match directory.children.get(&name) {
            Some(Planned::Directory(_)) => true,
            Some(Planned::Leaf(_)) => false,
            None => directory.base.is_some() && self.probe_base(&join(&directory.path, &name))? == Found::Directory,
        };
        if over_directory {
            return Err(CopyError::FileOverDirectory { path: absolute(&join(&directory.path, &name)) });
        }
        self.directories[parent].children.insert(name, Planned::Leaf(leaf));
        Ok(())
    }

    fn leaf(branch: u32, of: &Branch, directory: DirectoryId, position: usize, ownership: &Ownership) -> Leaf {
        let entry = &of.tree.directory(directory).entries[position];
        let is_link = matches!(entry.content, EntryContent::Symlink(_));
        let data = match entry.content {
            EntryContent::File(data) => data,
            _ => None,
        };
        let (uid, gid) = ownership.owner(entry);
        Leaf {
            origin: Origin::Entry { branch, directory, position: position as u32 },
            mode: if is_link { 0o777 } else { ownership.mode(entry.stamp.mode, false) },
            uid,
            gid,
            data,
            link_to: None,
        }
    }

    /// Merges the contents of a source directory into a planned one.
    fn merge(
        &mut self,
        branch_index: u32,
        branch: &Branch,
        into: usize,
        ownership: &Ownership,
    ) -> Result<(), CopyError> {
        let mut open = vec![(branch.root, into)];
        while let Some((from, into)) = open.pop() {
            let directory = branch.tree.directory(from);
            let untouched = self.directories[into].base.is_none() && self.directories[into].children.is_empty();
            for (position, entry) in directory.entries.iter().enumerate() {
                if let EntryContent::Directory(id) = entry.content {
                    let own = &branch.tree.directory(id).own;
                    let child = self.merge_directory(into, entry, own, &directory.path, ownership)?;
                    open.push((id, child));
                    continue;
                }
                let leaf = Self::leaf(branch_index, branch, from, position, ownership);
                if untouched {
                    self.directories[into].children.insert(entry.name.clone(), Planned::Leaf(leaf));
                } else {
                    self.put_in(into, entry.name.clone(), leaf)?;
                }
            }
        }
        Ok(())
    }

    /// The directory called as `entry`, with the source's mode and owner.
    fn merge_directory(
        &mut self,
        parent: usize,
        entry: &Entry,
        own: &Entry,
        source_path: &[u8],
        ownership: &Ownership,
    ) -> Result<usize, CopyError> {
        let settings = ownership.directory(own);
        let directory = &self.directories[parent];
        let path = join(&directory.path, &entry.name);
        let conflict = |link| CopyError::DirectoryOverFile {
            source_path: show(&join(source_path, &entry.name)),
            path: absolute(&path),
            link,
        };
        let base = match directory.children.get(&entry.name) {
            Some(Planned::Directory(index)) => {
                let index = *index;
                self.directories[index].set = Some(settings);
                return Ok(index);
            }
            Some(Planned::Leaf(leaf)) => {
                let link = self
                    .entry(leaf.origin)
                    .is_some_and(|(entry, ..)| matches!(entry.content, EntryContent::Symlink(_)));
                return Err(conflict(link));
            }
            None if directory.base.is_none() => None,
            None => match self.probe_base(&path)? {
                Found::Missing => None,
                Found::Directory => Some(read_attributes(self.root, &path)?),
                Found::Link(_) => return Err(conflict(true)),
                Found::Other => return Err(conflict(false)),
            },
        };
        Ok(self.push_directory(parent, &entry.name, path, base, Some(settings)))
    }

    fn push_directory(
        &mut self,
        parent: usize,
        name: &[u8],
        path: Vec<u8>,
        base: Option<Attributes>,
        set: Option<DirectorySettings>,
    ) -> usize {
        let index = self.directories.len();
        self.directories.push(PlannedDirectory { path, base, set, children: BTreeMap::new() });
        self.directories[parent].children.insert(name.into(), Planned::Directory(index));
        index
    }

    /// The planned directory at a path without links; what is missing is made, its parents 0755, itself as `made`
    /// says.
    fn make_directories(
        &mut self,
        path: &[u8],
        made: &DirectorySettings,
        ownership: &Ownership,
    ) -> Result<usize, CopyError> {
        let mut here = 0;
        for name in components(path) {
            let directory = &self.directories[here];
            let child = join(&directory.path, name);
            let blocked = || CopyError::NotADirectory { destination: absolute(path), path: absolute(&child) };
            here = match directory.children.get(name) {
                Some(Planned::Directory(index)) => *index,
                Some(Planned::Leaf(_)) => return Err(blocked()),
                None => {
                    let found = if directory.base.is_some() { self.probe_base(&child)? } else { Found::Missing };
                    match found {
                        Found::Directory => {
                            let base = read_attributes(self.root, &child)?;
                            self.push_directory(here, name, child, Some(base), None)
                        }
                        Found::Missing => {
                            let last = child.len() == path.len();
                            let set = if last { made.clone() } else { ownership.made(DEFAULT_DIRECTORY_MODE) };
                            self.push_directory(here, name, child, None, Some(set))
                        }
                        Found::Link(_) | Found::Other => return Err(blocked()),
                    }
                }
            };
        }
        Ok(here)
    }

    /// Follows the links of a destination, those that are planned included.
    pub(super) fn resolve(&self, path: &[u8]) -> Result<Resolved, CopyError> {
        let wanted = clean_rooted(path);
        resolve_with(&wanted, |path| self.probe(path)).map_err(|error| match error {
            ResolveError::TooManyLinks => CopyError::TooManyLinks { path: absolute(&wanted) },
            ResolveError::Probe(error) => error,
        })
    }

    fn probe(&self, path: &[u8]) -> Result<Found, CopyError> {
        let mut here = &self.directories[0];
        let mut names = components(path).peekable();
        while let Some(name) = names.next() {
            match here.children.get(name) {
                Some(Planned::Directory(index)) => here = &self.directories[*index],
                Some(Planned::Leaf(_)) if names.peek().is_some() => return Ok(Found::Missing),
                Some(Planned::Leaf(leaf)) => {
                    let link = self.entry(leaf.origin).and_then(|(entry, ..)| match &entry.content {
                        EntryContent::Symlink(target) => Some(target.to_vec()),
                        _ => None,
                    });
                    return Ok(link.map_or(Found::Other, Found::Link));
                }
                None if here.base.is_none() => return Ok(Found::Missing),
                None => return self.probe_base(path),
            }
        }
        Ok(Found::Directory)
    }

    fn probe_base(&self, path: &[u8]) -> Result<Found, CopyError> {
        probe(self.root, path).map_err(|error| CopyError::write("look at", path, error))
    }
}

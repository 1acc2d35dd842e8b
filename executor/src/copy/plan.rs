//! What a file op will make of the destination, before anything is written.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;

use builder_cache::content::{DataDigest, Trees};

use crate::context::root;
use crate::context::{Branch, DirectoryId, Entry, FileSource, Xattr};

use super::error::CopyError;

/// Everything that a file op writes, by where it goes.
///
/// A plan belongs to the root that it was made for: it knows which directories are there already.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The destination; only looked at.
    pub(super) root: BorrowedFd<'a>,
    /// The first is the root.
    pub(super) directories: Vec<PlannedDirectory>,
    /// The trees that leaves come from.
    pub(super) branches: Vec<(Branch, &'a FileSource)>,
    /// The bytes of files that the op itself brings.
    pub(super) data: Vec<Vec<u8>>,
    /// The content, once it was asked for and until something is added.
    pub(super) content: OnceLock<Trees>,
}

/// A directory that is made, changed, or has something changed in it.
#[derive(Debug)]
pub(super) struct PlannedDirectory {
    /// Relative to the root, without links.
    pub(super) path: Vec<u8>,
    /// What it is like in the base, if it is there.
    pub(super) base: Option<Attributes>,
    /// What it shall be like; `None` leaves it as it is.
    pub(super) set: Option<DirectorySettings>,
    pub(super) children: BTreeMap<Box<[u8]>, Planned>,
}

/// What is known of a directory of the base.
#[derive(Debug, Clone)]
pub(super) struct Attributes {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) xattrs: Option<Box<[Xattr]>>,
}

/// What a directory shall be like.
#[derive(Debug, Clone)]
pub(super) struct DirectorySettings {
    pub(super) attributes: Attributes,
    /// `None`: whenever it was made.
    pub(super) mtime: Option<(i64, u32)>,
}

/// One name of a planned directory.
#[derive(Debug)]
pub(super) enum Planned {
    Directory(usize),
    Leaf(Leaf),
}

/// A file, link or device that is written.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub(super) origin: Origin,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The digest of the bytes, as soon as it is known.
    pub(super) data: Option<DataDigest>,
    /// The path of the same file, already written.
    pub(super) link_to: Option<Box<[u8]>>,
}

/// Where a leaf comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin {
    /// An entry of a directory of a branch.
    Entry { branch: u32, directory: DirectoryId, position: u32 },
    /// Bytes of the op itself.
    Data(u32),
}

impl<'a> Plan<'a> {
    /// A plan that changes nothing.
    pub fn new(root: BorrowedFd<'a>) -> Result<Self, CopyError> {
        let base = read_attributes(root, b"")?;
        let directory = PlannedDirectory { path: Vec::new(), base: Some(base), set: None, children: BTreeMap::new() };
        Ok(Self {
            root,
            directories: vec![directory],
            branches: Vec::new(),
            data: Vec::new(),
            content: OnceLock::new(),
        })
    }

    /// The entry that a leaf comes from, with the directory that it is in and its source.
    pub(super) fn entry(&self, origin: Origin) -> Option<(&Entry, &[u8], &'a FileSource)> {
        let Origin::Entry { branch, directory, position } = origin else { return None };
        let (branch, source) = &self.branches[branch as usize];
        let directory = branch.tree.directory(directory);
        Some((&directory.entries[position as usize], &directory.path, source))
    }

    /// The directories from the root down, those of one depth together.
    pub(super) fn levels(&self) -> Vec<Vec<usize>> {
        let mut levels = vec![vec![0]];
        loop {
            let last = &levels[levels.len() - 1];
            let next: Vec<usize> = last
                .iter()
                .flat_map(|&index| self.directories[index].children.values())
                .filter_map(|child| match child {
                    Planned::Directory(index) => Some(*index),
                    Planned::Leaf(_) => None,
                })
                .collect();
            if next.is_empty() {
                return levels;
            }
            levels.push(next);
        }
    }

    /// How many files, links, devices and directories the plan writes.
    pub fn len(&self) -> usize {
        let leaves = |directory: &PlannedDirectory| {
            directory.children.values().filter(|child| matches!(child, Planned::Leaf(_))).count()
        };
        let made = self.directories.iter().filter(|directory| directory.set.is_some()).count();
        made + self.directories.iter().map(leaves).sum::<usize>()
    }

    /// Whether the plan changes nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a directory of the base is like.
pub(super) fn read_attributes(base: BorrowedFd<'_>, path: &[u8]) -> Result<Attributes, CopyError> {
    let failed = |error: rustix::io::Errno| CopyError::write("look at", path, error);
    let directory = root::open_directory(base, path).map_err(failed)?;
    let stat = rustix::fs::fstat(&directory).map_err(failed)?;
    let xattrs =
        root::attributes(&directory).map_err(|error| CopyError::write("read the attributes of", path, error))?;
    Ok(Attributes { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid, xattrs })
}

//! The difference between the last result of a copy and the one that is wanted now.
//!
//! When the same step ran before and few files changed since, writing all of them again is a waste: the new layer
//! can lie over the old one and hold only what differs. Both are then one layer, whose content is the new plan's.
//!
//! That is worth it, and right, only under conditions:
//!
//! * few entries differ (a delta costs a mount at each later step);
//! * what was removed is nothing that the base has, too, for the base's would have to show again
//!   ([`Delta::removes_nothing_of`]);
//! * nothing turned from a directory into something else or back (what lies below could show through);
//! * no file that differs has several names.
//!
//! Times are no part of content: a file that differs only in its mtime keeps the old one.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::AsFd;

use builder_cache::content::{ChildDigest, Listing, Trees};
use builder_solver::ContentDigest;

use crate::context::EntryContent;
use crate::context::root::{self, join, split};

use super::error::CopyError;
use super::plan::{Plan, Planned};

/// More differences than this, or than a quarter of everything, and all is written again.
const MAX_CHANGES: usize = 4096;

/// What has to be written over the last result.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delta {
    /// Paths that are new or different, directories with all their new contents named one by one.
    pub write: BTreeSet<Vec<u8>>,
    /// Paths that are gone.
    pub remove: Vec<Vec<u8>>,
    /// Those of `write` that were something else before.
    replaced: Vec<Vec<u8>>,
    /// The directories that lead to what is written.
    parents: BTreeSet<Vec<u8>>,
}

impl Delta {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.write.is_empty() && self.remove.is_empty()
    }

    /// Whether a path is written, or leads to something that is.
    pub(super) fn concerns(&self, path: &[u8]) -> bool {
        path.is_empty() || self.write.contains(path) || self.parents.contains(path)
    }

    fn add(&mut self, path: Vec<u8>) {
        let mut parent = split(&path).0;
        while !parent.is_empty() && self.parents.insert(parent.to_vec()) {
            parent = split(parent).0;
        }
        self.write.insert(path);
    }

    /// What was a leaf, or an empty directory, and is a leaf again.
    pub(super) fn replaced(&self) -> &[Vec<u8>] {
        &self.replaced
    }

    /// Whether the base has none of the paths that are gone.
    pub fn removes_nothing_of(&self, base: impl AsFd) -> Result<bool, CopyError> {
        for path in &self.remove {
            let found = root::stat(base.as_fd(), path).map_err(|error| CopyError::write("look at", path, error))?;
            if found.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Compares the content of the last layer with that of the new one. `load` gives an old listing by its digest. `None`
/// when a listing is not known any more, when too much differs, or when a directory became something else.
pub fn plan_delta(
    old: &ContentDigest,
    new: &Trees,
    total: usize,
    load: impl Fn(&ContentDigest) -> Option<Vec<u8>>,
) -> Option<Delta> {
    let new_listings: HashMap<&ContentDigest, &[u8]> =
        new.listings.iter().map(|(digest, encoded)| (digest, encoded.as_slice())).collect();
    let comparison = Comparison {
        load_old: &|digest| Listing::decode(&load(digest)?),
        load_new: &|digest| Listing::decode(new_listings.get(digest)?),
        limit: MAX_CHANGES.min(total / 4 + 16),
    };
    let mut delta = Delta::default();
    comparison.directories(b"", Some(old), &new.root, &mut delta)?;
    Some(delta)
}

type Load<'a> = &'a dyn Fn(&ContentDigest) -> Option<Listing>;

struct Comparison<'a> {
    load_old: Load<'a>,
    load_new: Load<'a>,
    limit: usize,
}

impl Comparison<'_> {
    fn directories(
        &self,
        path: &[u8],
        old: Option<&ContentDigest>,
        new: &ContentDigest,
        delta: &mut Delta,
    ) -> Option<()> {
        if old == Some(new) {
            return Some(());
        }
        let new = (self.load_new)(new)?;
        let old_listing = old.map_or_else(|| Some(Listing::default()), self.load_old)?;
        if !path.is_empty() && new.own != old_listing.own {
            delta.add(path.to_vec());
        }
        for child in &new.children {
            let path = join(path, &child.name);
            match (old_listing.child(&child.name).map(|child| child.digest), child.digest) {
                (Some(old), new) if old == new => {}
                (None, ChildDigest::Listing(new)) => self.directories(&path, None, &new, delta)?,
                (Some(ChildDigest::Listing(old)), ChildDigest::Listing(new)) => {
                    self.directories(&path, Some(&old), &new, delta)?;
                }
                (None, ChildDigest::Entry(_)) => delta.add(path),
                (Some(ChildDigest::Entry(_)), ChildDigest::Entry(_)) => {
                    delta.replaced.push(path.clone());
                    delta.add(path);
                }
                // An empty directory or something else that got, or lost, what is below it: can't be told apart.
                (Some(ChildDigest::Entry(_)), ChildDigest::Listing(_))
                | (Some(ChildDigest::Listing(_)), ChildDigest::Entry(_)) => return None,
            }
            if delta.write.len() > self.limit {
                return None;
            }
        }
        for child in &old_listing.children {
            if new.child(&child.name).is_none() {
                delta.remove.push(join(path, &child.name));
                if delta.remove.len() > self.limit {
                    return None;
                }
            }
        }
        Some(())
    }
}

impl Plan<'_> {
    /// What has to be written over the last result, whose content was `old`; `None` when everything should be
    /// written. The caller still has to ask [`Delta::removes_nothing_of`] the base.
    pub fn delta(&self, old: &ContentDigest, load: impl Fn(&ContentDigest) -> Option<Vec<u8>>) -> Option<Delta> {
        let delta = plan_delta(old, &self.content()?, self.len(), load)?;
        let single = delta.write.iter().all(|path| match self.at(path) {
            // A directory that nobody sets any more can't be set back.
            Some(Planned::Directory(index)) => self.directories[*index].set.is_some(),
            Some(Planned::Leaf(leaf)) => self
                .entry(leaf.origin)
                .is_none_or(|(entry, ..)| entry.links < 2 || !matches!(entry.content, EntryContent::File(_))),
            None => false,
        });
        // An empty directory in place of what may have been a file would hide what lies below it.
        let leaves = delta.replaced.iter().all(|path| matches!(self.at(path), Some(Planned::Leaf(_))));
        (single && leaves).then_some(delta)
    }

    fn at(&self, path: &[u8]) -> Option<&Planned> {
        let (parent, name) = split(path);
        let mut here = 0;
        for part in root::components(parent) {
            let Planned::Directory(index) = self.directories[here].children.get(part)? else { return None };
            here = *index;
        }
        self.directories[here].children.get(name)
    }
}

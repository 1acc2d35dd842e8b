//! The content of the layer that a plan writes, without looking at the layer.
//!
//! A layer holds what is written, and the directories on the way to it with what they are like (an overlay takes
//! them into its upper directory). Directories of the base that nothing is written to are not part of it.

use builder_cache::content::{Child, ChildDigest, DataDigest, EntryDigest, EntryKind, EntryMeta, Listing, Trees};
use builder_solver::ContentDigest;
use rayon::prelude::*;

use super::plan::{Attributes, Leaf, Origin, Plan, Planned, PlannedDirectory};
use crate::context::EntryContent;

/// A directory as the layer has it.
enum Made {
    /// Not in the layer.
    Untouched,
    Empty(EntryDigest),
    Full(ContentDigest, Vec<u8>),
}

impl Plan<'_> {
    /// The content of the layer; its root's digest is the layer's. `None` while the bytes of some file are not
    /// known (a source that was not hashed, before it is written).
    pub fn content(&self) -> Option<Trees> {
        if let Some(known) = self.content.get() {
            return Some(known.clone());
        }
        let content = self.compute_content()?;
        Some(self.content.get_or_init(|| content).clone())
    }

    fn compute_content(&self) -> Option<Trees> {
        let mut made: Vec<Made> = Vec::new();
        made.resize_with(self.directories.len(), || Made::Untouched);
        for level in self.levels().iter().rev() {
            let level: Vec<(usize, Made)> = level
                .par_iter()
                .map(|&index| Some((index, self.directory_content(index, &made)?)))
                .collect::<Option<_>>()?;
            for (index, directory) in level {
                made[index] = directory;
            }
        }
        let root = if let Some(Made::Full(digest, _)) = made.first() {
            *digest
        } else {
            // Nothing at all is written: a root with nothing in it.
            let own = own_digest(&self.directories[0]);
            let encoded = Listing { own: Some(own), children: Vec::new() }.encode();
            let digest = Listing::digest(&encoded);
            made[0] = Made::Full(digest, encoded);
            digest
        };
        // The root last.
        let listings = made
            .into_iter()
            .rev()
            .filter_map(|directory| match directory {
                Made::Full(digest, encoded) => Some((digest, encoded)),
                Made::Untouched | Made::Empty(_) => None,
            })
            .collect();
        Some(Trees { root, listings })
    }

    fn directory_content(&self, index: usize, made: &[Made]) -> Option<Made> {
        let directory = &self.directories[index];
        let mut children = Vec::with_capacity(directory.children.len());
        for (name, child) in &directory.children {
            let digest = match child {
                Planned::Leaf(leaf) => ChildDigest::Entry(self.leaf_digest(leaf)?),
                Planned::Directory(index) => match &made[*index] {
                    Made::Untouched => continue,
                    Made::Empty(digest) => ChildDigest::Entry(*digest),
                    Made::Full(digest, _) => ChildDigest::Listing(*digest),
                },
            };
            children.push(Child { name: name.to_vec(), digest });
        }
        if children.is_empty() {
            return Some(match directory.set {
                Some(_) => Made::Empty(own_digest(directory)),
                None => Made::Untouched,
            });
        }
        let encoded = Listing { own: Some(own_digest(directory)), children }.encode();
        Some(Made::Full(Listing::digest(&encoded), encoded))
    }

    fn leaf_digest(&self, leaf: &Leaf) -> Option<EntryDigest> {
        let Some((entry, ..)) = self.entry(leaf.origin) else {
            let Origin::Data(index) = leaf.origin else { return None };
            let bytes = &self.data[index as usize];
            let mut meta = EntryMeta::new(EntryKind::File, leaf.mode);
            (meta.uid, meta.gid, meta.size) = (leaf.uid, leaf.gid, bytes.len() as u64);
            return Some(meta.digest(Some(&DataDigest::of(bytes))));
        };
        let data = match entry.content {
            EntryContent::File(_) => Some(leaf.data?),
            _ => None,
        };
        Some(entry.meta(leaf.mode, leaf.uid, leaf.gid).digest(data.as_ref()))
    }
}

/// A directory's own entry: what it is set to, on top of what it was.
fn own_digest(directory: &PlannedDirectory) -> EntryDigest {
    let set = directory.set.as_ref().map(|settings| &settings.attributes);
    let Some(attributes) = set.or(directory.base.as_ref()) else {
        return EntryMeta::new(EntryKind::Directory, 0o755).digest(None);
    };
    let mut meta = EntryMeta::new(EntryKind::Directory, attributes.mode);
    (meta.uid, meta.gid) = (attributes.uid, attributes.gid);
    let of = |attributes: &Attributes| attributes.xattrs.iter().flat_map(|list| list.to_vec()).collect::<Vec<_>>();
    meta.xattrs = of(attributes);
    if let (Some(_), Some(base)) = (set, &directory.base) {
        for (name, value) in of(base) {
            if !meta.xattrs.iter().any(|(set, _)| *set == name) {
                meta.xattrs.push((name, value));
            }
        }
    }
    meta.digest(None)
}

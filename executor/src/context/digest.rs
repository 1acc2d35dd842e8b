//! The content digest of what is selected.
//!
//! It is the digest of a tree of listings in the source's own paths, so that two of them can be compared and the
//! paths that differ be named. An item that is a directory contributes what is in it; the directories on the way to
//! an item have no entry of their own (they are not copied; with `parents` they are part of the item). What was
//! named by a link has the name of the link and the content of what it leads to.
//!
//! Sources can overlap (`COPY . link /x/`). A path that is taken already is put beside the tree under a name that no
//! file can have (it begins with a NUL), unless it is the very same.

use std::collections::BTreeMap;

use builder_cache::content::{Child, ChildDigest, EntryDigest, Listing, Trees};
use builder_solver::ContentDigest;

use super::root::components;
use super::select::{ItemContent, Selected};
use super::tree::Branch;

/// The content digest of selected files, and the listings that it is made of.
#[derive(Debug)]
pub struct SelectionDigest {
    /// The digest: that of the root's listing.
    pub digest: ContentDigest,
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    content: Option<Content>,
    children: BTreeMap<Vec<u8>, Node>,
}

#[derive(Debug)]
enum Content {
    Entry(EntryDigest),
    Branch { listing: Listing, branch: Branch, modes: bool },
}

impl SelectionDigest {
    /// The digest of several selections from one source, in their order, each with its modes or without; `None` when
    /// the source does not read the bytes of files.
    pub fn new(selections: &[(Selected, bool)]) -> Option<Self> {
        let mut root = Node::default();
        let items = selections.iter().flat_map(|(selected, modes)| selected.items.iter().map(|item| (item, *modes)));
        for (position, (item, modes)) in items.enumerate() {
            let content = match &item.content {
                ItemContent::Entry(_) => Content::Entry(item.content.entry()?.digest(modes)?),
                ItemContent::Directory(branch) => {
                    Content::Branch { listing: branch.contents(modes)?, branch: branch.clone(), modes }
                }
            };
            if let Some(content) = root.insert(&item.path, content) {
                let name = [format!("\0{position}:").as_bytes(), item.path.as_slice()].concat();
                root.children.insert(name, Node { content: Some(content), children: BTreeMap::new() });
            }
        }
        let digest = Listing::digest(&root.listing().encode());
        Some(Self { digest, root })
    }

    /// All listings, to be stored so that a later miss can name what changed. This does not hash files again, but it
    /// takes memory: ask the store first whether it has the root.
    pub fn trees(&self) -> Trees {
        let mut listings = Vec::new();
        self.root.collect(&mut listings);
        Trees { root: self.digest, listings }
    }
}

impl Node {
    /// Puts `content` at `path`; gives it back when the place is taken by something else.
    fn insert(&mut self, path: &[u8], content: Content) -> Option<Content> {
        let mut node = self;
        for name in components(path) {
            if node.content.is_some() {
                return Some(content);
            }
            node = node.children.entry(name.to_vec()).or_default();
        }
        match &node.content {
            Some(taken) if taken.digest() == content.digest() => None,
            None if node.children.is_empty() => {
                node.content = Some(content);
                None
            }
            _ => Some(content),
        }
    }

    fn listing(&self) -> Listing {
        let mut listing = match &self.content {
            Some(Content::Branch { listing, .. }) => listing.clone(),
            _ => Listing::default(),
        };
        let beside = self.children.iter().map(|(name, node)| Child { name: name.clone(), digest: node.digest() });
        listing.children.extend(beside);
        listing.children.sort_by(|one, other| one.name.cmp(&other.name));
        listing
    }

    fn digest(&self) -> ChildDigest {
        match &self.content {
            Some(Content::Entry(digest)) => ChildDigest::Entry(*digest),
            _ => ChildDigest::Listing(Listing::digest(&self.listing().encode())),
        }
    }

    /// The listings below it, then its own.
    fn collect(&self, listings: &mut Vec<(ContentDigest, Vec<u8>)>) {
        if let Some(Content::Entry(_)) = &self.content {
            return;
        }
        for child in self.children.values() {
            child.collect(listings);
        }
        if let Some(Content::Branch { branch, modes, .. }) = &self.content {
            branch.listings_below(*modes, listings);
        }
        let encoded = self.listing().encode();
        listings.push((Listing::digest(&encoded), encoded));
    }
}

impl Content {
    fn digest(&self) -> ChildDigest {
        match self {
            Self::Entry(digest) => ChildDigest::Entry(*digest),
            Self::Branch { listing, .. } => ChildDigest::Listing(Listing::digest(&listing.encode())),
        }
    }
}

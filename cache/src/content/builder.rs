//! Builds a Merkle tree out of paths that come in any order.

use std::cmp::Ordering;

use builder_solver::ContentDigest;
use rayon::slice::ParallelSliceMut;

use super::entry::EntryDigest;
use super::listing::{Child, ChildDigest, Listing};

/// From this many paths on, sorting is worth more than one thread.
const PARALLEL_SORT: usize = 4096;

/// Collects entries and makes a tree of them. The order of [`TreeBuilder::add`] does not matter, but for a path that
/// is added twice: the later entry wins.
#[derive(Debug, Default)]
pub struct TreeBuilder {
    entries: Vec<(Vec<u8>, EntryDigest)>,
}

/// A tree: the digest of its root directory and the listings of all its directories, each encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trees {
    /// The digest of the whole.
    pub root: ContentDigest,
    /// Each listing with its digest; the root's is the last.
    pub listings: Vec<(ContentDigest, Vec<u8>)>,
}

/// A directory (or leaf) whose end was not seen yet.
struct Open {
    name: Vec<u8>,
    own: Option<EntryDigest>,
    children: Vec<Child>,
}

impl TreeBuilder {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for `additional` more entries.
    pub fn reserve(&mut self, additional: usize) {
        self.entries.reserve(additional);
    }

    /// Adds the entry at `path`, relative to the root (which is `.` or nothing). Parents that are not added have no
    /// entry of their own.
    pub fn add(&mut self, path: &[u8], entry: EntryDigest) {
        self.entries.push((normalize(path), entry));
    }

    /// How many entries were added.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Hashes everything from the leaves up.
    pub fn finish(mut self) -> Trees {
        if self.entries.len() >= PARALLEL_SORT {
            self.entries.par_sort_by(|(a, _), (b, _)| by_component(a, b));
        } else {
            self.entries.sort_by(|(a, _), (b, _)| by_component(a, b));
        }
        let mut listings = Vec::new();
        let mut open = vec![Open { name: Vec::new(), own: None, children: Vec::new() }];
        for (path, entry) in self.entries {
            let components: Vec<&[u8]> =
                if path.is_empty() { Vec::new() } else { path.split(|&byte| byte == b'/').collect() };
            let shared = open[1..].iter().zip(&components).take_while(|(open, name)| open.name == **name).count();
            while open.len() > shared + 1 {
                close(&mut open, &mut listings);
            }
            for name in &components[shared..] {
                open.push(Open { name: name.to_vec(), own: None, children: Vec::new() });
            }
            if let Some(last) = open.last_mut() {
                last.own = Some(entry);
            }
        }
        while open.len() > 1 {
            close(&mut open, &mut listings);
        }
        let root = open.pop().map_or_else(Listing::default, |root| Listing { own: root.own, children: root.children });
        let root = push(&root, &mut listings);
        Trees { root, listings }
    }
}

/// Closes the innermost open directory: its parent gets it as a child.
fn close(open: &mut Vec<Open>, listings: &mut Vec<(ContentDigest, Vec<u8>)>) {
    let Some(Open { name, own, children }) = open.pop() else { return };
    let digest = match own {
        Some(own) if children.is_empty() => ChildDigest::Entry(own),
        _ => ChildDigest::Listing(push(&Listing { own, children }, listings)),
    };
    if let Some(parent) = open.last_mut() {
        parent.children.push(Child { name, digest });
    }
}

fn push(listing: &Listing, listings: &mut Vec<(ContentDigest, Vec<u8>)>) -> ContentDigest {
    let encoded = listing.encode();
    let digest = Listing::digest(&encoded);
    listings.push((digest, encoded));
    digest
}

/// Sorts a directory's contents right after it: `a`, `a/b`, `a.b`.
fn by_component(a: &[u8], b: &[u8]) -> Ordering {
    match a.iter().zip(b).find(|(a, b)| a != b) {
        None => a.len().cmp(&b.len()),
        Some((b'/', _)) => Ordering::Less,
        Some((_, b'/')) => Ordering::Greater,
        Some((a, b)) => a.cmp(b),
    }
}

/// Without `.` and empty components.
fn normalize(path: &[u8]) -> Vec<u8> {
    let skip = |name: &[u8]| name.is_empty() || name == b".";
    if !path.is_empty() && !path.split(|&byte| byte == b'/').any(skip) {
        return path.to_vec();
    }
    path.split(|&byte| byte == b'/').filter(|name| !skip(name)).collect::<Vec<_>>().join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use proptest::sample::Index;

    fn entry(number: u8) -> EntryDigest {
        EntryDigest::from_bytes([number; 32])
    }

    fn tree(entries: &[(&str, u8)]) -> Trees {
        let mut builder = TreeBuilder::new();
        for (path, number) in entries {
            builder.add(path.as_bytes(), entry(*number));
        }
        builder.finish()
    }

    #[test]
    fn directories_become_listings_and_leaves_entries() {
        let trees = tree(&[("", 1), ("a", 2), ("a/b", 3), ("a.b", 4), ("c/d", 5), ("empty", 6)]);
        let root = Listing::decode(&trees.listings.last().unwrap().1).unwrap();
        assert_eq!(root.own, Some(entry(1)));
        let names: Vec<_> = root.children.iter().map(|child| child.name.as_slice()).collect();
        assert_eq!(names, [b"a".as_slice(), b"a.b", b"c", b"empty"]);
        assert_eq!(root.child(b"empty").unwrap().digest, ChildDigest::Entry(entry(6)));
        assert!(matches!(root.child(b"c").unwrap().digest, ChildDigest::Listing(_)));
        assert_eq!(trees.listings.len(), 3);
    }

    #[test]
    fn spelling_of_a_path_does_not_matter() {
        assert_eq!(tree(&[("./a//b/", 1), (".", 2)]), tree(&[("a/b", 1), ("", 2)]));
    }

    #[test]
    fn similar_trees_differ() {
        let trees = [
            tree(&[]),
            tree(&[("", 1)]),
            tree(&[("a", 1)]),
            tree(&[("a/b", 1)]),
            tree(&[("a", 1), ("a/b", 1)]),
            tree(&[("ab", 1)]),
            tree(&[("a", 1), ("b", 1)]),
            tree(&[("a", 1), ("b", 2)]),
            tree(&[("a", 2), ("b", 1)]),
        ];
        for (position, one) in trees.iter().enumerate() {
            for other in &trees[position + 1..] {
                assert_ne!(one.root, other.root);
            }
        }
    }

    fn paths() -> impl Strategy<Value = std::collections::BTreeMap<String, u8>> {
        btree_map("[a-c.]{1,2}(/[a-c]{1,2}){0,3}", any::<u8>(), 0..40)
    }

    proptest! {
        #[test]
        fn order_does_not_matter(entries in paths(), shuffle in vec(any::<u64>(), 40)) {
            let sorted: Vec<_> = entries.iter().map(|(path, number)| (path.as_str(), *number)).collect();
            let normalized: std::collections::BTreeSet<_> = sorted.iter().map(|(path, _)| normalize(path.as_bytes())).collect();
            prop_assume!(normalized.len() == sorted.len());
            let mut shuffled: Vec<_> = sorted.iter().zip(&shuffle).collect();
            shuffled.sort_by_key(|(_, key)| **key);
            let shuffled: Vec<_> = shuffled.into_iter().map(|(entry, _)| *entry).collect();
            prop_assert_eq!(tree(&sorted), tree(&shuffled));
        }

        #[test]
        fn any_change_changes_the_root(entries in paths(), which in any::<Index>(), number in any::<u8>()) {
            prop_assume!(!entries.is_empty());
            let list: Vec<_> = entries.iter().map(|(path, number)| (path.as_str(), *number)).collect();
            let normalized: std::collections::BTreeSet<_> = list.iter().map(|(path, _)| normalize(path.as_bytes())).collect();
            prop_assume!(normalized.len() == list.len());
            let at = which.index(list.len());
            let mut changed = list.clone();
            changed[at].1 = number;
            prop_assert_eq!(tree(&list).root == tree(&changed).root, list == changed);
            changed.remove(at);
            prop_assert_ne!(tree(&list).root, tree(&changed).root);
        }
    }
}

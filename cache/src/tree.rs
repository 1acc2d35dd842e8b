//! Merkle listings: one row a directory, named by its digest, shared by all trees that have it.

use std::cmp::Ordering;

use builder_solver::{ContentDigest, PathChange, PathChangeKind};
use rusqlite::{Connection, OptionalExtension, params};

use crate::content::{Child, ChildDigest, Listing, Trees};
use crate::error::{Error, Result};
use crate::store::{Commit, Store};

impl Store {
    /// Keeps listings, all in one transaction. A tree that is there already costs a look-up.
    pub fn put_trees(&self, trees: &Trees) -> Result<()> {
        // A tree is put whole and collected whole, so its root stands for the rest.
        if self.has_tree(&trees.root)? {
            return Ok(());
        }
        let _lease = self.lease()?;
        self.write(Commit::Lazy, |db| {
            let mut insert = db.prepare_cached("INSERT OR IGNORE INTO trees (digest, listing) VALUES (?, ?)")?;
            for (digest, listing) in &trees.listings {
                insert.execute(params![digest.as_bytes(), listing])?;
            }
            Ok(())
        })
    }

    /// Keeps one listing ([`Listing::encode`]), whose children are kept already, and tells its digest.
    pub fn put_tree(&self, listing: &[u8]) -> Result<ContentDigest> {
        let root = Listing::digest(listing);
        self.put_trees(&Trees { root, listings: vec![(root, listing.to_vec())] })?;
        Ok(root)
    }

    /// A listing, verified against its digest.
    pub fn get_tree(&self, digest: &ContentDigest) -> Result<Option<Vec<u8>>> {
        self.read(|db| get(db, digest))
    }

    /// Whether the listing is there.
    pub fn has_tree(&self, digest: &ContentDigest) -> Result<bool> {
        self.read(|db| Ok(db.prepare_cached("SELECT 1 FROM trees WHERE digest = ?")?.exists([digest.as_bytes()])?))
    }
}

fn get(db: &Connection, digest: &ContentDigest) -> Result<Option<Vec<u8>>> {
    let mut select = db.prepare_cached("SELECT listing FROM trees WHERE digest = ?")?;
    let listing: Option<Vec<u8>> = select.query_row([digest.as_bytes()], |row| row.get(0)).optional()?;
    match listing {
        Some(listing) if Listing::digest(&listing) != *digest => Err(Error::DamagedTree(*digest)),
        listing => Ok(listing),
    }
}

/// A listing, taken apart.
pub(crate) fn listing(db: &Connection, digest: &ContentDigest) -> Result<Option<Listing>> {
    match get(db, digest)? {
        Some(encoded) => Listing::decode(&encoded).map(Some).ok_or(Error::DamagedTree(*digest)),
        None => Ok(None),
    }
}

/// The paths in which two trees differ, sorted, at most `limit`. A directory that only one tree has is one path. Only
/// directories that differ are read.
pub(crate) fn changes(
    store: &Store,
    old: &ContentDigest,
    new: &ContentDigest,
    limit: usize,
) -> Result<Option<Vec<PathChange>>> {
    store.read_consistent(|db| {
        let (Some(old), Some(new)) = (listing(db, old)?, listing(db, new)?) else { return Ok(None) };
        let mut walk = Walk { db, limit, found: Vec::new() };
        if old.own != new.own {
            walk.found(b".", PathChangeKind::Changed);
        }
        // An explicit stack: trees may be deeper than the thread's.
        let mut waiting = vec![Step::Compare(Vec::new(), old, new)];
        while let Some(step) = waiting.pop() {
            if walk.found.len() >= limit {
                break;
            }
            match step {
                Step::Found(path, kind) => walk.found(&path, kind),
                Step::Compare(path, old, new) => {
                    let steps = walk.compare(&path, &old, &new)?;
                    waiting.extend(steps.into_iter().rev());
                }
                Step::Read(path, old, new) => walk.read(path, &old, &new, &mut waiting)?,
            }
        }
        Ok(Some(walk.found))
    })
}

enum Step {
    Found(Vec<u8>, PathChangeKind),
    Read(Vec<u8>, ChildDigest, ChildDigest),
    Compare(Vec<u8>, Listing, Listing),
}

struct Walk<'a> {
    db: &'a Connection,
    limit: usize,
    found: Vec<PathChange>,
}

impl Walk<'_> {
    fn found(&mut self, path: &[u8], kind: PathChangeKind) {
        if self.found.len() < self.limit {
            self.found.push(PathChange { path: readable(path), kind });
        }
    }

    /// Two directories name by name. `Ok` holds what is to be done, in order.
    #[expect(clippy::unnecessary_wraps, reason = "one shape with `read`")]
    fn compare(&self, path: &[u8], old: &Listing, new: &Listing) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        let (mut old, mut new) = (old.children.iter().peekable(), new.children.iter().peekable());
        // No more than the limit of them can matter.
        while steps.len() < self.limit {
            let order = match (old.peek(), new.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => old.name.cmp(&new.name),
            };
            let below = |child: &Child| {
                let mut below = path.to_vec();
                if !below.is_empty() {
                    below.push(b'/');
                }
                below.extend_from_slice(&child.name);
                below
            };
            match order {
                Ordering::Less => {
                    steps.extend(old.next().map(|child| Step::Found(below(child), PathChangeKind::Removed)));
                }
                Ordering::Greater => {
                    steps.extend(new.next().map(|child| Step::Found(below(child), PathChangeKind::Added)));
                }
                Ordering::Equal => {
                    if let (Some(old), Some(new)) = (old.next(), new.next())
                        && old.digest != new.digest
                    {
                        steps.push(Step::Read(below(new), old.digest, new.digest));
                    }
                }
            }
        }
        Ok(steps)
    }

    /// One name that differs. If it is a directory in both trees, what differs is below it or its own entry.
    fn read(&mut self, path: Vec<u8>, old: &ChildDigest, new: &ChildDigest, waiting: &mut Vec<Step>) -> Result<()> {
        let read = |child: &ChildDigest| match child {
            // An empty directory, or no directory at all.
            ChildDigest::Entry(own) => Ok(Some(Listing { own: Some(*own), children: Vec::new() })),
            ChildDigest::Listing(digest) => listing(self.db, digest),
        };
        let both_leaves = matches!((old, new), (ChildDigest::Entry(_), ChildDigest::Entry(_)));
        match (read(old)?, read(new)?) {
            (Some(old), Some(new)) if !both_leaves => {
                if old.own != new.own {
                    self.found(&path, PathChangeKind::Changed);
                }
                waiting.push(Step::Compare(path, old, new));
            }
            _ => self.found(&path, PathChangeKind::Changed),
        }
        Ok(())
    }
}

/// A path for people: what is not UTF-8 and what would control a terminal is escaped.
fn readable(path: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").ok();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::LazyLock;

    use proptest::collection::btree_map;
    use proptest::prelude::*;

    use super::*;
    use crate::content::{EntryDigest, TreeBuilder};

    /// Listings only add up, so that one store will do for all cases.
    static SHARED: LazyLock<(tempfile::TempDir, Store)> = LazyLock::new(|| {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        (root, store)
    });

    type Files = BTreeMap<Vec<&'static str>, u8>;

    fn build(files: &Files) -> Trees {
        let mut builder = TreeBuilder::new();
        for (path, number) in files {
            builder.add(path.join("/").as_bytes(), EntryDigest::from_bytes([*number; 32]));
        }
        builder.finish()
    }

    /// Every path of a tree with the entry that it has, parents without one included.
    fn paths(files: &Files) -> BTreeMap<Vec<&'static str>, Option<u8>> {
        let mut all = BTreeMap::new();
        for (path, number) in files {
            for length in 1..path.len() {
                all.entry(path[..length].to_vec()).or_insert(None);
            }
            all.insert(path.clone(), Some(*number));
        }
        all
    }

    /// The same answer without any tree: one path for what only one side has, below the first that is missing.
    fn naive(old: &Files, new: &Files) -> Vec<(String, PathChangeKind)> {
        let (old, new) = (paths(old), paths(new));
        let mut found = BTreeMap::new();
        for path in old.keys().chain(new.keys()) {
            let parent_in_both = path.len() == 1 || {
                let parent = &path[..path.len() - 1];
                old.contains_key(parent) && new.contains_key(parent)
            };
            let kind = match (old.get(path), new.get(path)) {
                (Some(before), Some(after)) if before != after => Some(PathChangeKind::Changed),
                (Some(_), None) if parent_in_both => Some(PathChangeKind::Removed),
                (None, Some(_)) if parent_in_both => Some(PathChangeKind::Added),
                _ => None,
            };
            if let Some(kind) = kind {
                found.insert(path.clone(), kind);
            }
        }
        found.into_iter().map(|(path, kind)| (path.join("/"), kind)).collect()
    }

    fn files() -> impl Strategy<Value = Files> {
        let name = prop::sample::select(vec!["a", "a.b", "b", "c"]);
        btree_map(prop::collection::vec(name, 1..4), 0..3_u8, 0..12)
    }

    proptest! {
        #[test]
        fn changes_equal_the_naive_difference(old in files(), new in files(), limit in 0..12_usize) {
            let (_, store) = &*SHARED;
            let (old_trees, new_trees) = (build(&old), build(&new));
            store.put_trees(&old_trees).unwrap();
            store.put_trees(&new_trees).unwrap();
            let found = changes(store, &old_trees.root, &new_trees.root, usize::MAX).unwrap().unwrap();
            let found: Vec<_> = found.into_iter().map(|change| (change.path, change.kind)).collect();
            prop_assert_eq!(&found, &naive(&old, &new));
            let few = changes(store, &old_trees.root, &new_trees.root, limit).unwrap().unwrap();
            prop_assert_eq!(few.len(), limit.min(found.len()));
            prop_assert!(few.iter().zip(&found).all(|(few, all)| few.path == all.0));
        }
    }

    #[test]
    fn unknown_trees_are_no_error() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let known = build(&BTreeMap::from([(vec!["a"], 1)]));
        store.put_trees(&known).unwrap();
        let unknown = ContentDigest::from_bytes([7; 32]);
        assert_eq!(changes(&store, &known.root, &unknown, 9).unwrap(), None);
        assert_eq!(changes(&store, &unknown, &known.root, 9).unwrap(), None);
        assert_eq!(changes(&store, &known.root, &known.root, 9).unwrap(), Some(Vec::new()));
    }

    #[test]
    fn a_lost_listing_in_the_middle_is_one_change() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let old = build(&BTreeMap::from([(vec!["d", "x"], 1), (vec!["e"], 1)]));
        let new = build(&BTreeMap::from([(vec!["d", "x"], 2), (vec!["e"], 1)]));
        store.put_trees(&old).unwrap();
        store.put_tree(&new.listings.last().unwrap().1).unwrap();
        let found = changes(&store, &old.root, &new.root, 9).unwrap().unwrap();
        assert_eq!(found, [PathChange { path: "d".to_owned(), kind: PathChangeKind::Changed }]);
    }

    #[test]
    fn paths_are_safe_to_print() {
        let cases: [(&[u8], &str); 4] =
            [(b"a b", "a b"), ("ü".as_bytes(), "ü"), (b"\x1b[0m\n", "\\u{1b}[0m\\n"), (b"a\xffb", "a\\xffb")];
        for (path, text) in cases {
            assert_eq!(readable(path), text);
        }
    }

    #[test]
    fn a_damaged_listing_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let trees = build(&BTreeMap::from([(vec!["a"], 1)]));
        store.put_trees(&trees).unwrap();
        assert_eq!(store.get_tree(&trees.root).unwrap().as_ref(), trees.listings.last().map(|(_, bytes)| bytes));
        store
            .write(Commit::Lazy, |db| {
                db.execute("UPDATE trees SET listing = x'0100'", [])?;
                Ok(())
            })
            .unwrap();
        assert!(matches!(store.get_tree(&trees.root), Err(Error::DamagedTree(digest)) if digest == trees.root));
    }

    #[test]
    fn deep_trees_do_not_need_a_deep_stack() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let deep = |number| {
            let mut builder = TreeBuilder::new();
            builder.add("d/".repeat(20_000).as_bytes(), EntryDigest::from_bytes([number; 32]));
            builder.finish()
        };
        let (old, new) = (deep(1), deep(2));
        store.put_trees(&old).unwrap();
        store.put_trees(&new).unwrap();
        let found = changes(&store, &old.root, &new.root, 9).unwrap().unwrap();
        assert_eq!(found.len(), 1);
        let digests: BTreeSet<_> = old.listings.iter().map(|(digest, _)| digest).collect();
        assert_eq!(digests.len(), 20_000);
    }
}

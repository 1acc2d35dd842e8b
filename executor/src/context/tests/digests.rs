//! The digest of a selection changes when and only when the copy's result does, and its listings name what changed.

use std::collections::HashMap;
use std::fs;

use builder_cache::content::{ChildDigest, Listing};
use builder_solver::ContentDigest;

use super::{digest_of, everything};
use crate::context::{FileSource, SelectionDigest};
use crate::test_kit::{Sandbox, open, selection};

fn digest(files: &[&str], sources: &[&str]) -> ContentDigest {
    let sandbox = Sandbox::new();
    sandbox.tree("c", files);
    digest_of(&sandbox.context("c", &[]), sources)
}

#[test]
fn what_changes_the_result_changes_the_digest() {
    for (before, after, sources) in [
        (&["f=1"][..], &["f=2"][..], &["f"][..]),
        (&["f=1"], &["f=1@755"], &["f"]),
        (&["f=1"], &["f -> g", "g=2"], &["f"]),
        (&["d/f=1"], &["d/g=1"], &["d"]),
        (&["d/f=1"], &["d/f=1", "d/g="], &["d"]),
        (&["d/f=1"], &["d/f=1", "d/e/"], &["d"]),
        (&["d/e/@700"], &["d/e/@755"], &["d"]),
        (&["d/l -> a"], &["d/l -> b"], &["d"]),
        (&["d/l -> f", "d/f=1"], &["d/l=1", "d/f=1"], &["d"]),
        (&["a.txt=1"], &["b.txt=1"], &["*.txt"]),
        (&["a.txt=1"], &["a.txt=1", "b.txt=1"], &["*.txt"]),
        (&["f=1"], &["f/x=1"], &["f"]),
        (&["d/"], &["d=1"], &["d"]),
        (&["a=1", "b=2"], &["a=2", "b=1"], &["a", "b"]),
        (&["d/a=1", "d/b=2"], &["d/a=1", "d/b=3"], &["d/a", "d"]),
        (&["a=1", "l -> a"], &["a=2", "l -> a"], &["l"]),
    ] {
        assert_ne!(digest(before, sources), digest(after, sources), "{before:?} {after:?} {sources:?}");
    }
}

#[test]
fn what_does_not_leaves_it() {
    for (before, after, sources) in [
        (&["f=1"][..], &["f=1", "other=2"][..], &["f"][..]),
        (&["d/f=1"], &["d/f=1", "d/@700"], &["d"]),
        (&["d/f=1"], &["d/f=1", "d/@700", "d/g=2"], &["d/f"]),
        (&["f=1", "l -> f"], &["l=1"], &["l"]),
        (&["f=1", "l -> f"], &["g=1", "l -> g"], &["l"]),
        (&["d/f=1", "l -> d"], &["l/f=1"], &["l"]),
        (&["a.txt=1"], &["a.txt=1", "b.md=1"], &["*.txt"]),
        (&["f=1"], &["f=1"], &["f", "f"]),
    ] {
        assert_eq!(digest(before, sources), digest(after, sources), "{before:?} {after:?} {sources:?}");
    }
}

#[test]
fn sources_that_overlap_are_all_counted() {
    // The link is a link within the directory and a file by itself: both count.
    let files = |target: &'static str, text: &'static str| vec!["l -> a", target, text];
    let one = digest(&files("a=1", "b=1"), &[".", "l"]);
    let two = digest(&files("a=2", "b=1"), &[".", "l"]);
    let three = digest(&files("a=1", "b=2"), &[".", "l"]);
    assert_ne!(one, two);
    assert_ne!(one, three);
    assert_ne!(two, three);
    for sources in [&["l", "."][..], &["d", "d/f"], &["d/f", "d"], &["*", "."]] {
        assert_ne!(digest(&["l -> a", "a=1", "d/f=1"], sources), digest(&["l -> a", "a=1", "d/f=2"], sources));
    }
}

#[test]
fn exclusions_and_ignored_files_do_not_count() {
    let sandbox = Sandbox::new();
    let root = sandbox.tree("c", &["src/a.c=1", "src/a.o=2", "log=3"]);
    let digest = || {
        let context = sandbox.context("c", &["log"]);
        context.digest(&[selection(&["."], &["**/*.o"], false)]).unwrap().digest
    };
    let before = digest();
    fs::write(root.join("log"), "other").unwrap();
    fs::write(root.join("src/a.o"), "other").unwrap();
    assert_eq!(digest(), before);
    fs::write(root.join("src/a.c"), "other").unwrap();
    assert_ne!(digest(), before);
}

#[test]
fn modes_can_be_left_out() {
    let sandbox = Sandbox::new();
    sandbox.tree("one", &["d/f=1@644", "d/@700"]);
    sandbox.tree("two", &["d/f=1@755", "d/@755"]);
    let everything = everything();
    let digest = |name, modes| sandbox.context(name, &[]).source().digest_with(&[(&everything, modes)]).unwrap().digest;
    assert_ne!(digest("one", true), digest("two", true));
    assert_eq!(digest("one", false), digest("two", false));
}

#[test]
fn a_snapshot_and_a_context_agree_but_for_owners() {
    let sandbox = Sandbox::new();
    let root = sandbox.tree("c", &["a=1", "d/b=2@755", "l -> a"]);
    let snapshot = FileSource::snapshot(open(&root)).unwrap();
    for sources in [&["."][..], &["d"], &["a", "l"], &["*"]] {
        let selections = [selection(sources, &[], false)];
        assert_eq!(
            snapshot.digest(&selections).unwrap().digest,
            sandbox.context("c", &[]).digest(&selections).unwrap().digest
        );
    }
    std::os::unix::fs::chown(root.join("a"), Some(5), Some(6)).unwrap();
    let owned = FileSource::snapshot(open(&root)).unwrap();
    let all = [everything()];
    assert_ne!(owned.digest(&all).unwrap().digest, snapshot.digest(&all).unwrap().digest);
    assert_eq!(
        sandbox.context("c", &[]).digest(&all).unwrap().digest,
        snapshot.digest(&all).unwrap().digest,
        "whose a context is does not matter"
    );
    let unread = FileSource::snapshot_to_copy(open(&root)).unwrap();
    assert!(unread.digest(&[everything()]).is_err());
}

#[test]
fn no_selection_is_everything() {
    let sandbox = Sandbox::new();
    sandbox.tree("c", &["a=1", "d/b=2"]);
    let context = sandbox.context("c", &[]);
    assert_eq!(context.digest(&[]).unwrap().digest, context.digest(&[everything()]).unwrap().digest);
}

#[test]
fn a_scan_is_shared_and_does_not_change_within_a_build() {
    let sandbox = Sandbox::new();
    let root = sandbox.tree("c", &["a=1", "d/b=2", "d/e/f=3"]);
    let context = sandbox.context("c", &[]);
    let whole = digest_of(&context, &["."]);
    let (part, deep, leaf) = (digest_of(&context, &["d"]), digest_of(&context, &["d/e"]), digest_of(&context, &["a"]));
    fs::write(root.join("a"), "2").unwrap();
    fs::write(root.join("d/e/f"), "4").unwrap();
    assert_eq!(digest_of(&context, &["."]), whole);
    assert_eq!(digest_of(&context, &["d"]), part);
    let fresh = sandbox.context("c", &[]);
    assert_ne!(digest_of(&fresh, &["d/e"]), deep);
    assert_ne!(digest_of(&fresh, &["a"]), leaf);
}

/// The paths in which two digests differ, by their listings alone.
fn changes(old: &SelectionDigest, new: &SelectionDigest) -> Vec<String> {
    let listings: HashMap<_, _> = [old, new].iter().flat_map(|digest| digest.trees().listings).collect();
    let mut changed = Vec::new();
    compare(&listings, "", Some(old.digest), Some(new.digest), &mut changed);
    changed
}

fn compare(
    listings: &HashMap<ContentDigest, Vec<u8>>,
    path: &str,
    old: Option<ContentDigest>,
    new: Option<ContentDigest>,
    changed: &mut Vec<String>,
) {
    let load = |digest: Option<ContentDigest>| {
        digest.map_or_else(Listing::default, |digest| Listing::decode(&listings[&digest]).unwrap())
    };
    let (old, new) = (load(old), load(new));
    let mut names: Vec<_> = old.children.iter().chain(&new.children).map(|child| child.name.clone()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let (old, new) = (old.child(&name).map(|child| child.digest), new.child(&name).map(|child| child.digest));
        let path = format!("{path}/{}", String::from_utf8_lossy(&name));
        let listing = |child| match child {
            Some(ChildDigest::Listing(digest)) => Some(digest),
            _ => None,
        };
        match (listing(old), listing(new)) {
            _ if old == new => {}
            (None, None) => changed.push(path),
            (old, new) => compare(listings, &path, old, new, changed),
        }
    }
}

#[test]
fn listings_name_what_changed() {
    let files = ["src/main.rs=1", "src/lib/a.rs=2", "Cargo.toml=3", "link -> src"];
    for (sources, parents, changed, expected) in [
        (&["."][..], false, "src/main.rs", &["/src/main.rs"][..]),
        (&["src"], false, "src/lib/a.rs", &["/src/lib/a.rs"]),
        (&["src/", "Cargo.toml"], false, "Cargo.toml", &["/Cargo.toml"]),
        (&["src/main.rs"], false, "src/main.rs", &["/src/main.rs"]),
        (&["*"], false, "src/lib/a.rs", &["/link/lib/a.rs", "/src/lib/a.rs"]),
        (&["link"], false, "src/main.rs", &["/link/main.rs"]),
        (&["**/*.rs"], true, "src/lib/a.rs", &["/src/lib/a.rs"]),
        (&["src/./lib/a.rs"], true, "src/lib/a.rs", &["/src/lib/a.rs"]),
    ] {
        let sandbox = Sandbox::new();
        let root = sandbox.tree("c", &files);
        let digest = || sandbox.context("c", &[]).digest(&[selection(sources, &[], parents)]).unwrap();
        let before = digest();
        assert_eq!(before.trees().root, before.digest);
        assert_eq!(before.trees().listings.last().unwrap().0, before.digest);
        fs::write(root.join(changed), "changed").unwrap();
        let after = digest();
        assert_ne!(before.digest, after.digest, "{sources:?}");
        assert_eq!(changes(&before, &after), expected, "{sources:?}");
    }
}

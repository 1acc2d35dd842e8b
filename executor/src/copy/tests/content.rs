//! The content that a plan predicts is the content that the layer has; deltas lead to the same files.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use builder_cache::content::{Trees, layer_content};
use builder_solver::{ContentDigest, FileAction, FileMode};
use proptest::prelude::*;

use super::{copy_action, named, symbolic};
use crate::context::FileSource;
use crate::copy::{Plan, apply};
use crate::rootfs::{Driver, DriverKind, Purpose};
use crate::test_kit::{Sandbox, open, selection, show};

/// A fresh layer over some directories.
struct Layer {
    upper: PathBuf,
    work: PathBuf,
    lower: Vec<PathBuf>,
}

impl Layer {
    fn new(sandbox: &Sandbox, name: &str, lower: &[PathBuf]) -> Self {
        let lower = lower.to_vec();
        Self { upper: sandbox.tree(name, &[]), work: sandbox.tree(&format!("{name}.work"), &[]), lower }
    }

    fn mount(&self, sandbox: &Sandbox) -> crate::rootfs::RootMount {
        Driver::new(&sandbox.path(""), Some(DriverKind::Overlay))
            .mount_directories(self.lower.clone(), Some((&self.upper, &self.work)), Purpose::Files)
            .unwrap()
    }
}

fn view(sandbox: &Sandbox, lower: &[PathBuf]) -> crate::rootfs::RootMount {
    Driver::new(&sandbox.path(""), Some(DriverKind::Overlay))
        .mount_directories(lower.to_vec(), None, Purpose::Files)
        .unwrap()
}

fn mount_shown(mount: impl AsFd) -> Vec<String> {
    use std::os::fd::AsRawFd;
    show(Path::new(&format!("/proc/self/fd/{}/", mount.as_fd().as_raw_fd())))
}

fn listings(trees: &Trees) -> HashMap<ContentDigest, Vec<u8>> {
    trees.listings.iter().cloned().collect()
}

#[test]
fn the_plan_knows_what_the_layer_will_be() {
    let base =
        ["etc/passwd=root:x:0:0::/:\n", "app/old/k=1", "app/old/@711", "usr/bin/tool=x@755", "link -> app", "e/"];
    let context =
        ["f=1", "run=2@755", "old/new=3", "old/@750", "empty/", "l -> f", "sub/deep/file=4", "bin/tool=y", "big="];
    for (name, sources, dest) in [
        ("merge", &["."][..], "/app"),
        ("root", &["."], "/"),
        ("new", &["."], "/a/b/c"),
        ("file", &["f"], "/usr/bin/tool"),
        ("into", &["f", "run"], "/usr/bin/"),
        ("through a link", &["sub"], "/link/x"),
        ("an empty directory into one that is there", &["empty"], "/e"),
        ("an empty directory", &["empty"], "/e2"),
        ("bin", &["bin"], "/usr/bin"),
        ("nothing", &["none*"], "/x/"),
    ] {
        for chown in [false, true] {
            let sandbox = Sandbox::new();
            let base = sandbox.tree("base", &base);
            let from = sandbox.tree("from", &context);
            fs::write(from.join("big"), vec![b'7'; 300_000]).unwrap();
            fs::hard_link(from.join("f"), from.join("f2")).unwrap();
            rustix::fs::setxattr(from.join("old"), "user.x", b"1", rustix::fs::XattrFlags::empty()).unwrap();
            rustix::fs::setxattr(base.join("app"), "user.y", b"2", rustix::fs::XattrFlags::empty()).unwrap();
            rustix::fs::setxattr(base.join("app/old"), "user.z", b"3", rustix::fs::XattrFlags::empty()).unwrap();
            let mut copy = copy_action(selection(sources, &[], false), dest);
            if chown {
                (copy.owner, copy.mode) = (named("5:6"), Some(symbolic("g+w")));
            }
            let snapshot = FileSource::snapshot_to_copy(open(&from)).unwrap();
            let context = sandbox.context("from", &[]);
            for (kind, source) in [("local", context.source()), ("snapshot", &snapshot)] {
                let layer = Layer::new(&sandbox, &format!("upper-{kind}"), std::slice::from_ref(&base));
                let root = layer.mount(&sandbox);
                let actions = [FileAction::Copy(copy.clone())];
                let applied = apply(root.as_fd(), &actions, |_| Some(source), None).unwrap();
                root.finish().unwrap();
                let actual = layer_content(std::slice::from_ref(&layer.upper)).unwrap();
                let content = applied.content.unwrap();
                assert_eq!(content.root, actual.digest(), "{name} {kind}");
                assert_eq!(listings(&content), listings(&actual.trees), "{name} {kind}");
                assert_eq!(content.listings.last().unwrap().0, content.root);
                assert_eq!(applied.written.bytes, actual.size, "{name} {kind}");
            }
        }
    }
}

#[test]
fn actions_of_the_op_itself_are_part_of_it() {
    let sandbox = Sandbox::new();
    let base = sandbox.tree("base", &["srv/"]);
    let layer = Layer::new(&sandbox, "upper", &[base]);
    let root = layer.mount(&sandbox);
    let actions = [
        FileAction::Mkdir { path: "/srv/a/b".into(), mode: 0o700, owner: named("1:2") },
        FileAction::Mkfile {
            dest: "/srv/a/".into(),
            name: "EOF".into(),
            data: b"text".to_vec(),
            mode: FileMode::Octal(0o640),
            owner: named("3"),
        },
    ];
    let applied = apply(root.as_fd(), &actions, |_| None, None).unwrap();
    root.finish().unwrap();
    assert_eq!(applied.content.unwrap().root, layer_content(&[layer.upper]).unwrap().digest());
}

/// Copies `old`, then `new` as a delta over it; returns whether a delta was possible.
fn check_delta(base: &[&str], old: &[&str], new: &[&str]) -> Option<(usize, usize)> {
    let sandbox = Sandbox::new();
    let base = sandbox.tree("base", base);
    sandbox.tree("old", old);
    sandbox.tree("new", new);
    let copy = copy_action(selection(&["."], &[], false), "/app");
    let actions = [FileAction::Copy(copy.clone())];
    let (before, after) = (sandbox.context("old", &[]), sandbox.context("new", &[]));

    let first = Layer::new(&sandbox, "first", std::slice::from_ref(&base));
    let root = first.mount(&sandbox);
    let applied = apply(root.as_fd(), &actions, |_| Some(before.source()), None).unwrap();
    root.finish().unwrap();
    let old = applied.content.unwrap();

    let base_root = view(&sandbox, std::slice::from_ref(&base));
    let mut plan = Plan::new(base_root.as_fd()).unwrap();
    plan.copy(&copy, after.source()).unwrap();
    let known = listings(&old);
    let delta = plan.delta(&old.root, |digest| known.get(digest).cloned())?;
    if !delta.removes_nothing_of(&base_root).unwrap() {
        return None;
    }
    let second = Layer::new(&sandbox, "second", &[first.upper.clone(), base.clone()]);
    let root = second.mount(&sandbox);
    let written = plan.write(root.as_fd(), Some(&delta)).unwrap();
    root.finish().unwrap();

    // Both together are what a whole copy would have been.
    let whole = Layer::new(&sandbox, "whole", std::slice::from_ref(&base));
    let root = whole.mount(&sandbox);
    apply(root.as_fd(), &actions, |_| Some(after.source()), None).unwrap();
    root.finish().unwrap();
    let expected = mount_shown(view(&sandbox, &[whole.upper.clone(), base.clone()]));
    let parts = [second.upper.clone(), first.upper.clone()];
    let shown = mount_shown(view(&sandbox, &[second.upper.clone(), first.upper.clone(), base]));
    assert_eq!(shown, expected, "{delta:?}");
    let content = plan.content().unwrap();
    assert_eq!(content.root, layer_content(&[whole.upper]).unwrap().digest());
    assert_eq!(content.root, layer_content(&parts).unwrap().digest(), "{delta:?}");
    Some((written.files as usize, delta.remove.len()))
}

#[test]
fn deltas() {
    for (base, old, new, expected) in [
        (&["app/b=0"][..], &["a=1", "d/x=2"][..], &["a=1", "d/x=2"][..], Some((0, 0))),
        (&["app/b=0"], &["a=1", "d/x=2"], &["a=1", "d/x=3"], Some((1, 0))),
        (&[], &["a=1"], &["a=1", "n/m/o=2", "n/p=3"], Some((2, 0))),
        (&[], &["a=1", "b=2", "d/x=3", "e/y=4"], &["a=1", "e/y=4"], Some((0, 2))),
        (&[], &["a=1", "l -> a"], &["a=1", "l -> b"], Some((1, 0))),
        (&[], &["a=1", "l -> a"], &["a=1", "l=file"], Some((1, 0))),
        (&[], &["a=1@644"], &["a=1@755"], Some((1, 0))),
        (&[], &["d/a=1"], &["d/a=1", "d/@700"], Some((0, 0))),
        (&["app/d/k=1"], &["d/a=1", "d/b=1"], &["d/a=1"], Some((0, 1))),
        // What was an empty directory.
        (&[], &["d/", "k=1"], &["d=1", "k=1"], Some((1, 0))),
        (&[], &["d/", "k=1"], &["d -> k", "k=1"], Some((1, 0))),
        // What becomes one.
        (&[], &["d=1", "k=1"], &["d/", "k=1"], None),
        (&[], &["d/@700", "k=1"], &["d/", "k=1"], None),
        // The base has what is gone: its own would have to show again.
        (&["app/a=0"], &["a=1", "b=1"], &["b=1"], None),
        // A directory became a file, and the other way round.
        (&[], &["d/x=1"], &["d=1"], None),
        (&[], &["d=1"], &["d/x=1"], None),
    ] {
        assert_eq!(check_delta(base, old, new), expected, "{old:?} to {new:?} over {base:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However a tree changes, a delta over it is the same as a whole copy.
    #[test]
    fn any_delta_is_a_whole_copy(
        old in prop::collection::btree_map("[ab](/[ab]){0,2}", 0_u8..3, 0..8),
        new in prop::collection::btree_map("[ab](/[ab]){0,2}", 0_u8..3, 0..8),
        base in prop::collection::btree_map("app/[ab](/[ab]){0,1}", 0_u8..3, 0..3),
    ) {
        let entries = |tree: &BTreeMap<String, u8>| -> Vec<String> {
            let is_parent = |path: &str| tree.keys().any(|other| other.starts_with(&format!("{path}/")));
            tree.iter().filter(|(path, _)| !is_parent(path)).map(|(path, number)| format!("{path}={number}")).collect()
        };
        let (base, old, new) = (entries(&base), entries(&old), entries(&new));
        // What can't be copied over the base at all is another test.
        let fits = |tree: &[String]| {
            let sandbox = Sandbox::new();
            let base: Vec<&str> = base.iter().map(String::as_str).collect();
            let root = sandbox.tree("base", &base);
            sandbox.tree("c", &tree.iter().map(String::as_str).collect::<Vec<_>>());
            let context = sandbox.context("c", &[]);
            super::run_copy(&root, context.source(), &copy_action(selection(&["."], &[], false), "/app")).is_ok()
        };
        prop_assume!(fits(&old) && fits(&new));
        check_delta(
            &base.iter().map(String::as_str).collect::<Vec<_>>(),
            &old.iter().map(String::as_str).collect::<Vec<_>>(),
            &new.iter().map(String::as_str).collect::<Vec<_>>(),
        );
    }
}

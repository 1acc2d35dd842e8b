//! Digests of real directories.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use builder_cache::Error;
use builder_cache::content::{
    DataDigest, EntryKind, EntryMeta, Listing, TreeBuilder, Trees, layer_content, read_xattrs,
};
use builder_solver::ContentDigest;
use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat};
use tempfile::TempDir;

/// A directory made of a list: `d/` is a directory, `d!/` an opaque one, `-f` a whiteout, `f=x` a file.
fn directory(entries: &[&str]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    fill(root.path(), entries);
    root
}

fn fill(root: &Path, entries: &[&str]) {
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
    for entry in entries {
        if let Some(name) = entry.strip_prefix('-') {
            mknodat(CWD, root.join(name), FileType::CharacterDevice, Mode::empty(), makedev(0, 0)).unwrap();
        } else if let Some(name) = entry.strip_suffix("!/") {
            fs::create_dir_all(root.join(name)).unwrap();
            rustix::fs::setxattr(root.join(name), "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
        } else if let Some(name) = entry.strip_suffix('/') {
            fs::create_dir_all(root.join(name)).unwrap();
        } else {
            let (name, text) = entry.split_once('=').unwrap();
            fs::write(root.join(name), text).unwrap();
        }
    }
}

fn hash(parts: &[&TempDir]) -> ContentDigest {
    let parts: Vec<PathBuf> = parts.iter().map(|part| part.path().to_owned()).collect();
    layer_content(&parts).unwrap().digest()
}

type Change = fn(&Path);

#[test]
fn times_do_not_count_and_everything_else_does() {
    let make = || {
        let root = directory(&["d/", "d/f=bytes", "g=more"]);
        symlink("d", root.path().join("link")).unwrap();
        root
    };
    let base = hash(&[&make()]);
    let same = make();
    let times = fs::FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
    fs::File::open(same.path().join("g")).unwrap().set_times(times).unwrap();
    assert_eq!(hash(&[&same]), base);

    let changes: [(&str, Change); 12] = [
        ("bytes", |root| fs::write(root.join("d/f"), "bytez").unwrap()),
        ("size", |root| fs::write(root.join("d/f"), "byte").unwrap()),
        ("name", |root| fs::rename(root.join("g"), root.join("h")).unwrap()),
        ("place", |root| fs::rename(root.join("g"), root.join("d/g")).unwrap()),
        ("mode", |root| fs::set_permissions(root.join("g"), fs::Permissions::from_mode(0o4755)).unwrap()),
        ("mode of a directory", |root| fs::set_permissions(root.join("d"), fs::Permissions::from_mode(0o700)).unwrap()),
        ("mode of the root", |root| fs::set_permissions(root, fs::Permissions::from_mode(0o700)).unwrap()),
        ("owner", |root| std::os::unix::fs::chown(root.join("g"), Some(7), None).unwrap()),
        ("group", |root| std::os::unix::fs::chown(root.join("g"), None, Some(7)).unwrap()),
        ("owner of a link", |root| std::os::unix::fs::lchown(root.join("link"), Some(7), None).unwrap()),
        ("target", |root| {
            fs::remove_file(root.join("link")).unwrap();
            symlink("e", root.join("link")).unwrap();
        }),
        ("attribute", |root| {
            rustix::fs::setxattr(root.join("g"), "user.x", b"y", XattrFlags::empty()).unwrap();
        }),
    ];
    for (what, change) in changes {
        let root = make();
        change(root.path());
        assert_ne!(hash(&[&root]), base, "{what}");
    }
}

#[test]
fn sizes_count_hard_links_once_and_digests_do_not_know_them() {
    let linked = directory(&["a=12345", "d/"]);
    fs::hard_link(linked.path().join("a"), linked.path().join("d/b")).unwrap();
    let copied = directory(&["a=12345", "d/", "d/b=12345"]);
    let [one, two] = [&linked, &copied].map(|root| layer_content(&[root.path().to_owned()]).unwrap());
    assert_eq!(one.digest(), two.digest());
    assert_eq!((one.size, one.files), (5, 3));
    assert_eq!((two.size, two.files), (10, 3));
}

#[test]
fn special_files_have_digests_of_their_own() {
    let make = |kind: Option<FileType>, device| {
        let root = directory(&[]);
        if let Some(kind) = kind {
            mknodat(CWD, root.path().join("x"), kind, Mode::from_raw_mode(0o644), device).unwrap();
        }
        root
    };
    let link = directory(&[]);
    symlink("", link.path().join("y")).unwrap_err();
    symlink("x", link.path().join("x")).unwrap();
    let roots = [
        make(None, 0),
        make(Some(FileType::Fifo), 0),
        make(Some(FileType::CharacterDevice), makedev(1, 3)),
        make(Some(FileType::CharacterDevice), makedev(1, 5)),
        make(Some(FileType::BlockDevice), makedev(1, 3)),
        make(Some(FileType::CharacterDevice), makedev(0, 0)),
        make(Some(FileType::RegularFile), 0),
        directory(&["x/"]),
        directory(&["x!/"]),
        link,
    ];
    let digests: Vec<_> = roots.iter().map(|root| hash(&[root])).collect();
    for (position, digest) in digests.iter().enumerate() {
        assert!(!digests[..position].contains(digest), "{position}");
    }
    // No tar can hold one.
    let socket = directory(&[]);
    let _listener = UnixListener::bind(socket.path().join("x")).unwrap();
    assert_eq!(hash(&[&socket]), hash(&[&directory(&[])]));
    assert_eq!(layer_content(&[socket.path().to_owned()]).unwrap().files, 1, "and yet there is something");
}

#[test]
fn what_a_root_is_like_does_not_come_along_in_a_tar() {
    let [here, there, other] = [&["x=1"], &["x=1"], &["y=1"]].map(|files| directory(files));
    let content = || layer_content(&[here.path().to_owned()]).unwrap();
    for mode in [0o755, 0o555, 0o1777, 0o753] {
        fs::set_permissions(there.path(), fs::Permissions::from_mode(mode)).unwrap();
        assert!(content().agrees_with(&hash(&[&there])), "{mode:o}");
    }
    assert!(!content().agrees_with(&hash(&[&other])));
    fs::set_permissions(there.path().join("x"), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(!content().agrees_with(&hash(&[&there])));
}

#[test]
fn odd_names_and_large_files_are_hashed() {
    let root = directory(&[]);
    let names: [&[u8]; 4] = [b"new\nline", b"\xff\xfe", &[b'n'; 255], b" "];
    let mut expected = TreeBuilder::new();
    expected.add(b"", EntryMeta::new(EntryKind::Directory, 0o755).digest(None));
    for (number, name) in names.iter().enumerate() {
        let bytes = vec![number as u8; 300_000 * number];
        let path = root.path().join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name));
        fs::write(&path, &bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let meta = EntryMeta { size: bytes.len() as u64, ..EntryMeta::new(EntryKind::File, 0o644) };
        expected.add(name, meta.digest(Some(&DataDigest::of(&bytes))));
    }
    assert_eq!(hash(&[&root]), expected.finish().root);
}

#[test]
fn capabilities_count() {
    let root = directory(&["f="]);
    let before = hash(&[&root]);
    // cap_net_raw+ep, version 2.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let file = root.path().join("f");
    rustix::fs::setxattr(&file, "security.capability", &capability, XattrFlags::empty()).unwrap();
    assert_ne!(hash(&[&root]), before);
    let xattrs = read_xattrs(fs::File::open(&file).unwrap()).unwrap();
    assert_eq!(xattrs, [(b"security.capability".to_vec(), capability.to_vec())]);
}

#[test]
fn large_attributes_are_read_whole() {
    let root = directory(&["f="]);
    let file = root.path().join("f");
    for number in 0..40 {
        rustix::fs::setxattr(&file, format!("user.attribute_{number:02}"), b"v", XattrFlags::empty()).unwrap();
    }
    rustix::fs::setxattr(&file, "user.large", &[7; 2000], XattrFlags::empty()).unwrap();
    let xattrs = read_xattrs(fs::File::open(&file).unwrap()).unwrap();
    assert_eq!(xattrs.len(), 41);
    assert_eq!(xattrs[40].1, [7; 2000]);
    layer_content(&[root.path().to_owned()]).unwrap();
}

#[test]
fn overlay_features_that_hide_content_are_refused() {
    for name in ["trusted.overlay.redirect", "trusted.overlay.metacopy"] {
        let root = directory(&["f="]);
        rustix::fs::setxattr(root.path().join("f"), name, b"/x", XattrFlags::empty()).unwrap();
        let error = layer_content(&[root.path().to_owned()]).unwrap_err();
        assert!(matches!(&error, Error::OverlayFeature { attribute, .. } if attribute == name), "{error:?}");
    }
}

#[test]
fn links_out_of_a_layer_are_not_followed() {
    let outside = directory(&["secret=1"]);
    let root = directory(&["d/"]);
    symlink(outside.path(), root.path().join("d/link")).unwrap();
    let before = hash(&[&root]);
    fs::write(outside.path().join("secret"), "2").unwrap();
    assert_eq!(hash(&[&root]), before);
}

#[test]
fn a_missing_part_is_an_error_with_its_path() {
    let root = directory(&[]);
    let error = layer_content(&[root.path().join("absent")]).unwrap_err();
    assert!(error.to_string().contains("absent"), "{error}");
}

/// A delta over its base, and the layer that is the same written at once.
#[test]
fn a_delta_and_its_base_are_one_layer() {
    let cases: [(&[&str], &[&str], &[&str]); 14] = [
        (&["a=2"], &["a=1", "b=1"], &["a=2", "b=1"]),
        (&["-a"], &["a=1", "b=1"], &["b=1"]),
        (&["-a"], &["a/", "a/b=1", "c=1"], &["c=1"]),
        (&["d/", "d/x=2"], &["d/", "d/x=1", "d/y=1"], &["d/", "d/x=2", "d/y=1"]),
        (&["d/", "-d/x"], &["d/", "d/x=1", "d/y=1"], &["d/", "d/y=1"]),
        (&["d/", "-d/x"], &["d/", "d/x=1"], &["d/"]),
        (&["d!/", "d/z=1"], &["d/", "d/x=1"], &["d/", "d/z=1"]),
        (&["d!/", "d/z=1"], &["d!/", "d/x=1"], &["d!/", "d/z=1"]),
        (&["d/", "d/z=1"], &["d!/", "d/x=1"], &["d!/", "d/x=1", "d/z=1"]),
        (&["d!/"], &["e=1"], &["d!/", "e=1"]),
        (&["d/", "d/x=1"], &["-d"], &["d!/", "d/x=1"]),
        (&["d/", "d/x=1"], &["d=file"], &["d/", "d/x=1"]),
        (&["d=file"], &["d/", "d/x=1"], &["d=file"]),
        (&[], &["-gone", "d!/", "d/x=1"], &["-gone", "d!/", "d/x=1"]),
    ];
    for (delta, base, whole) in cases {
        let (delta, base, expected) = (directory(delta), directory(base), directory(whole));
        assert_eq!(hash(&[&delta, &base]), hash(&[&expected]), "{whole:?}");
    }
}

#[test]
fn deltas_stack() {
    let base = directory(&["d/", "d/a=1", "d/b=1", "c=1", "-w"]);
    let one = directory(&["d/", "-d/a", "c=2"]);
    let two = directory(&["d/", "d/a=3", "-c"]);
    let whole = directory(&["d/", "d/a=3", "d/b=1", "-w"]);
    assert_eq!(hash(&[&two, &one, &base]), hash(&[&whole]));
    // The directory comes back after a delta took it away: what lay below does not.
    let gone = directory(&["-d"]);
    let back = directory(&["d/", "d/n=1"]);
    assert_eq!(hash(&[&back, &gone, &base]), hash(&[&directory(&["d/", "d/n=1", "c=1", "-w"])]));
}

#[test]
fn the_tallest_tree_that_paths_reach_is_hashed() {
    let root = directory(&[]);
    let deep: PathBuf = std::iter::repeat_n("d", 1500).collect();
    fs::create_dir_all(root.path().join(&deep)).unwrap();
    let content = layer_content(&[root.path().to_owned()]).unwrap();
    assert_eq!(content.files, 1500);
}

#[derive(Debug, Clone)]
enum Node {
    File(u8),
    Directory(std::collections::BTreeMap<String, Node>),
}

fn node() -> impl Strategy<Value = Node> {
    any::<u8>().prop_map(Node::File).prop_recursive(3, 40, 6, |inner| {
        prop::collection::btree_map("[a-c]{1,2}", inner, 0..6).prop_map(Node::Directory)
    })
}

fn write(path: &Path, node: &Node) {
    match node {
        Node::File(byte) => {
            fs::write(path, [*byte]).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        }
        Node::Directory(children) => {
            fs::create_dir_all(path).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
            for (name, child) in children {
                write(&path.join(name), child);
            }
        }
    }
}

fn add(builder: &mut TreeBuilder, path: &str, node: &Node) {
    let digest = match node {
        Node::File(byte) => {
            let meta = EntryMeta { size: 1, ..EntryMeta::new(EntryKind::File, 0o100_644) };
            meta.digest(Some(&DataDigest::of(&[*byte])))
        }
        Node::Directory(children) => {
            for (name, child) in children {
                add(builder, &format!("{path}/{name}"), child);
            }
            EntryMeta::new(EntryKind::Directory, 0o755).digest(None)
        }
    };
    builder.add(path.as_bytes(), digest);
}

fn sorted(trees: Trees) -> (ContentDigest, std::collections::BTreeMap<ContentDigest, Vec<u8>>) {
    (trees.root, trees.listings.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    /// Whoever knows the entries gets the digest that a scan of the files gets.
    #[test]
    fn a_scan_equals_a_builder(node in node().prop_filter("a layer is a directory", |node| matches!(node, Node::Directory(_)))) {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), &node);
        let mut builder = TreeBuilder::new();
        add(&mut builder, "", &node);
        let scanned = layer_content(&[root.path().to_owned()]).unwrap().trees;
        for (digest, listing) in &scanned.listings {
            prop_assert_eq!(&Listing::digest(listing), digest);
            prop_assert!(Listing::decode(listing).is_some());
        }
        prop_assert_eq!(sorted(scanned), sorted(builder.finish()));
    }
}

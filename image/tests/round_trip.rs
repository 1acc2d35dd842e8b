//! Any tree of files → tar → the same tree.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod kit;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use builder_image::layer::{ApplyOptions, UnpackOptions, WriteOptions, apply_layer, unpack, write_layer};
use kit::{CAPABILITY, Tree, describe, scratch};
use proptest::collection::vec;
use proptest::prelude::*;
use rustix::fs::FileType;

#[derive(Debug, Clone)]
enum Kind {
    File {
        bytes: Vec<u8>,
        repeat: usize,
    },
    Holes {
        before: u32,
        after: u32,
    },
    Directory,
    Symlink(Vec<u8>),
    /// A further name of the file made by an earlier step.
    HardLink(prop::sample::Index),
    Device {
        block: bool,
        major: u32,
        minor: u32,
    },
    Pipe,
    Whiteout,
    Opaque,
}

#[derive(Debug, Clone)]
struct Step {
    path: Vec<Vec<u8>>,
    kind: Kind,
    mode: u32,
    owner: (u32, u32),
    mtime: i64,
    xattrs: Vec<(String, Vec<u8>)>,
    capability: bool,
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => vec(prop::sample::select(b"abc".to_vec()), 1..2),
        2 => vec(prop::sample::select(b" \n\\\"'*?=%-.~\t\x01\x7f".to_vec()), 1..5),
        1 => vec(0x80_u8..=0xff, 1..6),
        1 => "\\PC{1,30}".prop_map(|text| text.replace('/', "_").into_bytes()),
        1 => (90_usize..=255).prop_map(|length| vec![b'x'; length]),
    ]
    .prop_filter("names that mean something else", |name| {
        name != b"." && name != b".." && !name.starts_with(b".wh.") && name.len() <= 255
    })
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => (vec(any::<u8>(), 0..600), 1_usize..3).prop_map(|(bytes, repeat)| Kind::File { bytes, repeat }),
        1 => (vec(any::<u8>(), 1..100), 2000_usize..9000).prop_map(|(bytes, repeat)| Kind::File { bytes, repeat }),
        1 => (0_u32..400_000, 0_u32..400_000).prop_map(|(before, after)| Kind::Holes { before, after }),
        3 => Just(Kind::Directory),
        2 => vec(1_u8..=255, 1..150).prop_map(Kind::Symlink),
        3 => any::<prop::sample::Index>().prop_map(Kind::HardLink),
        1 => (any::<bool>(), 1_u32..4095, 0_u32..1_000_000)
            .prop_map(|(block, major, minor)| Kind::Device { block, major, minor }),
        1 => Just(Kind::Pipe),
        1 => Just(Kind::Whiteout),
        1 => Just(Kind::Opaque),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let owner = prop_oneof![Just(0_u32), 1_u32..3000, Just(u32::MAX - 1), Just(2_097_152)];
    let mtime = prop_oneof![0_i64..2_000_000_000, Just(-1), Just(8_589_934_592), Just(-2_000_000_000)];
    let xattrs = vec(("user\\.[a-z=%. ]{1,12}", vec(any::<u8>(), 0..80)), 0..3).prop_map(|mut list| {
        list.retain(|(name, _)| !name.starts_with("user.overlay."));
        list.sort();
        list.dedup_by(|a, b| a.0 == b.0);
        list
    });
    (vec(name(), 1..4), kind(), 0_u32..0o10000, (owner.clone(), owner), mtime, xattrs, prop::bool::weighted(0.1))
        .prop_map(|(path, kind, mode, owner, mtime, xattrs, capability)| Step {
            path,
            kind,
            mode,
            owner,
            mtime,
            xattrs,
            capability,
        })
}

/// Makes what can be made; a path below a file, or a second thing of the same name, is left out.
fn make(tree: &Tree, steps: &[Step], removals: bool) {
    let mut made: Vec<Vec<u8>> = Vec::new();
    let mut stamped: Vec<(Vec<u8>, &Step)> = Vec::new();
    for step in steps {
        let bytes = step.path.join(&b'/');
        let path = OsStr::from_bytes(&bytes);
        let full = tree.path(path);
        if full.symlink_metadata().is_ok() || std::fs::create_dir_all(full.parent().unwrap()).is_err() {
            continue;
        }
        let mut linked = false;
        match &step.kind {
            Kind::File { bytes, repeat } => tree.file(path, bytes.repeat(*repeat)).done(),
            Kind::Holes { before, after } => {
                tree.file(path, "");
                let file = std::fs::OpenOptions::new().write(true).open(&full).unwrap();
                std::os::unix::fs::FileExt::write_all_at(&file, b"x", u64::from(*before)).unwrap();
                file.set_len(u64::from(*before) + 1 + u64::from(*after)).unwrap();
            }
            Kind::Directory => tree.dir(path).done(),
            Kind::Symlink(target) => tree.symlink(path, OsStr::from_bytes(target)).done(),
            Kind::HardLink(index) if !made.is_empty() => {
                tree.link(path, OsStr::from_bytes(&made[index.index(made.len())]));
                linked = true;
            }
            Kind::Device { block, major, minor } => {
                let kind = if *block { FileType::BlockDevice } else { FileType::CharacterDevice };
                tree.node(path, kind, *major, *minor);
            }
            Kind::Pipe => tree.node(path, FileType::Fifo, 0, 0).done(),
            Kind::Whiteout if removals => {
                tree.whiteout(path);
                continue;
            }
            Kind::Opaque if removals => tree.opaque(path).done(),
            Kind::HardLink(_) | Kind::Whiteout | Kind::Opaque => continue,
        }
        let is_link = matches!(step.kind, Kind::Symlink(_));
        if !linked {
            tree.owner(path, step.owner.0, step.owner.1);
            if !is_link {
                tree.mode(path, step.mode);
            }
            let plain = matches!(step.kind, Kind::File { .. } | Kind::Holes { .. } | Kind::Directory | Kind::Opaque);
            for (name, value) in step.xattrs.iter().filter(|_| plain) {
                tree.xattr(path, name, value);
            }
            if step.capability && matches!(step.kind, Kind::File { .. }) {
                tree.xattr(path, "security.capability", CAPABILITY);
            }
            stamped.push((bytes.clone(), step));
        }
        if !matches!(step.kind, Kind::Directory | Kind::Opaque) {
            made.push(bytes);
        }
    }
    for (path, step) in stamped.iter().rev() {
        tree.mtime(OsStr::from_bytes(path), step.mtime);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_layer_comes_back_as_it_was(steps in vec(step(), 0..40)) {
        let scratch = scratch();
        let tree = Tree::new(scratch.path().join("a"));
        make(&tree, &steps, true);
        let mut tar = Vec::new();
        write_layer(&[&tree.0], &WriteOptions::default(), &mut tar).unwrap();
        let back = Tree::new(scratch.path().join("b"));
        apply_layer(&tar[..], &back.0, &ApplyOptions::default()).unwrap();
        prop_assert_eq!(describe(&back.0), describe(&tree.0));
        let mut again = Vec::new();
        write_layer(&[&back.0], &WriteOptions::default(), &mut again).unwrap();
        prop_assert!(again == tar);
    }

    #[test]
    fn a_root_comes_back_through_an_export_and_an_added_archive(steps in vec(step(), 0..40)) {
        let scratch = scratch();
        let tree = Tree::new(scratch.path().join("a"));
        make(&tree, &steps, false);
        let root = std::fs::File::open(&tree.0).unwrap().into();
        let exported = scratch.path().join("exported");
        builder_image::export::directory(&root, &exported, None).unwrap();
        prop_assert_eq!(describe(&exported), describe(&tree.0));
        let mut tar = Vec::new();
        builder_image::export::tar(&root, None, &mut tar).unwrap();
        let added = Tree::new(scratch.path().join("added"));
        let target: std::os::fd::OwnedFd = std::fs::File::open(&added.0).unwrap().into();
        let into = std::path::Path::new("/some/where");
        unpack(&tar[..], std::os::fd::AsFd::as_fd(&target), into, &UnpackOptions::default()).unwrap();
        prop_assert_eq!(describe(&added.path("some/where")), describe(&tree.0));
    }
}

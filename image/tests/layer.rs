//! Layers: directory → tar → directory, removals, deltas, and what an overlay mount makes of them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod kit;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use builder_cache::{DiffId, LayerMeta};
use builder_image::compress::{Compression, Compressor};
use builder_image::layer::{
    ApplyOptions, Error, WriteOptions, apply_layer, diff_id, inherit_parents, layer_blob, write_layer,
};
use builder_image::tar::{Limits, Reader};
use kit::{Tree, describe, everything, removals, scratch, store};

fn tar_of(parts: &[impl AsRef<Path>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let tar = write_layer(parts, &WriteOptions::default(), &mut bytes).unwrap();
    assert_eq!((tar.diff_id, tar.size), (DiffId::of(&bytes), bytes.len() as u64));
    bytes
}

fn names(tar: &[u8]) -> Vec<String> {
    let mut reader = Reader::new(tar, Limits::default());
    std::iter::from_fn(|| reader.next_entry().unwrap())
        .map(|entry| String::from_utf8_lossy(&entry.path).into_owned())
        .collect()
}

#[test]
fn everything_survives_and_the_bytes_are_the_same_again() {
    let scratch = scratch();
    let tree = everything(&scratch.path().join("a"));
    removals(&tree);
    let first = tar_of(&[&tree.0]);
    for compression in [Compression::Uncompressed, Compression::Gzip, Compression::Zstd] {
        let mut out = Compressor::new(Vec::new(), compression).unwrap();
        io::Write::write_all(&mut out, &first).unwrap();
        let blob = out.finish().unwrap();
        let target = Tree::new(scratch.path().join(compression.to_string()));
        let options = ApplyOptions { diff_id: Some(DiffId::of(&first)), hash_blob: true, ..ApplyOptions::default() };
        let applied = apply_layer(&blob[..], &target.0, &options).unwrap();
        assert_eq!(applied.blob.unwrap().digest, builder_cache::BlobDigest::of(&blob));
        assert_eq!(applied.tar_size, first.len() as u64);
        assert_eq!(applied.implied, Vec::<Vec<u8>>::new());
        assert_eq!(describe(&target.0), describe(&tree.0), "{compression}");
        assert!(tar_of(&[&target.0]) == first, "{compression}: written again");
        let sparse = fs::metadata(target.path("d/sparse")).unwrap();
        assert!(sparse.blocks() * 512 < 1_000_000, "holes come back: {} blocks", sparse.blocks());
    }
}

#[test]
fn the_order_is_by_directory_with_removals_first() {
    let scratch = scratch();
    let tree = Tree::new(scratch.path().join("a"));
    tree.file("b/x", "").file("b-c", "").file("a", "").whiteout("z").opaque("b").whiteout("b/y").file("b/!", "");
    let names = names(&tar_of(&[&tree.0]));
    assert_eq!(names, [".wh.z", "a", "b/", "b/.wh..wh..opq", "b/.wh.y", "b/!", "b/x", "b-c"]);
}

#[test]
fn a_clamp_makes_only_later_times_earlier() {
    let scratch = scratch();
    let tree = Tree::new(scratch.path().join("a"));
    tree.file("old", "").mtime("old", 50).file("new", "").mtime("new", 5000);
    let mut bytes = Vec::new();
    write_layer(&[&tree.0], &WriteOptions { clamp: Some(100) }, &mut bytes).unwrap();
    let mut reader = Reader::new(&bytes[..], Limits::default());
    let times: Vec<i64> = std::iter::from_fn(|| reader.next_entry().unwrap()).map(|entry| entry.mtime).collect();
    assert_eq!(times, [100, 50]);
}

#[test]
fn no_directories_and_an_empty_one_are_the_empty_tar() {
    let scratch = scratch();
    let none: [&Path; 0] = [];
    assert_eq!(tar_of(&none), [0; 1024]);
    assert_eq!(tar_of(&[scratch.path()]), [0; DiffId::EMPTY_TAR_SIZE]);
    assert_eq!(DiffId::of(&tar_of(&none)), DiffId::of_empty_tar(), "known without writing the tar");
}

#[test]
fn names_that_mean_removals_are_refused() {
    let scratch = scratch();
    let tree = Tree::new(scratch.path().join("a"));
    tree.file("sub/.wh.file", "");
    let error = write_layer(&[&tree.0], &WriteOptions::default(), &mut io::sink()).unwrap_err();
    assert!(matches!(&error, Error::ReservedName(path) if path == "sub/.wh.file"), "{error}");
}

#[test]
fn overlay_features_that_only_one_mount_understands_are_refused() {
    let scratch = scratch();
    let tree = Tree::new(scratch.path().join("a"));
    tree.dir("moved").xattr("moved", "trusted.overlay.redirect", b"/elsewhere");
    let error = write_layer(&[&tree.0], &WriteOptions::default(), &mut io::sink()).unwrap_err();
    assert!(matches!(&error, Error::OverlayFeature { path, .. } if path == "moved"), "{error}");
}

#[test]
fn sockets_are_left_out() {
    let scratch = scratch();
    let tree = Tree::new(scratch.path().join("a"));
    let _socket = std::os::unix::net::UnixListener::bind(tree.file("x", "").path("socket")).unwrap();
    assert_eq!(names(&tar_of(&[&tree.0])), ["x"]);
}

/// What the kernel shows of directories as overlay layers, topmost first.
fn mounted(layers: &[&Path]) -> String {
    let lower: Vec<String> = layers.iter().map(|layer| layer.display().to_string()).collect();
    let script = r"
        set -e
        mnt=$(mktemp -d)
        mount -t overlay overlay -o ro,lowerdir=$LOWER $mnt
        cd $mnt
        find . -mindepth 1 \( -type d -printf '%p d %m %U %G\n' -o -type f -printf '%p f %m %U %G ' -exec md5sum {} \; \
            -o -printf '%p %y %l\n' \) | sort
        cd / && umount $mnt && rmdir $mnt";
    let output =
        Command::new("unshare").args(["-m", "sh", "-c", script]).env("LOWER", lower.join(":")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_parts_of_a_delta_are_one_layer_as_the_kernel_sees_them() {
    let scratch = scratch();
    let tree = |name: &str| Tree::new(scratch.path().join(name));
    let lower = tree("lower");
    lower.file("kept", "l").file("gone-in-base", "l").file("dir/low", "l");
    lower.file("hidden/low", "l").file("was-dir/low", "l").file("twice/low", "l").file("back/low", "l");
    lower.file("hidden-later/low", "l").file("base-file-then-dir/low", "l");
    let base = tree("base");
    base.file("dir/base", "b")
        .file("gone-in-delta", "b")
        .file("file", "base")
        .whiteout("gone-in-base")
        .opaque("hidden")
        .file("hidden/base", "b");
    base.file("was-dir", "b").whiteout("twice").whiteout("back").file("hidden-later/base", "b");
    base.file("base-file-then-dir", "b").file("deep/er/file", "b").file("only-base/x", "b").mode("only-base", 0o711);
    let delta = tree("delta");
    delta.file("dir/delta", "d").file("file", "delta").whiteout("gone-in-delta").file("hidden/delta", "d");
    delta.whiteout("dir/base").dir("twice").opaque("hidden-later").dir("base-file-then-dir").file("new", "d");
    delta.file("back/delta", "d").whiteout("deep/er/file").dir("only-base").mode("only-base", 0o755);

    let tar = tar_of(&[&delta.0, &base.0]);
    // What only the layer itself had and has no more is no removal, and nobody's business.
    let names = names(&tar);
    for gone in [".wh.gone-in-delta", "dir/.wh.base", "deep/er/.wh.file"] {
        assert!(!names.iter().any(|name| name == gone), "{gone}");
    }
    let one = tree("one");
    apply_layer(&tar[..], &one.0, &ApplyOptions::default()).unwrap();
    assert_eq!(mounted(&[&one.0, &lower.0]), mounted(&[&delta.0, &base.0, &lower.0]));
    assert!(tar_of(&[&one.0]) == tar, "one directory or two give one tar");
}

#[test]
fn removals_win_over_nothing_of_their_own_layer() {
    let scratch = scratch();
    let lower = Tree::new(scratch.path().join("lower"));
    lower.file("a", "low").file("d/low", "low").file("e/low", "low").file("f/low", "low");
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind: tar::EntryType| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_size(0);
        builder.append_data(&mut header, path, io::empty()).unwrap();
    };
    add("a", tar::EntryType::Regular);
    add(".wh.a", tar::EntryType::Regular);
    add("d/", tar::EntryType::Directory);
    add("d/new", tar::EntryType::Regular);
    add(".wh.d", tar::EntryType::Regular);
    add(".wh.e", tar::EntryType::Regular);
    add("e/", tar::EntryType::Directory);
    add(".wh.f", tar::EntryType::Regular);
    add("f/implied", tar::EntryType::Regular);
    let tar = builder.into_inner().unwrap();
    let upper = Tree::new(scratch.path().join("upper"));
    apply_layer(&tar[..], &upper.0, &ApplyOptions::default()).unwrap();
    let seen = mounted(&[&upper.0, &lower.0]);
    let paths: Vec<&str> = seen.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(paths, ["./a", "./d", "./d/new", "./e", "./f", "./f/implied"]);
}

#[test]
fn implied_directories_look_like_those_below() {
    let scratch = scratch();
    let lower = Tree::new(scratch.path().join("lower"));
    lower.dir("tmp").mode("tmp", 0o1777).dir("home/me").owner("home/me", 1000, 1000).mode("home/me", 0o700);
    lower.symlink("lib", "home");
    let mut builder = tar::Builder::new(Vec::new());
    for path in ["tmp/x", "home/me/.profile", "lib/y", "fresh/z"] {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(0);
        builder.append_data(&mut header, path, io::empty()).unwrap();
    }
    let tar = builder.into_inner().unwrap();
    let at_once = Tree::new(scratch.path().join("at-once"));
    let options = ApplyOptions { lowers: vec![lower.0.clone()], ..ApplyOptions::default() };
    apply_layer(&tar[..], &at_once.0, &options).unwrap();
    let later = Tree::new(scratch.path().join("later"));
    let applied = apply_layer(&tar[..], &later.0, &ApplyOptions::default()).unwrap();
    assert_eq!(applied.implied, ["fresh", "home", "home/me", "lib", "tmp"].map(|path| path.as_bytes().to_vec()));
    inherit_parents(&later.0, &applied.implied, &options.lowers).unwrap();
    for tree in [at_once, later] {
        let mode = |path: &str| {
            let meta = fs::symlink_metadata(tree.path(path)).unwrap();
            (meta.mode() & 0o7777, meta.uid())
        };
        assert_eq!(mode("tmp"), (0o1777, 0));
        assert_eq!(mode("home/me"), (0o700, 1000));
        assert_eq!(mode("fresh"), (0o755, 0));
        assert_eq!(mode("lib"), (0o755, 0));
    }
}

#[test]
fn the_store_remembers_digests_and_blobs() {
    let scratch = scratch();
    let store = store(&scratch);
    let commit = |fill: &dyn Fn(&Tree), base| {
        let layer = store.new_layer().unwrap();
        fill(&Tree(layer.upper().to_owned()));
        layer.commit(LayerMeta { base, ..LayerMeta::default() }).unwrap()
    };
    let base = commit(&|tree| tree.file("a", "1").file("b", "1").done(), None);
    let delta = commit(&|tree| tree.file("b", "2").done(), Some(base));
    let tar = diff_id(&store, &delta).unwrap();
    let meta = store.layer(&delta).unwrap().meta;
    assert_eq!((meta.diff_id, meta.tar_size), (Some(tar.diff_id), Some(tar.size)));
    for compression in [Compression::Gzip, Compression::Uncompressed, Compression::Zstd] {
        let made = layer_blob(&store, &delta, compression, &WriteOptions::default()).unwrap();
        assert_eq!(made.diff_id, tar.diff_id);
        assert_eq!(store.layer_blob(&tar.diff_id, &compression.recipe()).unwrap(), Some(made.blob));
        let target = Tree::new(scratch.path().join(compression.to_string()));
        let blob = store.open_blob(&made.blob.digest).unwrap();
        apply_layer(blob, &target.0, &ApplyOptions { diff_id: Some(tar.diff_id), ..ApplyOptions::default() }).unwrap();
        let files: BTreeMap<_, _> = describe(&target.0);
        assert_eq!(files.len(), 2);
        assert_eq!(fs::read(target.path("b")).unwrap(), b"2");
    }
}

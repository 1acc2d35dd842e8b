//! Archives made to do harm. Each is unpacked as a layer and into a root that is in use; a tree outside of both must be
//! the same afterwards, and what happens inside is said here.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod kit;

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use builder_image::layer::{ApplyOptions, UnpackOptions, apply_layer, unpack};
use builder_image::tar::{Limits, Reader};
use kit::raw_tar::RawTar as Tar;
use kit::{Tree, describe, scratch};
use rustix::fs::FileType;

#[derive(Clone, Copy)]
enum Expect<'a> {
    /// It unpacks, to just these paths below the root (the root in use begins with `real/`, `abs` and `up`).
    Paths(&'a [&'a str]),
    /// It is refused, with this in the message.
    Error(&'a str),
}
use Expect::{Error, Paths};

/// Unpacks in both ways, and compares with what is expected of each.
fn check(name: &str, tar: &[u8], as_layer: Expect<'_>, as_added: Expect<'_>) {
    let scratch = scratch();
    let outside = Tree::new(scratch.path().join("outside"));
    outside.file("etc/passwd", "root").dir("empty").file("victim", "v").mode("victim", 0o600);
    let before = describe(scratch.path().join("outside").as_path());

    let layer = Tree::new(scratch.path().join("layer"));
    let result = apply_layer(tar, &layer.0, &ApplyOptions::default()).map(|_| ()).map_err(|error| error.to_string());
    compare(&format!("{name}, as a layer"), result, as_layer, &layer.0);

    let root = Tree::new(scratch.path().join("root"));
    root.file("real/old", "o").symlink("abs", "/real").symlink("up", "../../../../outside");
    let fd: OwnedFd = File::open(&root.0).unwrap().into();
    let options = UnpackOptions::default();
    let result = unpack(tar, fd.as_fd(), Path::new("/"), &options).map(|_| ()).map_err(|error| error.to_string());
    compare(&format!("{name}, added"), result, as_added, &root.0);
    assert_eq!(describe(&outside.0), before, "{name}: something outside changed");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 3, "{name}: something was made outside");
}

fn compare(name: &str, result: Result<(), String>, expected: Expect<'_>, root: &Path) {
    match (result, expected) {
        (Err(error), Error(part)) => assert!(error.contains(part), "{name}: {error}"),
        (Ok(()), Paths(paths)) => {
            let found: Vec<String> =
                describe(root).into_keys().map(|path| String::from_utf8_lossy(&path).into_owned()).collect();
            let found: Vec<&str> = found
                .iter()
                .map(String::as_str)
                .filter(|path| !["abs", "real", "real/old", "up"].contains(path))
                .collect();
            assert_eq!(found, paths, "{name}");
        }
        (Ok(()), Error(part)) => panic!("{name}: unpacked, and should fail with `{part}`"),
        (Err(error), Paths(_)) => panic!("{name}: {error}"),
    }
}

fn both(name: &str, tar: Tar, expected: Expect<'_>) {
    check(name, &tar.end(), expected, expected);
}

#[test]
fn paths_do_not_leave_the_root() {
    let tar = Tar::default;
    let out = Error("leads outside of the root");
    both("parent", tar().file("../victim", "x"), out);
    both("parent inside", tar().file("a/../../victim", "x"), out);
    both("parent at the end", tar().dir("a/../.."), out);
    both("absolute parent", tar().file("/../victim", "x"), out);
    both("stays inside", tar().file("a/../b", "x"), Paths(&["b"]));
    both("absolute", tar().file("/etc/passwd", "x"), Paths(&["etc", "etc/passwd"]));
    both("many slashes", tar().file("//./b//c", "x"), Paths(&["b", "b/c"]));
    both("zero byte", tar().pax(&[("path", "a\0b")]).file("a", "x"), Error("zero byte"));
    both("empty name, file", tar().file("", "x"), Error("replace the root"));
    both("dot, link", tar().symlink(".", "/"), Error("replace the root"));
    both("slash, device", tar().entry("/", b'3', "", b""), Error("replace the root"));
    both("empty name, directory", tar().dir("").file("a", ""), Paths(&["a"]));
    both("path from pax", tar().pax(&[("path", "../victim")]).file("harmless", "x"), out);
    both("path from a long name", tar().entry("././@LongLink", b'L', "", b"../victim\0").file("harmless", "x"), out);
    both("hostile letters", tar().file("\u{1b}[2J", "x").file("../\u{1b}[2J", ""), Error("../\\u{1b}[2J"));
}

#[test]
fn links_lead_nowhere_but_inside() {
    let tar = Tar::default;
    let no_parent = Error("is not a directory");
    let through = |target: &str| Tar::default().symlink("l", target).file("l/victim", "x");
    check("absolute link, then through it", &through("/real").end(), no_parent, Paths(&["l", "real/victim"]));
    both("link upwards, then through it", through("../outside"), no_parent);
    both("link to the host's root, then through it", through("/etc"), no_parent);
    both("link chain", tar().symlink("a", "b").symlink("b", "../outside").file("a/victim", "x"), no_parent);
    both("link circle", tar().symlink("a", "b").symlink("b", "a").file("a/x", ""), no_parent);
    let proc = tar().symlink("p", "/proc/self/root").file("p/victim", "x");
    both("magic link", proc, no_parent);
    let own = tar().dir("usr").dir("usr/lib").symlink("lib", "usr/lib").file("lib/x", "");
    both("link to a directory of the archive", own, Paths(&["lib", "usr", "usr/lib", "usr/lib/x"]));
    let escape = tar().dir("d").symlink("d/l", "../../../../real").dir("real").file("d/l/x", "");
    both("link that climbs too high stays at the root", escape, Paths(&["d", "d/l", "real/x"]));
    check("link of the root in use", &tar().file("abs/new", "x").end(), Paths(&["abs/new"]), Paths(&["real/new"]));
    check("link of the root in use that climbs", &tar().file("up/new", "x").end(), Paths(&["up/new"]), no_parent);
    check("replaces a link", &tar().file("up", "x").end(), Paths(&[]), Paths(&[]));
    both("a file over a link is the file", tar().symlink("l", "../outside/victim").file("l", "x"), Paths(&["l"]));
    let swap = tar().dir("d").file("d/a", "").symlink("d", "../outside").file("d/victim", "x");
    both("directory becomes a link", swap, no_parent);
    let mode = tar().dir("d").symlink("d", "../outside/empty").entry("x", b'0', "", b"");
    both("mode of a directory that became a link", mode, Paths(&["d", "x"]));
}

#[test]
fn hard_links_lead_nowhere_but_inside() {
    let tar = Tar::default;
    let missing = Error("is not an earlier file");
    both("outside", tar().link("h", "../outside/victim"), Error("leads outside"));
    both("absolute is inside", tar().file("a", "x").link("h", "/a"), Paths(&["a", "h"]));
    both("the host's file", tar().link("h", "/etc/passwd"), missing);
    both("missing", tar().link("h", "nothing"), missing);
    both("itself", tar().file("h", "x").link("h", "h"), missing);
    both("a directory", tar().dir("d").link("h", "d"), missing);
    both("the root", tar().link("h", "."), missing);
    both("below what it replaces", tar().dir("d").file("d/f", "x").link("d", "d/f"), missing);
    let through = tar().symlink("l", "../outside").link("h", "l/victim").entry("h", b'0', "", b"changed");
    both("through a link", through, missing);
    let to_link = tar().symlink("l", "../outside/victim").link("h", "l").file("h", "changed");
    both("to a link, then written", to_link, Paths(&["h", "l"]));
    check("to a whiteout", &tar().file(".wh.w", "").link("h", "w").end(), missing, missing);
}

#[test]
fn sizes_and_metadata_are_bounded_and_agree() {
    let tar = Tar::default;
    let negative = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xf0";
    let huge = b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff";
    both("negative", tar().header("a", b'0', "", negative), Error("size is negative"));
    both("not a number", tar().header("a", b'0', "", b"zzzzzzzzzzz\0"), Error("size is not a number"));
    both("more than there is", tar().header("a", b'0', "", huge).data(b"x"), Error("cut off"));
    both(
        "huge extended header",
        tar().header("a", b'x', "", b"77777777777\0"),
        Error("extended header has 8589934591"),
    );
    both("huge long name", tar().header("a", b'L', "", b"00010000001\0"), Error("long name has 2097153 bytes"));
    both("huge global header", tar().header("a", b'g', "", b"77777777777\0"), Error("global header has"));
    both("negative pax size", tar().pax(&[("size", "-1")]).file("a", ""), Error("size is not a number"));
    both("pax size that overflows", tar().pax(&[("size", "18446744073709551616")]).file("a", ""), Error("size is not"));
    both("pax owner that overflows", tar().pax(&[("uid", "4294967296")]).file("a", ""), Error("owner is not"));
    let nobody = || tar().pax(&[("uid", "4294967295"), ("gid", "4294967295")]);
    both("a file of nobody", nobody().file("a", ""), Paths(&["a"]));
    both("a directory of nobody", nobody().dir("a"), Paths(&["a"]));
    both("a link of nobody", nobody().symlink("a", "b"), Paths(&["a"]));
    both(
        "global path",
        tar().entry("g", b'g', "", b"12 path=a/b\n").file("a", ""),
        Error("global extended header sets"),
    );
    both("global comment", tar().entry("g", b'g', "", b"13 comment=a\n").file("a", ""), Paths(&["a"]));
    both("malformed pax", tar().entry("p", b'x', "", b"99 path=a\n").file("a", ""), Error("wrong length"));
    both(
        "two headers for one entry",
        tar().pax(&[("path", "a")]).pax(&[("path", "b")]).file("c", ""),
        Error("belongs to no"),
    );
    both("header for no entry", tar().file("a", "").pax(&[("path", "b")]), Error("belongs to no entry"));
    let conflict = tar().entry("l", b'L', "", b"one\0").pax(&[("path", "two")]).file("c", "");
    both("two names", conflict, Error("disagree"));
    both("unknown type", tar().entry("a", b'M', "", b""), Error("type `M`"));
    both("not a tar", Tar(b"#!/bin/sh\n".repeat(200)), Error("checksum"));
    both(
        "a changed bit",
        Tar({
            let mut bytes = tar().file("a", "x").0;
            bytes[3] ^= 1;
            bytes
        }),
        Error("checksum"),
    );

    // The smuggled header is the content of `outer` to a reader that believes the extended header, an entry to others.
    let smuggled = tar().file("smuggled", "x").0;
    let desync = tar().pax(&[("size", &smuggled.len().to_string())]).header("outer", b'0', "", b"00000000000\0");
    both("sizes that disagree", desync.data(&smuggled).file("last", ""), Paths(&["last", "outer"]));
    let reverse =
        tar().pax(&[("size", "0")]).header("outer", b'0', "", b"00000002000\0").data(&smuggled).file("last", "");
    both("sizes that disagree the other way", reverse, Paths(&["last", "outer", "smuggled"]));
    let data_of_link = tar().header("l", b'2', "t", b"00000001000\0").file("next", "");
    both("a link with a size has no data", data_of_link, Paths(&["l", "next"]));
}

#[test]
fn cut_archives_are_noticed_at_every_byte_that_counts() {
    let whole = Tar::default().file("a", &"x".repeat(1000)).pax(&[("path", "b/c")]).file("b", "y").end();
    let scratch = scratch();
    for length in (1..whole.len() - 1024).step_by(61) {
        let target = Tree::new(scratch.path().join(length.to_string()));
        let result = apply_layer(&whole[..length], &target.0, &ApplyOptions::default());
        // A tar that ends behind the bytes of an entry is whole to every reader; the digest tells.
        let between = (1512..=1536).contains(&length) || length >= 3073;
        assert_eq!(result.is_ok(), between, "{length}");
    }
}

#[test]
fn removals_can_not_be_used_against_the_host_or_the_layer() {
    let layer_only = |name: &str, tar: Tar, expected: Expect<'_>| {
        let tar = tar.end();
        let scratch = scratch();
        let layer = Tree::new(scratch.path().join("layer"));
        let result = apply_layer(&tar[..], &layer.0, &ApplyOptions::default());
        compare(name, result.map(|_| ()).map_err(|error| error.to_string()), expected, &layer.0);
    };
    let tar = Tar::default;
    let nothing = Error("whiteout of nothing");
    layer_only("of nothing", tar().file(".wh.", ""), nothing);
    layer_only("of the directory", tar().file("a/.wh..", ""), nothing);
    layer_only("of the parent", tar().file("a/.wh...", ""), nothing);
    layer_only("as a directory", tar().file(".wh.a/b", ""), Error("can't be directories"));
    layer_only("other marks", tar().file(".wh..wh.plnk/1.2", "").file(".wh..wh.aufs", "").file("a", ""), Paths(&["a"]));
    layer_only("through a link", tar().symlink("l", "/").file("l/.wh.etc", ""), Paths(&["etc", "l"]));
    layer_only("outside", tar().file("../.wh.victim", ""), Error("leads outside"));
    layer_only("opaque below a file", tar().file("f", "").file("f/.wh..wh..opq", ""), Error("is not a directory"));
    layer_only("opaque link", tar().symlink("l", "/").file("l/.wh..wh..opq", ""), Error("could not open"));
}

#[test]
fn an_archive_can_not_set_the_overlays_own_attributes() {
    let scratch = scratch();
    let records = [
        ("SCHILY.xattr.trusted.overlay.redirect", "/../../etc"),
        ("SCHILY.xattr.trusted.overlay.opaque", "y"),
        ("SCHILY.xattr.user.overlay.opaque", "y"),
        ("SCHILY.xattr.security.selinux", "x"),
        ("SCHILY.xattr.user.fine", "z"),
    ];
    let tar = Tar::default().pax(&records).dir("d").pax(&records).file("f", "").end();
    let target = Tree::new(scratch.path().join("t"));
    apply_layer(&tar[..], &target.0, &ApplyOptions::default()).unwrap();
    for (path, text) in describe(&target.0) {
        assert!(text.contains(" user.fine=z") && text.matches('=').count() == 1, "{}: {text}", path.escape_ascii());
    }
}

#[test]
fn special_files_are_what_they_say() {
    let scratch = scratch();
    let device = |path: &str, kind, major: &str, minor: &str| {
        let mut tar = Tar::default().entry(path, kind, "", b"").0;
        tar[329..329 + major.len()].copy_from_slice(major.as_bytes());
        tar[337..337 + minor.len()].copy_from_slice(minor.as_bytes());
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes().copy_from_slice(&tar);
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    let setuid = {
        let mut header = tar::Header::new_ustar();
        header.set_path("setuid").unwrap();
        header.set_mode(0o6755);
        header.set_uid(1000);
        header.set_size(0);
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    let tar = [device("null", b'3', "0000001", "0000003"), device("disk", b'4', "0000010", "0001000"), setuid].concat();
    let tar = Tar(tar).entry("pipe", b'6', "", b"").end();
    let target = Tree::new(scratch.path().join("t"));
    apply_layer(&tar[..], &target.0, &ApplyOptions::default()).unwrap();
    let meta = |name: &str| fs::symlink_metadata(target.path(name)).unwrap();
    assert_eq!((FileType::from_raw_mode(meta("null").mode()), meta("null").rdev()), (FileType::CharacterDevice, 0x103));
    assert_eq!((FileType::from_raw_mode(meta("disk").mode()), meta("disk").rdev()), (FileType::BlockDevice, 0x20_0800));
    assert_eq!(FileType::from_raw_mode(meta("pipe").mode()), FileType::Fifo);
    assert_eq!((meta("setuid").mode() & 0o7777, meta("setuid").uid()), (0o6755, 1000));
    let bad = device("bad", b'3', "zzzzzzz", "0000003");
    let error = apply_layer(&Tar(bad).end()[..], &target.0, &ApplyOptions::default()).unwrap_err();
    assert!(error.to_string().contains("device number is not a number"), "{error}");
}

#[test]
fn depth_and_length_end_in_an_error_and_not_in_a_crash() {
    let deep = |levels: usize| {
        let path = "d/".repeat(levels);
        Tar::default().pax(&[("path", &path)]).dir("x")
    };
    let scratch = scratch();
    let target = Tree::new(scratch.path().join("t"));
    apply_layer(&deep(1500).end()[..], &target.0, &ApplyOptions::default()).unwrap();
    both("a million levels", deep(100_000), Error("path is too long"));
    both("a long name", Tar::default().pax(&[("path", &"n".repeat(256))]).file("x", ""), Error("path is too long"));
    let tar = deep(1500).symlink("d", "elsewhere").end();
    let target = Tree::new(scratch.path().join("u"));
    apply_layer(&tar[..], &target.0, &ApplyOptions::default()).unwrap();
    assert_eq!(describe(&target.0).len(), 1, "a deep tree makes way for a link");
}

#[test]
fn duplicates_leave_the_last() {
    let scratch = scratch();
    let target = Tree::new(scratch.path().join("t"));
    let tar = Tar::default()
        .file("a", "first, and longer")
        .file("a", "last")
        .dir("b")
        .file("b/x", "")
        .file("b", "now a file")
        .file("c", "")
        .dir("c")
        .file("c/y", "")
        .dir("c")
        .end();
    apply_layer(&tar[..], &target.0, &ApplyOptions::default()).unwrap();
    assert_eq!(fs::read_to_string(target.path("a")).unwrap(), "last");
    assert_eq!(fs::read_to_string(target.path("b")).unwrap(), "now a file");
    assert_eq!(describe(&target.0).len(), 4, "a, b, c, c/y");
}

#[test]
fn sparse_maps_are_checked() {
    let sparse = |map: &str, size: &str, data: &[u8]| {
        Tar::default().pax(&[("GNU.sparse.map", map), ("GNU.sparse.size", size), ("GNU.sparse.name", "s")]).entry(
            "GNUSparseFile.0/s",
            b'0',
            "",
            data,
        )
    };
    both("fine", sparse("0,1,9,1", "20", b"ab"), Paths(&["s"]));
    both("overlap", sparse("0,5,4,1", "20", b"abcdef"), Error("overlap"));
    both("backwards", sparse("9,1,0,1", "20", b"ab"), Error("overlap"));
    both("behind the end", sparse("0,1,20,1", "20", b"ab"), Error("behind the end"));
    both("overflow", sparse("18446744073709551615,2", "20", b"ab"), Error("behind the end"));
    both("less than stored", sparse("0,1", "20", b"ab"), Error("not as long as"));
    both("more than stored", sparse("0,3", "20", b"ab"), Error("not as long as"));
    both("odd", sparse("0,1,2", "20", b"a"), Error("without a length"));
    let one = |data: &[u8]| {
        let head = [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "20")];
        Tar::default().pax(&head).entry("s", b'0', "", data)
    };
    let block = |map: &str, data: &str| {
        let mut bytes = map.as_bytes().to_vec();
        bytes.resize(512, 0);
        [bytes, data.as_bytes().to_vec()].concat()
    };
    both("1.0, fine", one(&block("1\n4\n2\n", "ab")), Paths(&["s"]));
    both("1.0, no end", one(&block("9\n4\n2\n", "")), Error("sparse map is malformed"));
    both("1.0, endless count", one(&block("18446744073709551615\n1\n1\n", "")), Error("sparse map is malformed"));
    both("1.0, no map", one(b"ab"), Error("does not end"));
    let version = Tar::default().pax(&[("GNU.sparse.major", "2")]).entry("s", b'0', "", b"");
    both("another version", version, Error("version is not known"));
}

#[test]
fn bombs_are_limited() {
    let scratch = scratch();
    let limits = |bytes: Option<u64>, entries| Limits { bytes, entries, ..Limits::default() };
    let options = |limits| ApplyOptions { limits, ..ApplyOptions::default() };
    let target = Tree::new(scratch.path().join("t"));
    let mut gzip =
        builder_image::compress::Compressor::new(Vec::new(), builder_image::compress::Compression::Gzip).unwrap();
    let bomb = Tar::default().entry("bomb", b'0', "", &vec![0; 30 << 20]).end();
    std::io::Write::write_all(&mut gzip, &bomb).unwrap();
    let gzip = gzip.finish().unwrap();
    assert!(gzip.len() < 200_000);
    let error = apply_layer(&gzip[..], &target.0, &options(limits(Some(10 << 20), None))).unwrap_err();
    assert!(
        error.to_string().contains("`bomb`") && error.to_string().contains("more than the 10485760 bytes"),
        "{error}"
    );
    assert!(!target.path("bomb").exists(), "it is refused before a byte of it is written");
    let sparse = Tar::default()
        .pax(&[("GNU.sparse.map", ""), ("GNU.sparse.size", "9000000000000000000")])
        .entry("s", b'0', "", b"")
        .end();
    let error = apply_layer(&sparse[..], &target.0, &options(limits(Some(1 << 40), None))).unwrap_err();
    assert!(error.to_string().contains("unpacks to more"), "{error}");
    let many = (0..20).fold(Tar::default(), |tar, number| tar.file(&number.to_string(), "")).end();
    let error = apply_layer(&many[..], &target.0, &options(limits(None, Some(10)))).unwrap_err();
    assert!(error.to_string().contains("more than the 10 entries"), "{error}");
    // Nothing but padding behind the end mark is a bomb, too.
    let tail = [Tar::default().file("a", "").end(), vec![0; 40 << 20]].concat();
    let error = apply_layer(&tail[..], &target.0, &options(limits(Some(1 << 20), None))).unwrap_err();
    assert!(error.to_string().contains("unpacks to more"), "{error}");
}

#[test]
fn an_added_archive_leaves_the_root_of_its_destination_alone() {
    let scratch = scratch();
    let root = Tree::new(scratch.path().join("root"));
    root.dir("app").mode("app", 0o711).file("app/kept", "k").dir("app/sub").file("app/sub/kept", "k");
    let tar = Tar::default().dir("./").file("./new", "n").dir("sub").file("sub/new", "n").end();
    let fd: OwnedFd = File::open(&root.0).unwrap().into();
    let options = UnpackOptions { owner: Some((7, 8)), ..UnpackOptions::default() };
    unpack(&tar[..], fd.as_fd(), Path::new("app"), &options).unwrap();
    let meta = |path: &str| fs::metadata(root.path(path)).unwrap();
    assert_eq!((meta("app").mode() & 0o7777, meta("app").uid()), (0o711, 0));
    assert_eq!((meta("app/new").uid(), meta("app/new").gid()), (7, 8));
    assert_eq!((meta("app/sub").mode() & 0o7777, meta("app/sub").uid()), (0o644, 7), "an entry describes it");
    assert_eq!((meta("app/kept").uid(), meta("app/sub/kept").uid()), (0, 0));
}

#[test]
fn any_bytes_are_read_or_refused() {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};
    let base = Tar::default()
        .pax(&[("path", "some/where"), ("SCHILY.xattr.user.x", "y"), ("mtime", "5.5")])
        .file("f", "data")
        .entry("l", b'L', "", &b"long/".repeat(30))
        .symlink("s", "t")
        .pax(&[("GNU.sparse.map", "0,1,9,1"), ("GNU.sparse.size", "20")])
        .entry("s", b'0', "", b"ab")
        .end();
    let changes = proptest::collection::vec((0..base.len(), any::<u8>(), any::<bool>()), 1..8);
    TestRunner::new(Config { cases: 4000, ..Config::default() })
        .run(&changes, |changes| {
            let mut bytes = base.clone();
            for (at, byte, fix) in changes {
                bytes[at] = byte;
                let start = at / 512 * 512;
                if fix {
                    // Make the block a header with a right checksum, so that the change gets further.
                    let mut header = tar::Header::new_old();
                    header.as_mut_bytes().copy_from_slice(&bytes[start..start + 512]);
                    header.set_cksum();
                    bytes[start..start + 512].copy_from_slice(header.as_bytes());
                }
            }
            let mut reader = Reader::new(&bytes[..], Limits { bytes: Some(1 << 30), ..Limits::default() });
            let mut buffer = [0; 700];
            while let Ok(Some(entry)) = reader.next_entry() {
                prop_assert!(entry.offset < bytes.len() as u64);
                while matches!(reader.read_data(&mut buffer), Ok(1..)) {}
            }
            Ok(())
        })
        .unwrap();
}

//! What is kept of a file when it is copied.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, XattrFlags, makedev};

use super::{copy_action, run_copy};
use crate::context::FileSource;
use crate::test_kit::{Sandbox, age, bytes_path, open, selection, show};

/// Copies the whole of a prepared context to `/to`, as a context and as a snapshot.
fn copied(prepare: impl Fn(&Path), check: impl Fn(&Path)) {
    for kind in ["context", "snapshot", "unread snapshot"] {
        let sandbox = Sandbox::new();
        prepare(&sandbox.tree("from", &[]));
        let root = sandbox.tree("root", &[]);
        let copy = copy_action(selection(&["."], &[], false), "/to");
        let from = open(&sandbox.path("from"));
        match kind {
            "context" => run_copy(&root, sandbox.context("from", &[]).source(), &copy),
            "snapshot" => run_copy(&root, &FileSource::snapshot(&from).unwrap(), &copy),
            _ => run_copy(&root, &FileSource::snapshot_to_copy(&from).unwrap(), &copy),
        }
        .unwrap();
        check(&root.join("to"));
    }
}

fn mtime(path: &Path) -> (i64, i64) {
    let metadata = path.symlink_metadata().unwrap();
    (metadata.mtime(), metadata.mtime_nsec())
}

#[test]
fn times_to_the_nanosecond() {
    copied(
        |from| {
            fs::create_dir(from.join("d")).unwrap();
            fs::write(from.join("d/f"), "x").unwrap();
            std::os::unix::fs::symlink("f", from.join("d/l")).unwrap();
            let link = rustix::fs::Timestamps {
                last_access: rustix::fs::Timespec { tv_sec: 1, tv_nsec: 2 },
                last_modification: rustix::fs::Timespec { tv_sec: 3, tv_nsec: 4 },
            };
            rustix::fs::utimensat(CWD, from.join("d/l"), &link, AtFlags::SYMLINK_NOFOLLOW).unwrap();
            age(&from.join("d/f"), 1_000_000_000, 123_456_789);
            age(&from.join("d"), 900_000_000, 1);
        },
        |to| {
            assert_eq!(mtime(&to.join("d/f")), (1_000_000_000, 123_456_789));
            assert_eq!(mtime(&to.join("d")), (900_000_000, 1));
            assert_eq!(mtime(&to.join("d/l")), (3, 4));
        },
    );
}

#[test]
fn attributes_and_capabilities() {
    // CAP_NET_BIND_SERVICE, permitted and effective, version 2.
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    copied(
        |from| {
            fs::write(from.join("f"), "x").unwrap();
            fs::create_dir(from.join("d")).unwrap();
            let set = |path: &str, name: &str, value: &[u8]| {
                rustix::fs::setxattr(from.join(path), name, value, XattrFlags::empty()).unwrap();
            };
            set("f", "user.note", b"hello");
            set("f", "security.capability", &capability);
            set("d", "user.dir", b"");
            set("f", "trusted.overlay.origin", b"never copied");
            std::os::unix::fs::symlink("f", from.join("l")).unwrap();
            rustix::fs::lsetxattr(from.join("l"), "trusted.link", b"l", XattrFlags::empty()).unwrap();
        },
        |to| {
            let get = |path: &str, name: &str| {
                let mut value = [0; 100];
                rustix::fs::lgetxattr(to.join(path), name, &mut value).map(|length| value[..length].to_vec()).ok()
            };
            assert_eq!(get("f", "user.note"), Some(b"hello".to_vec()));
            assert_eq!(get("f", "security.capability"), Some(capability.to_vec()));
            assert_eq!(get("d", "user.dir"), Some(vec![]));
            assert_eq!(get("f", "trusted.overlay.origin"), None);
            assert_eq!(get("l", "trusted.link"), Some(b"l".to_vec()));
        },
    );
}

#[test]
fn set_id_bits_survive_the_owner() {
    let sandbox = Sandbox::new();
    sandbox.tree("from", &["suid=x@4755", "sgid=x@2755", "sticky/@1777"]);
    let root = sandbox.tree("root", &[]);
    let mut copy = copy_action(selection(&["."], &[], false), "/");
    copy.owner = super::named("3:4");
    run_copy(&root, sandbox.context("from", &[]).source(), &copy).unwrap();
    assert_eq!(show(&root), ["sgid=x@2755#3:4", "sticky/@1777#3:4", "suid=x@4755#3:4"]);
}

#[test]
fn sockets_of_a_context_become_empty_files() {
    let sandbox = Sandbox::new();
    let from = sandbox.tree("from", &["d/", "f=1"]);
    for name in ["one", "d/two"] {
        UnixListener::bind(from.join(name)).unwrap();
        fs::set_permissions(from.join(name), fs::Permissions::from_mode(0o640)).unwrap();
    }
    let root = sandbox.tree("root", &[]);
    let copy = |sources: &[&str], dest: &str| copy_action(selection(sources, &[], false), dest);
    let context = sandbox.context("from", &[]);
    run_copy(&root, context.source(), &copy(&["."], "/all")).unwrap();
    run_copy(&root, context.source(), &copy(&["one", "d/t*"], "/named/")).unwrap();
    // Those of a snapshot can't be in a layer and are left out.
    let snapshot = FileSource::snapshot(open(&from)).unwrap();
    run_copy(&root, &snapshot, &copy(&["."], "/snapshot")).unwrap();
    assert_eq!(
        show(&root),
        [
            "all/",
            "all/d/",
            "all/d/two=@640",
            "all/f=1",
            "all/one=@640",
            "named/",
            "named/one=@640",
            "named/two=@640",
            "snapshot/",
            "snapshot/d/",
            "snapshot/f=1",
        ]
    );
}

#[test]
fn hard_links_stay_one_file() {
    copied(
        |from| {
            fs::create_dir(from.join("d")).unwrap();
            fs::write(from.join("a"), "x").unwrap();
            fs::hard_link(from.join("a"), from.join("b")).unwrap();
            fs::hard_link(from.join("a"), from.join("d/c")).unwrap();
            fs::write(from.join("e"), "x").unwrap();
        },
        |to| {
            let ino = |path: &str| to.join(path).metadata().unwrap().ino();
            assert_eq!((ino("b"), ino("d/c")), (ino("a"), ino("a")));
            assert_ne!(ino("e"), ino("a"));
            assert_eq!(to.join("a").metadata().unwrap().nlink(), 3);
        },
    );
}

#[test]
fn holes_stay_holes() {
    copied(
        |from| {
            let mut file = File::create(from.join("middle")).unwrap();
            file.write_all(b"start").unwrap();
            file.seek(SeekFrom::Start(8 << 20)).unwrap();
            file.write_all(b"middle").unwrap();
            file.set_len(64 << 20).unwrap();
            File::create(from.join("empty")).unwrap().set_len(100 << 20).unwrap();
            File::create(from.join("small")).unwrap().set_len(60_000).unwrap();
        },
        |to| {
            for (name, size, most) in [("middle", 64 << 20, 200), ("empty", 100 << 20, 8), ("small", 60_000, 8)] {
                let metadata = to.join(name).metadata().unwrap();
                assert_eq!(metadata.size(), size, "{name}");
                assert!(metadata.blocks() <= most, "{name} has {} blocks", metadata.blocks());
            }
            let mut bytes = [0; 6];
            File::open(to.join("middle")).unwrap().read_exact_at(&mut bytes, 8 << 20).unwrap();
            assert_eq!(&bytes, b"middle");
        },
    );
}

#[test]
fn sizes_around_every_limit() {
    const SIZES: [usize; 10] = [0, 1, 4095, 131_071, 131_072, 131_073, 262_143, 262_144, 262_145, 3_000_000];
    let bytes = |size: usize| (0..size).map(|at| (at * 31 % 251) as u8).collect::<Vec<_>>();
    copied(
        |from| {
            for size in SIZES {
                fs::write(from.join(size.to_string()), bytes(size)).unwrap();
            }
        },
        |to| {
            for size in SIZES {
                assert_eq!(fs::read(to.join(size.to_string())).unwrap(), bytes(size), "{size}");
            }
        },
    );
}

#[test]
fn odd_names() {
    let long = [b'n'; 255];
    let names: [&[u8]; 8] = [b" ", b"a b\tc", b"new\nline", b"\xff\xfe", &long, b"-rf", b"*?[x]\\", b"\xe2\x98\xba"];
    copied(
        |from| {
            for name in names {
                let directory = bytes_path(from, name);
                fs::create_dir(&directory).unwrap();
                fs::write(bytes_path(&directory, name), "x").unwrap();
            }
        },
        |to| {
            for name in names {
                assert_eq!(fs::read(bytes_path(&bytes_path(to, name), name)).unwrap(), b"x");
            }
        },
    );
}

#[test]
fn fifos_and_devices() {
    copied(
        |from| {
            let mode = Mode::from_raw_mode(0o640);
            rustix::fs::mkfifoat(CWD, from.join("fifo"), mode).unwrap();
            rustix::fs::mknodat(CWD, from.join("null"), FileType::CharacterDevice, mode, makedev(1, 3)).unwrap();
            rustix::fs::mknodat(CWD, from.join("loop"), FileType::BlockDevice, mode, makedev(7, 0)).unwrap();
        },
        |to| {
            let shown = show(to);
            let expected = [
                "fifo fifo@640".to_owned(),
                format!("loop {}@640", makedev(7, 0)),
                format!("null {}@640", makedev(1, 3)),
            ];
            assert_eq!(shown, expected);
        },
    );
}

#[test]
fn a_set_group_directory_does_not_hand_its_group_down() {
    let sandbox = Sandbox::new();
    sandbox.tree("from", &["f=x", "d/g=y", "l -> f"]);
    let root = sandbox.tree("root", &["to/"]);
    rustix::fs::chown(root.join("to"), None, Some(rustix::fs::Gid::from_raw(77))).unwrap();
    fs::set_permissions(root.join("to"), fs::Permissions::from_mode(0o2755)).unwrap();
    let copy = copy_action(selection(&["."], &[], false), "/to");
    run_copy(&root, sandbox.context("from", &[]).source(), &copy).unwrap();
    assert_eq!(show(&root), ["to/@2755#0:77", "to/d/", "to/d/g=y", "to/f=x", "to/l -> f"]);
}

#[test]
fn a_deep_tree() {
    copied(
        |from| {
            let mut path = from.to_owned();
            for _ in 0..900 {
                path.push("d");
            }
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("f"), "x").unwrap();
        },
        |to| {
            let mut path = to.to_owned();
            for _ in 0..900 {
                path.push("d");
            }
            assert_eq!(fs::read(path.join("f")).unwrap(), b"x");
        },
    );
}

#[test]
fn what_changes_between_scan_and_copy_is_an_error() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 6] = [
        ("written", |path| fs::write(path, "two").unwrap()),
        ("removed", |path| fs::remove_file(path).unwrap()),
        ("replaced by a link", |path| {
            fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("/etc/hostname", path).unwrap();
        }),
        ("replaced by a directory", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
        ("of another mode", |path| fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap()),
        ("replaced by a fifo", |path| {
            fs::remove_file(path).unwrap();
            rustix::fs::mkfifoat(CWD, path, Mode::from_raw_mode(0o644)).unwrap();
        }),
    ];
    for (what, change) in changes {
        for text in ["one".to_owned(), "x".repeat(500_000)] {
            let sandbox = Sandbox::new();
            let from = sandbox.tree("from", &["d/"]);
            fs::write(from.join("d/f"), &text).unwrap();
            let root = sandbox.tree("root", &[]);
            let context = sandbox.context("from", &[]);
            let everything = selection(&["."], &[], false);
            context.digest(std::slice::from_ref(&everything)).unwrap();
            change(&from.join("d/f"));
            let error = run_copy(&root, context.source(), &copy_action(everything, "/")).unwrap_err();
            assert!(error.to_string().contains("`d/f` changed during the build"), "{what}: {error}");
        }
    }
}

//! Trees with every kind of file, what is to be seen of them, and exports to compare.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, lgetxattr, llistxattr, lsetxattr, makedev, mknodat};
use sha2::{Digest, Sha256};

use crate::kit::{Lab, tool};

/// The bytes of `security.capability` for `cap_chown,cap_net_raw=ep`.
pub(crate) const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 1, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A tree with everything that a file system can hold.
pub(crate) fn everything(root: &Path) {
    let at = |name: &str| root.join(name);
    let file = |name: &str, mode: u32| {
        fs::write(at(name), format!("content of {name}\n")).expect("ours");
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).expect("ours");
    };
    for (name, mode) in [("sub", 0o755), ("private", 0o700), ("sticky", 0o1777), ("closed", 0o555), ("group", 0o2775)] {
        fs::create_dir(at(name)).expect("ours");
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).expect("ours");
    }
    for (name, mode) in [("plain", 0o644), ("setuid", 0o4755), ("setgid", 0o2711), ("none", 0), ("all", 0o777)] {
        file(name, mode);
    }
    File::create(at("empty")).expect("ours");
    file("owned", 0o640);
    chown(at("owned"), Some(1234), Some(2_000_000_000)).expect("we are root");
    chown(at("private"), Some(1000), Some(1)).expect("we are root");
    // Changing the owner took the bit away.
    fs::set_permissions(at("setuid"), fs::Permissions::from_mode(0o4755)).expect("ours");

    file("hard", 0o600);
    for name in ["hard-too", "sub/hard-there"] {
        fs::hard_link(at("hard"), at(name)).expect("ours");
    }
    symlink("plain", at("link")).expect("ours");
    symlink("/no/where", at("dangling")).expect("ours");
    symlink("x".repeat(300), at("link-long")).expect("ours");
    symlink(OsStr::from_bytes(b"\xff\nx y"), at("link-odd")).expect("ours");
    lchown(at("dangling"), Some(7), Some(8)).expect("we are root");
    fs::hard_link(at("link"), at("link-hard")).expect("ours");

    let node = |name: &str, kind, mode, device| {
        mknodat(CWD, at(name), kind, Mode::from_raw_mode(mode), device).expect("we are root");
        // Not what the umask leaves of it.
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).expect("ours");
    };
    node("fifo", FileType::Fifo, 0o622, 0);
    node("character", FileType::CharacterDevice, 0o660, makedev(1, 3));
    node("block", FileType::BlockDevice, 0o600, makedev(7, 300));

    let mut sparse = File::create(at("sparse")).expect("ours");
    sparse.write_all(b"begin").expect("ours");
    sparse.seek(SeekFrom::Start(5_000_000)).expect("ours");
    sparse.write_all(b"middle").expect("ours");
    sparse.set_len(16_000_000).expect("ours");

    let names: [&[u8]; 10] = [
        b"with space",
        b"new\nline",
        b"\xff\xfe\x80",
        b"-dash",
        b"*?[a]",
        b"back\\slash",
        "日本語".as_bytes(),
        b"tab\there",
        b"\x1b[31m",
        b"..odd",
    ];
    for name in names {
        fs::write(root.join(OsStr::from_bytes(name)), name).expect("ours");
    }
    fs::write(at(&"n".repeat(255)), "longest").expect("ours");
    let mut deep = root.to_path_buf();
    for number in 0..8 {
        deep.push(format!("{number}{}", "d".repeat(60)));
    }
    fs::create_dir_all(&deep).expect("ours");
    fs::write(deep.join("deep"), "deep").expect("ours");

    for (name, key, value) in [
        ("plain", "user.note", &b"a note"[..]),
        ("plain", "user.binary", b"\0\x01\xff=\n"),
        ("plain", "user.empty", b""),
        ("sub", "user.directory", b"too"),
        ("all", "security.capability", &CAPABILITY),
    ] {
        lsetxattr(at(name), key, value, XattrFlags::empty()).expect("the file system has extended attributes");
    }
}

/// What is to be seen of every path below `root`: all but times.
pub(crate) fn facts(root: &Path) -> BTreeMap<OsString, String> {
    let mut found = BTreeMap::new();
    let mut links: HashMap<(u64, u64), OsString> = HashMap::new();
    let mut open = vec![PathBuf::new()];
    let mut paths = Vec::new();
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(root.join(&directory)).expect("readable").flatten() {
            let path = directory.join(entry.file_name());
            if entry.file_type().expect("it is there").is_dir() {
                open.push(path.clone());
            }
            paths.push(path);
        }
    }
    paths.sort();
    for path in paths {
        let full = root.join(&path);
        let meta = fs::symlink_metadata(&full).expect("it is there");
        let mut fact = format!("{:o} {}:{}", meta.mode(), meta.uid(), meta.gid());
        if meta.is_symlink() {
            fact += &format!(" -> {}", fs::read_link(&full).expect("a link").as_os_str().as_bytes().escape_ascii());
        } else if meta.is_file() {
            let mut bytes = Vec::new();
            File::open(&full).and_then(|mut file| file.read_to_end(&mut bytes)).expect("we are root");
            fact += &format!(
                " {} {}",
                meta.len(),
                Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
            );
        } else if !meta.is_dir() {
            fact += &format!(" device {:x}", meta.rdev());
        }
        if !meta.is_dir() && !meta.is_symlink() && meta.nlink() > 1 {
            let first = links.entry((meta.dev(), meta.ino())).or_insert_with(|| path.clone().into_os_string());
            fact += &format!(" = {}", first.display());
        }
        let mut names = vec![0; 4096];
        let length = llistxattr(&full, &mut names).expect("readable");
        let mut names: Vec<&[u8]> = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
        names.sort_unstable();
        for name in names {
            let mut value = vec![0; 4096];
            let length = lgetxattr(&full, OsStr::from_bytes(name), &mut value).expect("readable");
            fact += &format!(" {}={:?}", String::from_utf8_lossy(name), &value[..length]);
        }
        found.insert(path.into_os_string(), fact);
    }
    found
}

#[track_caller]
pub(crate) fn assert_same(found: &BTreeMap<OsString, String>, expected: &BTreeMap<OsString, String>, what: &str) {
    let mut differences = String::new();
    for path in found.keys().chain(expected.keys()) {
        if found.get(path) != expected.get(path) {
            differences += &format!(
                "{}\n  expected {:?}\n  found    {:?}\n",
                path.as_bytes().escape_ascii(),
                expected.get(path),
                found.get(path)
            );
        }
    }
    assert!(differences.is_empty(), "{what}:\n{differences}");
}

/// Unpacks with GNU tar, the reader that is not ours.
pub(crate) fn unpack(tar: &Path, to: &Path) {
    fs::create_dir(to).expect("ours");
    let args = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "--same-owner", "-p", "-C"];
    let mut all: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
    all.extend([to.as_os_str(), "-xf".as_ref(), tar.as_os_str()]);
    tool("tar", &all);
}

/// The target's files, once as a directory and once as a tarball that GNU tar unpacked.
pub(crate) fn exports(lab: &Lab, context: &Path, name: &str, args: &[&str]) -> [PathBuf; 2] {
    let directory = lab.path().join(format!("{name}-local"));
    let tar = lab.path().join(format!("{name}.tar"));
    let unpacked = lab.path().join(format!("{name}-tar"));
    let local = format!("type=local,dest={}", directory.display());
    let archive = format!("type=tar,dest={}", tar.display());
    let mut all = vec!["build", "-o", &local, "-o", &archive, context.to_str().expect("UTF-8")];
    all.extend(args);
    lab.ok(&all);
    unpack(&tar, &unpacked);
    [directory, unpacked]
}

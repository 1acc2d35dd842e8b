//! Every kind of file, from step to layer to archive to container, and what removals leave.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, lgetxattr, llistxattr, lsetxattr, makedev, mknodat};
use sha2::{Digest, Sha256};

use crate::kit::{Lab, tool};

/// The bytes of `security.capability` for `cap_chown,cap_net_raw=ep`.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 1, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A tree with everything that a file system can hold.
fn everything(root: &Path) {
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
fn facts(root: &Path) -> BTreeMap<OsString, String> {
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
            fact += &format!(" -> {:?}", fs::read_link(&full).expect("a link"));
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
fn assert_same(found: &BTreeMap<OsString, String>, expected: &BTreeMap<OsString, String>, what: &str) {
    let mut differences = String::new();
    for path in found.keys().chain(expected.keys()) {
        if found.get(path) != expected.get(path) {
            differences +=
                &format!("{path:?}\n  expected {:?}\n  found    {:?}\n", expected.get(path), found.get(path));
        }
    }
    assert!(differences.is_empty(), "{what}:\n{differences}");
}

/// Unpacks with GNU tar, the reader that is not ours.
fn unpack(tar: &Path, to: &Path) {
    fs::create_dir(to).expect("ours");
    let args = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "--same-owner", "-p", "-C"];
    let mut all: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
    all.extend([to.as_os_str(), "-xf".as_ref(), tar.as_os_str()]);
    tool("tar", &all);
}

/// A context with the archive `all.tar` of everything, and what is in it.
fn archive_of_everything(lab: &Lab) -> (PathBuf, BTreeMap<OsString, String>) {
    let tree = lab.context(&[]);
    everything(&tree);
    let context = lab.context(&[]);
    let archive = context.join("all.tar");
    let args = ["--format=posix", "--sparse", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-C"];
    let mut all: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
    all.extend([tree.as_os_str(), "-cf".as_ref(), archive.as_os_str(), ".".as_ref()]);
    tool("tar", &all);
    (context, facts(&tree))
}

/// The target's files, once as a directory and once as a tarball that GNU tar unpacked.
fn exports(lab: &Lab, context: &Path, name: &str, args: &[&str]) -> [PathBuf; 2] {
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

#[test]
fn every_kind_of_file_survives_from_archive_to_step_to_stage_to_export() {
    let lab = Lab::new();
    let (context, expected) = archive_of_everything(&lab);
    let dockerfile = "FROM scratch AS added\nADD all.tar /\n\
                      FROM busybox AS touched\nADD all.tar /all/\nRUN cd /all && echo more >new && rm new && touch -c -d @1 plain owned sub\n\
                      FROM scratch AS copied\nCOPY --from=touched /all /\n\
                      FROM scratch AS linked\nCOPY --link --from=copied / /\n";
    fs::write(context.join("Dockerfile"), dockerfile).expect("ours");
    for stage in ["added", "copied", "linked"] {
        for directory in exports(&lab, &context, stage, &["--target", stage]) {
            assert_same(&facts(&directory), &expected, &directory.display().to_string());
            let blocks = fs::metadata(directory.join("sparse")).expect("it is there").blocks();
            assert!(
                stage != "added" || blocks * 512 < 4_000_000 || directory.ends_with("added-tar"),
                "sparse has {blocks} blocks"
            );
        }
    }
    // In the store, too: the holes are holes.
    lab.build_with(&context, &["--target", "linked"]);
    let layer = lab.inspect("app")["Layers"][0]["Directories"][0].as_str().expect("a directory").to_owned();
    let blocks = fs::metadata(Path::new(&layer).join("sparse")).expect("it is there").blocks();
    assert!(blocks * 512 < 4_000_000, "sparse has {blocks} blocks in the store");
}

#[test]
fn every_kind_of_file_is_there_when_the_image_runs() {
    let lab = Lab::new();
    let (context, _) = archive_of_everything(&lab);
    fs::write(context.join("Dockerfile"), "FROM busybox\nADD all.tar /all/\nWORKDIR /all\n").expect("ours");
    lab.build(&context);
    let script = "stat -c '%n|%F|%a|%u:%g|%s' setuid setgid none sticky group owned private fifo sparse link; stat -c '%F %t:%T' character block; \
                  [ hard -ef sub/hard-there ] && echo hard; cat 'with space' 'new\nline' -- -dash '*?[a]' 'back\\slash'; echo; \
                  ls | wc -L; find . -name deep | wc -c; readlink link-long | wc -c";
    assert_eq!(
        lab.shell(script),
        "setuid|regular file|4755|0:0|18\nsetgid|regular file|2711|0:0|18\nnone|regular file|0|0:0|16\n\
         sticky|directory|1777|0:0|4096\ngroup|directory|2775|0:0|4096\nowned|regular file|640|1234:2000000000|17\n\
         private|directory|700|1000:1|4096\nfifo|fifo|622|0:0|0\nsparse|regular file|644|0:0|16000000\nlink|symbolic link|777|0:0|5\n\
         character special file 1:3\nblock special file 7:12c\nhard\nwith spacenew\nline-dash*?[a]back\\slash\n255\n503\n301\n"
    );
}

#[test]
fn file_capabilities_work_after_add_copy_and_in_the_container() {
    let lab = Lab::new();
    let context = lab.context(&[("bin/", "")]);
    fs::copy("/bin/busybox", context.join("bin/able")).expect("busybox-static is installed");
    lsetxattr(context.join("bin/able"), "security.capability", &CAPABILITY, XattrFlags::empty()).expect("we are root");
    tool(
        "tar",
        &[
            "--xattrs".as_ref(),
            "--xattrs-include=*".as_ref(),
            "-C".as_ref(),
            context.as_ref(),
            "-cf".as_ref(),
            context.join("able.tar").as_ref(),
            "bin/able".as_ref(),
        ],
    );
    fs::write(
        context.join("Dockerfile"),
        "FROM busybox AS one\nADD able.tar /\nRUN mv /bin/able /bin/busybox-moved\n\
         FROM one AS two\nCOPY --from=one /bin/busybox-moved /bin/busybox-copied\nCOPY --link --from=one /bin/busybox-moved /bin/busybox-linked\nCOPY --from=one --chmod=755 /bin/busybox-moved /bin/busybox-chmod\n\
         USER app\nRUN for name in moved copied linked chmod; do busybox-$name grep CapEff /proc/self/status; done; grep CapEff /proc/self/status\n",
    )
    .expect("ours");
    let ran = lab.build(&context);
    assert_eq!(ran.output(), format!("{}CapEff:\t0000000000000000\n", "CapEff:\t0000000000002001\n".repeat(4)));
    assert_eq!(lab.shell("busybox-linked grep CapEff /proc/self/status"), "CapEff:\t0000000000002001\n");
}

/// A program of the machine and the libraries that it needs, as files of a context with their absolute paths.
fn with_libraries(context: &Path, program: &str) {
    let libraries = tool("ldd", &[program.as_ref()]);
    for path in libraries.split_whitespace().filter(|word| word.starts_with('/')).chain([program]) {
        let to = context.join(path.trim_start_matches('/'));
        fs::create_dir_all(to.parent().expect("below the context")).expect("ours");
        fs::copy(path, to).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}

#[test]
fn extended_attributes_that_a_step_sets_survive() {
    let lab = Lab::new();
    let context = lab.context(&[]);
    let tools = context.join("tools");
    for program in ["/usr/bin/setfattr", "/usr/bin/getfattr", "/usr/sbin/setcap"] {
        with_libraries(&tools, program);
    }
    fs::write(
        context.join("Dockerfile"),
        "FROM busybox AS tools\nCOPY tools /\nRUN mkdir -p /d/e && cp /bin/busybox /d/able && touch /d/f\n\
         RUN setfattr -n user.note -v value /d/f && setfattr -n user.dir -v yes /d/e && setcap cap_chown,cap_net_raw=ep /d/able\n\
         RUN touch /d/f /d/e\n\
         FROM scratch AS result\nCOPY --from=tools /d /\n\
         FROM tools\nCOPY --from=result / /back/\nRUN getfattr --absolute-names -d -m - /back/f /back/e\n",
    )
    .expect("ours");
    let ran = lab.build(&context);
    for expected in ["user.note=\"value\"", "user.dir=\"yes\""] {
        assert!(ran.output().contains(expected), "no {expected} in\n{}", ran.output());
    }
    for directory in exports(&lab, &context, "set", &["--target", "result"]) {
        let found = facts(&directory);
        for (path, attribute) in [("f", "user.note="), ("e", "user.dir="), ("able", "security.capability=")] {
            assert!(
                found[OsStr::new(path)].contains(attribute),
                "{path} has no {attribute} in {}: {}",
                directory.display(),
                found[OsStr::new(path)]
            );
        }
    }
}

#[test]
fn what_a_step_removes_or_replaces_is_gone_everywhere() {
    let lab = Lab::new();
    let context = lab.project(
        "FROM busybox AS work\n\
         RUN mkdir -p /w/keep /w/gone/deep /w/opaque/old /w/dir-to-file /w/merged && cd /w && touch file removed gone/deep/x opaque/old/x opaque/y dir-to-file/x file-to-dir merged/a merged/b && ln -s file link && ln file hard\n\
         RUN cd /w && rm removed && rm -r gone && rm -r opaque && mkdir opaque && touch opaque/new && rm -r dir-to-file && echo now a file >dir-to-file && rm file-to-dir && mkdir file-to-dir && touch file-to-dir/x && mv link link-moved && rm hard && mv keep kept && rm merged/a\n\
         RUN cd /w && touch removed && rm removed && mkdir gone && rmdir gone\n\
         RUN find /w | sort\n\
         FROM scratch AS copied\nCOPY --from=work /w /\n\
         FROM busybox AS again\nCOPY --from=work /w/merged /w/merged\nCOPY --from=work /w /w\n",
        &[],
    );
    let names = "dir-to-file file file-to-dir file-to-dir/x kept link-moved merged merged/b opaque opaque/new";
    let expected: Vec<&OsStr> = names.split(' ').map(OsStr::new).collect();
    let ran = lab.build_with(&context, &["--target", "work"]);
    let listing: String = names.split(' ').map(|name| format!("/w/{name}\n")).collect();
    assert_eq!(ran.output(), format!("/w\n{listing}"), "in the next step");
    assert_eq!(lab.shell("find /w | sort"), format!("/w\n{listing}"), "in a container");
    for directory in exports(&lab, &context, "copied", &["--target", "copied"]) {
        let found = facts(&directory);
        assert_eq!(
            found.keys().map(OsString::as_os_str).collect::<Vec<_>>(),
            expected,
            "copied to {}",
            directory.display()
        );
    }
    for directory in exports(&lab, &context, "whole", &["--target", "work"]) {
        let found = facts(&directory.join("w"));
        assert_eq!(
            found.keys().map(OsString::as_os_str).collect::<Vec<_>>(),
            expected,
            "exported to {}",
            directory.display()
        );
        assert!(facts(&directory).keys().all(|path| !path.as_bytes().windows(4).any(|part| part == b".wh.")));
    }
    lab.build(&context);
    assert_eq!(lab.shell("find /w | sort"), format!("/w\n{listing}"), "after COPY --from");
}

#[test]
fn a_removed_directory_does_not_come_back_with_what_is_copied_into_it() {
    let lab = Lab::new();
    lab.build_files(
        "FROM busybox\nRUN mkdir -p /d/old && touch /d/old/x /d/y\nRUN rm -r /d\nCOPY new /d/\nRUN find /d | sort >/after-copy\nRUN rm -r /d && mkdir /d\n\
         COPY --link new /d/\nRUN mkdir /d/old\nWORKDIR /d/old\n",
        &[("new", "")],
    );
    assert_eq!(lab.shell("cat /after-copy; find /d | sort"), "/d\n/d/new\n/d\n/d/new\n/d/old\n");
}

#[test]
fn sockets_stay_in_the_store_and_do_not_spoil_an_archive() {
    let lab = Lab::new();
    let context = lab.project(
        "FROM busybox AS one\nRUN ln -s /socket /dev/log && syslogd && until [ -S /socket ]; do :; done; touch /after\nRUN [ -S /socket ] && echo still there\n\
         FROM one\nCOPY --from=one / /copy\n",
        &[],
    );
    assert_eq!(lab.build(&context).output(), "still there\n");
    for directory in exports(&lab, &context, "socket", &[]) {
        assert!(directory.join("after").exists() && directory.join("copy/after").exists());
    }
    // In a context they are left out, or copied: but nothing hangs or fails.
    let context = lab.project("FROM busybox\nCOPY . /d\nRUN ls /d\n", &[("file", "")]);
    let _socket = std::os::unix::net::UnixListener::bind(context.join("socket")).expect("ours");
    mknodat(CWD, context.join("fifo"), FileType::Fifo, Mode::RUSR, 0).expect("ours");
    let ran = lab.build(&context);
    assert!(ran.output().contains("file\n"), "{}", ran.output());
}

#[test]
fn odd_names_of_the_context_reach_the_image() {
    let lab = Lab::new();
    let context =
        lab.project("FROM busybox\nCOPY . /d\nCOPY [\"new\\nline\", \"with space\", \"$literal\", \"/e/\"]\n", &[]);
    let names: Vec<OsString> =
        [&b"new\nline"[..], b"with space", b"\xff\xfe", b"$literal", b"-rf", b"\x1b]0;x\x07", &[b'n'; 255]]
            .iter()
            .map(|name| OsString::from_vec(name.to_vec()))
            .collect();
    for name in &names {
        fs::write(context.join(name), name.as_bytes()).expect("ours");
    }
    // A literal dollar sign is written with the escape character.
    let text = fs::read_to_string(context.join("Dockerfile")).expect("ours").replace("$literal", "\\\\$literal");
    fs::write(context.join("Dockerfile"), text).expect("ours");
    let ran = lab.build(&context);
    assert!(!ran.stderr.contains('\x1b') && !ran.stderr.contains('\x07'), "control characters reach the terminal");
    for directory in exports(&lab, &context, "names", &[]) {
        for name in &names {
            assert_eq!(fs::read(directory.join("d").join(name)).expect("it is there"), name.as_bytes());
        }
        for name in ["new\nline", "with space", "$literal"] {
            assert_eq!(fs::read_to_string(directory.join("e").join(name)).expect("it is there"), name);
        }
    }
    assert_eq!(lab.build(&context).executed().len(), 0);
}

#[test]
fn times_of_files_survive() {
    let lab = Lab::new();
    let context = lab.project("FROM busybox\nCOPY old /c/\nADD all.tar /a/\nRUN touch -d @1000000000 /r\nFROM busybox\nCOPY --from=0 /c/old /a/old /r /\n", &[("old", "")]);
    tool("touch", &["-d".as_ref(), "@500000000".as_ref(), context.join("old").as_ref()]);
    tool("tar", &["-C".as_ref(), context.as_ref(), "-cf".as_ref(), context.join("all.tar").as_ref(), "old".as_ref()]);
    lab.build(&context);
    assert_eq!(lab.shell("stat -c '%Y %n' /old /r"), "500000000 /old\n1000000000 /r\n");
}

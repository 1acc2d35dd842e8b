//! Every kind of file, from step to layer to archive to container, and what removals leave.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, mknodat};

use crate::kit::{Lab, tool};
use crate::tree::{CAPABILITY, assert_same, everything, exports, facts};

/// A context with the archive `all.tar` of everything, and what is in it.
pub(crate) fn archive_of_everything(lab: &Lab) -> (PathBuf, BTreeMap<OsString, String>) {
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

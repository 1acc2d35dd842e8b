//! Bad input gets a clear error and exit code 1 (2 for the command line), and nothing is lost.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::kit::{Lab, Ran, busybox_tar, tool};

/// Dockerfiles that can't be built, and what is said about them.
#[track_caller]
fn says(lab: &Lab, rows: &[(&str, &[&str])]) {
    for (dockerfile, parts) in rows {
        let ran = lab.build_fails(dockerfile, &[("f", ""), ("not-a-tar", "")]);
        for part in *parts {
            assert!(ran.stderr.contains(part), "no `{part}` for\n{dockerfile}\n{}", ran.stderr);
        }
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    }
}

#[test]
fn mistakes_are_shown_with_line_column_underline_and_advice() {
    let lab = Lab::new();
    says(
        &lab,
        &[
            (
                "FROM busybox\nRUNN echo\n",
                &["unknown instruction: RUNN", "Dockerfile:2:1", "2 | RUNN echo\n", "  | ^^^^", "did you mean `RUN`?"],
            ),
            (
                "FROM busybox\nCOPY --form=x a b\n",
                &["--form", "Dockerfile:2:6", "  |      ^^^^^^", "did you mean `--from`?"],
            ),
            ("FROM busybox\n\n# c\nENV\n", &["Dockerfile:4:", "ENV"]),
            ("FROM busybox\nENV a\n", &["Dockerfile:2:", "a"]),
            ("FROM busybox\nRUN echo \\\n  ok\nWORKDIR\n", &["Dockerfile:4:", "WORKDIR"]),
            ("FROM busybox\nRUN <<EOF\necho\n", &["unterminated heredoc", "Dockerfile:2:5", "`EOF`"]),
            ("FROM busybox\nENV a=${b\n", &["Dockerfile:2:"]),
            ("FROM busybox\nENV a=\"b\n", &["Dockerfile:2:"]),
            ("FROM busybox\nEXPOSE 99999\n", &["99999", "Dockerfile:2:8"]),
            ("FROM busybox\nEXPOSE 80/xyz\n", &["xyz", "Dockerfile:2:8"]),
            ("FROM busybox\nSTOPSIGNAL NOPE\n", &["NOPE", "Dockerfile:2:"]),
            ("FROM busybox\nSHELL /bin/sh\n", &["SHELL", "Dockerfile:2:"]),
            ("FROM busybox\nRUN [1, 2]\n", &["Dockerfile:2:"]),
            ("FROM busybox\nHEALTHCHECK --interval=x CMD true\n", &["Dockerfile:2:", "interval"]),
            ("FROM busybox\nONBUILD FROM x\n", &["ONBUILD", "Dockerfile:2:"]),
            ("FROM busybox\nONBUILD ONBUILD RUN x\n", &["ONBUILD", "Dockerfile:2:"]),
            ("FROM busybox AS 1x\n", &["1x", "Dockerfile:1:"]),
            ("FROM busybox AS\n", &["FROM", "Dockerfile:1:"]),
            ("RUN echo\nFROM busybox\n", &["FROM", "Dockerfile:1:1"]),
            ("# escape=x\nFROM busybox\n", &["escape", "Dockerfile:1:"]),
            ("FROM busybox\nCOPY --chmod=xyz f /\n", &["xyz"]),
            ("FROM busybox\nUSER\n", &["USER", "Dockerfile:2:"]),
            ("FROM $MISSING\n", &["FROM", "Dockerfile:1:"]),
            ("FROM busybox\nCOPY --from=$x f /\n", &["--from", "Dockerfile:2:"]),
            ("FROM Not/A:::Name\n", &["Not/A:::Name", "Dockerfile:1:6"]),
            ("FROM busybox\nRUN --network=maybe true\n", &["maybe", "Dockerfile:2:"]),
        ],
    );
}

#[test]
fn the_last_line_says_it_in_the_words_of_docker_build() {
    let lab = Lab::new();
    let rows = [
        (
            "FROM busybox\nFNTRYPOINT x\n",
            "dockerfile parse error on line 2: unknown instruction: FNTRYPOINT (did you mean ENTRYPOINT?)",
        ),
        (
            "FROM busybox\n\nCOPY --form=x a b\n",
            "dockerfile parse error on line 3: unknown flag: --form (did you mean from?)",
        ),
        ("FROM busybox\nWORKDIR\n", "dockerfile parse error on line 2: WORKDIR requires exactly one argument"),
        ("", "file with no instructions"),
        ("ARG A=1\n", "dockerfile contains no stages to build"),
        ("FROM $NO\n", "base name ($NO) should not be blank"),
        ("FROM busybox\nCOPY --from=9 a /\n", "invalid stage index 9"),
        ("FROM busybox AS a\nCOPY --from=a a /\n", "circular dependency detected on stage: a"),
        (
            "FROM busybox\nARG A=b\nCOPY --from=$A a /\n",
            "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope",
        ),
        ("FROM busybox\nSTOPSIGNAL FOO\n", "invalid signal: FOO"),
        ("FROM busybox\nLABEL a=${b?}\n", "b: is not allowed to be unset"),
        ("FROM busybox\nLABEL a=${b:#c}\n", "unsupported modifier (:#) in substitution"),
        ("FROM busybox\nLABEL a=${b\n", "syntax error: missing '}'"),
        ("FROM busybox\nRUN exit 3\n", "process \"/bin/sh -c exit 3\" did not complete successfully: exit code: 3"),
        ("FROM busybox\nCOPY gone /\n", "\"/gone\": not found"),
    ];
    for (dockerfile, message) in rows {
        let ran = lab.build_fails(dockerfile, &[]);
        let last = ran.stderr.lines().rfind(|line| line.starts_with("ERROR: ")).unwrap_or_default();
        let expected = format!("ERROR: failed to build: failed to solve: {message}");
        assert!(last.starts_with(&expected), "{dockerfile}\n{last}\n{expected}");
    }
    let context = lab.project("FROM busybox AS build\n", &[]);
    let ran = lab.try_build(&context, &["--target", "bulid"]);
    ran.assert_stderr("ERROR: failed to build: failed to solve: target stage \"bulid\" could not be found\n");
    ran.assert_stderr("did you mean `build`?");
}

#[test]
fn stages_and_images_that_do_not_exist_are_named() {
    let lab = Lab::new();
    says(
        &lab,
        &[
            (
                "FROM nosuch:1\nRUN true\n",
                &["`nosuch:1`", "docker.io/library/nosuch:1", "builder load -i", "builder import", "Dockerfile:1:6"],
            ),
            ("FROM busybox\nCOPY --from=nosuch /f /\n", &["`nosuch`", "Dockerfile:2:13"]),
            ("FROM busybox\nCOPY --from=7 /f /\n", &["7", "Dockerfile:2:13"]),
            (
                "FROM busybox AS a\nCOPY --from=b / /\nFROM busybox AS b\nCOPY --from=a / /\n",
                &["circular dependency detected on stage: a", "Dockerfile:2:13"],
            ),
            (
                "FROM busybox AS a\nCOPY --from=b / /\nFROM busybox AS b\nFROM a\n",
                &["cannot copy from stage \"b\"", "before current stage \"a\"", "Dockerfile:2:13"],
            ),
            (
                "FROM busybox AS a\nCOPY --from=a / /x\n",
                &["circular dependency detected on stage: a", "Dockerfile:2:13"],
            ),
            ("FROM b AS a\nFROM a AS b\n", &["`b`", "Dockerfile:1:6", "not above this line"]),
            ("FROM a AS a\nRUN true\n", &["`a`", "Dockerfile:1:6"]),
            (
                "FROM busybox@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n",
                &["sha256:0123", "Dockerfile:1:6"],
            ),
        ],
    );
    let context = lab.project("FROM busybox AS build\nFROM build AS final\n", &[]);
    for (target, part) in [("nosuch", "nosuch"), ("2", "2"), ("biuld", "build")] {
        let ran = lab.try_build(&context, &["--target", target]);
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        ran.assert_stderr(part);
        ran.assert_stderr("final");
    }
}

#[test]
fn what_is_not_supported_yet_says_so_by_name_and_line() {
    let lab = Lab::new();
    says(
        &lab,
        &[
            (
                "FROM busybox\nRUN --device=vendor.example/class true\n",
                &["RUN --device", "not supported yet", "Dockerfile:2:5"],
            ),
            (
                "FROM busybox\nRUN --security=insecure true\n",
                &["--security=insecure is not allowed", "--allow security.insecure", "Dockerfile:2:5"],
            ),
        ],
    );
}

#[test]
fn dockerfiles_and_contexts_that_are_not_there_or_not_readable() {
    let lab = Lab::new();
    for empty in ["", "\n\n", "# only a comment\n", "ARG A=1\n"] {
        let ran = lab.build_fails(empty, &[]);
        assert!(ran.stderr.contains("no instructions") || ran.stderr.contains("FROM"), "{empty:?}: {}", ran.stderr);
    }
    let file = lab.path().join("file");
    fs::write(&file, [0xff, 0xfe, b'\n']).expect("ours");
    let bare = lab.context(&[("x", "")]);
    let text = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    let link = lab.context(&[("Dockerfile", "->../file")]);
    let fifo = lab.context(&[]);
    tool("mkfifo", &[fifo.join("Dockerfile").as_ref()]);
    let directory = lab.context(&[("Dockerfile/x", "")]);
    for (args, part) in [
        (vec!["build".to_owned(), "/no/such/place".to_owned()], "/no/such/place"),
        (vec!["build".to_owned(), text(&file)], "is not a directory"),
        (vec!["build".to_owned(), text(&bare)], "there is no Dockerfile in"),
        (vec!["build".to_owned(), "-f".to_owned(), "/no/such/file".to_owned(), text(&bare)], "/no/such/file"),
        (vec!["build".to_owned(), "-f".to_owned(), text(&file), text(&bare)], "not UTF-8"),
        (vec!["build".to_owned(), text(&link)], "Dockerfile"),
        (vec!["build".to_owned(), text(&fifo)], "instructions"),
        (vec!["build".to_owned(), text(&directory)], "directory"),
    ] {
        let ran = lab.run(&args);
        assert_eq!(ran.code, 1, "{args:?}\n{}", ran.stderr);
        ran.assert_stderr(part);
    }
    let ran = lab.build_fails("FROM busybox\nCOPY . /\n", &[(".dockerignore", "!\n")]);
    ran.assert_stderr(".dockerignore:1");
}

/// `builder` as somebody with fewer rights.
fn with_fewer_rights(lab: &Lab, rights: &[&str], args: &[&str]) -> Ran {
    let builder = lab.command(args);
    let mut command = Command::new("setpriv");
    command.args(rights).arg(builder.get_program()).args(builder.get_args()).current_dir("/");
    for (name, value) in builder.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Ran::of(command.output().expect("setpriv is part of util-linux"))
}

#[test]
fn what_can_not_be_read_in_a_context_is_named() {
    let lab = Lab::new();
    // Root without the right to read everything.
    let rights = ["--bounding-set=-dac_override,-dac_read_search"];
    let lock = |path: &Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).expect("ours");
        std::os::unix::fs::chown(path, Some(1000), None).expect("we are root");
    };
    for (locked, message) in [("secret", "`secret`"), ("dir", "`dir`"), ("Dockerfile", "Dockerfile"), ("", "context")] {
        let context = lab.project("FROM scratch\nCOPY . /\n", &[("secret", "x"), ("dir/x", "")]);
        lock(&context.join(locked));
        let ran = with_fewer_rights(&lab, &rights, &["build", context.to_str().expect("UTF-8")]);
        assert_eq!(ran.code, 1, "{locked}\n{}", ran.stderr);
        ran.assert_stderr(message);
        ran.assert_stderr("Permission denied");
    }
}

#[test]
fn who_may_not_make_name_spaces_is_told_what_is_missing() {
    let lab = Lab::new();
    let context = lab.project("FROM busybox\nRUN true\n", &[]);
    let path = context.to_str().expect("UTF-8");
    let ran = with_fewer_rights(&lab, &["--bounding-set=-sys_admin"], &["build", path]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    ran.assert_stderr("CAP_SYS_ADMIN");
    fs::set_permissions(lab.path(), fs::Permissions::from_mode(0o777)).expect("ours");
    let root = lab.path().join("other");
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let ran = with_fewer_rights(&lab, &nobody, &["--root", root.to_str().expect("UTF-8"), "run", "busybox", "true"]);
    assert_eq!(ran.code, 125, "{}", ran.stderr);
    ran.assert_stderr("root");
}

#[test]
fn misuse_of_the_command_line_exits_with_two() {
    let lab = Lab::empty();
    let context = lab.project("FROM scratch\n", &[]);
    let context = context.to_str().expect("UTF-8");
    for args in [
        &["nosuchcommand"][..],
        &[],
        &["build", "--nosuchflag", context],
        &["build", "--progress=loud", context],
        &["build", "--network=bridge", context],
        &["build", "--jobs=0", context],
        &["build", "-o", "type=nosuch", context],
        &["build", "-o", "type=local", context],
        &["build", "-o", "type=oci,dest=x,colour=red", context],
        &["build", "-o", "-", "-o", "type=oci,dest=-", context],
        &["build", "-t", "Not::Valid", context],
        &["build", "--label", "=x", context],
        &["build", context, context],
        &["run"],
        &["run", "--nosuchflag", "image"],
        &["cache", "graph", "--format=svg"],
        &["images", "--filter=colour=red"],
        &["tag", "one"],
    ] {
        let ran = lab.run(args);
        assert_eq!(ran.code, 2, "{args:?}\n{}\n{}", ran.stdout, ran.stderr);
        assert!(!ran.stderr.is_empty(), "{args:?}");
    }
    for (args, code) in [
        // As Docker says that it was not the command that failed.
        (&["run", "nosuchimage"][..], 125),
        (&["image", "inspect", "nosuchimage"], 1),
        (&["rmi", "nosuchimage"], 1),
        (&["history", "x"], 1),
        (&["import", "/no/such/file"], 1),
    ] {
        let ran = lab.run(args);
        assert_eq!(ran.code, code, "{args:?}\n{}", ran.stderr);
        assert!(ran.stderr.contains(args[args.len() - 1]), "{args:?}\n{}", ran.stderr);
    }
}

#[test]
fn archives_that_are_broken_are_named_and_leave_nothing() {
    let lab = Lab::new();
    let context = lab.project("", &[]);
    let mut random = vec![0; 2 << 20];
    fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random)).expect("randomness");
    fs::write(context.join("data"), random).expect("ours");
    for (name, option) in [
        ("cut.tar", "--format=posix"),
        ("cut.tar.gz", "--gzip"),
        ("cut.tar.bz2", "--bzip2"),
        ("cut.tar.xz", "--xz"),
        ("cut.tar.zst", "--zstd"),
    ] {
        let path = context.join(name);
        tool(
            "tar",
            &["-C".as_ref(), context.as_ref(), option.as_ref(), "-cf".as_ref(), path.as_ref(), "data".as_ref()],
        );
        let whole = fs::read(&path).expect("ours");
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 0xff;
        for (what, bytes) in [("cut short", &whole[..whole.len() / 2]), ("flipped", &flipped[..])] {
            if (what, name) == ("flipped", "cut.tar") {
                // Only headers have a checksum.
                continue;
            }
            fs::write(&path, bytes).expect("ours");
            fs::write(context.join("Dockerfile"), format!("FROM busybox\nADD {name} /x/\n")).expect("ours");
            let ran = lab.try_build(&context, &[]);
            // Zstandard streams need not have a checksum: GNU tar's have.
            assert_eq!(ran.code, 1, "{name} {what}\n{}", ran.stderr);
            ran.assert_stderr(name);
            ran.assert_stderr("Dockerfile:2");
        }
    }
    assert_eq!(fs::read_dir(lab.root().join("active")).expect("a store").count(), 0);
    // A name is no promise: this is copied.
    lab.build_files("FROM busybox\nADD x.tar.gz /x/\n", &[("x.tar.gz", "no archive")]);
    assert_eq!(lab.shell("cat /x/x.tar.gz"), "no archive");
}

#[test]
fn a_full_disk_is_reported_and_the_store_works_on() {
    let lab = Lab::empty();
    let big = lab.project("FROM busybox\nCOPY big /big\n", &[]);
    fs::File::create(big.join("big")).and_then(|file| file.set_len(1)).expect("ours");
    fs::write(big.join("big"), vec![7; 40 << 20]).expect("ours");
    let step = lab.project("FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=40 && echo sur''vived\n", &[]);
    let archive = lab.project("FROM busybox\nADD big.tar /x/\n", &[]);
    tool("tar", &["-C".as_ref(), big.as_ref(), "-cf".as_ref(), archive.join("big.tar").as_ref(), "big".as_ref()]);
    let small = lab.project("FROM busybox\nCOPY f /f\nRUN cat /f >/g\n", &[("f", "small\n")]);
    let script = format!(
        "mkdir -p {root} && mount -t tmpfs -o size=24m tmpfs {root} && {builder} import {busybox} busybox >&2 || exit 99\n\
         for context in {big} {step} {archive}; do {builder} build --progress=plain $context; echo \"== $?\" >&2; done\n\
         {builder} build --progress=plain -t app {small}; echo \"== $?\" >&2; {builder} run app cat /g\n",
        root = lab.root().display(),
        builder = env!("CARGO_BIN_EXE_builder"),
        busybox = busybox_tar().display(),
        big = big.display(),
        step = step.display(),
        archive = archive.display(),
        small = small.display(),
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script]).env("BUILDER_ROOT", lab.root()).env("BUILDER_DURABILITY", "none");
    let ran = Ran::of(command.output().expect("unshare is part of util-linux"));
    let parts: Vec<&str> = ran.stderr.split("== ").collect();
    assert_eq!(parts.len(), 5, "{}", ran.stderr);
    for (name, at) in [("COPY", 0), ("RUN", 1), ("ADD", 2)] {
        assert!(parts[at + 1].starts_with("1\n"), "{name}: {}", ran.stderr);
        assert!(parts[at].to_lowercase().contains("no space left on device"), "{name}: {}", parts[at]);
        assert!(!parts[at].contains("panicked") && !parts[at].contains("survived"), "{name}: {}", parts[at]);
    }
    assert!(parts[4].starts_with("0\n"), "{}", ran.stderr);
    assert_eq!(ran.stdout, "small\n");
}

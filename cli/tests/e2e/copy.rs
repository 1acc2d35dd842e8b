//! COPY and ADD: what ends up where, as whom, and that nothing gets out of its root.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::kit::{Case, Lab, tool, write_files};

const TREE: &[(&str, &str)] = &[
    ("a.txt", "a\n"),
    ("b.txt", "b\n"),
    (".hidden", "h\n"),
    ("with space", "s\n"),
    ("dir/x", "x\n"),
    ("dir/sub/y.md", "y\n"),
    ("dir/sub/z", "z\n"),
    ("dir/link", "->x"),
    ("dir/empty/", ""),
    ("link", "->a.txt"),
    ("dirlink", "->dir"),
    ("exe", "#!/bin/sh\necho exe\n"),
];

/// Each row: lines after `FROM busybox`, and what lies below `/d` then.
#[track_caller]
fn lands(rows: &[(&str, &str)]) {
    let lab = Lab::new();
    for (lines, expected) in rows {
        lab.check(&[Case {
            name: lines,
            dockerfile: &format!("FROM busybox\n{lines}\n"),
            files: TREE,
            script: "cd /d && find . | sort | tail -n +2 | sed 's,^..,,' | tr '\\n' '|'",
            prints: &expected.replace(' ', "|").replace('_', " "),
            ..Case::default()
        }]);
    }
}

#[test]
fn files_and_directories_land_where_they_should() {
    lands(&[
        ("COPY a.txt /d/", "a.txt "),
        ("COPY a.txt /d/new", "new "),
        ("RUN mkdir /d\nCOPY a.txt /d", "a.txt "),
        ("COPY a.txt /d/not/there/yet/", "not not/there not/there/yet not/there/yet/a.txt "),
        ("COPY dir /d", "empty link sub sub/y.md sub/z x "),
        ("COPY dir /d/", "empty link sub sub/y.md sub/z x "),
        ("COPY dir/ /d/dir", "dir dir/empty dir/link dir/sub dir/sub/y.md dir/sub/z dir/x "),
        ("COPY dir/. /d", "empty link sub sub/y.md sub/z x "),
        ("COPY a.txt dir/sub /d/", "a.txt y.md z "),
        // As with BuildKit each goes to `/d`, which is a directory only if it is one already.
        ("COPY a.txt b.txt /d\nRUN grep -q b /d && rm /d && mkdir /d", ""),
        ("RUN mkdir /d\nCOPY a.txt b.txt /d", "a.txt b.txt "),
        ("COPY dir/sub a.txt /d", "a.txt y.md z "),
        ("COPY --from= a.txt /d/", "a.txt "),
        ("COPY [\"with space\", \"/d/\"]", "with_space "),
        ("WORKDIR /d\nCOPY a.txt .\nCOPY b.txt ./c", "a.txt c "),
        ("WORKDIR /d/w\nCOPY a.txt ../", "a.txt w "),
        (
            "WORKDIR /d\nCOPY . rel/\nRUN rm -r rel/dir rel/D*",
            "rel rel/.hidden rel/a.txt rel/b.txt rel/dirlink rel/exe rel/link rel/with_space ",
        ),
        ("COPY /a.txt ./b.txt //d/", "a.txt b.txt "),
        ("COPY ../../a.txt dir/../b.txt /d/", "a.txt b.txt "),
        ("COPY *.txt /d/", "a.txt b.txt "),
        ("COPY ?.txt dir/su*/[yz]* /d/", "a.txt b.txt y.md z "),
        ("COPY [^a].txt /d/", "b.txt "),
        ("COPY *dd* /d/", ".hidden "),
        ("COPY d*r /d/", "empty link sub sub/y.md sub/z x "),
        ("RUN mkdir /d\nCOPY nothing* /d/", ""),
        ("COPY --from=busybox /etc/pass* /d/", "passwd "),
        ("RUN mkdir -p /d/sub && touch /d/old /d/sub/old\nCOPY dir/sub /d/sub", "old sub sub/old sub/y.md sub/z "),
        ("RUN mkdir /d && ln -s d /e\nCOPY a.txt /e/", "a.txt "),
        ("RUN mkdir /d /r && ln -s /r /d/l\nCOPY a.txt /d/l/\nRUN rm /d/l && mv /r /d/r", "r r/a.txt "),
        ("COPY link dirlink /d/", "empty link sub sub/y.md sub/z x "),
        ("RUN mkdir -p /d/x\nRUN rmdir /d/x\nCOPY dir/x /d/", "x "),
    ]);
}

#[test]
fn options_choose_what_is_copied() {
    lands(&[
        ("COPY --exclude=*.txt --exclude=dir* --exclude=D* . /d", ".hidden exe link with_space "),
        ("COPY --exclude=sub dir /d", "empty link x "),
        ("COPY --exclude=**/*.md --exclude=empty dir /d/", "link sub sub/z x "),
        ("COPY --exclude=sub/* --exclude=!sub/z dir /d/", "empty link sub sub/z x "),
        ("COPY --parents dir/sub/z a.txt /d/", "a.txt dir dir/sub dir/sub/z "),
        ("COPY --parents dir/./sub/z /d/", "sub sub/z "),
        ("COPY --parents **/*.md *.txt /d/", "a.txt b.txt dir dir/sub dir/sub/y.md "),
        ("COPY --parents --exclude=**/z dir/sub /d/", "dir dir/sub dir/sub/y.md "),
        ("COPY --link a.txt dir/sub /d/", "a.txt y.md z "),
        ("RUN mkdir /d && touch /d/old\nCOPY --link a.txt /d/\nRUN touch /d/new", "a.txt new old "),
        ("ADD --exclude=*.md dir/sub /d/", "z "),
    ]);
}

#[test]
fn links_modes_and_contents_survive() {
    let lab = Lab::new();
    let context = lab.project(
        "FROM busybox\nCOPY . /d\nCOPY link /d/followed\nCOPY dirlink/x /d/through\nRUN mkdir -m 700 /p\nCOPY a.txt /p/new/\nCOPY dir /p\n",
        TREE,
    );
    lab.build(&context);
    assert_eq!(
        lab.shell(
            "cd /d; readlink link; readlink dirlink; readlink dir/link; cat followed through; test -L followed || echo file; ./exe; \
             stat -c '%a %u:%g' exe a.txt dir /p /p/new /p/new/a.txt"
        ),
        "a.txt\ndir\nx\na\nx\nfile\nexe\n755 0:0\n644 0:0\n755 0:0\n700 0:0\n755 0:0\n644 0:0\n"
    );
}

#[test]
fn owners_are_looked_up_in_the_image_and_modes_are_octal_or_symbolic() {
    let lab = Lab::new();
    let rows = [
        ("--chown=app", "1000:1000 644"),
        ("--chown=app:daemon", "1000:1 644"),
        ("--chown=7", "7:7 644"),
        ("--chown=7:8", "7:8 644"),
        ("--chown=root:extra", "0:2000 644"),
        ("--chmod=600", "0:0 600"),
        ("--chmod=0755", "0:0 755"),
        ("--chmod=4755", "0:0 4755"),
        ("--chmod=u=rwX,go=rX", "0:0 644"),
        ("--chmod=+x", "0:0 755"),
        ("--chmod=a-r,u+rw", "0:0 600"),
        ("--chown=app --chmod=2750", "1000:1000 2750"),
        ("--link --chown=9:9", "9:9 644"),
        ("--link --chmod=640", "0:0 640"),
        ("--chown=:extra", "0:2000 644"),
        // What the image does not know is root, or the user's group.
        ("--chown=nosuchuser", "0:0 644"),
        ("--chown=app:nosuchgroup", "1000:1000 644"),
    ];
    let mut dockerfile = "FROM busybox\n".to_owned();
    for (number, (flags, _)) in rows.iter().enumerate() {
        dockerfile.push_str(&format!("COPY {flags} a.txt /c{number}/\nADD {flags} a.txt /a{number}/\n"));
    }
    dockerfile.push_str("COPY --chown=app --chmod=u=rwX,go= dir /tree\n");
    dockerfile.push_str("USER nosuchuser\nWORKDIR /work\n");
    let ran = lab.build_files(&dockerfile, TREE);
    ran.assert_stderr("warning: /etc/passwd of the image has no user `nosuchuser`: the files belong to root");
    ran.assert_stderr("warning: /etc/group of the image has no group `nosuchgroup`");
    dockerfile.push_str("USER root\n");
    lab.build_files(&dockerfile, TREE);
    for (number, (flags, expected)) in rows.iter().enumerate() {
        let found = lab.shell(&format!("stat -c '%u:%g %a' /c{number}/a.txt /a{number}/a.txt"));
        assert_eq!(found, format!("{expected}\n{expected}\n"), "{flags}");
    }
    assert_eq!(
        lab.shell("cd /tree; stat -c '%U %a %n' . x sub sub/z; stat -c %U link"),
        // The destination itself is made as it always is.
        "app 755 .\napp 600 x\napp 700 sub\napp 600 sub/z\napp\n"
    );
    assert_eq!(lab.shell("stat -c '%u %a' /work"), "0 755\n");
    for (flags, message) in [
        ("--chmod=99", "invalid chmod parameter: '99'. it should be octal string and between 0 and 07777"),
        ("--chmod=u+q", "invalid chmod parameter: 'u+q'"),
        ("--chown=4294967296", "4294967296"),
    ] {
        lab.build_fails(&format!("FROM busybox\nCOPY {flags} a.txt /\n"), TREE).assert_stderr(message);
    }
    // An image with nothing in it has no names at all.
    let scratch = |flags: &str| format!("FROM scratch\nCOPY {flags} a.txt /\n");
    lab.build_files(&scratch("--chown=root:root"), TREE);
    lab.build_fails(&scratch("--chown=app"), TREE).assert_stderr("no user `app`: give a number");
}

#[test]
fn the_ignore_file_hides_files_from_the_build() {
    let lab = Lab::new();
    let files = [
        ("a.txt", ""),
        ("b.log", ""),
        ("d/a.txt", ""),
        ("d/b.log", ""),
        ("d/e/c.log", ""),
        ("x/y/z", ""),
        ("keep.log", ""),
    ];
    for (ignore, expected) in [
        ("*.log\n", "./a.txt ./d/a.txt ./d/b.log ./d/e/c.log ./x/y/z"),
        ("**/*.log\n", "./a.txt ./d/a.txt ./x/y/z"),
        ("*.log\n!keep.log\n", "./a.txt ./d/a.txt ./d/b.log ./d/e/c.log ./keep.log ./x/y/z"),
        ("!keep.log\n*.log\n", "./a.txt ./d/a.txt ./d/b.log ./d/e/c.log ./x/y/z"),
        ("d\nx/\n", "./a.txt ./b.log ./keep.log"),
        ("*\n!d/e\n", "./d/e/c.log"),
        ("*\n!a.txt\n!x/y/z\n", "./a.txt ./x/y/z"),
        ("# d\n\n  /d/  \nx/*/z\n", "./a.txt ./b.log ./keep.log"),
        ("d/*.txt\n*/*/z\n[bk]*.log\n", "./a.txt ./d/b.log ./d/e/c.log"),
        ("\u{feff}d\nx\n", "./a.txt ./b.log ./keep.log"),
        ("./d\nx/../x\n", "./a.txt ./b.log ./keep.log"),
        ("Dockerfile\n", "./a.txt ./b.log ./d/a.txt ./d/b.log ./d/e/c.log ./keep.log ./x/y/z"),
    ] {
        let context = lab.project("FROM busybox\nCOPY . /d\nRUN cd /d && rm -f Dockerfile .dockerignore\n", &files);
        fs::write(context.join(".dockerignore"), ignore).expect("ours");
        lab.build(&context);
        assert_eq!(lab.shell("cd /d && find . -type f | sort | xargs echo").trim_end(), expected, "{ignore:?}");
    }
    // The file of a Dockerfile wins over the general one.
    let context = lab.project("FROM busybox\nCOPY . /d\n", &files);
    write_files(
        &context,
        &[
            (".dockerignore", "a.txt\n"),
            ("Dockerfile.dockerignore", "*\n!b.log\n"),
            ("other", "FROM busybox\nCOPY . /d\n"),
            ("other.dockerignore", "*\n!x\n"),
        ],
    );
    lab.build(&context);
    assert_eq!(lab.shell("cd /d && find . -type f"), "./b.log\n");
    lab.build_with(&context, &["-f", context.join("other").to_str().expect("UTF-8")]);
    assert_eq!(lab.shell("cd /d && find . -type f"), "./x/y/z\n");
    // One that leads out of the context is not followed.
    fs::write(lab.path().join("outside"), "a.txt\n").expect("ours");
    let context = lab.project("FROM busybox\nCOPY . /d\n", &[("a.txt", ""), (".dockerignore", "->../outside")]);
    let ran = lab.try_build(&context, &[]);
    assert!(ran.code == 1 || lab.shell("ls /d").contains("a.txt"), "{}", ran.stderr);
    let ran = lab.build_fails("FROM busybox\nCOPY secret /\n", &[("secret", ""), (".dockerignore", "secret\n")]);
    ran.assert_stderr("\"/secret\": not found");
}

#[test]
fn what_is_not_there_or_does_not_fit_is_an_error() {
    let lab = Lab::new();
    for (line, message) in [
        ("COPY nosuch /d/", "\"/nosuch\": not found"),
        ("COPY a.txt nosuch /d/", "\"/nosuch\": not found"),
        ("COPY dir/nosuch* nosuch/* /d/\nCOPY nosuch/x /d/", "not found"),
        ("ADD nosuch.tar /d/", "\"/nosuch.tar\": not found"),
        ("COPY --from=busybox /nosuch /d/", "\"/nosuch\": not found"),
        ("COPY a.txt", "COPY"),
        ("COPY --parents nosuch/file /d/", "not found"),
        ("RUN mkdir -p /d/a.txt/x\nCOPY a.txt /d/", "a.txt"),
        ("RUN touch /d\nCOPY a.txt /d/", "/d"),
    ] {
        let ran = lab.build_fails(&format!("FROM busybox\n{line}\n"), TREE);
        ran.assert_stderr(message);
        ran.assert_stderr("Dockerfile:");
    }
}

#[test]
fn links_and_dots_in_the_context_lead_nowhere_else() {
    let lab = Lab::new();
    let secret = lab.path().join("secret");
    fs::write(&secret, "canary\n").expect("ours");
    let absolute = format!("->{}", secret.display());
    let inside = format!("{}/secret", lab.path().strip_prefix("/").expect("absolute").display());
    let files = [
        ("absolute", absolute.as_str()),
        ("up", "->../secret"),
        ("far", "->../../../../../../../../etc/passwd"),
        ("proc", "->/proc/self/root/etc/passwd"),
        ("dir", "->/etc"),
        ("loop", "->loop"),
    ];
    for source in ["absolute", "up", "far", "proc", "dir/passwd", "loop", "../secret", "/../secret"] {
        let ran = lab.build_fails(&format!("FROM busybox\nCOPY {source} /d/\n"), &files);
        assert!(!ran.stderr.contains("canary") && !ran.stderr.contains("panicked"), "{source}: {}", ran.stderr);
    }
    // Where the link leads to inside of the context is what it means.
    let mut with_target = files.to_vec();
    with_target.extend([("etc/passwd", "inside\n"), (inside.as_str(), "inside\n"), ("secret", "inside\n")]);
    lab.build_files("FROM busybox\nCOPY absolute up far /d/\nCOPY dir/passwd /d/p\n", &with_target);
    assert_eq!(lab.shell("cat /d/*"), "inside\n".repeat(4));
}

#[test]
fn links_in_the_image_lead_nowhere_else() {
    let lab = Lab::new();
    let host = lab.path().join("host");
    fs::create_dir(&host).expect("ours");
    fs::write(host.join("canary"), "untouched\n").expect("ours");
    let path = host.display();
    let context = lab.project(
        &format!(
            "FROM busybox AS evil\nRUN mkdir -p {path} && echo image >{path}/image && ln -s {path} /out && ln -s /../../../../../..{path} /up && ln -s /proc/1/root{path} /proc-link\n\
             FROM evil\nCOPY f /out/one\nCOPY f /up/\nADD f {path}/two\nWORKDIR /out/made\nRUN touch here\n\
             COPY --from=evil /out/image /got\nCOPY --from=evil /out/ /all/\n"
        ),
        &[("f", "f\n")],
    );
    lab.build(&context);
    assert_eq!(lab.shell(&format!("ls {path}; cat /got; ls /all")), "f\nimage\nmade\none\ntwo\nimage\nimage\n");
    for line in ["COPY f /proc-link/", "COPY --from=evil /out/canary /x", "COPY --from=evil /proc-link/canary /x"] {
        let context = lab.project(&format!("FROM app AS evil\nRUN true\nFROM evil\n{line}\n"), &[("f", "")]);
        lab.run(&["build", "-t", "escape", context.to_str().expect("UTF-8")]);
    }
    let left: Vec<_> = fs::read_dir(&host).expect("ours").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["canary"], "something was written outside");
    assert_eq!(fs::read_to_string(host.join("canary")).expect("ours"), "untouched\n");
    assert!(lab.run(&["run", "escape", "cat", "/x"]).stdout.is_empty(), "the host's file is in the image");
}

/// A tarball with a file, a link, a directory and odd owners and modes.
fn tarball(lab: &Lab, context: &Path, options: &[&str], name: &str) -> PathBuf {
    let source = lab.context(&[("t/file", "content\n"), ("t/sub/exe", "#!/bin/sh\n"), ("t/link", "->file")]);
    let path = context.join(name);
    let mut args: Vec<&OsStr> = vec![
        "-C".as_ref(),
        source.as_os_str(),
        "-cf".as_ref(),
        path.as_os_str(),
        "--owner=5".as_ref(),
        "--group=6".as_ref(),
    ];
    args.extend(options.iter().map(OsStr::new));
    args.push("t".as_ref());
    tool("tar", &args);
    path
}

#[test]
fn add_unpacks_archives_whatever_they_are_called() {
    let lab = Lab::new();
    let context = lab.project("", &[("plain", "no archive\n"), ("almost.tar", "no archive either\n")]);
    let kinds = [
        ("none", "--format=posix"),
        ("gnu", "--format=gnu"),
        ("gz", "--gzip"),
        ("bz2", "--bzip2"),
        ("xz", "--xz"),
        ("zst", "--zstd"),
    ];
    let mut dockerfile = "FROM busybox\n".to_owned();
    for (name, option) in kinds {
        tarball(&lab, &context, &[option], &format!("archive-{name}"));
        dockerfile.push_str(&format!("ADD archive-{name} /u/{name}\n"));
    }
    dockerfile.push_str("ADD --unpack=false archive-gz /kept/\nCOPY archive-xz /copied/\nADD --chown=app archive-zst /chown\nADD plain almost.tar /p/\nADD archive-gz archive-xz /both/\n");
    fs::write(context.join("Dockerfile"), dockerfile).expect("ours");
    lab.build(&context);
    for (name, _) in kinds {
        assert_eq!(
            lab.shell(&format!(
                "cd /u/{name}; cat t/file t/link; stat -c '%n %a %u:%g' t t/file t/sub/exe; readlink t/link"
            )),
            "content\ncontent\nt 755 5:6\nt/file 644 5:6\nt/sub/exe 755 5:6\nfile\n",
            "{name}"
        );
    }
    assert_eq!(
        lab.shell("ls /kept /copied /p"),
        "/copied:\narchive-xz\n\n/kept:\narchive-gz\n\n/p:\nalmost.tar\nplain\n"
    );
    assert_eq!(lab.shell("stat -c %U:%G /chown/t/file /chown/t; cat /both/t/file"), "app:app\napp:app\ncontent\n");
    let kept = lab.shell("md5sum </kept/archive-gz");
    let expected = tool("md5sum", &[context.join("archive-gz").as_ref()]);
    assert_eq!(kept.split_whitespace().next(), expected.split_whitespace().next());
}

#[test]
fn hostile_archives_stay_inside() {
    let lab = Lab::new();
    let host = lab.path().join("host");
    fs::create_dir(&host).expect("ours");
    let path = host.to_str().expect("UTF-8");
    let context = lab.project("", &[]);
    let tar = |name: &str, args: &[&str]| {
        let archive = context.join(name);
        let mut all: Vec<&OsStr> = vec!["-P".as_ref(), "-f".as_ref(), archive.as_os_str()];
        all.extend(args.iter().map(OsStr::new));
        tool("tar", &all);
    };
    let source = lab.context(&[("f", "f\n"), ("l", &format!("->{path}")), ("up", "->../../../../../../../../..")]);
    let other = lab.context(&[("l/g", "g\n"), (&format!("up{path}/h"), "h\n")]);
    let (source, other) = (source.to_str().expect("UTF-8"), other.to_str().expect("UTF-8"));
    tar("dots.tar", &["-C", source, "-c", &format!("--transform=s,^,../../../../../../../..{path}/,"), "f"]);
    tar("absolute.tar", &["-C", source, "-c", &format!("--transform=s,^,{path}/,"), "f"]);
    tar("link.tar", &["-C", source, "-c", "l", "up"]);
    tar("link.tar", &["-C", other, "-r", "l/g", &format!("up{path}/h")]);
    for archive in ["dots.tar", "absolute.tar", "link.tar"] {
        fs::write(context.join("Dockerfile"), format!("FROM busybox\nADD {archive} /x/\n")).expect("ours");
        let ran = lab.try_build(&context, &[]);
        assert!(ran.code == 0 || ran.code == 1 && ran.stderr.contains(archive), "{archive}\n{}", ran.stderr);
        assert_eq!(fs::read_dir(&host).expect("ours").count(), 0, "{archive} was unpacked outside");
    }
}

#[test]
fn add_leaves_the_directory_that_it_unpacks_to_as_it_is() {
    let lab = Lab::new();
    let context = lab.project("FROM busybox\nRUN mkdir -m 750 /d && chown 3:4 /d\nADD archive.tar /d/\n", &[]);
    let source = lab.context(&[("f", "")]);
    tool(
        "tar",
        &[
            "-C".as_ref(),
            source.as_ref(),
            "-cf".as_ref(),
            context.join("archive.tar").as_ref(),
            "--owner=9".as_ref(),
            "--mode=777".as_ref(),
            ".".as_ref(),
        ],
    );
    lab.build(&context);
    assert_eq!(lab.shell("stat -c '%a %u:%g' /d /d/f"), "750 3:4\n777 9:0\n");
}

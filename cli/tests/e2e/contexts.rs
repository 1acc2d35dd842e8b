//! Where contexts and Dockerfiles come from.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kit::{Lab, Ran, tool};
use crate::remote_kit::{GitServer, Repo};
use crate::web::{Web, not_found, ok};

/// A tarball of a directory's files.
fn tarball(lab: &Lab, directory: &Path, options: &[&str]) -> PathBuf {
    let tar = lab.path().join("context.tar");
    let mut args: Vec<&std::ffi::OsStr> = vec!["-C".as_ref(), directory.as_ref(), "-cf".as_ref(), tar.as_ref()];
    args.extend(options.iter().map(|option| std::ffi::OsStr::new(*option)));
    args.push(".".as_ref());
    tool("tar", &args);
    tar
}

/// Builds with a file as standard input.
fn build_from(lab: &Lab, stdin: &Path, args: &[&str]) -> Ran {
    let mut command = lab.command(&[&["build", "--progress=plain", "-t", "app"], args].concat());
    Ran::of(command.stdin(File::open(stdin).expect("it is there")).output().expect("builder starts"))
}

fn compressed(program: &str, file: &Path) -> Vec<u8> {
    let output = Command::new(program).arg("-c").stdin(File::open(file).expect("there")).output();
    output.expect("it is installed").stdout
}

#[test]
fn a_tarball_on_standard_input_is_a_context() {
    let lab = Lab::new();
    let files = [
        ("Dockerfile", "FROM busybox\nCOPY . /all\n"),
        ("other/Dockerfile", "FROM busybox\nCOPY f /other\n"),
        ("f", "text\n"),
        (".dockerignore", "f\n"),
    ];
    let tar = tarball(&lab, &lab.context(&files), &["--owner=1000", "--group=2000"]);
    let mut forms = vec![fs::read(&tar).expect("there")];
    forms.extend(["gzip", "bzip2", "xz", "zstd"].map(|program| compressed(program, &tar)));
    for bytes in forms {
        let file = lab.path().join("stdin");
        fs::write(&file, bytes).expect("ours");
        let ran = build_from(&lab, &file, &["-"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        // As it is: no ignore file, and everything belongs to whom the tarball says.
        assert_eq!(lab.shell("cat /all/f; stat -c %u:%g /all/f"), "text\n1000:2000\n");
        lab.assert_tidy();
    }
    let ran = build_from(&lab, &tar, &["-f", "other/Dockerfile", "-"]);
    assert_eq!((ran.code, lab.shell("cat /other").as_str()), (0, "text\n"), "{}", ran.stderr);
    // The user's own Dockerfile.
    let own = lab.context(&[("mine", "FROM busybox\nCOPY f /mine\n")]).join("mine");
    let ran = build_from(&lab, &tar, &["-f", own.to_str().expect("UTF-8"), "-"]);
    assert_eq!((ran.code, lab.shell("cat /mine").as_str()), (0, "text\n"), "{}", ran.stderr);
    // An unchanged tarball is a hit, whatever its times.
    let again = build_from(&lab, &tar, &["-"]);
    assert!(again.executed().is_empty(), "{}", again.stderr);
}

#[test]
fn a_dockerfile_on_standard_input_has_no_context() {
    let lab = Lab::new();
    let file = lab.path().join("stdin");
    fs::write(&file, "FROM busybox\nRUN echo built >/f\n").expect("ours");
    let ran = build_from(&lab, &file, &["-"]);
    assert_eq!((ran.code, lab.shell("cat /f").as_str()), (0, "built\n"), "{}", ran.stderr);
    fs::write(&file, "FROM busybox\nCOPY f /\n").expect("ours");
    let ran = build_from(&lab, &file, &["-"]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("\"/f\": not found");
    // The context is a directory, the Dockerfile comes from standard input.
    let context = lab.context(&[("f", "text\n"), ("Dockerfile", "FROM nothing\n")]);
    let ran = build_from(&lab, &file, &["-f", "-", context.to_str().expect("UTF-8")]);
    assert_eq!((ran.code, lab.shell("cat /f").as_str()), (0, "text\n"), "{}", ran.stderr);
    for (args, code, reason) in [
        (&["-f", "-", "-"][..], 2, "can't both come from standard input"),
        (&["-f", "x", "-"], 2, "names another one: x"),
    ] {
        let ran = build_from(&lab, &file, args);
        assert_eq!(ran.code, code, "{}", ran.stderr);
        ran.assert_stderr(reason);
    }
    let ran = build_from(&lab, Path::new("/dev/null"), &["-"]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("there is nothing on standard input");
    lab.assert_tidy();
}

#[test]
fn damaged_and_hostile_tarballs_are_refused() {
    let lab = Lab::new();
    let context = lab.context(&[("Dockerfile", "FROM busybox\nCOPY f /f\n"), ("f", &"text\n".repeat(10_000))]);
    let tar = tarball(&lab, &context, &[]);
    let bytes = fs::read(&tar).expect("there");
    let gzip = compressed("gzip", &tar);
    let web_bytes = bytes[..bytes.len() / 2].to_vec();
    let web = Web::start(move |_| ok("", &web_bytes));
    let file = lab.path().join("stdin");
    for damaged in [&bytes[..bytes.len() / 2], &gzip[..gzip.len() - 20]] {
        fs::write(&file, damaged).expect("ours");
        let ran = build_from(&lab, &file, &["-"]);
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        ran.assert_stderr("the context from standard input can't be unpacked: tar");
        lab.assert_tidy();
    }
    let ran = lab.run(&["build", &web.url("/half.tar")]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("can't be unpacked: tar");
    // A path that leads out, and links that do.
    let victim = lab.path().join("victim");
    fs::write(&victim, "canary\n").expect("ours");
    let up = format!("--transform=s,^./f$,{}victim,", "../".repeat(30));
    let ran = build_from(&lab, &tarball(&lab, &context, &[&up, "-P"]), &["-"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    ran.assert_stderr("leads outside of the root directory");
    fs::remove_file(context.join("f")).expect("ours");
    symlink(&victim, context.join("f")).expect("fresh");
    let ran = build_from(&lab, &tarball(&lab, &context, &[]), &["-"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    fs::remove_file(context.join("Dockerfile")).expect("ours");
    symlink(&victim, context.join("Dockerfile")).expect("fresh");
    let ran = build_from(&lab, &tarball(&lab, &context, &[]), &["-"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(!ran.stderr.contains("canary"), "{}", ran.stderr);
    ran.assert_stderr("there is no Dockerfile in standard input");
    assert_eq!(fs::read_to_string(&victim).expect("there"), "canary\n");
    lab.assert_tidy();
}

#[test]
fn repositories_are_contexts() {
    let lab = Lab::new();
    let root = lab.path().join("srv");
    let repo = Repo::new(&root.join("app.git"));
    repo.write("Dockerfile", "FROM busybox\nCOPY . /all\n")
        .write("f", "one\n")
        .write(".dockerignore", "f\n")
        .write("sub/Dockerfile", "FROM busybox\nCOPY f /sub\n")
        .write("sub/lower/dockerfile", "FROM busybox\nRUN echo lower >/lower\n")
        .write("sub/f", "sub\n")
        .commit("first");
    repo.git(&["tag", "v1"]).write("f", "two\n").commit("second");
    let server = GitServer::start(root);
    let url = server.url("app.git");
    let build = |address: &str, args: &[&str]| {
        lab.run(&[&["build", "--progress=plain", "-t", "app", address][..], args].concat())
    };
    for (address, args, script, prints) in [
        (url.clone(), &[][..], "cat /all/f; ls -A /all", "two\n.dockerignore\nDockerfile\nf\nsub\n"),
        (format!("{url}#v1"), &[], "cat /all/f", "one\n"),
        (format!("{url}#v1:sub"), &[], "cat /sub", "sub\n"),
        (format!("{url}#:sub/lower"), &[], "cat /lower", "lower\n"),
        (format!("{url}?tag=v1&subdir=sub"), &[], "cat /sub", "sub\n"),
        (format!("{url}#main:sub"), &["-f", "lower/dockerfile"], "cat /lower", "lower\n"),
        (url.clone(), &["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"], "ls -d /all/.git", "/all/.git\n"),
        (format!("{url}?keep-git-dir=true"), &[], "ls -d /all/.git", "/all/.git\n"),
    ] {
        let ran = build(&address, args);
        assert_eq!(ran.code, 0, "{address}\n{}", ran.stderr);
        assert_eq!(lab.shell(script), prints, "{address}");
    }
    // The same commit again runs nothing and fetches nothing.
    server.clear();
    let again = build(&url, &[]);
    assert!(again.executed().is_empty(), "{}", again.stderr);
    assert!(server.requests().iter().all(|line| !line.contains("command=fetch")), "{:?}", server.requests());
    for (address, args, reason) in [
        (format!("{url}#v2"), &[][..], "no branch, tag or commit `v2`"),
        (format!("{url}#v1:such"), &[], "no directory `such`"),
        (format!("{url}#v1"), &["-f", "nowhere"], "there is no nowhere in http"),
        (format!("{url}#v1:sub/lower"), &["-f", "../Dockerfile"], "there is no ../Dockerfile in http"),
        (server.url("gone.git"), &[], "gone.git can't be fetched"),
    ] {
        let ran = build(&address, args);
        assert_eq!(ran.code, 1, "{address}\n{}", ran.stderr);
        ran.assert_stderr(reason);
    }
    let ran = build(&format!("{url}?reff=x"), &[]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    ran.assert_stderr("unexpected query `reff`");
    lab.assert_tidy();
}

#[test]
fn a_url_is_a_tarball_or_a_dockerfile() {
    let lab = Lab::new();
    let files =
        [("Dockerfile", "FROM busybox\nCOPY f /f\n"), ("other", "FROM busybox\nCOPY f /other\n"), ("f", "text\n")];
    let tar = tarball(&lab, &lab.context(&files), &[]);
    let (plain, gzip) = (fs::read(&tar).expect("there"), compressed("gzip", &tar));
    let web = Web::start(move |request| match request.path.as_str() {
        "/plain" => ok("", &plain),
        "/gzip" => ok("ETag: \"1\"\r\n", &gzip),
        "/Dockerfile" => ok("", b"FROM busybox\nRUN echo alone >/f\n"),
        "/copies" => ok("", b"FROM busybox\nCOPY f /copied\n"),
        _ => not_found(),
    });
    let build = |args: &[&str]| lab.run(&[&["build", "--progress=plain", "-t", "app"], args].concat());
    let local = lab.context(&[("f", "local\n"), ("Dockerfile", "FROM nothing\n")]);
    for (args, script, prints) in [
        (vec![web.url("/plain")], "cat /f", "text\n"),
        (vec![web.url("/gzip")], "cat /f", "text\n"),
        (vec![web.url("/gzip"), "-f".into(), "other".into()], "cat /other", "text\n"),
        (vec![web.url("/Dockerfile")], "cat /f", "alone\n"),
        (vec!["-f".into(), web.url("/copies"), local.display().to_string()], "cat /copied", "local\n"),
        (vec!["-f".into(), web.url("/copies"), web.url("/plain")], "cat /copied", "text\n"),
    ] {
        let ran = build(&args.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(ran.code, 0, "{args:?}\n{}", ran.stderr);
        assert_eq!(lab.shell(script), prints, "{args:?}");
        lab.assert_tidy();
    }
    for args in [vec![web.url("/gone")], vec!["-f".into(), web.url("/gone"), local.display().to_string()]] {
        let ran = build(&args.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(ran.code, 1);
        ran.assert_stderr("/gone can't be fetched: the server answered 404 Not Found");
    }
}

#[test]
fn the_dockerfile_may_be_in_lower_case() {
    let lab = Lab::new();
    let context = lab.context(&[("dockerfile", "FROM busybox\nRUN echo lower >/f\n")]);
    lab.build(&context);
    assert_eq!(lab.shell("cat /f"), "lower\n");
    fs::write(context.join("Dockerfile"), "FROM busybox\nRUN echo upper >/f\n").expect("ours");
    lab.build(&context);
    assert_eq!(lab.shell("cat /f"), "upper\n");
}

#[test]
fn named_contexts_replace_stages_and_images() {
    let lab = Lab::new();
    lab.build_files("FROM busybox\nRUN echo replaced >/f\n", &[]);
    lab.ok(&["tag", "app", "example.com/replaced:v1"]);
    let files = lab.context(&[("f", "file\n"), ("ignored", "x"), (".dockerignore", "ignored\n")]);
    let root = lab.path().join("srv");
    let repo = Repo::new(&root.join("lib.git"));
    repo.write("f", "git\n").write("sub/f", "sub\n").commit("first");
    let server = GitServer::start(root);
    let tar = fs::read(tarball(&lab, &files, &[])).expect("there");
    let web = Web::start(move |request| match request.path.as_str() {
        "/tar" => ok("", &tar),
        "/one" => ok("", b"one file\n"),
        _ => not_found(),
    });
    let path = files.to_str().expect("UTF-8");
    let named = |source: &str| format!("Thing={source}");
    let dockerfile = "FROM busybox AS thing\nRUN echo stage >/f\nFROM busybox\nCOPY --from=thing / /got/\n";
    let context = lab.project(dockerfile, &[]);
    for (source, script, prints) in [
        (path.to_owned(), "cat /got/f; ls -A /got", "file\n.dockerignore\nf\n"),
        ("docker-image://example.com/replaced:v1".to_owned(), "cat /got/f", "replaced\n"),
        (server.url("lib.git"), "cat /got/f", "git\n"),
        (format!("{}#main:sub", server.url("lib.git")), "cat /got/f", "sub\n"),
        // A file as it is: nothing is unpacked that nobody asked to unpack.
        (web.url("/tar"), "tar -tf /got/context | grep -c ignored", "1\n"),
        (web.url("/one"), "cat /got/context", "one file\n"),
    ] {
        lab.build_with(&context, &["--build-context", &named(&source)]);
        assert_eq!(lab.shell(script), prints, "{source}");
        lab.assert_tidy();
    }
    lab.build(&context);
    assert_eq!(lab.shell("cat /got/f"), "stage\n");
    // An image by its whole name, files as a base, and a bind mount.
    let context = lab.project("FROM docker.io/library/other:latest\nRUN cat /f >/seen\n", &[]);
    lab.build_with(&context, &["--build-context", "other=docker-image://example.com/replaced:v1"]);
    assert_eq!(lab.shell("cat /seen"), "replaced\n");
    let context = lab.project("FROM busybox\nRUN --mount=type=bind,from=thing,target=/t cat /t/f >/seen\n", &[]);
    lab.build_with(&context, &["--build-context", &named(path)]);
    assert_eq!(lab.shell("cat /seen"), "file\n");
}

#[test]
fn images_of_layouts_are_contexts() {
    let lab = Lab::new();
    lab.build_files("FROM busybox\nRUN echo layout >/f\nENV FROM_LAYOUT=yes\n", &[]);
    let layout = lab.path().join("layout");
    let dest = format!("type=oci,tar=false,dest={},name=example.com/thing:v1", layout.display());
    lab.build_with(&lab.project("FROM busybox\nRUN echo layout >/f\nENV FROM_LAYOUT=yes\n", &[]), &["-o", &dest]);
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).expect("there")).expect("JSON");
    let digest = index["manifests"][0]["digest"].as_str().expect("a digest").to_owned();
    lab.ok(&["rmi", "app"]);
    let context = lab.project("FROM thing\nRUN echo $FROM_LAYOUT >/seen\n", &[]);
    let at = layout.display();
    for source in [format!("oci-layout://{at}"), format!("oci-layout://{at}:v1"), format!("oci-layout://{at}@{digest}")]
    {
        lab.build_with(&context, &["--build-context", &format!("thing={source}")]);
        assert_eq!(lab.shell("cat /f /seen"), "layout\nyes\n", "{source}");
    }
    // It got no name in the store.
    assert!(!lab.ok(&["images"]).stdout.contains("example.com/thing"));
    for (source, reason) in [
        (format!("oci-layout://{at}:v2"), "has no image with the tag v2"),
        (format!("oci-layout://{at}@sha256:{}", "0".repeat(64)), "can't be loaded"),
        (format!("oci-layout://{at}/nowhere"), "is not there"),
    ] {
        let ran = lab.try_build(&context, &["--build-context", &format!("thing={source}")]);
        assert_eq!(ran.code, 1, "{source}\n{}", ran.stderr);
        for part in [reason, "Dockerfile:1"] {
            ran.assert_stderr(part);
        }
    }
}

#[test]
fn contexts_that_nobody_reads_are_not_fetched() {
    let lab = Lab::new();
    let web = Web::start(|_| not_found());
    let context = lab.project("FROM busybox AS used\nRUN true\nFROM unused AS other\nFROM used\n", &[]);
    let ran = lab.build_with(
        &context,
        &[
            "--build-context",
            &format!("a={}", web.url("/a.tar")),
            "--build-context",
            &format!("b={}", web.url("/b.git")),
            "--build-context",
            "unused=oci-layout:///no/such/layout",
            "--build-context",
            "c=docker-image://no/such/image",
        ],
    );
    assert_eq!(web.asked().len(), 0, "{}", ran.stderr);
    for (value, code, reason) in [
        ("nothing", 2, "give NAME=SOURCE"),
        ("=x", 2, "give NAME=SOURCE"),
        ("a=no/such/directory", 1, "is not there"),
        ("a=ftp://host/x", 2, "can't come from `ftp`"),
        ("scratch=.", 2, "has a meaning of its own"),
        ("a=target:b", 2, "bake"),
    ] {
        let ran = lab.try_build(&context, &["--build-context", value]);
        assert_eq!(ran.code, code, "{value}\n{}", ran.stderr);
        ran.assert_stderr(reason);
    }
}

#[test]
fn fetched_contexts_have_a_time() {
    let lab = Lab::new();
    let root = lab.path().join("srv");
    let repo = Repo::new(&root.join("app.git"));
    repo.write("Dockerfile", "FROM busybox\nARG SOURCE_DATE_EPOCH\nRUN echo $SOURCE_DATE_EPOCH >/time\n")
        .commit("first");
    let server = GitServer::start(root);
    let context =
        lab.context(&[("Dockerfile", "FROM busybox\nARG SOURCE_DATE_EPOCH\nRUN echo $SOURCE_DATE_EPOCH >/time\n")]);
    let tar = tarball(&lab, &context, &["--mtime=@1234567890"]);
    let bytes = fs::read(&tar).expect("there");
    let web = Web::start(move |request| match request.path.as_str() {
        "/dated" => ok("Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n", &bytes),
        _ => ok("", &bytes),
    });
    let git = server.url("app.git");
    let path = context.to_str().expect("UTF-8");
    let by_name = ["--build-context", &format!("code={git}"), "--build-arg", "SOURCE_DATE_EPOCH=code", path];
    for (args, created) in [
        (&["--build-arg", "SOURCE_DATE_EPOCH=context", &git][..], Some(Repo::TIME)),
        (&["--build-arg", "SOURCE_DATE_EPOCH=context", &web.url("/dated")], Some(784_111_777)),
        (&["--build-arg", "SOURCE_DATE_EPOCH=context", &web.url("/plain")], Some(1_234_567_890)),
        (&["--build-arg", "SOURCE_DATE_EPOCH=context", "-"], Some(1_234_567_890)),
        (&by_name, Some(Repo::TIME)),
        (&["--build-arg", "SOURCE_DATE_EPOCH=context", path], None),
    ] {
        let ran = build_from(&lab, &tar, args);
        assert_eq!(ran.code, 0, "{args:?}\n{}", ran.stderr);
        let expected = created.map(|time| time.to_string()).unwrap_or_default();
        assert_eq!(lab.shell("cat /time").trim(), expected, "{args:?}");
    }
}

#[test]
fn repositories_are_reached_by_ssh_with_the_agent_that_is_offered() {
    let lab = Lab::new();
    let root = lab.path().join("srv");
    let repo = Repo::new(&root.join("app"));
    repo.write("Dockerfile", "FROM busybox\nCOPY f /f\n").write("f", "by ssh\n").commit("first");
    // What git runs is a program of the test: it wants an agent, and serves the repository itself.
    let bin = lab.context(&[(
        "ssh",
        &format!(
            "#!/bin/sh\n[ -S \"$SSH_AUTH_SOCK\" ] || exit 1\necho \"$*\" >>{}/ssh.log\nfor last; do :; done\ncd {} && \
             exec git -c safe.directory='*' upload-pack ./app\n",
            lab.path().display(),
            root.display()
        ),
    )]);
    let socket = lab.path().join("agent.sock");
    let _agent = std::os::unix::net::UnixListener::bind(&socket).expect("fresh");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").expect("it is set"));
    let build = |args: &[&str], sock: Option<&Path>| {
        let mut command = lab.command(&[&["build", "--progress=plain", "-t", "app"], args].concat());
        command.env("PATH", &path).env_remove("SSH_AUTH_SOCK");
        if let Some(sock) = sock {
            command.env("SSH_AUTH_SOCK", sock);
        }
        Ran::of(command.output().expect("builder starts"))
    };
    // A context is the user's own wish, and gets the user's agent.
    for address in ["git@example.com:app", "ssh://git@example.com:2222/app#main"] {
        let ran = build(&[address], Some(&socket));
        assert_eq!(ran.code, 0, "{address}\n{}", ran.stderr);
        assert_eq!(lab.shell("cat /f"), "by ssh\n");
    }
    let ran = build(&["git@example.com:app"], None);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("add --ssh default");
    // A Dockerfile gets it only when it is offered.
    let context = lab.project("FROM busybox\nADD git@example.com:app /app\n", &[]);
    let context = context.to_str().expect("UTF-8");
    let ran = build(&[context], Some(&socket));
    assert_eq!(ran.code, 1);
    ran.assert_stderr("add --ssh default");
    let ran = build(&["--ssh", &format!("default={}", socket.display()), context], None);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(lab.shell("cat /app/f"), "by ssh\n");
    let log = fs::read_to_string(lab.path().join("ssh.log")).expect("it was called");
    for part in
        ["-F /dev/null", "BatchMode=yes", "IdentityFile=none", "StrictHostKeyChecking=accept-new", "git@example.com"]
    {
        assert!(log.lines().all(|line| line.contains(part)), "no `{part}` in {log}");
    }
}

#[test]
fn a_killed_build_leaves_what_the_next_one_sweeps_up() {
    let lab = Lab::new();
    let context = lab.context(&[("Dockerfile", "FROM busybox\nRUN sleep 600\n"), ("f", "text\n")]);
    let tar = tarball(&lab, &context, &[]);
    let mut command = lab.command(&["build", "--progress=plain", "-"]);
    let mut running = crate::kit::Background::start(command.stdin(File::open(&tar).expect("there")));
    running.wait_for("RUN sleep 600");
    running.signal(rustix::process::Signal::KILL);
    running.finish();
    let unpacked = || {
        let found = Command::new("find").arg(lab.root().join("active")).args(["-name", "f", "-type", "f"]).output();
        String::from_utf8_lossy(&found.expect("find runs").stdout).lines().count()
    };
    assert_eq!(unpacked(), 1);
    lab.build_files("FROM busybox\n", &[]);
    assert_eq!(unpacked(), 0);
}

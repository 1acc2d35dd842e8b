//! `cp`: Docker's rules, both ways.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Stdio;

use super::run;
use crate::kit::{Lab, Ran, tool, write_files};

const TREE: &str =
    "mkdir -p /src/deep; echo 1 >/src/f; echo 2 >/src/deep/g; chown 7:8 /src/f; chmod 640 /src/f; ln -s f /src/link";

/// Copies, and tells what is there then.
#[track_caller]
fn listed(dir: &Path) -> String {
    tool("sh", &["-c".as_ref(), "cd \"$1\" && find . | sort | xargs".as_ref(), "sh".as_ref(), dir.as_ref()])
}

#[test]
fn directories_and_files_come_out_by_dockers_rules() {
    let lab = Lab::new();
    run(&lab, "ct", TREE);
    for (number, (before, source, destination, after)) in [
        (&[][..], "/src", "new", ". ./new ./new/deep ./new/deep/g ./new/f ./new/link\n"),
        (&[], "/src/.", "new", ". ./new ./new/deep ./new/deep/g ./new/f ./new/link\n"),
        (&[], "/src/", "new/", ". ./new ./new/deep ./new/deep/g ./new/f ./new/link\n"),
        (&[("d/", "")], "/src", "d", ". ./d ./d/src ./d/src/deep ./d/src/deep/g ./d/src/f ./d/src/link\n"),
        (&[("d/", "")], "/src/.", "d", ". ./d ./d/deep ./d/deep/g ./d/f ./d/link\n"),
        (&[("d/", "")], "src/deep/../f", "d/", ". ./d ./d/f\n"),
        (&[("f", "old")], "/src/f", "f", ". ./f\n"),
        (&[], "/src/f", "other", ". ./other\n"),
        (&[], "/src/f", ".", ". ./f\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let dir = lab.path().join(format!("case{number}"));
        fs::create_dir(&dir).expect("ours");
        write_files(&dir, before);
        let mut command = lab.command(&["cp", &format!("ct:{source}"), destination]);
        let ran = Ran::of(command.current_dir(&dir).output().expect("builder starts"));
        assert_eq!(ran.code, 0, "{source} {destination}: {}", ran.stderr);
        ran.assert_stderr("Successfully copied ");
        assert_eq!(listed(&dir), after, "{source} {destination}");
    }
    let f = fs::metadata(lab.path().join("case7/other")).expect("it was copied");
    assert_eq!((f.mode() & 0o7777, f.uid(), f.gid()), (0o640, 0, 0), "it is ours now");
    assert_eq!(fs::read_link(lab.path().join("case0/new/link")).expect("a link"), Path::new("f"));
}

#[test]
fn directories_and_files_go_in_by_dockers_rules() {
    let lab = Lab::new();
    run(&lab, "ct", "mkdir -p /d/e; echo old >/d/old; ln -s /d /to-d; ln -s ../../../../d/old /to-old");
    let context = lab.context(&[("src/f", "1\n"), ("src/deep/g", "2\n"), ("src/link", "->f")]);
    chown(context.join("src/f"), Some(70), Some(80)).expect("we are root");
    let cp = |source: &str, destination: &str, options: &[&str]| {
        let (source, destination) = (format!("{}/{source}", context.display()), format!("ct:{destination}"));
        lab.run(&[&["cp", "-q"], options, &[source.as_str(), destination.as_str()]].concat())
    };
    for (source, destination, options) in [
        ("src", "/new", &[][..]),
        ("src/.", "/d/e", &[]),
        ("src", "/to-d", &[]),
        ("src/f", "/to-old", &[]),
        ("src/f", "/a", &["-a"]),
        ("src/link", "/linked", &[]),
        ("src/link", "/followed", &["-L"]),
        ("src/f", "/d/../../../b", &[]),
    ] {
        let ran = cp(source, destination, options);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{source} {destination}");
    }
    let seen = "A /a\nA /b\nC /d\nC /d/e\nA /d/e/deep\nA /d/e/deep/g\nA /d/e/f\nA /d/e/link\nC /d/old\nA /d/src\n\
                A /d/src/deep\nA /d/src/deep/g\nA /d/src/f\nA /d/src/link\nA /followed\nA /linked\nA /new\nA /new/deep\n\
                A /new/deep/g\nA /new/f\nA /new/link\nA /to-d\nA /to-old\n";
    // `/d` itself is the container's own: what was made and changed in it is new to the image.
    let diff = lab.ok(&["diff", "ct"]).stdout;
    let paths = |text: &str| text.lines().map(|line| line[2..].to_owned()).collect::<Vec<_>>();
    assert_eq!(paths(&diff), paths(seen));
    lab.ok(&["commit", "ct", "made"]);
    let told = lab.ok(&[
        "run",
        "--rm",
        "made",
        "sh",
        "-c",
        "stat -c '%u:%g' /a /b /new/f; readlink /linked; cat /followed /d/old",
    ]);
    assert_eq!(told.stdout, "70:80\n0:0\n0:0\nf\n1\n1\n");
    for (source, destination, says) in [
        ("src", "/d/old", "cannot copy directory"),
        ("src/f", "/nosuch/", "no such directory"),
        ("src/f", "/nosuch/x", "could not find the file /nosuch/x in container ct"),
        ("nosuch", "/x", "No such file"),
        ("src/f/", "/x", "Not a directory"),
        ("src/.", "/d/old/", "Not a directory"),
    ] {
        let ran = cp(source, destination, &[]);
        assert_eq!(ran.code, 1, "{source} {destination}");
        ran.assert_stderr(says);
    }
    fs::create_dir_all(context.join("kinds/old")).expect("ours");
    let ran = cp("kinds/.", "/d", &[]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("cannot overwrite non-directory with directory");
    lab.ok(&["cp", "ct:/d/old", "old"]);
    assert_eq!(fs::read_to_string(lab.path().join("old")).expect("it was copied"), "1\n", "nothing was lost");
}

#[test]
fn tarballs_come_and_go_through_pipes() {
    let lab = Lab::new();
    run(&lab, "ct", TREE);
    let tar = lab.command(&["cp", "ct:/src", "-"]).output().expect("builder starts").stdout;
    let path = lab.path().join("src.tar");
    fs::write(&path, &tar).expect("ours");
    let names = tool("tar", &["--numeric-owner".as_ref(), "-tvf".as_ref(), path.as_ref()]);
    assert!(names.contains(" 7/8 ") && names.contains(" src/deep/g") && names.contains(" src/link -> f"), "{names}");
    let send = |destination: &str, source: &Path| {
        let mut command = lab.command(&["cp", "-", destination]);
        command.stdin(Stdio::from(fs::File::open(source).expect("ours")));
        Ran::of(command.output().expect("builder starts"))
    };
    assert_eq!(send("ct:/tmp", &path).code, 0);
    assert!(lab.ok(&["diff", "ct"]).stdout.contains("A /tmp/src/deep/g\n"));
    let ran = send("ct:/src/f", &path);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("destination \"ct:/src/f\" must be a directory");
    // A tarball of somebody who means no good.
    let evil = lab.path().join("evil");
    write_files(&evil, &[("x", "->/etc"), ("y", "evil")]);
    let evil_tar = lab.path().join("evil.tar");
    let script = "cd \"$1\" && tar -cf \"$2\" x && tar -rf \"$2\" --transform 's|y|x/evil|' y && tar -rPf \"$2\" --transform 's|y|../../../../evil|' y";
    tool("sh", &["-c".as_ref(), script.as_ref(), "sh".as_ref(), evil.as_ref(), evil_tar.as_ref()]);
    let ran = send("ct:/tmp", &evil_tar);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(!Path::new("/etc/evil").exists() && !Path::new("/evil").exists());
}

#[test]
fn links_lead_nowhere_outside() {
    let lab = Lab::new();
    let secret = lab.context(&[("secret", "host"), ("in", "new")]);
    let host = secret.display();
    run(
        &lab,
        "ct",
        &format!(
            "ln -s {host} /abs; ln -s ../../../../../../../../..{host} /rel; mkdir /d; ln -s {host}/secret /d/file; ln -s /proc/self/root /magic"
        ),
    );
    for path in ["/abs/secret", "/rel/secret", "/magic/etc/hostname", "/magic/"] {
        let ran = lab.run(&["cp", &format!("ct:{path}"), "out"]);
        assert_eq!(ran.code, 1, "{path}");
    }
    assert_eq!(lab.run(&["cp", "-L", "ct:/d/file", "out"]).code, 1);
    lab.ok(&["cp", "ct:/d", "out"]);
    assert_eq!(fs::read_link(lab.path().join("out/file")).expect("a link"), secret.join("secret"));
    let own = secret.join("in");
    for path in ["/abs", "/rel", "/abs/secret", "/d/file"] {
        let ran = lab.run(&["cp", own.to_str().expect("UTF-8"), &format!("ct:{path}")]);
        assert_eq!(fs::read_to_string(secret.join("secret")).expect("ours"), "host", "{path}: {}", ran.stderr);
    }
    // On this machine links are followed as by every program.
    fs::create_dir(lab.path().join("real")).expect("ours");
    symlink("real", lab.path().join("alias")).expect("ours");
    lab.ok(&["cp", "ct:/etc/passwd", "alias"]);
    assert!(lab.path().join("real/passwd").exists());
}

#[test]
fn nonsense_is_refused() {
    let lab = Lab::new();
    run(&lab, "ct", "true");
    for (args, code, says) in [
        (&["a", "b"][..], 2, "must specify at least one container source"),
        (&["ct:/a", "ct:/b"], 2, "copying between containers is not supported"),
        (&["nosuch:/a", "b"], 1, "no such container: nosuch"),
        (&["ct:/nosuch", "b"], 1, "could not find the file /nosuch in container ct"),
        (&["ct:/etc/passwd/", "b"], 1, "Not a directory"),
        (&["ct:/etc/passwd", "no/such/b"], 1, "No such file"),
        (&["ct:/etc", "file"], 1, "cannot copy directory"),
        (&["ct:/etc/passwd", "b/"], 1, "no such directory"),
    ] {
        fs::write(lab.path().join("file"), "").expect("ours");
        let ran = lab.run(&[&["cp"], args].concat());
        assert_eq!(ran.code, code, "{args:?}: {}", ran.stderr);
        ran.assert_stderr(says);
    }
    let mode = fs::metadata(lab.path().join("file")).expect("ours").permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
}

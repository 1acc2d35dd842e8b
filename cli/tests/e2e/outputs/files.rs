//! `type=local` and `type=tar`.

use std::fs::{self, File};
use std::process::Stdio;

use super::{build, fresh, paths, refused, text};
use crate::kit::{Lab, Ran, tool, write_files};

#[test]
fn a_directory_gets_the_files_and_keeps_the_others_unless_told() {
    let lab = Lab::empty();
    let context = lab.project("FROM scratch\nCOPY new /dir/new\nCOPY new /top\n", &[("new", "new")]);
    let fill = |name: &str| {
        let dir = lab.path().join(name);
        fs::create_dir_all(&dir).expect("ours");
        write_files(&dir, &[("dir/old", "old"), ("dir/new", "before"), ("old/deep/x", ""), ("link", "->dir")]);
        dir
    };
    let out = fill("copied");
    build(&lab, &context, &["-o", text(&out)]);
    assert_eq!(paths(&out), ["dir", "dir/new", "dir/old", "link", "old", "old/deep", "old/deep/x", "top"]);
    assert_eq!(fs::read_to_string(out.join("dir/new")).expect("written"), "new");
    let out = fill("merged");
    build(&lab, &context, &["-o", &format!("type=local,mode=copy,dest={}", text(&out))]);
    assert_eq!(paths(&out).len(), 8);
    // The tests run in the lab's directory.
    fill("deleted");
    build(&lab, &context, &["-o", "type=local,mode=delete,dest=deleted"]);
    assert_eq!(paths(&lab.path().join("deleted")), ["dir", "dir/new", "top"]);
    build(&lab, &context, &["-o", "type=local,mode=delete,dest=not/there/yet"]);
    assert_eq!(paths(&lab.path().join("not/there/yet")), ["dir", "dir/new", "top"]);
}

#[test]
fn files_elsewhere_are_removed_only_when_that_is_allowed() {
    let lab = Lab::empty();
    let context = lab.project("FROM scratch\nCOPY f /f\n", &[("f", "")]);
    let other = Lab::empty();
    fs::write(other.path().join("precious"), "").expect("ours");
    std::os::unix::fs::symlink(other.path(), lab.path().join("away")).expect("ours");
    let outside = format!("type=local,mode=delete,dest={}", text(other.path()));
    for output in [
        outside.as_str(),
        "type=local,mode=delete,dest=away",
        "type=local,mode=delete,dest=away/new",
        "type=local,mode=delete,dest=new/../../other",
        "type=local,mode=delete,dest=.",
        "type=local,mode=delete,dest=/",
    ] {
        refused(&lab, &context, &["-o", output], 1, "--allow buildx.local.delete");
    }
    assert_eq!(paths(other.path()), ["precious"]);
    // Nor by way of a link that another output has just made.
    let links = lab.project("FROM scratch\nCOPY . /\n", &[]);
    std::os::unix::fs::symlink(other.path(), links.join("away")).expect("ours");
    // What one output makes never decides where another one writes.
    for inner in ["type=local,mode=delete,dest=made/away", "made/away", "type=tar,dest=made/away/new/x.tar"] {
        let outputs = ["-o", "type=local,dest=made", "-o", inner];
        refused(&lab, &links, &outputs, 2, "lies inside the output");
    }
    assert_eq!(paths(other.path()), ["precious"]);
    build(&lab, &context, &["-o", &outside, "--allow", "buildx.local.delete"]);
    assert_eq!(paths(other.path()), ["f"]);
}

#[test]
fn a_failed_build_removes_nothing() {
    let lab = Lab::new();
    let context = lab.project("FROM busybox\nRUN false\n", &[]);
    fs::create_dir(lab.path().join("out")).expect("ours");
    fs::write(lab.path().join("out/precious"), "").expect("ours");
    refused(&lab, &context, &["-o", "type=local,mode=delete,dest=out"], 1, "exit code: 1");
    assert_eq!(paths(&lab.path().join("out")), ["precious"]);
}

#[test]
fn several_outputs_are_written_by_one_build() {
    let lab = Lab::new();
    let context = lab.project("FROM busybox\nRUN echo made >/made\n", &[]);
    let (tar, oci, dir) = (fresh(&lab, "a/b/files.tar"), fresh(&lab, "image.tar"), fresh(&lab, "dir"));
    let outputs = [
        format!("type=tar,dest={}", text(&tar)),
        format!("type=oci,dest={}", text(&oci)),
        text(&dir).to_owned(),
        "type=image,name=one,\"name=two,three\"".to_owned(),
        "type=cacheonly".to_owned(),
    ];
    let mut args = vec!["-t", "zero"];
    for output in &outputs {
        args.extend(["-o", output]);
    }
    build(&lab, &context, &args);
    assert!(tool("tar", &["-tf".as_ref(), tar.as_ref()]).lines().any(|name| name == "made"));
    assert!(oci.is_file() && dir.join("made").is_file());
    let id = lab.inspect("zero")["Id"].clone();
    for name in ["one", "two", "three"] {
        assert_eq!(lab.inspect(name)["Id"], id, "{name}");
    }
    assert_eq!(lab.ok(&["images", "-q"]).stdout.lines().count(), 2);
    // Nothing but the cache.
    let other = lab.project("FROM busybox\nRUN echo other >/made\n", &[]);
    build(&lab, &other, &["-o", "type=cacheonly", "-t", "nothing"]);
    assert_eq!(lab.run(&["inspect", "nothing"]).code, 1);
    assert!(build(&lab, &other, &["-o", "type=cacheonly"]).executed().is_empty());
    // --load puts it into the store, too.
    build(&lab, &context, &["-o", text(&dir), "-t", "loaded", "--load"]);
    assert_eq!(lab.inspect("loaded")["Id"], id);
}

#[test]
fn standard_output_takes_one_and_nothing_is_left_of_a_failure() {
    let lab = Lab::new();
    let context = lab.project("FROM busybox\nRUN echo made >/made\n", &[]);
    for output in ["-", "type=tar,dest=-", "type=tar", "type=oci", "type=docker,dest=-"] {
        let piped = fresh(&lab, "piped.tar");
        let mut command = lab.command(&["build", "-o", output, text(&context)]);
        let status = command.stdout(File::create(&piped).expect("ours")).stderr(Stdio::null()).status();
        assert!(status.expect("builder starts").success(), "{output}");
        tool("tar", &["-tf".as_ref(), piped.as_ref()]);
    }
    refused(&lab, &context, &["-o", "-", "-o", "type=oci"], 2, "only one output");
    refused(&lab, &context, &["-o", "-", "-q"], 2, "--quiet");
    // Nor does a file take two, nor a directory that is to hold one alone.
    for (one, two) in [
        ("type=tar,dest=both", "type=oci,dest=both"),
        ("type=docker,dest=both", "type=docker,dest=./both"),
        ("type=local,dest=both", "type=local,mode=delete,dest=both"),
    ] {
        refused(&lab, &context, &["-o", one, "-o", two], 2, "two outputs go to");
    }
    build(&lab, &context, &["-o", "type=tar,dest=/dev/null", "-o", "type=oci,dest=/dev/null"]);
    // The reader goes away: an error, and no panic.
    let mut command = lab.command(&["build", "-o", "-", text(&context)]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("builder starts");
    drop(child.stdout.take());
    let ran = Ran::of(child.wait_with_output().expect("it ends"));
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    ran.assert_stderr("ERROR");
    // A directory where a file should be, and the other way round.
    fs::create_dir(lab.path().join("dir")).expect("ours");
    fs::write(lab.path().join("file"), "mine").expect("ours");
    refused(&lab, &context, &["-o", "type=tar,dest=dir"], 1, "dir is a directory");
    refused(&lab, &context, &["-o", "type=oci,dest=dir"], 1, "dir is a directory");
    refused(&lab, &context, &["-o", "file"], 1, "file is a file");
    refused(&lab, &context, &["-o", "type=tar,dest=/dev/full"], 1, "No space left");
    let broken = lab.project("FROM busybox\nRUN false\n", &[]);
    refused(&lab, &broken, &["-o", "type=tar,dest=new.tar", "-o", "type=oci,dest=file"], 1, "exit code: 1");
    assert!(!lab.path().join("new.tar").exists());
    assert_eq!(fs::read_to_string(lab.path().join("file")).expect("ours"), "mine");
}

#[test]
fn what_is_not_supported_says_so() {
    let lab = Lab::empty();
    let context = lab.project("FROM scratch\nCOPY f /\n", &[("f", "")]);
    for (args, code, part) in [
        (&["--push"][..], 2, "this one has none: give it one with -t HOST/NAME"),
        (&["-o", "type=registry"], 2, "this one has none"),
        (&["-t", "h:1/app:1", "-o", "type=image,push=true,push-by-digest=true"], 2, "leave the tag out"),
        (&["-o", "type=docker,context=engine"], 2, "context names a Docker engine"),
        (&["-o", "type=image,colour=red"], 2, "option `colour` is not supported"),
        (&["-o", "type=oci,compression=zstd,compression-level=40"], 2, "from 0 to 22"),
        (&["--attest", "type=vsa"], 2, "no kind of attestation"),
        (&["--provenance=mode=all"], 2, "min or max"),
        (&["--sbom=generator=other/scanner"], 2, "runs no other scanner"),
        (&["--annotation", "layer:a=b"], 2, "can't be annotated"),
        (&["--annotation", "index:a=b"], 2, "no index to annotate"),
        (&["-t", "UPPER"], 2, "invalid tag"),
        (&["-o", "type=image,name=UPPER"], 2, "invalid tag"),
    ] {
        refused(&lab, &context, args, code, part);
    }
    let quiet = ["--provenance=false", "--sbom=false", "--attest", "type=provenance,disabled=true", "-t", "app"];
    build(&lab, &context, &quiet);
    assert_eq!(lab.ok(&["images", "-q"]).stdout.lines().count(), 1);
}

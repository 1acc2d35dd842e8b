//! The files of a commit, and the `.git` that is kept.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use builder_solver::GitSource;

use crate::bench::{Bench, at, source};
use crate::remote_kit;
use crate::remote_kit::Repo;

#[test]
fn a_directory_becomes_the_root() {
    let bench = Bench::new();
    let repo = bench.repo("app.git");
    repo.write("a b/c/f", "deep").write("a b/g", "g").write("h", "h").write(".gitattributes", "*.txt text eol=crlf\n");
    repo.write("a b/c/x.txt", "line\n").commit("first");
    for subdir in ["a b/c", "/a b/c/", "./a b//c"] {
        let wanted = GitSource { subdir: Some(subdir.to_owned()), ..source(&bench.url("app.git")) };
        let tree = Bench::tree(&bench.remotes(), &wanted);
        let mut names: Vec<_> = fs::read_dir(&tree).expect("ours").flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        assert_eq!(names, ["f", "x.txt"]);
        // Attributes of the directories above count, as in a working tree.
        assert_eq!(fs::read_to_string(tree.join("x.txt")).expect("it is there"), "line\r\n");
    }
    assert_eq!(bench.unfinished(), Vec::<PathBuf>::new());
}

#[test]
fn archives_hold_what_a_working_tree_holds() {
    let bench = Bench::new();
    let repo = bench.repo("app.git");
    repo.write(".gitattributes", "secret export-ignore\nversion export-subst\n[attr]gone export-ignore\nother gone\n")
        .write("secret", "here")
        .write("other", "here")
        .write("version", "$Format:%H$\n")
        .write("filtered", "as it is\n")
        .write("nested/.gitattributes", "* filter=x export-ignore\n");
    let commit = repo.commit("first");
    let tree = Bench::tree(&bench.remotes(), &at(&bench.url("app.git"), &commit));
    for name in ["secret", "other", "filtered", "nested/.gitattributes"] {
        assert!(tree.join(name).is_file(), "{name}");
    }
    assert_eq!(fs::read_to_string(tree.join("version")).expect("it is there"), "$Format:%H$\n");
}

#[test]
fn times_are_those_of_now_or_of_the_commit() {
    let bench = Bench::new();
    let repo = bench.repo("app.git");
    repo.write("f", "x").commit("first");
    let time = |commit_times| {
        let wanted = GitSource { commit_times, ..source(&bench.url("app.git")) };
        fs::metadata(Bench::tree(&bench.remotes(), &wanted).join("f")).expect("it is there").mtime()
    };
    assert_eq!(time(true), Repo::TIME);
    assert!(time(false) > Repo::TIME + 1000);
}

#[test]
fn a_kept_git_directory_works() {
    let bench = Bench::new();
    let repo = bench.repo("app.git");
    repo.write("f", "one").commit("first");
    repo.git(&["tag", "-a", "-m", "annotated", "v1.0"]);
    let url = bench.url("app.git").replace("://", "://user:canary@");
    let head = repo.head();
    for (reference, names) in [("v1.0", "refs/tags/v1.0"), ("main", "refs/heads/main"), (head.as_str(), "")] {
        let wanted = GitSource { keep_git_dir: true, ..at(&url, reference) };
        let tree = Bench::tree(&bench.remotes(), &wanted);
        let git = |args: &[&str]| remote_kit::git(&tree, args);
        assert_eq!(git(&["rev-parse", "HEAD"]), head, "{reference}");
        assert_eq!(git(&["status", "--porcelain"]), "", "{reference}");
        assert_eq!(git(&["log", "--format=%s"]), "first");
        assert_eq!(git(&["for-each-ref", "--format=%(refname)"]), names);
        assert_eq!(git(&["fsck"]), "");
        assert!(!fs::read_to_string(tree.join(".git/config")).expect("there").contains("canary"));
        assert!(git(&["config", "remote.origin.url"]).ends_with("/app.git"));
    }
    let wanted = GitSource { keep_git_dir: true, ..at(&url, "v1.0") };
    let tree = Bench::tree(&bench.remotes(), &wanted);
    assert_eq!(remote_kit::git(&tree, &["describe"]), "v1.0");
    // Another tag of that name on the same commit is another `.git`.
    repo.git(&["tag", "-f", "-a", "-m", "told again", "v1.0"]);
    let tree = Bench::tree(&bench.remotes(), &wanted);
    assert_eq!(remote_kit::git(&tree, &["tag", "--list", "--format=%(contents:subject)"]), "told again");
    // A tag's own id leads to its commit.
    let tag = repo.output(&["rev-parse", "v1.0"]);
    assert_eq!(fs::read(Bench::tree(&bench.remotes(), &at(&url, &tag)).join("f")).expect("there"), b"one");
}

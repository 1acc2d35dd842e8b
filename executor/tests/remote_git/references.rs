//! What branches, tags and commits lead to.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;

use builder_solver::GitSource;

use crate::bench::{Bench, at, source};
use crate::remote_kit::Repo;

#[test]
fn references_lead_to_files() {
    let bench = Bench::new();
    let repo = bench.repo("app.git");
    repo.write("f", "one\n").write("dir/g", "nested\n").write("run", "#!/bin/sh\n").executable("run");
    symlink("dir/g", repo.path().join("link")).expect("fresh");
    let first = repo.commit("first");
    repo.git(&["tag", "light"]).git(&["tag", "-a", "-m", "annotated", "v1.0"]);
    let tag = repo.output(&["rev-parse", "v1.0"]);
    repo.write("f", "two\n");
    let second = repo.commit("second");
    repo.git(&["branch", "feature/x"]).git(&["checkout", "-q", "-b", "dev"]).write("f", "three\n");
    let third = repo.commit("third");
    repo.git(&["update-ref", "refs/pull/1/head", &first]).git(&["checkout", "-q", "main"]);
    let url = bench.url("app.git");
    for (reference, commit, text) in [
        (None, &second, "two\n"),
        (Some("HEAD"), &second, "two\n"),
        (Some("main"), &second, "two\n"),
        (Some("refs/heads/dev"), &third, "three\n"),
        (Some("heads/dev"), &third, "three\n"),
        (Some("feature/x"), &second, "two\n"),
        (Some("light"), &first, "one\n"),
        (Some("v1.0"), &first, "one\n"),
        (Some("refs/tags/v1.0"), &first, "one\n"),
        (Some("refs/pull/1/head"), &first, "one\n"),
        (Some("pull/1/head"), &first, "one\n"),
        (Some(first.as_str()), &first, "one\n"),
        (Some(&third[..9]), &third, "three\n"),
    ] {
        let wanted = GitSource { reference: reference.map(str::to_owned), ..source(&url) };
        let remotes = bench.remotes();
        assert_eq!(&remotes.git_commit(&wanted, &|| false).expect("it is there").id, commit, "{reference:?}");
        let tree = Bench::tree(&remotes, &wanted);
        assert_eq!(fs::read_to_string(tree.join("f")).expect("it is there"), text, "{reference:?}");
        let mode = |name: &str| fs::symlink_metadata(tree.join(name)).expect("it is there").mode() & 0o7777;
        assert_eq!((mode("f"), mode("run"), mode("dir"), mode("")), (0o644, 0o755, 0o755, 0o755));
        assert_eq!(fs::read_link(tree.join("link")).expect("a link"), PathBuf::from("dir/g"));
        assert!(!tree.join(".git").exists());
    }
    // A checksum is the beginning of the commit, or of the tag's own object.
    for checksum in [&first[..], &first[..7], &tag[..]] {
        let wanted = GitSource { checksum: Some(checksum.to_owned()), ..at(&url, "v1.0") };
        Bench::tree(&bench.remotes(), &wanted);
    }
    let alone = GitSource { checksum: Some(first.clone()), ..source(&url) };
    assert_eq!(bench.remotes().git_commit(&alone, &|| false).expect("no server is asked").id, first);
    let wrong = GitSource { checksum: Some("0123456".to_owned()), ..at(&url, "main") };
    let said = bench.error(&wrong);
    assert!(said.contains("expected 0123456") && said.contains(&second), "{said}");
    assert_eq!(bench.unfinished(), Vec::<PathBuf>::new());
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    let bench = Bench::new();
    let repo = bench.repo("app.git");
    repo.write("src/lib/f", "x").write("docs/g", "x");
    symlink("src", repo.path().join("link")).expect("fresh");
    let commit = repo.commit("first");
    repo.git(&["branch", "develop"]).git(&["tag", "v1"]);
    fs::create_dir_all(bench.dir.path().join("srv")).expect("ours");
    Repo::new(&bench.dir.path().join("srv/empty.git"));
    let url = bench.url("app.git");
    let below = |subdir: &str| GitSource { subdir: Some(subdir.to_owned()), ..source(&url) };
    for (wanted, parts) in [
        (at(&url, "devlop"), vec!["no branch, tag or commit `devlop`", "did you mean `develop`?"]),
        (at(&url, "something-else"), vec!["`develop`", "`main`", "`v1`"]),
        (at(&url, &"0".repeat(40)), vec!["no branch, tag or commit `0000"]),
        (at(&url, "-x"), vec!["`-x` is no git reference"]),
        (at(&url, "a..b"), vec!["`a..b` is no git reference"]),
        (source(&bench.url("empty.git")), vec!["the repository is empty"]),
        (source(&bench.url("missing.git")), vec!["missing.git can't be fetched", "not found"]),
        (below("sec"), vec!["no directory `sec`", "did you mean `src`?", &commit]),
        (below("src/lb"), vec!["did you mean `lib`?"]),
        (below("src/lib/f"), vec!["`src/lib/f` is a file or a link"]),
        (below("link"), vec!["`link` is a file or a link"]),
        (below("link/lib"), vec!["`link` is a file or a link"]),
        (below("../x"), vec!["leads out of the repository"]),
        (source("--upload-pack=touch /x"), vec!["is no git repository"]),
        (source("ext::sh -c id"), vec!["is no git repository"]),
        (source("file:///etc"), vec!["is no git repository"]),
        (source("git@127.0.0.1:x"), vec!["no agent is offered: add --ssh default"]),
    ] {
        let said = bench.error(&wanted);
        for part in parts {
            assert!(said.contains(part), "no `{part}` in: {said}");
        }
    }
    assert_eq!(bench.unfinished(), Vec::<PathBuf>::new());
}

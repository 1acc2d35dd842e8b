//! Repositories that are made to do harm.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use builder_solver::GitSource;

use crate::bench::{Bench, source};

#[test]
fn hostile_repositories_do_nothing() {
    let bench = Bench::new();
    let victim = bench.dir.path().join("victim");
    fs::write(&victim, "untouched").expect("ours");
    // A tree that git would never make, with paths that lead out of it.
    let entry = |mode: &str, kind: &str, name: &str, id: &str| format!("{mode} {kind} {id}\t{name}\0");
    for (name, reason) in [
        (".git", "which no repository may have"),
        ("..", "which no repository may have"),
        (".GIT", "which no repository may have"),
    ] {
        let repo = bench.repo("bad.git");
        let blob = repo.input(&["hash-object", "-w", "--stdin"], "canary");
        let inner = repo.raw_tree(&entry("100644", "blob", "victim", &blob));
        let tree = repo.raw_tree(&entry("040000", "tree", name, &inner));
        let commit = repo.output(&["commit-tree", "-m", "bad", &tree]);
        repo.git(&["update-ref", "refs/heads/main", &commit]);
        let said = bench.error(&source(&bench.url("bad.git")));
        assert!(said.contains(reason), "{name}: {said}");
        fs::remove_dir_all(repo.path()).expect("ours");
    }
    // A link, and a submodule behind it.
    let sub = bench.repo("sub.git");
    sub.write("victim", "canary").commit("sub");
    let repo = bench.repo("behind.git");
    let target = bench.dir.path().to_str().expect("UTF-8").to_owned();
    symlink(&target, repo.path().join("out")).expect("fresh");
    repo.write(".gitmodules", &format!("[submodule \"x\"]\n\tpath = out/x\n\turl = {}\n", bench.url("sub.git")));
    repo.commit("link");
    let tree = Bench::tree(&bench.remotes(), &source(&bench.url("behind.git")));
    assert_eq!(fs::read_link(tree.join("out")).expect("a link").to_str(), Some(target.as_str()));
    // A link and a directory of one name, in either order: the link must not be where the directory is looked for.
    fs::create_dir_all(bench.dir.path().join("outside/x")).expect("ours");
    fs::write(bench.dir.path().join("outside/x/victim"), "untouched").expect("ours");
    let commit = sub.head();
    for link_first in [true, false] {
        let repo = bench.repo("twice.git");
        let outside = bench.dir.path().join("outside");
        let link = repo.input(&["hash-object", "-w", "--stdin"], outside.to_str().expect("UTF-8"));
        let modules = format!("[submodule \"x\"]\n\tpath = a/x\n\turl = {}\n", bench.url("sub.git"));
        let modules = repo.input(&["hash-object", "-w", "--stdin"], &modules);
        let inner = repo.raw_tree(&entry("160000", "commit", "x", &commit));
        let mut both = [entry("120000", "blob", "a", &link), entry("040000", "tree", "a", &inner)];
        if !link_first {
            both.reverse();
        }
        let tree = repo.raw_tree(&(entry("100644", "blob", ".gitmodules", &modules) + &both.concat()));
        let commit = repo.output(&["commit-tree", "-m", "bad", &tree]);
        repo.git(&["update-ref", "refs/heads/main", &commit]);
        for (subdir, keep_git_dir) in [(None, false), (None, true), (Some("a"), false), (Some("a/x"), false)] {
            let subdir = subdir.map(str::to_owned);
            let wanted = GitSource { subdir, keep_git_dir, ..source(&bench.url("twice.git")) };
            // Whatever comes of it.
            let came = bench.remotes().git(&wanted, &|| false);
            let left = fs::read_to_string(bench.dir.path().join("outside/x/victim"));
            assert_eq!(left.expect("it is still there"), "untouched", "{wanted:?} {came:?}");
            assert_eq!(fs::read_dir(bench.dir.path().join("outside/x")).expect("there").count(), 1);
        }
        fs::remove_dir_all(repo.path()).expect("ours");
    }
    // Hooks and filters of the machine that builds are not obeyed, nor is what the repository asks for.
    let repo = bench.repo("filters.git");
    let filter = format!("[filter \"x\"]\n\tsmudge = touch {}\n", victim.with_extension("ran").display());
    repo.write(".gitattributes", "* filter=x\n").write(".gitconfig", &filter).write("f", "x").commit("filters");
    Bench::tree(&bench.remotes(), &source(&bench.url("filters.git")));
    assert!(!victim.with_extension("ran").exists());
    assert_eq!(fs::read_to_string(&victim).expect("there"), "untouched");
    assert_eq!(bench.unfinished(), Vec::<PathBuf>::new());
}

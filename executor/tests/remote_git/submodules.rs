//! Submodules.

use std::fs;
use std::path::PathBuf;

use builder_solver::GitSource;

use crate::bench::{Bench, source};
use crate::remote_kit;

#[test]
fn submodules_come_along() {
    let bench = Bench::new();
    let deep = bench.repo("deep.git");
    deep.write("d", "deep").commit("deep");
    let sub = bench.repo("sub.git");
    sub.write("s", "sub").submodule("../deep.git", "inner", &bench.url("deep.git"));
    sub.commit("sub");
    let app = bench.repo("app.git");
    app.write("f", "app").submodule("../sub.git", "lib/sub", &bench.url("sub.git"));
    app.submodule(&bench.url("deep.git"), "none", &bench.url("deep.git"));
    app.git(&["config", "-f", ".gitmodules", "submodule.none.update", "none"]).commit("app");
    // They moved on; what the commit says counts.
    sub.write("s", "newer").commit("newer");
    let url = bench.url("app.git");
    let tree = Bench::tree(&bench.remotes(), &source(&url));
    let read = |name: &str| fs::read_to_string(tree.join(name)).unwrap_or_default();
    assert_eq!((read("f"), read("lib/sub/s"), read("lib/sub/inner/d")), ("app".into(), "sub".into(), "deep".into()));
    assert_eq!(fs::read_dir(tree.join("none")).expect("an empty directory").count(), 0);
    let tree = Bench::tree(&bench.remotes(), &GitSource { submodules: false, ..source(&url) });
    assert_eq!(fs::read_dir(tree.join("lib/sub")).expect("an empty directory").count(), 0);
    let tree = Bench::tree(&bench.remotes(), &GitSource { subdir: Some("lib".to_owned()), ..source(&url) });
    assert_eq!(fs::read_to_string(tree.join("sub/inner/d")).expect("it is there"), "deep");
    // With .git, the submodules have theirs.
    let tree = Bench::tree(&bench.remotes(), &GitSource { keep_git_dir: true, ..source(&url) });
    let git = |dir: &str, args: &[&str]| remote_kit::git(&tree.join(dir), args);
    assert_eq!(git("", &["status", "--porcelain", "--ignore-submodules=none"]), "");
    assert_eq!(git("lib/sub", &["status", "--porcelain"]), "");
    assert_eq!(git("lib/sub/inner", &["log", "--format=%s"]), "deep");
}

#[test]
fn submodules_that_lead_elsewhere_are_refused() {
    let bench = Bench::new();
    bench.repo("sub.git").write("s", "sub").commit("sub");
    for (url, reason) in [
        ("file:///etc", "submodules come from https, http, ssh or git only"),
        ("/etc", "submodules come from https, http, ssh or git only"),
        ("ext::sh -c id", "submodules come from https, http, ssh or git only"),
        ("--upload-pack=id", "submodules come from https, http, ssh or git only"),
        ("ssh://-oProxyCommand=id/x", "submodules come from https, http, ssh or git only"),
        ("../../../../../etc", "which leads nowhere"),
        ("../gone.git", "can't be had"),
    ] {
        let app = bench.repo("app.git");
        app.write("f", "app").submodule(url, "sub", &bench.url("sub.git"));
        app.commit("app");
        let said = bench.error(&source(&bench.url("app.git")));
        assert!(said.contains("submodule `sub`") && said.contains(reason), "{url}: {said}");
        fs::remove_dir_all(app.path()).expect("ours");
    }
    let app = bench.repo("app.git");
    app.submodule("../sub.git", "sub", &bench.url("sub.git"));
    fs::remove_file(app.path().join(".gitmodules")).expect("ours");
    app.write("f", "x").commit("app");
    let said = bench.error(&source(&bench.url("app.git")));
    assert!(said.contains("no entry in .gitmodules") && said.contains("submodules=false"), "{said}");
    assert_eq!(bench.unfinished(), Vec::<PathBuf>::new());
}

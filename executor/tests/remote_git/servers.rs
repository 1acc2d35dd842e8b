//! What servers are asked, in which ways, and with which secrets.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use builder_cache::Store;
use builder_executor::remote::{Access, RemoteError, Remotes};
use builder_executor::secret::{SecretSource, Secrets};
use builder_solver::GitSource;

use crate::bench::{Bench, at, source};

#[test]
fn only_news_are_fetched_and_known_commits_need_no_server() {
    let bench = Bench::new();
    let repo = bench.repo("app.git");
    repo.write("f", "one");
    let first = repo.commit("first");
    let url = bench.url("app.git");
    let one = Bench::tree(&bench.remotes(), &at(&url, "main"));
    // The same commit again is the same layer, and only the reference was asked for.
    bench.server.clear();
    assert_eq!(Bench::tree(&bench.remotes(), &at(&url, "main")), one);
    let asked = bench.server.requests();
    assert!(!asked.is_empty() && asked.iter().all(|line| !line.contains("fetch")), "{asked:?}");
    // In one build everybody sees the same.
    let remotes = bench.remotes();
    let before = remotes.git_commit(&at(&url, "main"), &|| false).expect("there");
    repo.write("f", "two");
    let second = repo.commit("second");
    assert_eq!(remotes.git_commit(&at(&url, "main"), &|| false).expect("there"), before);
    assert_eq!(bench.remotes().git_commit(&at(&url, "main"), &|| false).expect("there").id, second);
    assert_eq!(fs::read_to_string(Bench::tree(&bench.remotes(), &at(&url, "main")).join("f")).expect("there"), "two");
    // Offline.
    let Bench { dir, server } = bench;
    drop(server);
    let remotes = Remotes::new(Store::open(&dir.path().join("store")).expect("there"), Access::default());
    for commit in [&first, &second] {
        remotes.git(&at(&url, commit), &|| false).expect("no server is needed");
        let other = GitSource { commit_times: true, ..at(&url, commit) };
        remotes.git(&other, &|| false).expect("nor for another form of the same files");
    }
    let error = remotes.git(&at(&url, "main"), &|| false).expect_err("nobody is there");
    assert!(error.to_string().contains("can't be fetched"), "{error}");
}

#[test]
fn old_servers_are_asked_in_other_ways() {
    let bench = Bench::new();
    let repo = bench.repo("app.git");
    repo.write("f", "one");
    let first = repo.commit("first");
    repo.write("f", "two").commit("second");
    repo.git(&["update-server-info"]);
    // Plain files over HTTP: neither shallow fetches nor commits by their ids.
    bench.server.plain_files();
    let url = bench.url("app.git/.git");
    for (reference, text) in [("main", "two"), (first.as_str(), "one")] {
        let tree = Bench::tree(&bench.remotes(), &at(&url, reference));
        assert_eq!(fs::read_to_string(tree.join("f")).expect("it is there"), text);
    }
    // A server of the first protocol that gives out nothing but references.
    let bench = Bench::new();
    let repo = bench.repo("app.git");
    repo.write("f", "one");
    let first = repo.commit("first");
    repo.write("f", "two").commit("second");
    bench.server.first_protocol();
    for (reference, text) in [("main", "two"), (first.as_str(), "one")] {
        let tree = Bench::tree(&bench.remotes(), &at(&bench.url("app.git"), reference));
        assert_eq!(fs::read_to_string(tree.join("f")).expect("it is there"), text);
    }
}

#[test]
fn secrets_open_servers_and_do_not_show() {
    let bench = Bench::new();
    bench.repo("app.git").write("f", "x").commit("first");
    let url = bench.url("app.git");
    let host = bench.server.host();
    let file = bench.dir.path().join("secret");
    fs::write(&file, "canary\n").expect("ours");
    // Basic x-access-token:canary
    bench.server.require("Basic eC1hY2Nlc3MtdG9rZW46Y2FuYXJ5");
    let said = bench.error(&source(&url));
    assert!(said.contains(&format!("--secret id=GIT_AUTH_TOKEN.{host}")), "{said}");
    for id in ["GIT_AUTH_TOKEN".to_owned(), format!("GIT_AUTH_TOKEN.{host}")] {
        let mut secrets = Secrets::default();
        secrets.insert(&id, SecretSource::File(file.clone()));
        let remotes = Remotes::new(bench.store(), Access { secrets, ..Access::default() });
        remotes
            .git(&GitSource { commit_times: id.contains('.'), ..source(&url) }, &|| false)
            .expect("the token opens it");
    }
    bench.server.require("Bearer canary");
    fs::write(&file, "Bearer canary").expect("ours");
    let mut secrets = Secrets::default();
    secrets.insert("GIT_AUTH_HEADER", SecretSource::File(file));
    let remotes = Remotes::new(bench.store(), Access { secrets, ..Access::default() });
    remotes.git_commit(&source(&url), &|| false).expect("the header opens it");
    let found = std::process::Command::new("grep").args(["-rl", "canary"]).arg(bench.dir.path().join("store")).output();
    assert_eq!(String::from_utf8_lossy(&found.expect("grep runs").stdout), "");
}

#[test]
fn a_password_opens_the_server_for_submodules_too() {
    let bench = Bench::new();
    bench.repo("sub.git").write("s", "sub").commit("sub");
    let repo = bench.repo("app.git");
    repo.write("f", "x").submodule("../sub.git", "sub", &bench.url("sub.git")).commit("first");
    // Basic user:canary
    bench.server.require("Basic dXNlcjpjYW5hcnk=");
    let url = bench.url("app.git").replace("://", "://user:canary@");
    let tree = Bench::tree(&bench.remotes(), &source(&url));
    assert_eq!(fs::read(tree.join("sub/s")).expect("the submodule is there, too"), b"sub");
}

#[test]
fn a_build_that_is_over_leaves_nothing() {
    let bench = Bench::new();
    bench.repo("app.git").write("f", "x").commit("first");
    let error = bench.remotes().git(&source(&bench.url("app.git")), &|| true).expect_err("it is over");
    assert!(matches!(error, RemoteError::Cancelled), "{error}");
    assert_eq!(bench.unfinished(), Vec::<PathBuf>::new());
    // Locks that a killed process left, and a repository that is damaged, are mended.
    let url = bench.url("app.git");
    Bench::tree(&bench.remotes(), &source(&url));
    let mut repositories = fs::read_dir(bench.dir.path().join("store/remotes/git")).expect("there").flatten();
    let bare = repositories.find(|entry| entry.path().is_dir()).expect("one remote").path();
    fs::write(bare.join("shallow.lock"), "").expect("ours");
    fs::write(bare.join("HEAD"), "nonsense").expect("ours");
    fs::set_permissions(&bare, fs::Permissions::from_mode(0o700)).expect("ours");
    Bench::tree(&bench.remotes(), &GitSource { commit_times: true, ..source(&url) });
}

//! Repositories from a real server: `git http-backend` behind a small HTTP server of the test.

mod remote_kit;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use builder_cache::Store;
use builder_executor::remote::{Access, RemoteError, Remotes};
use builder_executor::secret::{SecretSource, Secrets};
use builder_solver::GitSource;
use remote_kit::{GitServer, Repo};

fn source(remote: &str) -> GitSource {
    GitSource {
        remote: remote.to_owned(),
        reference: None,
        subdir: None,
        checksum: None,
        keep_git_dir: false,
        submodules: true,
        commit_times: false,
    }
}

fn at(remote: &str, reference: &str) -> GitSource {
    GitSource { reference: Some(reference.to_owned()), ..source(remote) }
}

struct Bench {
    dir: tempfile::TempDir,
    server: GitServer,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(dir.path().join("srv")).expect("ours");
        let server = GitServer::start(dir.path().join("srv"));
        Self { dir, server }
    }

    fn repo(&self, name: &str) -> Repo {
        Repo::new(&self.dir.path().join("srv").join(name))
    }

    fn store(&self) -> Store {
        Store::open(&self.dir.path().join("store")).expect("a new store")
    }

    fn remotes(&self) -> Remotes {
        Remotes::new(self.store(), Access::default())
    }

    fn url(&self, name: &str) -> String {
        self.server.url(name)
    }

    /// The files of a source.
    fn tree(remotes: &Remotes, source: &GitSource) -> PathBuf {
        let checkout = remotes.git(source, &|| false).unwrap_or_else(|error| panic!("{source:?}: {error}"));
        remotes.store().part_dirs(&checkout.layer()).expect("it was committed").remove(0)
    }

    fn error(&self, source: &GitSource) -> String {
        self.remotes().git(source, &|| false).expect_err("it must fail").to_string()
    }

    /// What is left in the store of things that were not finished.
    fn unfinished(&self) -> Vec<PathBuf> {
        let active = fs::read_dir(self.dir.path().join("store/active")).expect("it is there");
        let sessions = active.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
        sessions.flat_map(|path| fs::read_dir(path).expect("ours").flatten().map(|entry| entry.path())).collect()
    }
}

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

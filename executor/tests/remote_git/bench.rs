//! A server, and stores that fetch from it.

use std::fs;
use std::path::PathBuf;

use builder_cache::Store;
use builder_executor::remote::{Access, Remotes};
use builder_solver::GitSource;

use crate::remote_kit::{GitServer, Repo};

pub(crate) fn source(remote: &str) -> GitSource {
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

pub(crate) fn at(remote: &str, reference: &str) -> GitSource {
    GitSource { reference: Some(reference.to_owned()), ..source(remote) }
}

pub(crate) struct Bench {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) server: GitServer,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(dir.path().join("srv")).expect("ours");
        let server = GitServer::start(dir.path().join("srv"));
        Self { dir, server }
    }

    pub(crate) fn repo(&self, name: &str) -> Repo {
        Repo::new(&self.dir.path().join("srv").join(name))
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(&self.dir.path().join("store")).expect("a new store")
    }

    pub(crate) fn remotes(&self) -> Remotes {
        Remotes::new(self.store(), Access::default())
    }

    pub(crate) fn url(&self, name: &str) -> String {
        self.server.url(name)
    }

    /// The files of a source.
    pub(crate) fn tree(remotes: &Remotes, source: &GitSource) -> PathBuf {
        let checkout = remotes.git(source, &|| false).unwrap_or_else(|error| panic!("{source:?}: {error}"));
        remotes.store().part_dirs(&checkout.layer()).expect("it was committed").remove(0)
    }

    pub(crate) fn error(&self, source: &GitSource) -> String {
        self.remotes().git(source, &|| false).expect_err("it must fail").to_string()
    }

    /// What is left in the store of things that were not finished.
    pub(crate) fn unfinished(&self) -> Vec<PathBuf> {
        let active = fs::read_dir(self.dir.path().join("store/active")).expect("it is there");
        let sessions = active.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
        sessions.flat_map(|path| fs::read_dir(path).expect("ours").flatten().map(|entry| entry.path())).collect()
    }
}

//! What comes over the network: files from URLs, and git repositories.
//!
//! [`Remotes`] answers two questions for each source: what is there now ([`Remotes::http`], [`Remotes::git_commit`]),
//! as cheaply as the server allows, and the files themselves as a layer of the store ([`Remotes::git`]). It serves the
//! ops of the graph and the contexts of the command line alike. Everything is synchronous.
//!
//! ```text
//! <store>/remotes/
//! ├── http/<hex>.json    what a URL answered last: ETag, Last-Modified, digest, layer     (remembered)
//! ├── git/<hex>/         a bare repository for each remote: what was fetched of it         (git::repository)
//! ├── git/<hex>.lock     held by whoever uses it
//! ├── trees/<hex>.json   the layer that holds a commit's files                             (remembered)
//! └── known_hosts        ssh servers that were met first here
//! ```
//!
//! # Invariants
//!
//! * A layer appears when all of its bytes are there and have been verified. A download that fails leaves nothing.
//! * What is remembered only saves work: each answer names a layer, and one whose layer is gone counts for nothing.
//! * Passwords and tokens never show: not in errors, not in the names of steps, not in the arguments of processes.
//! * Nothing of a repository is ever run or obeyed: no hook, no filter, no configuration, no link.

mod error;
pub mod git;
pub mod http;
mod remembered;

use std::collections::HashMap;
use std::hash::Hash;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use builder_cache::Store;
pub use builder_solver::address::redact;
use builder_solver::digest::FramedHasher;
use builder_solver::{ContentDigest, GitSource, HttpSource};

use crate::agent::Agents;
use crate::secret::Secrets;

pub use error::RemoteError;
pub use git::{Checkout, Commit};
pub use http::{Client, Download, Response};

/// Tells whether the build is over and work should stop.
pub type Stop<'s> = &'s (dyn Fn() -> bool + Sync);

/// Waits, unless the build is over.
fn pause(time: Duration, stop: Stop<'_>) -> Result<(), RemoteError> {
    if builder_image::http::pause(time, stop) { Ok(()) } else { Err(RemoteError::Cancelled) }
}

/// What fetching needs of the person who builds.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Secrets by id: tokens and headers for servers.
    pub secrets: Secrets,
    /// Agents by id; repositories that are reached by ssh use `default`.
    pub agents: Agents,
}

/// Fetches, and remembers within one build what it found: everybody in a build sees the same. Clones share that.
#[derive(Debug, Clone)]
pub struct Remotes {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    access: Access,
    client: OnceLock<Client>,
    downloads: Once<HttpSource, Download>,
    commits: Once<(String, Option<String>), Commit>,
    checkouts: Once<GitSource, Checkout>,
}

impl Remotes {
    /// For one build.
    pub fn new(store: Store, access: Access) -> Self {
        let inner = Inner {
            store,
            access,
            client: OnceLock::new(),
            downloads: Once::default(),
            commits: Once::default(),
            checkouts: Once::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The store that everything goes to.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The file of a URL, downloaded unless the server says that what is known is still right.
    pub fn http(&self, source: &HttpSource, stop: Stop<'_>) -> Result<Download, RemoteError> {
        self.inner.downloads.get(source, || http::fetch(self, source, stop))
    }

    /// What identifies a file of a URL, for the cache key. With a checksum nothing is asked of the server.
    pub fn http_digest(&self, source: &HttpSource, stop: Stop<'_>) -> Result<ContentDigest, RemoteError> {
        let mut hasher = FramedHasher::new("http");
        if let Some(checksum) = &source.checksum {
            let digest = http::parse_checksum(&source.url, checksum)?;
            return Ok(ContentDigest::from_bytes(hasher.part(digest.as_bytes()).finish()));
        }
        let found = self.http(source, stop)?;
        hasher.part(found.digest.as_bytes());
        if let Some(time) = found.last_modified {
            hasher.number(time as u64);
        }
        Ok(ContentDigest::from_bytes(hasher.finish()))
    }

    /// Which commit a source means now. With a full commit nothing is asked of the server.
    pub fn git_commit(&self, source: &GitSource, stop: Stop<'_>) -> Result<Commit, RemoteError> {
        let wanted = (source.remote.clone(), git::wanted(source).map(str::to_owned));
        let commit = self.inner.commits.get(&wanted, || git::resolve(self, source, stop))?;
        git::check(source, &commit)?;
        Ok(commit)
    }

    /// What identifies the files of a repository, for the cache key.
    pub fn git_digest(&self, source: &GitSource, stop: Stop<'_>) -> Result<ContentDigest, RemoteError> {
        let commit = self.git_commit(source, stop)?;
        let mut hasher = FramedHasher::new("git");
        hasher.part(commit.id.as_bytes());
        if source.keep_git_dir {
            hasher.part(commit.reference.as_deref().unwrap_or_default().as_bytes());
            hasher.part(commit.tag.as_deref().unwrap_or_default().as_bytes());
        }
        Ok(ContentDigest::from_bytes(hasher.finish()))
    }

    /// The files of a repository, fetched unless they are here.
    pub fn git(&self, source: &GitSource, stop: Stop<'_>) -> Result<Checkout, RemoteError> {
        let commit = self.git_commit(source, stop)?;
        self.inner.checkouts.get(source, || git::checkout(self, source, &commit, stop))
    }

    fn client(&self) -> Result<&Client, RemoteError> {
        if let Some(client) = self.inner.client.get() {
            return Ok(client);
        }
        let client = Client::new()?;
        Ok(self.inner.client.get_or_init(|| client))
    }

    /// A secret as a part of a header, when there is one.
    fn header(&self, id: &str) -> Result<Option<String>, RemoteError> {
        let Some(secret) = self.inner.access.secrets.get(id)? else { return Ok(None) };
        let text = std::str::from_utf8(secret.bytes()).map(|text| text.trim_end_matches(['\r', '\n']));
        match text {
            Ok(text) if !text.is_empty() && !text.chars().any(char::is_control) => Ok(Some(text.to_owned())),
            _ => Err(RemoteError::BadSecret { id: id.to_owned() }),
        }
    }

    fn directory(&self, kind: &str) -> PathBuf {
        self.inner.store.root().join("remotes").join(kind)
    }
}

/// Answers that are worked out once. Whoever asks for the same thing meanwhile waits; a failure is not kept.
#[derive(Debug)]
struct Once<K, V>(Mutex<HashMap<K, Arc<Mutex<Option<V>>>>>);

impl<K, V> Default for Once<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Once<K, V> {
    fn get<E>(&self, key: &K, work: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        let slot = Arc::clone(lock(&self.0).entry(key.clone()).or_default());
        let mut slot = lock(&slot);
        if let Some(known) = &*slot {
            return Ok(known.clone());
        }
        let value = work()?;
        *slot = Some(value.clone());
        Ok(value)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

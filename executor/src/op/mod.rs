//! Carries ops out: [`BuildWorker`] is the solver's [`Worker`].
//!
//! | op | file | what it does |
//! |---|---|---|
//! | source | here, [`source`] | an image is a look-up; a local context is scanned by [`crate::context`], the rest is fetched by [`crate::remote`] |
//! | exec | [`exec`] | one process in a sandbox on a fresh layer |
//! | file | [`file`] | copies, directories and files on a fresh layer |
//! | merge | here | concatenates chains of layers |
//!
//! A layer is committed with its content digest, so that content keys cost nothing later.

mod commit;
mod error;
mod exec;
mod file;
mod grants;
mod source;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use builder_cache::content::chain_content;
use builder_cache::{BlobDigest, KeyLock, Snapshot, Store};
use builder_solver::digest::FramedHasher;
use builder_solver::{CacheKey, ContentDigest, Op, Picked, Selection, Source, Task, Vertex, Worker};

pub(crate) use commit::{RootAttributes, commit_upper, now_ms};
pub use error::OpError;
pub use exec::{CarriedMounts, mount_key};
pub use grants::{Grant, Grants};

use crate::context::{FileSource, LocalContext};
use crate::remote::Remotes;
use crate::rootfs::{Driver, Purpose};
use crate::sandbox::Sandbox;

/// What steps run with.
#[derive(Debug)]
pub struct WorkerOptions {
    /// The local contexts by name.
    pub contexts: BTreeMap<String, LocalContext>,
    /// What fetches; the same that the command line fetched contexts with, so that both see the same.
    pub remotes: Remotes,
    /// Secrets and agents for steps, and how much they may use.
    pub grants: Grants,
    /// What new cache mounts begin with.
    pub mounts: Option<Arc<dyn CarriedMounts>>,
}

/// Carries ops out on one store.
#[derive(Debug, Clone)]
pub struct BuildWorker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    driver: Driver,
    sandbox: Sandbox,
    options: WorkerOptions,
    /// The files that steps see as `/etc/hosts` and so on.
    files: Vec<(PathBuf, PathBuf)>,
}

impl BuildWorker {
    /// A worker for one build.
    ///
    /// # Errors
    /// When the files that every step gets can't be written to the store.
    pub fn new(store: Store, driver: Driver, sandbox: Sandbox, options: WorkerOptions) -> Result<Self, OpError> {
        let files = exec::provided_files(store.root())?;
        Ok(Self { inner: Arc::new(Inner { store, driver, sandbox, options, files }) })
    }

    /// Runs bulk work off the async threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, OpError> + Send + 'static,
    ) -> Result<T, OpError> {
        let inner = Arc::clone(&self.inner);
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

impl Inner {
    fn context(&self, name: &str) -> Result<&LocalContext, OpError> {
        self.options.contexts.get(name).ok_or_else(|| OpError::NoContext(name.to_owned()))
    }

    fn image(&self, reference: &str, id: &str) -> Result<Snapshot, OpError> {
        let gone = || OpError::NoImage { reference: reference.to_owned(), id: id.to_owned() };
        let digest: BlobDigest = id.parse().map_err(|_| gone())?;
        Ok(self.store.image(&digest)?.ok_or_else(gone)?.snapshot)
    }

    /// The content digest of a whole chain. Layers that came with an image are hashed when somebody first asks.
    fn chain_digest(&self, snapshot: &Snapshot) -> Result<ContentDigest, OpError> {
        if let Some(digest) = self.store.snapshot_content(snapshot)? {
            return Ok(digest);
        }
        let mut digests = Vec::with_capacity(snapshot.layers.len());
        for id in &snapshot.layers {
            let layer = self.store.layer(id)?;
            if layer.meta.empty {
                continue;
            }
            let digest = if let Some(known) = layer.meta.content {
                known
            } else if let Some(tar) = layer.meta.diff_id.filter(|_| layer.absent) {
                // To look up a step is no reason to fetch its base. This is not written down: when the files are there,
                // they say what they are.
                ContentDigest::from_bytes(FramedHasher::new("absent layer").part(tar.as_bytes()).finish())
            } else {
                let content = builder_cache::content::layer_content(&self.store.part_dirs(id)?)?;
                self.store.set_layer_content(id, &content.digest())?;
                content.digest()
            };
            digests.push(digest);
        }
        Ok(chain_content(&digests))
    }

    fn selection_digest(&self, snapshot: &Snapshot, picked: &[Picked]) -> Result<ContentDigest, OpError> {
        let root = self.driver.mount(&self.store, snapshot, None, Purpose::Files)?;
        let source = FileSource::snapshot(&root)?;
        let digest = source.digest_with(&uses(picked))?.digest;
        let mut directories = Vec::new();
        for picked in picked.iter().filter(|picked| picked.itself) {
            directories.extend(source.named_directories(&picked.selection)?);
        }
        if directories.is_empty() {
            return Ok(digest);
        }
        let mut hasher = FramedHasher::new("shown");
        hasher.part(digest.as_bytes());
        for directory in directories {
            hasher.part(directory.as_bytes());
        }
        Ok(ContentDigest::from_bytes(hasher.finish()))
    }
}

fn uses(picked: &[Picked]) -> Vec<(&Selection, bool)> {
    picked.iter().map(|picked| (&picked.selection, picked.modes)).collect()
}

impl Worker for BuildWorker {
    type Output = Snapshot;
    type Error = OpError;
    type Guard = KeyLock;

    async fn source_digest(&self, source: &Source, picked: &[Picked]) -> Result<ContentDigest, OpError> {
        let name = match source {
            Source::Local { name } => name,
            Source::Http(_) | Source::Git(_) => return source::digest(self, source).await,
            Source::Scratch | Source::Image { .. } => return Err(OpError::NoContext(format!("{source:?}"))),
        };
        let (name, picked) = (name.clone(), picked.to_vec());
        self.blocking(move |inner| {
            let digest = inner.context(&name)?.source().digest_with(&uses(&picked))?;
            if !inner.store.has_tree(&digest.digest)? {
                inner.store.put_trees(&digest.trees())?;
            }
            Ok(digest.digest)
        })
        .await
    }

    async fn content_digest(&self, output: &Snapshot, picked: &[Picked]) -> Result<ContentDigest, OpError> {
        let (output, picked) = (output.clone(), picked.to_vec());
        self.blocking(move |inner| {
            if picked.is_empty() { inner.chain_digest(&output) } else { inner.selection_digest(&output, &picked) }
        })
        .await
    }

    async fn execute(&self, task: Task<Snapshot>) -> Result<Snapshot, OpError> {
        match &task.vertex.op {
            Op::Source(Source::Scratch | Source::Local { .. }) => Ok(Snapshot::scratch()),
            Op::Source(Source::Image { reference, id }) => self.inner.image(reference, id),
            Op::Source(source @ (Source::Http(_) | Source::Git(_))) => source::fetch(self, source, &task).await,
            Op::Merge => match task.inputs.as_slice() {
                [base, top] => Ok(base.output.merge(&top.output)),
                inputs => Err(OpError::Inputs { op: "merge", expected: 2, found: inputs.len() }),
            },
            Op::Exec(exec) => exec::run(self, exec, &task).await,
            Op::File(_) => self.blocking(move |inner| file::run(inner, &task)).await,
        }
    }

    fn rebase(&self, vertex: &Vertex, inputs: &[Snapshot], found: &Snapshot) -> Snapshot {
        match (&vertex.op, inputs, found.layers.last()) {
            (Op::Exec(_) | Op::File(_), [base, ..], Some(added)) => base.with(*added),
            (Op::Merge, [base, top], _) => base.merge(top),
            _ => found.clone(),
        }
    }

    async fn lock(&self, key: &CacheKey) -> Result<KeyLock, OpError> {
        // Nearly always free; a thread waits only when it is not.
        if let Some(lock) = self.inner.store.try_lock_key(key)? {
            return Ok(lock);
        }
        let key = *key;
        self.blocking(move |inner| Ok(inner.store.lock_key(&key)?)).await
    }
}

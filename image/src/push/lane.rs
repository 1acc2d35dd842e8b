//! The blobs on their way to one repository.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use builder_cache::{BlobDigest, BlobInfo, LayerId, Store};

use super::body;
use super::error::Error;
use crate::archive::content::{Content, fetch};
use crate::registry::Repository;
use crate::transfer::{State, Watch};

/// How many blobs are asked about at once.
const THREADS: usize = 12;

/// How many are sent at once.
const SENDERS: usize = 5;

/// How many repositories are asked to give a blob away. Each that can't leaves an upload that was begun.
const MOUNTS: usize = 2;

/// A blob to send.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) blob: BlobInfo,
    pub(super) content: Arc<Content>,
    pub(super) layer: Option<LayerId>,
}

/// Brings blobs into a repository, several at once, each once. Dropped, it gives up what is not there yet.
#[derive(Debug)]
pub(super) struct Lane(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    repository: Repository,
    store: Store,
    watch: Arc<dyn Watch>,
    queue: Mutex<Queue>,
    changed: Condvar,
    given_up: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Queue {
    fates: HashMap<BlobDigest, Fate>,
    waiting: VecDeque<Job>,
    threads: usize,
    senders: usize,
}

/// What became of a blob.
#[derive(Debug)]
enum Fate {
    OnItsWay,
    There,
    /// Why; told once.
    Failed(Option<Error>),
}

impl Fate {
    /// Whether it is worth another try. What a registry refuses it refuses again.
    fn may_change(&self) -> bool {
        match self {
            Self::OnItsWay | Self::There => false,
            Self::Failed(Some(Error::Registry(error))) => error.is_passing(),
            Self::Failed(_) => true,
        }
    }
}

impl Lane {
    pub(super) fn new(repository: Repository, store: &Store, watch: &Arc<dyn Watch>) -> Self {
        Self(Arc::new(Shared {
            repository,
            store: store.clone(),
            watch: Arc::clone(watch),
            queue: Mutex::default(),
            changed: Condvar::new(),
            given_up: Arc::default(),
        }))
    }

    pub(super) fn repository(&self) -> &Repository {
        &self.0.repository
    }

    /// Begins to send a blob, unless that was done. One that failed is tried again if that may help.
    pub(super) fn offer(&self, job: Job) {
        let mut queue = self.0.lock();
        let digest = job.blob.digest;
        if queue.fates.get(&digest).is_some_and(|fate| !fate.may_change()) {
            return;
        }
        self.0.watch.note(&digest, State::Waiting);
        queue.fates.insert(digest, Fate::OnItsWay);
        queue.waiting.push_back(job);
        if queue.threads >= THREADS {
            return;
        }
        queue.threads += 1;
        let first = queue.threads == 1;
        drop(queue);
        let shared = Arc::clone(&self.0);
        if thread::Builder::new().name("push".to_owned()).spawn(move || shared.work()).is_err() {
            // Those that are there do it, or this one.
            if first {
                self.0.work();
            } else {
                self.0.lock().threads -= 1;
            }
        }
    }

    /// Waits until these blobs, which were offered, are there, or one of them can't get there.
    pub(super) fn wait(&self, blobs: &[BlobDigest]) -> Result<(), Error> {
        let mut queue = self.0.lock();
        loop {
            let mut ready = true;
            for digest in blobs {
                match queue.fates.get_mut(digest) {
                    Some(Fate::There) => {}
                    Some(Fate::OnItsWay) => ready = false,
                    Some(Fate::Failed(error)) => return Err(error.take().unwrap_or(Error::GivenUp(*digest))),
                    None => return Err(Error::GivenUp(*digest)),
                }
            }
            if ready {
                return Ok(());
            }
            queue = self.0.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Sends nothing more.
    pub(super) fn give_up(&self) {
        self.0.given_up.store(true, Ordering::Relaxed);
        let mut queue = self.0.lock();
        for job in std::mem::take(&mut queue.waiting) {
            queue.fates.insert(job.blob.digest, Fate::Failed(None));
        }
        drop(queue);
        self.0.changed.notify_all();
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends blobs until none is left.
    fn work(&self) {
        loop {
            let mut queue = self.lock();
            let Some(job) = queue.waiting.pop_front() else {
                queue.threads -= 1;
                return;
            };
            drop(queue);
            let digest = job.blob.digest;
            let mut settle = Settle { shared: self, digest, fate: Fate::Failed(None) };
            settle.fate = match self.bring(&job) {
                Ok(()) => Fate::There,
                Err(error) => {
                    self.watch.note(&digest, State::Failed);
                    Fate::Failed(Some(error))
                }
            };
        }
    }

    /// Sees to it that the repository has a blob.
    fn bring(&self, job: &Job) -> Result<(), Error> {
        let Job { blob, content, layer } = job;
        let (repository, digest) = (&self.repository, &blob.digest);
        if repository.has_blob(digest)? {
            self.watch.note(digest, State::Exists);
            return Ok(());
        }
        for from in self.neighbours(layer.as_ref(), digest)? {
            // Who may not read it there, or is not told, has to send it.
            if repository.mount_blob(digest, &from).unwrap_or(false) {
                self.watch.note(digest, State::Mounted { from });
                return Ok(());
            }
        }
        let _turn = self.turn();
        if let Content::Remote(layer) = &**content {
            fetch(&self.store, layer, digest)?;
        }
        let total = blob.size;
        self.watch.note(digest, State::Uploading { done: 0, total });
        let open = |offset| body::open(&self.store, blob, content, offset, &self.given_up);
        let advance = |done| self.watch.note(digest, State::Uploading { done, total });
        repository.push_blob(digest, total, &open, &advance)?;
        self.watch.note(digest, State::Done);
        Ok(())
    }

    /// Other repositories of the registry that have, or had, the blob.
    fn neighbours(&self, layer: Option<&LayerId>, digest: &BlobDigest) -> Result<Vec<String>, Error> {
        let Some(layer) = layer else { return Ok(Vec::new()) };
        let here = format!("registry:{}/", self.repository.host());
        let mut paths: Vec<String> = Vec::new();
        for source in self.store.layer_sources(layer)? {
            if let Some(path) = source.location.strip_prefix(&here)
                && source.blob.digest == *digest
                && path != self.repository.path()
                && !paths.iter().any(|known| known == path)
            {
                paths.push(path.to_owned());
            }
        }
        paths.truncate(MOUNTS);
        Ok(paths)
    }

    /// Waits until fewer than [`SENDERS`] send.
    fn turn(&self) -> Turn<'_> {
        let busy = |queue: &mut Queue| queue.senders >= SENDERS;
        let waited = self.changed.wait_while(self.lock(), busy);
        waited.unwrap_or_else(PoisonError::into_inner).senders += 1;
        Turn(self)
    }
}

/// The right to send.
struct Turn<'a>(&'a Shared);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().senders -= 1;
        self.0.changed.notify_all();
    }
}

/// Writes down what became of a blob, even of one that a thread panicked at.
struct Settle<'a> {
    shared: &'a Shared,
    digest: BlobDigest,
    fate: Fate,
}

impl Drop for Settle<'_> {
    fn drop(&mut self) {
        let fate = std::mem::replace(&mut self.fate, Fate::There);
        self.shared.lock().fates.insert(self.digest, fate);
        self.shared.changed.notify_all();
    }
}

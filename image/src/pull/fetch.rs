//! Absent layers → layers, several at a time.

use std::collections::VecDeque;
use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use builder_cache::content::layer_content;
use builder_cache::{
    ActiveLayer, BlobInfo, Fill, Layer, LayerId, LayerMeta, LayerSource, Provider, ProviderError, Snapshot, Store,
};

use super::error::Error;
use super::layer::{Transfer, place};
use super::origin::{Origin, OriginReader};
use crate::assemble::now_ms;
use crate::compress::{Encoding, Format};
use crate::http::Stop;
use crate::layer::{Applied, ApplyOptions, Error as LayerError, inherit_parents};
use crate::transfer::{State, Unwatched, Watch};

/// How many layers come at once. Each has threads of its own; more would wait for cores, or for the network.
const AT_ONCE: usize = 4;

/// How often a layer that another process is filling is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Fetches absent layers from where they are.
pub struct LayerProvider {
    origins: RwLock<Vec<Arc<dyn Origin>>>,
    watch: RwLock<Arc<dyn Watch>>,
    /// What could not be had.
    failed: Mutex<Vec<LayerId>>,
    stop: Stop,
}

impl LayerProvider {
    /// One that knows no place yet.
    pub fn new(stop: Stop) -> Self {
        Self { origins: RwLock::default(), watch: RwLock::new(Arc::new(Unwatched)), failed: Mutex::default(), stop }
    }

    /// Adds a kind of place.
    pub fn add_origin(&self, origin: Arc<dyn Origin>) {
        self.origins.write().unwrap_or_else(PoisonError::into_inner).push(origin);
    }

    /// Who hears from now on how far layers are.
    pub fn set_watch(&self, watch: Arc<dyn Watch>) {
        *self.watch.write().unwrap_or_else(PoisonError::into_inner) = watch;
    }

    /// The layers that could not be had since somebody asked last.
    pub fn take_failed(&self) -> Vec<LayerId> {
        std::mem::take(&mut *locked(&self.failed))
    }

    fn watch(&self) -> Arc<dyn Watch> {
        Arc::clone(&self.watch.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn open(&self, source: &LayerSource) -> Option<Result<OriginReader, Error>> {
        let origins = self.origins.read().unwrap_or_else(PoisonError::into_inner).clone();
        let opened = origins.iter().find_map(|origin| origin.open(source))?;
        Some(opened.map_err(|source_error| match source_error.downcast::<crate::registry::Error>() {
            Ok(error) => Error::Registry(*error),
            Err(error) => {
                let (blob, location) = (source.blob.digest, place(&source.location));
                Error::Fetch { blob, location, source: error }
            }
        }))
    }

    fn fetch(&self, store: &Store, layers: &[LayerId]) -> Result<(), Error> {
        let watch = self.watch();
        let mut wanted = Vec::with_capacity(layers.len());
        for id in layers {
            wanted.push(Wanted { layer: store.layer(id)?, sources: store.layer_sources(id)? });
        }
        // The largest first: what is fetched last is what is waited for.
        wanted.sort_by_key(|wanted| std::cmp::Reverse(wanted.blob().map_or(0, |blob| blob.size)));
        let blobs: Vec<(BlobInfo, String)> = wanted
            .iter()
            .filter_map(|wanted| wanted.sources.first())
            .map(|source| (source.blob, place(&source.location)))
            .collect();
        watch.begin(&blobs);
        let count = wanted.len();
        let work = Work {
            provider: self,
            store,
            watch: &*watch,
            queue: Mutex::new(wanted.into()),
            staged: Mutex::default(),
            failed: Mutex::new(None),
        };
        thread::scope(|scope| {
            for _ in 1..count.min(AT_ONCE) {
                scope.spawn(|| work.run());
            }
            work.run();
        });
        work.finish();
        match work.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

impl Provider for LayerProvider {
    fn layers(&self, store: &Store, layers: &[LayerId]) -> Result<(), ProviderError> {
        Ok(self.fetch(store, layers)?)
    }

    fn blob(&self, store: &Store, source: &LayerSource) -> Result<(), ProviderError> {
        let watch = self.watch();
        watch.begin(&[(source.blob, place(&source.location))]);
        let transfer = Transfer { store, source, watch: &*watch, stop: &self.stop };
        let fetched = match self.open(source) {
            Some(opened) => opened.and_then(|input| transfer.keep_blob(input)),
            None => return Err(format!("nothing here can fetch {}", source.location).into()),
        };
        watch.note(&source.blob.digest, if fetched.is_ok() { State::Done } else { State::Failed });
        Ok(fetched?)
    }
}

impl fmt::Debug for LayerProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerProvider").finish_non_exhaustive()
    }
}

/// A layer to fetch.
struct Wanted {
    layer: Layer,
    sources: Vec<LayerSource>,
}

impl Wanted {
    fn blob(&self) -> Option<BlobInfo> {
        self.sources.first().map(|source| source.blob)
    }
}

/// A layer that is unpacked, and waits for those below to take owners and modes of directories from.
struct Staged {
    wanted: Wanted,
    active: ActiveLayer,
    applied: Applied,
    source: LayerSource,
}

/// What came of a layer that was taken.
enum Outcome {
    Unpacked(Box<(ActiveLayer, Applied, LayerSource)>),
    /// Another process has filled it.
    Filled,
    /// Another process is filling it.
    Busy,
}

/// One call of the provider.
struct Work<'a> {
    provider: &'a LayerProvider,
    store: &'a Store,
    watch: &'a dyn Watch,
    queue: Mutex<VecDeque<Wanted>>,
    staged: Mutex<Vec<Staged>>,
    /// Why nothing more is begun.
    failed: Mutex<Option<Error>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Work<'_> {
    /// Takes layers until there are none, or one failed.
    fn run(&self) {
        loop {
            let next = locked(&self.queue).pop_front();
            let Some(wanted) = next else { break };
            if let Err(error) = self.one(wanted) {
                locked(&self.queue).clear();
                locked(&self.staged).clear();
                locked(&self.failed).get_or_insert(error);
                break;
            }
        }
    }

    /// Waits for what other processes fill below the layers that are staged.
    fn finish(&self) {
        while !locked(&self.staged).is_empty() {
            let over = if self.provider.stop.is_over() { Err(Error::Cancelled) } else { self.commit_staged() };
            if let Err(error) = over {
                locked(&self.staged).clear();
                locked(&self.failed).get_or_insert(error);
            } else if !locked(&self.staged).is_empty() {
                thread::sleep(LOOK);
            }
        }
    }

    fn one(&self, wanted: Wanted) -> Result<(), Error> {
        if self.provider.stop.is_over() {
            return Err(Error::Cancelled);
        }
        match self.store.try_fill_layer(&wanted.layer.id)? {
            Fill::Filled => self.note(&wanted, State::Done),
            Fill::Busy => self.later(wanted),
            Fill::Take(active) => match self.unpack(&wanted, active) {
                Ok(Outcome::Filled) => self.note(&wanted, State::Done),
                Ok(Outcome::Busy) => self.later(wanted),
                Ok(Outcome::Unpacked(unpacked)) => {
                    let (active, applied, source) = *unpacked;
                    let staged = Staged { wanted, active, applied, source };
                    if staged.applied.implied.is_empty() {
                        self.commit(staged)?;
                    } else {
                        locked(&self.staged).push(staged);
                    }
                }
                Err(error) => {
                    self.note(&wanted, State::Failed);
                    locked(&self.provider.failed).push(wanted.layer.id);
                    return Err(error);
                }
            },
        }
        self.commit_staged()
    }

    /// Another process has it, and may wait for a layer that is staged here.
    fn later(&self, wanted: Wanted) {
        self.note(&wanted, State::Waiting);
        let alone = locked(&self.queue).is_empty();
        locked(&self.queue).push_back(wanted);
        if alone {
            thread::sleep(LOOK);
        }
    }

    /// Fetches a layer from the first place that has it.
    fn unpack(&self, wanted: &Wanted, active: ActiveLayer) -> Result<Outcome, Error> {
        let options = ApplyOptions { diff_id: wanted.layer.meta.diff_id, ..ApplyOptions::default() };
        let (mut first, mut active) = (None, Some(active));
        for source in &wanted.sources {
            let transfer = Transfer { store: self.store, source, watch: self.watch, stop: &self.provider.stop };
            for stored in [true, false] {
                if stored && !self.store.has_blob(&source.blob.digest)? {
                    continue;
                }
                // One that something was written to is of no more use.
                let fresh = match active.take() {
                    Some(active) => active,
                    None => match self.store.try_fill_layer(&wanted.layer.id)? {
                        Fill::Take(active) => active,
                        Fill::Filled => return Ok(Outcome::Filled),
                        Fill::Busy => return Ok(Outcome::Busy),
                    },
                };
                let done = if stored {
                    transfer.unpack_stored(fresh.upper(), &options)
                } else {
                    match self.provider.open(source) {
                        Some(Ok(input)) => transfer.unpack(input, fresh.upper(), &options),
                        Some(Err(error)) => Err(error),
                        None => {
                            active = Some(fresh);
                            continue;
                        }
                    }
                };
                let done = done.and_then(|applied| {
                    // What is still to take something from the layers below is compared then.
                    if applied.implied.is_empty() {
                        check_content(wanted, source, &fresh)?;
                    }
                    Ok(applied)
                });
                match done {
                    Ok(applied) => return Ok(Outcome::Unpacked(Box::new((fresh, applied, source.clone())))),
                    Err(error) if error.is_final() || self.provider.stop.is_over() => return Err(error),
                    Err(error) => {
                        first = first.or(Some(error));
                        if stored {
                            // One that is right is not what is wrong: fetched again, it would be the same.
                            if self.store.verify_blob(&source.blob.digest).is_ok() {
                                break;
                            }
                            self.store.remove_blob(&source.blob.digest)?;
                        }
                    }
                }
            }
        }
        Err(first.unwrap_or_else(|| Error::NoOrigin {
            layer: wanted.layer.id,
            locations: wanted.sources.iter().map(|source| source.location.clone()).collect(),
        }))
    }

    /// Commits the staged layers that have all they need.
    fn commit_staged(&self) -> Result<(), Error> {
        loop {
            let mut ready = None;
            {
                let mut staged = locked(&self.staged);
                for at in 0..staged.len() {
                    let Some(below) = staged.get(at).map(|staged| self.below(&staged.wanted.layer)).transpose()? else {
                        continue;
                    };
                    if self.store.absent(&below)?.is_empty() {
                        ready = Some((staged.swap_remove(at), below));
                        break;
                    }
                }
                // What nobody else brings is what nobody here was asked for.
                if ready.is_none() && !staged.is_empty() && locked(&self.queue).is_empty() {
                    ready = self.stuck(&mut staged)?;
                }
            }
            let Some((staged, below)) = ready else { return Ok(()) };
            let lowers: Vec<PathBuf> = self.store.lower_dirs(&below)?;
            inherit_parents(staged.active.upper(), &staged.applied.implied, &lowers)
                .map_err(|source| Self::unpacking(&staged, source))?;
            if let Err(error) = check_content(&staged.wanted, &staged.source, &staged.active) {
                self.note(&staged.wanted, State::Failed);
                locked(&self.provider.failed).push(staged.wanted.layer.id);
                return Err(error);
            }
            self.commit(staged)?;
        }
    }

    /// A staged layer that waits for layers which are neither staged nor being fetched here.
    fn stuck(&self, staged: &mut Vec<Staged>) -> Result<Option<(Staged, Snapshot)>, Error> {
        let ours: Vec<LayerId> = staged.iter().map(|staged| staged.wanted.layer.id).collect();
        for at in 0..staged.len() {
            let Some(below) = staged.get(at).map(|staged| self.below(&staged.wanted.layer)).transpose()? else {
                continue;
            };
            let absent = self.store.absent(&below)?;
            let free = |id: &LayerId| Ok::<_, Error>(!matches!(self.store.try_fill_layer(id)?, Fill::Busy));
            let all_free = absent.iter().map(free).collect::<Result<Vec<_>, _>>()?.into_iter().all(|free| free);
            if all_free && !absent.iter().any(|id| ours.contains(id)) {
                return Ok(Some((staged.swap_remove(at), below)));
            }
        }
        Ok(None)
    }

    /// The layers below one, as far as they are known.
    fn below(&self, layer: &Layer) -> Result<Snapshot, Error> {
        let mut below = Vec::new();
        let mut next = layer.parent;
        while let Some(id) = next {
            next = match self.store.layer(&id) {
                Ok(layer) => layer.parent,
                Err(builder_cache::Error::NoLayer(_)) => break,
                Err(error) => return Err(error.into()),
            };
            below.push(id);
        }
        below.reverse();
        Ok(below.into_iter().collect())
    }

    fn commit(&self, staged: Staged) -> Result<(), Error> {
        let Staged { wanted, active, applied, source } = staged;
        active.commit(LayerMeta {
            diff_id: Some(applied.diff_id),
            tar_size: Some(applied.tar_size),
            size: applied.size,
            files: applied.files,
            empty: applied.files == 0,
            created_ms: now_ms(),
            // What steps made is packed anew from its files when somebody wants it in another way.
            source_blob: wanted.layer.meta.source_blob.and(Some(source.blob.digest)),
            ..LayerMeta::default()
        })?;
        if let Some(recipe) = &source.recipe
            && is_packed_so(self.store, &source.blob, recipe)?
        {
            self.store.set_layer_blob(&applied.diff_id, recipe, &source.blob)?;
        }
        self.note(&wanted, State::Done);
        Ok(())
    }

    fn unpacking(staged: &Staged, source: LayerError) -> Error {
        let location = staged.wanted.sources.first().map(|source| place(&source.location)).unwrap_or_default();
        Error::Unpack { blob: staged.source.blob.digest, location, source: Box::new(source) }
    }

    fn note(&self, wanted: &Wanted, state: State) {
        if let Some(blob) = wanted.blob() {
            self.watch.note(&blob.digest, state);
        }
    }
}

/// Compares the files of a layer with what a cache says of them: keys are made of that before anybody has the files.
/// Nothing is said of the layers of images.
fn check_content(wanted: &Wanted, source: &LayerSource, active: &ActiveLayer) -> Result<(), Error> {
    let Some(said) = &wanted.layer.meta.content else { return Ok(()) };
    if layer_content(&[active.upper().to_owned()])?.agrees_with(said) {
        return Ok(());
    }
    Err(Error::Content { blob: source.blob.digest, location: place(&source.location) })
}

/// Whether a blob can be what is said of it: of the format of that recipe.
fn is_packed_so(store: &Store, blob: &BlobInfo, recipe: &str) -> Result<bool, Error> {
    let Some(encoding) = Encoding::of_recipe(recipe) else { return Ok(false) };
    let mut first = Vec::new();
    let read = store.open_blob(&blob.digest)?.take(16).read_to_end(&mut first);
    Ok(read.is_ok() && Format::of(&first) == encoding.compression.format())
}

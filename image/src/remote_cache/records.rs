//! Records of the store, and behind them those of caches.
//!
//! What the store does not know is looked for in the caches, in the order in which they were named; the first that has
//! it counts. A hit becomes a record of the store whose layers are absent: nothing is downloaded until somebody asks
//! for their files. What nobody asks for never enters the store.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use builder_cache::{AbsentLayer, LayerId, LayerSource, Result, Snapshot, Store};
use builder_solver::{CacheKey, Change, ContentDigest, Nearest, OpDigest, Part, PathChange, Record, Records};

use super::cache::{At, Cache, Layer, Step};
use super::collect::Bases;
use super::format::MOST_MOUNTED;
use super::local::LocalBackend;
use super::open::Opened;

/// Caches that are being opened while other things are done.
#[derive(Debug, Default)]
pub struct Imports {
    caches: Mutex<Option<Arc<[Opened]>>>,
    there: Condvar,
}

impl Imports {
    /// Caches that are there already.
    pub fn ready(caches: Vec<Opened>) -> Self {
        Self { caches: Mutex::new(Some(caches.into())), there: Condvar::new() }
    }

    /// Says which caches there are; the first to say it counts.
    pub fn set(&self, caches: Vec<Opened>) {
        self.lock().get_or_insert_with(|| caches.into());
        self.there.notify_all();
    }

    /// Waits until somebody said it.
    pub fn wait(&self) -> Arc<[Opened]> {
        let mut caches = self.lock();
        loop {
            match &*caches {
                Some(caches) => return Arc::clone(caches),
                None => caches = self.there.wait(caches).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// The caches, if somebody said it already.
    pub fn get(&self) -> Option<Arc<[Opened]>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<[Opened]>>> {
        self.caches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a wait is entered, so that an async runtime can go on meanwhile.
pub type Blocking = fn(&mut dyn FnMut());

/// The records of a store, and those of caches.
pub struct SharedRecords {
    store: Store,
    imports: Arc<Imports>,
    bases: Arc<Bases>,
    blocking: Blocking,
    found: Mutex<Found>,
}

/// What became of the caches.
#[derive(Debug, Default)]
struct Found {
    /// Layers that are in the store, by cache and number.
    layers: HashMap<(usize, u32), LayerId>,
    /// By content key, until the record is written under its own recipe key.
    contents: HashMap<CacheKey, String>,
    /// Which cache had a step, by recipe key.
    steps: HashMap<CacheKey, String>,
    /// What was tried in vain.
    lost: HashSet<LayerId>,
}

impl SharedRecords {
    /// `bases` are the images that the build stands on: their layers are in no cache.
    pub fn new(store: Store, imports: Arc<Imports>, bases: Arc<Bases>, blocking: Blocking) -> Self {
        Self { store, imports, bases, blocking, found: Mutex::default() }
    }

    /// Which cache had the step with this recipe key, if it came from one.
    pub fn cache_of(&self, recipe: &CacheKey) -> Option<String> {
        self.found().steps.get(recipe).cloned()
    }

    /// These layers can't be had: steps that result in them must run. Tells whether that is news.
    pub fn lose(&self, layers: &[LayerId]) -> bool {
        let own = layers.iter().filter(|layer| !self.bases.has(layer));
        let mut found = self.found();
        let before = found.lost.len();
        found.lost.extend(own);
        found.lost.len() > before
    }

    /// Whether the files of a result can be had, as far as that is known without asking anybody.
    fn can_be_had(&self, output: &Snapshot) -> Result<bool> {
        for id in self.store.absent(output)?.iter().filter(|id| !self.bases.has(id)) {
            if self.found().lost.contains(id) {
                return Ok(false);
            }
            // Directories go away, with whoever made them.
            let sources = self.store.layer_sources(id)?;
            let gone = |source: &LayerSource| {
                LocalBackend::of_location(&source.location).is_some_and(|local| !local.is_there(&source.blob))
            };
            if !sources.is_empty() && sources.iter().all(gone) && !self.store.has_blob(&sources[0].blob.digest)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn caches(&self) -> Arc<[Opened]> {
        if let Some(caches) = self.imports.get() {
            return caches;
        }
        let mut caches = None;
        (self.blocking)(&mut || caches = Some(self.imports.wait()));
        caches.unwrap_or_else(|| self.imports.wait())
    }

    /// The first cache with such a step whose layers can be had.
    fn find(&self, step: impl Fn(&Cache) -> Option<&Step>) -> Result<Option<(Record<Snapshot>, String)>> {
        for (position, Opened { cache, .. }) in self.caches().iter().enumerate() {
            let Some(step) = step(cache) else { continue };
            if let Some(output) = self.output(position, cache, step)?
                && self.can_be_had(&output)?
            {
                return Ok(Some((record(cache, step, output), cache.name().to_owned())));
            }
        }
        Ok(None)
    }

    /// The result of a step, with those of its layers absent that the store does not have. `None` when it stands on a
    /// base image that is not there, when it can't be mounted, and when it is nothing: whatever makes nothing is soon
    /// done again.
    fn output(&self, position: usize, cache: &Cache, step: &Step) -> Result<Option<Snapshot>> {
        let chain = cache.chain(step.chain);
        let mounted = chain.iter().filter_map(|&number| cache.layer(number)).filter(|layer| !layer.empty).count();
        if chain.is_empty() || mounted > MOST_MOUNTED {
            return Ok(None);
        }
        let mut layers = Vec::with_capacity(chain.len());
        for number in chain {
            let Some(id) = self.layer(position, cache, number)? else { return Ok(None) };
            layers.push(id);
        }
        Ok(Some(Snapshot { layers }))
    }

    fn layer(&self, position: usize, cache: &Cache, number: u32) -> Result<Option<LayerId>> {
        if let Some(id) = self.found().layers.get(&(position, number)) {
            return Ok(Some(*id));
        }
        let Some(layer) = cache.layer(number) else { return Ok(None) };
        let id = match &layer.at {
            At::Base(chain_id) => match self.bases.layer(chain_id) {
                Some(id) => Some(id),
                None => self.store.layer_by_chain_id(&chain_id.to_string())?,
            },
            At::Blob(blob) => Some(self.store.put_absent_layer(&AbsentLayer {
                diff_id: layer.diff_id,
                tar_size: layer.tar_size,
                chain_id: claimed(layer),
                content: layer.content,
                empty: layer.empty,
                created_ms: (layer.created_ms != 0).then_some(layer.created_ms),
                parent: None,
                built: !layer.foreign,
                source: LayerSource {
                    blob: blob.info(),
                    media_type: blob.media_type.clone(),
                    location: cache.location().to_owned(),
                    recipe: layer.packed.clone(),
                },
            })?),
        };
        if let Some(id) = id {
            self.found().layers.insert((position, number), id);
        }
        Ok(id)
    }
}

/// What finds a layer of a cache again. The layers of steps say all of what they are: on nothing they are the same as on
/// each other. It is no chain id of an image, and what the cache says of the layer is part of it: an image that is pulled
/// later, and another cache, are none the worse for a cache that lies.
fn claimed(layer: &Layer) -> String {
    let content = layer.content.as_ref().map(ToString::to_string).unwrap_or_default();
    let made = if layer.foreign { " foreign" } else { "" };
    format!("step {} {content} {}{made}", layer.diff_id, if layer.empty { "empty" } else { "files" })
}

fn record(cache: &Cache, step: &Step, output: Snapshot) -> Record<Snapshot> {
    Record {
        recipe: step.recipe,
        content: step.content,
        op: step.op,
        kind: cache.kind(step).to_owned(),
        name: step.name.clone(),
        // Of a project on another machine.
        lineage: String::new(),
        components: cache.components(step).cloned().collect(),
        output,
        cost: Duration::from_micros(step.cost_us),
        created_ms: step.created_ms,
    }
}

impl Records for SharedRecords {
    type Output = Snapshot;
    type Error = builder_cache::Error;

    fn by_recipe(&self, key: &CacheKey) -> Result<Option<Record<Snapshot>>> {
        if let Some(record) = self.store.by_recipe(key)?
            && self.can_be_had(&record.output)?
        {
            return Ok(Some(record));
        }
        let Some((record, cache)) = self.find(|cache| cache.by_recipe(key))? else { return Ok(None) };
        self.store.apply(&[Change::Insert(record.clone())])?;
        // An image is what it is; that a cache stands on it, too, says nothing.
        if !record.components.iter().any(|component| component.part == Part::Image) {
            self.found().steps.insert(*key, cache);
        }
        Ok(Some(record))
    }

    fn by_content(&self, key: &CacheKey) -> Result<Option<Record<Snapshot>>> {
        if let Some(record) = self.store.by_content(key)?
            && self.can_be_had(&record.output)?
        {
            return Ok(Some(record));
        }
        let Some((record, cache)) = self.find(|cache| cache.by_content(key))? else { return Ok(None) };
        self.found().contents.insert(*key, cache);
        Ok(Some(record))
    }

    fn has_op(&self, op: &OpDigest) -> Result<bool> {
        Ok(self.store.has_op(op)? || self.caches().iter().any(|opened| opened.cache.has_op(op)))
    }

    fn apply(&self, changes: &[Change<Snapshot>]) -> Result<()> {
        self.store.apply(changes)?;
        let mut found = self.found();
        for change in changes {
            if let Change::Insert(Record { recipe, content: Some(content), .. }) = change
                && let Some(cache) = found.contents.get(content).cloned()
            {
                found.steps.insert(*recipe, cache);
            }
        }
        Ok(())
    }

    fn nearest(&self, lineage: &str, name: &str) -> Result<Option<Nearest<Snapshot>>> {
        if let Some(nearest) = self.store.nearest(lineage, name)? {
            return Ok(Some(nearest));
        }
        let caches = self.caches();
        let found = caches.iter().find_map(|Opened { cache, .. }| Some((cache, cache.by_name(name)?)));
        Ok(found.map(|(cache, step)| Nearest {
            recipe: step.recipe,
            op: step.op,
            components: cache.components(step).cloned().collect(),
            // To write only what is different, somebody would have to download it first.
            output: None,
        }))
    }

    fn tree_changes(&self, old: &ContentDigest, new: &ContentDigest, limit: usize) -> Result<Option<Vec<PathChange>>> {
        self.store.tree_changes(old, new, limit)
    }
}

impl fmt::Debug for SharedRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedRecords").field("imports", &self.imports).finish_non_exhaustive()
    }
}

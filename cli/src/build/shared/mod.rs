//! Shared caches of a build: `--cache-from` and `--cache-to`.
//!
//! Caches are opened on a thread of their own while the build is planned, and nobody waits for them before the store
//! has missed something. They are written beside the export of the image.

mod mounts;
mod object;
mod spec;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use builder_cache::{DiffId, Snapshot, Store};
use builder_executor::op::CarriedMounts;
use builder_image::compress::{Compression, Encoding};
use builder_image::remote_cache::{
    Backend, Bases, Error, GhaBackend, Imports, LocalBackend, Mode, RegistryBackend, S3Backend, SendOptions, SentMount,
    SharedRecords, Target, collect, inline, is_guarded, open, send,
};
use builder_solver::{CacheKey, Graph, Op, Source, VertexId};
use serde_json::Value;

use self::mounts::{Carried, pack, used};
use self::spec::{CacheTo, Named, Place, cache_from, cache_to};
use self::watch::Shown;
use super::request::BuildRequest;
use super::result::{BuildResult, PlatformResult};
use crate::commands::Global;
use crate::csv::truth;
use crate::error::{CliError, CliResult};
use crate::outputs::OutputSpec;
use crate::progress::{Progress, Step, Warning};
use crate::{provider, signals};

/// The build argument that asks for a cache inside of the image.
const INLINE: &str = "BUILDKIT_INLINE_CACHE";

/// What the requests say of caches.
#[derive(Debug)]
pub(super) struct SharedCaches {
    from: Vec<Place>,
    /// Each once, with the requests that write it.
    to: Vec<(CacheTo, Vec<usize>)>,
    /// The requests whose images have a cache inside.
    inline: Vec<bool>,
    imports: Arc<Imports>,
    /// Cache mounts travel, too.
    with_mounts: bool,
}

impl SharedCaches {
    /// Reads what the requests say; nothing is connected.
    pub(super) fn new(requests: &[BuildRequest]) -> CliResult<Self> {
        let (mut from, mut to): (Vec<Place>, Vec<(CacheTo, Vec<usize>)>) = (Vec::new(), Vec::new());
        let mut inline = vec![false; requests.len()];
        for (position, request) in requests.iter().enumerate() {
            let args = &request.args;
            for text in args.cache_from.iter().filter(|text| !text.is_empty()) {
                for place in cache_from(text).map_err(|error| usage("from", text, &error, cache_from))? {
                    if !from.contains(&place) {
                        from.push(place);
                    }
                }
            }
            for text in args.cache_to.iter().filter(|text| !text.is_empty()) {
                for cache in cache_to(text).map_err(|error| usage("to", text, &error, cache_to))? {
                    if cache.place == Place::Inline {
                        inline[position] = true;
                    } else if request.linked {
                        // It goes nowhere, and neither does its cache.
                    } else if let Some((_, users)) = to.iter_mut().find(|(known, _)| *known == cache) {
                        users.push(position);
                    } else {
                        to.push((cache, vec![position]));
                    }
                }
            }
            let asked =
                args.arguments.iter().rev().find_map(|argument| argument.strip_prefix(INLINE)?.strip_prefix('='));
            inline[position] |= asked.and_then(truth).unwrap_or(false);
        }
        let twice = to
            .iter()
            .enumerate()
            .find(|(number, (cache, _))| to.iter().take(*number).any(|(other, _)| other.place == cache.place));
        if let Some((_, (cache, _))) = twice {
            let message = format!("--cache-to: {} is written twice, in different ways", cache.place);
            return Err(CliError::Usage(message));
        }
        Ok(Self {
            from,
            to,
            inline,
            imports: Arc::default(),
            with_mounts: requests.iter().any(|request| request.args.cache_mounts),
        })
    }

    /// Begins to open the caches that were named.
    pub(super) fn begin(&self, global: &Global, progress: &Progress) {
        if self.from.is_empty() {
            return self.imports.set(Vec::new());
        }
        let (imports, global, progress) = (Arc::clone(&self.imports), global.clone(), progress.clone());
        let places = self.from.clone();
        thread::spawn(move || {
            let opened: Vec<_> = thread::scope(|scope| {
                let (global, progress) = (&global, &progress);
                let opening = |place| scope.spawn(move || import(global, place, progress));
                let threads: Vec<_> = places.iter().map(opening).collect();
                threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
            });
            imports.set(opened.into_iter().flatten().collect());
        });
    }

    /// What new cache mounts begin with.
    pub(super) fn carried(&self) -> Option<Arc<dyn CarriedMounts>> {
        let carried = (self.with_mounts && !self.from.is_empty()).then(|| Arc::new(Carried(Arc::clone(&self.imports))));
        carried.map(|carried| carried as Arc<dyn CarriedMounts>)
    }

    /// The cache mounts that go out, by key, with their names.
    pub(super) fn mounts(&self, graph: &Graph, targets: &[VertexId]) -> BTreeMap<CacheKey, String> {
        if self.with_mounts { used(graph, targets) } else { BTreeMap::new() }
    }

    /// The records of the build.
    pub(super) fn records(&self, store: &Store, bases: &Arc<Bases>) -> SharedRecords {
        let block: fn(&mut dyn FnMut()) = |wait| tokio::task::block_in_place(wait);
        SharedRecords::new(store.clone(), Arc::clone(&self.imports), Arc::clone(bases), block)
    }

    /// Whether anything goes to a place of its own.
    pub(super) fn writes(&self) -> bool {
        !self.to.is_empty()
    }

    /// Whether anything goes into images.
    pub(super) fn writes_inline(&self) -> bool {
        self.inline.contains(&true)
    }

    /// What writes a cache into the images of a request.
    pub(super) fn inline<'a>(&'a self, position: usize, store: &'a Store, bases: &'a Bases) -> Option<Inline<'a>> {
        let asked = self.inline.get(position).copied().unwrap_or(false);
        asked.then_some(Inline { store, bases })
    }

    /// Writes all caches, one after the other: their layers are packed once.
    pub(super) fn export(&self, export: &Export<'_>) -> CliResult<()> {
        let mut failure = Ok(());
        let mut mounts = None;
        for (cache, users) in &self.to {
            let step = export.progress.step(&format!("exporting cache to {}", named(&cache.place)));
            match self.write(export, cache, users, &mut mounts, &step) {
                Ok(()) => step.done(),
                Err(error) if cache.ignore_error => {
                    let message = format!("the cache was not written to {}: {}", cache.place, error.text());
                    step.warn(Warning { message, ..Warning::default() });
                    step.done();
                }
                Err(error) => {
                    let error = error.context(&format!("the cache can't be written to {}", cache.place));
                    step.failed(error.text());
                    failure = failure.and(Err(error));
                }
            }
        }
        failure
    }

    fn write(
        &self,
        export: &Export<'_>,
        cache: &CacheTo,
        users: &[usize],
        mounts: &mut Option<Vec<SentMount>>,
        step: &Step,
    ) -> CliResult<()> {
        let results = users.iter().filter_map(|&user| export.results.get(user));
        let targets = results.flat_map(|result| &result.platforms).map(target).collect::<Vec<_>>();
        // Whoever exports knows what it took steps from.
        let imports = self.imports.wait();
        let part = step.part("preparing build cache for export");
        let collected = collect(export.store, &imports, export.bases, &targets, cache.mode)?;
        drop(part);
        let mounts = match mounts {
            Some(mounts) => mounts,
            None => mounts.insert(pack(export.store, &export.mounts, &imports, step)?),
        };
        let outputs = users.iter().filter_map(|&user| export.outputs.get(user));
        let encoding = cache.encoding.unwrap_or_else(|| usual(outputs.flatten()));
        let options = SendOptions { encoding, force: cache.force };
        let backend = backend(export.global, &cache.place)?;
        let watch = Shown::new(step);
        let sent = send(export.store, &collected, mounts, &imports, backend.as_ref(), &options, &watch)?;
        step.note(format!("writing cache image manifest {}", sent.manifest));
        Ok(())
    }
}

/// What is wrong with an option, told of the text without its access keys.
fn usage<T>(flag: &str, text: &str, error: &str, read: impl Fn(&str) -> Result<T, String>) -> CliError {
    let shown = object::concealed(text);
    let error = if shown == text { error.to_owned() } else { read(&shown).err().unwrap_or_default() };
    CliError::Usage(format!("--cache-{flag} `{shown}`: {error}"))
}

/// What there is to write caches of.
#[derive(Debug)]
pub(super) struct Export<'a> {
    pub(super) global: &'a Global,
    pub(super) store: &'a Store,
    pub(super) progress: &'a Progress,
    pub(super) bases: &'a Bases,
    /// The cache mounts that go along, by key, with their names.
    pub(super) mounts: BTreeMap<CacheKey, String>,
    /// Of each request.
    pub(super) outputs: &'a [Vec<OutputSpec>],
    pub(super) results: &'a [BuildResult],
}

/// Writes a cache into images.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inline<'a> {
    store: &'a Store,
    bases: &'a Bases,
}

impl Inline<'_> {
    /// The member of the config of an image with these layers.
    pub(super) fn member(&self, result: &PlatformResult, diff_ids: &[DiffId]) -> CliResult<Option<Value>> {
        let collected = collect(self.store, &[], self.bases, &[target(result)], Mode::Min)?;
        Ok(inline(self.store, &collected, &result.snapshot, diff_ids)?)
    }
}

/// Fetches the layers of results that stay here from the caches that had them: those may be written anew tomorrow, or
/// let nobody in. What is pushed can be had from where it went, unless a cache that wants a key has it alone. Layers of
/// base images wait until somebody needs their files.
pub(super) fn fetch_kept<'a>(
    store: &Store,
    bases: &Bases,
    results: impl Iterator<Item = &'a Snapshot>,
    pushed: bool,
) -> CliResult<()> {
    let mut layers = Vec::new();
    for result in results {
        for layer in store.absent(result)? {
            let sources = store.layer_sources(&layer)?;
            let guarded = !sources.is_empty() && sources.iter().all(|source| is_guarded(&source.location));
            let passing = !pushed && !bases.has(&layer);
            if (guarded || passing) && !layers.contains(&layer) {
                layers.push(layer);
            }
        }
    }
    Ok(store.provide(&layers)?)
}

/// The images that a graph stands on.
pub(super) fn bases(store: &Store, graph: &Graph) -> CliResult<Arc<Bases>> {
    let mut bases = Bases::default();
    for (_, vertex) in graph.vertices() {
        if let Op::Source(Source::Image { id, .. }) = &vertex.op
            && let Ok(id) = id.parse()
            && let Some(image) = store.image(&id)?
        {
            bases.add(&image);
        }
    }
    Ok(Arc::new(bases))
}

fn target(result: &PlatformResult) -> Target {
    Target { recipe: result.target, snapshot: result.snapshot.clone() }
}

/// How layers are packed when nobody says: as an output wants them, so that it is done once, and else in the way that
/// is fastest.
fn usual<'a>(outputs: impl IntoIterator<Item = &'a OutputSpec>) -> Encoding {
    let packs = |output: &&OutputSpec| match output {
        OutputSpec::Archive(_) => true,
        OutputSpec::Image(image) => image.push,
        _ => false,
    };
    let packed = outputs.into_iter().find(packs).and_then(|output| {
        let default = match output {
            OutputSpec::Archive(archive) => archive.kind.codec(),
            _ => Compression::Gzip,
        };
        output.image().map(|form| form.encoding(default))
    });
    packed.filter(|encoding| !matches!(encoding.compression, Compression::Estargz)).unwrap_or(Compression::Zstd.into())
}

/// A place as steps name it, in BuildKit's words where it has some.
fn named(place: &Place) -> String {
    match place {
        Place::Registry(reference) => format!("registry {reference}"),
        Place::Local(..) => format!("local {place}"),
        place => place.to_string(),
    }
}

fn backend(global: &Global, place: &Place) -> CliResult<Arc<dyn Backend>> {
    Ok(match place {
        Place::Registry(reference) => Arc::new(RegistryBackend::new(provider::registry(global)?, reference)),
        Place::Local(directory, Named::Tag(tag)) => Arc::new(LocalBackend::tag(directory, tag)),
        Place::Local(directory, Named::Digest(digest)) => Arc::new(LocalBackend::digest(directory, *digest)),
        Place::S3(cache) => {
            let backend = S3Backend::new(cache.place.clone(), &cache.name, &cache.access)?;
            let backend = Arc::new(match cache.parallel {
                Some(parallel) => backend.in_parallel(parallel),
                None => backend,
            });
            provider::know_cache(Arc::clone(&backend) as Arc<dyn Backend>);
            backend
        }
        Place::Gha(cache) => {
            let backend = Arc::new(GhaBackend::new(&cache.place, &cache.scope, signals::stop()));
            provider::know_cache(Arc::clone(&backend) as Arc<dyn Backend>);
            backend
        }
        Place::Inline => return Err(CliError::message("a cache inside of an image is no place of its own")),
    })
}

/// Opens a cache. One that is not there, or not to be used, is a warning: then the steps run.
fn import(global: &Global, place: &Place, progress: &Progress) -> Vec<builder_image::remote_cache::Opened> {
    let step = progress.step(&format!("importing cache manifest from {place}"));
    let opened = backend(global, place).and_then(|backend| Ok(open(&backend)?));
    match opened {
        Ok(opened) => {
            step.done();
            opened
        }
        Err(error) => {
            // Before the first export there is none.
            let missing = matches!(&error, CliError::Failed { error, .. }
                if matches!(error.downcast_ref::<Error>(), Some(Error::Missing(_))));
            if missing {
                step.note("there is none yet");
                step.done();
            } else {
                let message = format!("the cache {place} is not used: {}", error.text());
                step.warn(Warning { message, ..Warning::default() });
                step.done();
            }
            Vec::new()
        }
    }
}

//! From collected steps to a cache in a backend.
//!
//! A layer is packed only when no blob of it is known, and sent only when the backend does not have it: of a cache that
//! is exported again nothing is sent, not even its manifest.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use builder_cache::{BlobDigest, BlobInfo, DiffId, LayerId, LayerSource, Store};
use builder_solver::{CacheKey, ContentDigest};

use super::backend::{Backend, Blob};
use super::cache::At;
use super::collect::{Collected, Held};
use super::error::Error;
use super::format::{CONFIG_TYPE, Document, LayerEntry, MountEntry, RecordEntry, SCHEMA};
use super::local::open_at;
use super::manifest::{self, EMPTY, EMPTY_TYPE, MANIFEST_TYPE};
use super::open::Opened;
use crate::archive::MediaTypes;
use crate::compress::{Encoding, Format};
use crate::layer::{WriteOptions, layer_blob};
use crate::transfer::{State, Watch};

/// How layers are packed.
#[derive(Debug, Clone, Copy)]
pub struct SendOptions {
    /// How layers of which there is no blob are compressed.
    pub encoding: Encoding,
    /// Whether those of which there is another blob are, too.
    pub force: bool,
}

/// A cache mount to send: a blob of the store, or of an imported cache.
#[derive(Debug, Clone)]
pub struct SentMount {
    /// The imported cache that has it, when the store does not.
    pub import: Option<usize>,
    /// Which mount it is.
    pub key: CacheKey,
    /// What people call it.
    pub name: String,
    /// Its files.
    pub blob: Blob,
}

/// What was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The digest of the manifest.
    pub manifest: BlobDigest,
    /// Steps in the cache.
    pub steps: usize,
    /// Blobs of layers in the cache.
    pub blobs: usize,
    /// How many of those had to be sent.
    pub sent: usize,
    /// Bytes that were sent for them.
    pub bytes: u64,
}

/// A layer that is packed, and where its blob can be taken from when it is not in the store.
#[derive(Debug, Clone)]
struct Packed {
    entry: LayerEntry,
    blob: Blob,
    from: From,
}

/// Where a blob can be taken from when it is not in the store.
#[derive(Debug, Clone, Default)]
struct From {
    sources: Vec<LayerSource>,
    /// The layer that it is a blob of.
    layer: Option<LayerId>,
    /// The imported cache that has it.
    import: Option<usize>,
}

/// Sends a cache. `imports` are those that it was collected with.
///
/// # Errors
/// When a layer can't be had, or when the backend fails.
pub fn send(
    store: &Store,
    collected: &Collected,
    mounts: &[SentMount],
    imports: &[Opened],
    backend: &dyn Backend,
    options: &SendOptions,
    watch: &dyn Watch,
) -> Result<Sent, Error> {
    let before = backend.manifest(None)?;
    let sender = Sender {
        store,
        collected,
        imports,
        backend,
        options,
        watch,
        begun: Mutex::default(),
        sent: AtomicUsize::new(0),
        bytes: Mutex::new(0),
    };
    let layers = sender.layers()?;
    for mount in mounts {
        sender.deliver(&mount.blob, &From { import: mount.import, ..From::default() })?;
    }
    let (document, mut blobs) = document(collected, &layers, mounts);
    let config = serde_json::to_vec(&document).map_err(|error| Error::damaged(&backend.name(), error.to_string()))?;
    let (count, sent) = (blobs.len(), sender.sent.load(Ordering::Relaxed));
    let config_blob = sender.bytes(CONFIG_TYPE, &config)?;
    if blobs.is_empty() {
        blobs.push(sender.bytes(EMPTY_TYPE, EMPTY)?);
    }
    let bytes =
        manifest::write(&config_blob, &blobs).map_err(|error| Error::damaged(&backend.name(), error.to_string()))?;
    if before.as_deref() != Some(bytes.as_slice()) {
        blobs.push(config_blob);
        backend.put_manifest(MANIFEST_TYPE, &bytes, &blobs)?;
    }
    let bytes_sent = *sender.bytes.lock().unwrap_or_else(PoisonError::into_inner);
    let steps = collected.records.len();
    Ok(Sent { manifest: BlobDigest::of(&bytes), steps, blobs: count, sent, bytes: bytes_sent })
}

struct Sender<'a> {
    store: &'a Store,
    collected: &'a Collected,
    imports: &'a [Opened],
    backend: &'a dyn Backend,
    options: &'a SendOptions,
    watch: &'a dyn Watch,
    /// Blobs that somebody sends or sent.
    begun: Mutex<HashSet<BlobDigest>>,
    sent: AtomicUsize,
    bytes: Mutex<u64>,
}

impl Sender<'_> {
    /// Packs and sends all layers, several at once. `None` stands for those of base images.
    fn layers(&self) -> Result<Vec<Option<Packed>>, Error> {
        let layers = &self.collected.layers;
        let done: Mutex<Vec<Option<Packed>>> = Mutex::new(vec![None; layers.len()]);
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let failure = Mutex::new(None);
        let work = || {
            while !failed.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(held) = layers.get(number) else { break };
                match self.layer(number, held) {
                    Ok(packed) => done.lock().unwrap_or_else(PoisonError::into_inner)[number] = packed,
                    Err(error) => {
                        failed.store(true, Ordering::Relaxed);
                        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                }
            }
        };
        let threads = self.backend.parallel().clamp(1, layers.len().max(1));
        thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    fn layer(&self, number: usize, held: &Held) -> Result<Option<Packed>, Error> {
        let packed = match held {
            Held::Base { .. } => return Ok(None),
            Held::Store(id) => self.pack(number, *id)?,
            Held::Import(position, number) => self.imported(*position, *number)?,
        };
        self.deliver(&packed.blob, &packed.from)?;
        Ok(Some(packed))
    }

    /// A layer of the store.
    fn pack(&self, number: usize, id: LayerId) -> Result<Packed, Error> {
        let layer = self.store.layer(&id)?;
        let from = From { sources: self.store.layer_sources(&id)?, layer: Some(id), import: None };
        let entry = |diff_id, tar_size, packed| LayerEntry {
            diff_id,
            tar_size,
            content: layer.meta.content,
            empty: layer.meta.empty && layer.meta.base.is_none(),
            created: layer.meta.created_ms,
            chain_id: None,
            blob: None,
            foreign: layer.meta.source_blob.is_some(),
            packed,
        };
        if let Some(diff_id) = layer.meta.diff_id
            && let Some((blob, packed)) = self.known_blob(&diff_id, layer.meta.source_blob, &from.sources)?
        {
            return Ok(Packed { entry: entry(diff_id, layer.meta.tar_size, packed), blob, from });
        }
        if layer.absent
            && let Err(error) = self.store.provide(&[id])
        {
            return Err(Error::NoLayer { layer: id.to_string(), step: self.maker(number), reason: error.to_string() });
        }
        let made = layer_blob(self.store, &id, self.options.encoding, &WriteOptions::default())?;
        let size = self.store.layer(&id)?.meta.tar_size;
        let format = self.options.encoding.compression.format();
        let blob = Blob { media_type: media_type(format), digest: made.blob.digest, size: made.blob.size };
        Ok(Packed { entry: entry(made.diff_id, size, Some(self.options.encoding.recipe())), blob, from })
    }

    /// A blob that exists somewhere, if it may be taken, and how it was made.
    fn known_blob(
        &self,
        diff_id: &DiffId,
        own: Option<BlobDigest>,
        sources: &[LayerSource],
    ) -> Result<Option<(Blob, Option<String>)>, Error> {
        let wanted = self.options.encoding.recipe();
        if let Some(info) = self.store.layer_blob(diff_id, &wanted)? {
            let format = self.options.encoding.compression.format();
            let blob = Blob { media_type: media_type(format), digest: info.digest, size: info.size };
            return Ok(Some((blob, Some(wanted))));
        }
        let elsewhere = |source: &LayerSource| {
            let LayerSource { blob, media_type, recipe, .. } = source;
            (Blob { media_type: media_type.clone(), digest: blob.digest, size: blob.size }, recipe.clone())
        };
        if self.options.force {
            let same = sources.iter().find(|source| source.recipe.as_ref() == Some(&wanted));
            return Ok(same.map(elsewhere));
        }
        let own = own.map(|own| self.store.blob(&own)).transpose()?.flatten();
        for info in own.into_iter().chain(self.store.layer_blobs(diff_id)?) {
            let format = self.format(&info)?;
            if MediaTypes::Oci.layer(format).is_some() {
                let blob = Blob { media_type: media_type(format), digest: info.digest, size: info.size };
                return Ok(Some((blob, self.store.blob_recipe(diff_id, &info.digest)?)));
            }
        }
        Ok(sources.first().map(elsewhere))
    }

    fn format(&self, blob: &BlobInfo) -> Result<Format, Error> {
        use std::io::Read;
        let mut first = Vec::new();
        let read = self.store.open_blob(&blob.digest)?.take(16).read_to_end(&mut first);
        read.map_err(|error| Error::io("the store", "read", error))?;
        Ok(Format::of(&first))
    }

    /// A layer that is only in another cache.
    fn imported(&self, position: usize, number: u32) -> Result<Packed, Error> {
        let gone = || Error::damaged("import", format!("it has no layer {number}"));
        let opened = self.imports.get(position).ok_or_else(gone)?;
        let layer = opened.cache.layer(number).ok_or_else(gone)?;
        let At::Blob(blob) = &layer.at else { return Err(gone()) };
        let entry = LayerEntry {
            diff_id: layer.diff_id,
            tar_size: layer.tar_size,
            content: layer.content,
            empty: layer.empty,
            created: layer.created_ms,
            chain_id: None,
            blob: None,
            foreign: layer.foreign,
            packed: layer.packed.clone(),
        };
        let source = LayerSource {
            blob: blob.info(),
            media_type: blob.media_type.clone(),
            location: opened.cache.location().to_owned(),
            recipe: layer.packed.clone(),
        };
        Ok(Packed {
            entry,
            blob: blob.clone(),
            from: From { sources: vec![source], layer: None, import: Some(position) },
        })
    }

    /// Makes sure that the backend has a blob.
    fn deliver(&self, blob: &Blob, from: &From) -> Result<(), Error> {
        if !self.begun.lock().unwrap_or_else(PoisonError::into_inner).insert(blob.digest) {
            return Ok(());
        }
        let info = blob.info();
        if self.backend.has_blob(&info)? {
            self.watch.note(&blob.digest, State::Exists);
            return Ok(());
        }
        for source in from.sources.iter().filter(|source| source.blob.digest == blob.digest) {
            if self.backend.take_over(&info, source)? {
                self.watch.note(&blob.digest, State::Mounted { from: source.location.clone() });
                return Ok(());
            }
        }
        let advance = |done| self.watch.note(&blob.digest, State::Uploading { done, total: blob.size });
        advance(0);
        let stored = self.store.has_blob(&blob.digest)?;
        if let Some(opened) = self.import_of(from).filter(|_| !stored) {
            self.backend.put_blob(&info, &|offset| open_remote(opened, &info, offset), &advance)?;
        } else {
            if let Some(layer) = from.layer {
                self.store.provide_blob(&layer, &blob.digest)?;
            }
            let path = self.store.blob_path(&blob.digest);
            self.backend.put_blob(&info, &|offset| open_at(&path, offset), &advance)?;
        }
        self.watch.note(&blob.digest, State::Done);
        self.sent.fetch_add(1, Ordering::Relaxed);
        *self.bytes.lock().unwrap_or_else(PoisonError::into_inner) += blob.size;
        Ok(())
    }

    /// The imported cache that has a blob.
    fn import_of(&self, from: &From) -> Option<&Opened> {
        let named = from.import.and_then(|position| self.imports.get(position));
        named.or_else(|| {
            let mut imports = self.imports.iter();
            imports.find(|opened| from.sources.iter().any(|source| source.location == opened.cache.location()))
        })
    }

    /// Makes sure that the backend has these bytes.
    fn bytes(&self, media_type: &str, bytes: &[u8]) -> Result<Blob, Error> {
        let blob = Blob { media_type: media_type.to_owned(), digest: BlobDigest::of(bytes), size: bytes.len() as u64 };
        if !self.backend.has_blob(&blob.info())? {
            let open = |offset: u64| -> std::io::Result<Box<dyn std::io::Read + Send>> {
                let rest = bytes.get(usize::try_from(offset).unwrap_or(usize::MAX)..).unwrap_or_default();
                Ok(Box::new(std::io::Cursor::new(rest.to_vec())))
            };
            self.backend.put_blob(&blob.info(), &open, &|_| ())?;
        }
        Ok(blob)
    }

    /// The name of a step with this layer.
    fn maker(&self, layer: usize) -> String {
        let maker = u32::try_from(layer).ok().and_then(|layer| self.collected.makers.get(&layer));
        let record = maker.and_then(|&maker| self.collected.records.get(maker as usize));
        record.map(|record| record.name.clone()).unwrap_or_default()
    }
}

fn open_remote(opened: &Opened, blob: &BlobInfo, offset: u64) -> std::io::Result<Box<dyn std::io::Read + Send>> {
    use std::io::Read;
    let mut input = opened.backend.blob(blob).map_err(std::io::Error::other)?;
    std::io::copy(&mut input.by_ref().take(offset), &mut std::io::sink())?;
    Ok(input)
}

pub(super) fn media_type(format: Format) -> String {
    MediaTypes::Oci.layer(format).unwrap_or(oci_spec::image::MediaType::ImageLayer).to_string()
}

/// The document, and the blobs that its manifest lists, in the order of the layers. Layers that turned out to be the
/// same are one: what is written does not depend on when that was known.
fn document(collected: &Collected, layers: &[Option<Packed>], mounts: &[SentMount]) -> (Document, Vec<Blob>) {
    let mut blobs = Vec::new();
    let mut positions: HashMap<BlobDigest, u32> = HashMap::new();
    let mut position = |blob: &Blob| {
        *positions.entry(blob.digest).or_insert_with(|| {
            blobs.push(blob.clone());
            number(blobs.len() - 1)
        })
    };
    let mut entries: Vec<LayerEntry> = Vec::with_capacity(layers.len());
    let mut known: HashMap<(Option<BlobDigest>, DiffId), u32> = HashMap::new();
    let mut numbers = Vec::with_capacity(layers.len());
    for (held, packed) in collected.layers.iter().zip(layers) {
        let entry = packed.as_ref().map_or_else(|| base_entry(held), |packed| packed.entry.clone());
        let place = *known.entry((entry.chain_id, entry.diff_id)).or_insert(number(entries.len()));
        if place == number(entries.len()) {
            entries.push(LayerEntry { blob: packed.as_ref().map(|packed| position(&packed.blob)), ..entry });
        }
        numbers.push(place);
    }
    let (chains, places) = merge_chains(&collected.chains, &numbers);
    let records = collected
        .records
        .iter()
        .map(|record| RecordEntry { chain: record.chain.map(|chain| places[chain as usize]), ..record.clone() });
    let records = records.collect();
    let mounts =
        mounts.iter().map(|mount| MountEntry { key: mount.key, name: mount.name.clone(), blob: position(&mount.blob) });
    let mounts = mounts.collect();
    let components = collected.components.clone();
    let keys = builder_solver::cache_key::VERSION;
    (Document { schema: SCHEMA, keys, layers: entries, chains, components, records, mounts }, blobs)
}

/// Chains of layers that have new numbers, and the new number of each chain.
fn merge_chains(chains: &[(Option<u32>, u32)], layers: &[u32]) -> (Vec<(Option<u32>, u32)>, Vec<u32>) {
    let (mut merged, mut known, mut places) = (Vec::with_capacity(chains.len()), HashMap::new(), Vec::new());
    for (below, layer) in chains {
        let link = (below.map(|below| places[below as usize]), layers[*layer as usize]);
        let place = *known.entry(link).or_insert(number(merged.len()));
        if place == number(merged.len()) {
            merged.push(link);
        }
        places.push(place);
    }
    (merged, places)
}

fn number(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

/// A layer of a base image.
pub(super) fn base_entry(held: &Held) -> LayerEntry {
    let (diff_id, chain_id) = match held {
        Held::Base { chain_id, diff_id } => (*diff_id, Some(*chain_id)),
        Held::Store(_) | Held::Import(..) => (DiffId::of_empty_tar(), None),
    };
    LayerEntry {
        diff_id,
        tar_size: None,
        content: None::<ContentDigest>,
        empty: false,
        created: 0,
        chain_id,
        blob: None,
        foreign: true,
        packed: None,
    }
}

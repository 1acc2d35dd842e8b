//! Which steps and layers a cache is to have.
//!
//! From the targets back along the inputs, each record once: in the store, or else in the caches that were imported, so
//! that a build that found everything hands on everything.

use std::collections::{HashMap, HashSet};

use builder_cache::{BlobDigest, DiffId, Image, LayerId, Snapshot, Store, StoredRecord};
use builder_solver::address::redact_text;
use builder_solver::{CacheKey, Component, Part};

use super::cache::{At, Cache};
use super::components::Components;
use super::error::Error;
use super::format::RecordEntry;
use super::open::Opened;
use crate::archive::chain_ids;

/// How much a cache has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// The steps whose layers are in the result.
    #[default]
    Min,
    /// All steps.
    Max,
}

/// A result whose steps a cache is to have.
#[derive(Debug, Clone)]
pub struct Target {
    /// The recipe key of its last step.
    pub recipe: CacheKey,
    /// What it is.
    pub snapshot: Snapshot,
}

/// The images that a build stands on. Their layers are found by chain id wherever the same build is made.
#[derive(Debug, Clone, Default)]
pub struct Bases {
    by_chain: HashMap<BlobDigest, LayerId>,
    by_layer: HashMap<LayerId, (BlobDigest, DiffId)>,
}

impl Bases {
    /// Adds an image.
    pub fn add(&mut self, image: &Image) {
        if image.diff_ids.len() != image.snapshot.layers.len() {
            return;
        }
        let chain = chain_ids(&image.diff_ids).into_iter().zip(&image.diff_ids);
        for (layer, (chain, diff_id)) in image.snapshot.layers.iter().zip(chain) {
            self.by_chain.entry(chain).or_insert(*layer);
            self.by_layer.entry(*layer).or_insert((chain, *diff_id));
        }
    }

    /// Whether a layer belongs to one of the images.
    pub fn has(&self, layer: &LayerId) -> bool {
        self.by_layer.contains_key(layer)
    }

    pub(super) fn layer(&self, chain: &BlobDigest) -> Option<LayerId> {
        self.by_chain.get(chain).copied()
    }
}

/// Steps and layers for a cache.
#[derive(Debug)]
pub struct Collected {
    pub(super) layers: Vec<Held>,
    pub(super) chains: Vec<(Option<u32>, u32)>,
    pub(super) components: Vec<Component>,
    pub(super) records: Vec<RecordEntry>,
    /// A step for each layer, to be named when the layer can't be had.
    pub(super) makers: HashMap<u32, u32>,
}

impl Collected {
    /// How many steps there are.
    pub fn steps(&self) -> usize {
        self.records.len()
    }
}

/// A layer, and where it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Held {
    /// It belongs to a base image.
    Base { chain_id: BlobDigest, diff_id: DiffId },
    /// In the store, or known to it.
    Store(LayerId),
    /// In an imported cache: which one, and its number there.
    Import(usize, u32),
}

/// Collects what the targets are made of. `imports` are the caches that the build could take steps from.
///
/// # Errors
/// When the store can't be read.
pub fn collect(
    store: &Store,
    imports: &[Opened],
    bases: &Bases,
    targets: &[Target],
    mode: Mode,
) -> Result<Collected, Error> {
    let mut collector = Collector { store, imports, bases, graph: Graph::default() };
    for target in targets {
        collector.walk(target.recipe)?;
    }
    // After the walk: of equal layers the first one counts, whatever is known of them before.
    let mut wanted = HashSet::new();
    for target in targets {
        for layer in &target.snapshot.layers {
            wanted.insert(collector.stored(*layer)?);
        }
    }
    Ok(collector.graph.finish((mode == Mode::Min).then_some(&wanted)))
}

struct Collector<'a> {
    store: &'a Store,
    imports: &'a [Opened],
    bases: &'a Bases,
    graph: Graph,
}

/// What makes two layers one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Same {
    Chain(BlobDigest),
    Tar(DiffId),
    Layer(LayerId),
}

#[derive(Debug, Default)]
struct Graph {
    layers: Vec<Held>,
    numbers: HashMap<Same, u32>,
    /// What was looked up before.
    stored: HashMap<LayerId, u32>,
    imported: HashMap<(usize, u32), u32>,
    chains: Vec<(Option<u32>, u32)>,
    chain_numbers: HashMap<(Option<u32>, u32), u32>,
    components: Components,
    records: Vec<RecordEntry>,
    seen: HashSet<CacheKey>,
}

/// A record, wherever it is.
enum Origin<'a> {
    Store(Box<StoredRecord>),
    Import(usize, &'a super::cache::Step),
}

impl<'a> Collector<'a> {
    /// Inputs come before their users. No recursion: chains of steps can be long.
    fn walk(&mut self, target: CacheKey) -> Result<(), Error> {
        let mut waiting: Vec<(CacheKey, Option<Origin<'a>>)> = vec![(target, None)];
        while let Some((key, origin)) = waiting.pop() {
            if let Some(origin) = origin {
                self.add(&origin)?;
                continue;
            }
            if !self.graph.seen.insert(key) {
                continue;
            }
            let Some(origin) = self.find(&key)? else { continue };
            let inputs: Vec<CacheKey> = match &origin {
                Origin::Store(record) => record.inputs().collect(),
                Origin::Import(cache, step) => inputs(self.imports[*cache].cache.components(step)).collect(),
            };
            waiting.push((key, Some(origin)));
            waiting.extend(inputs.into_iter().rev().map(|input| (input, None)));
        }
        Ok(())
    }

    fn find(&self, key: &CacheKey) -> Result<Option<Origin<'a>>, Error> {
        let stored = self.store.stored_record(key)?;
        if let Some(record) = stored.as_ref().filter(|record| record.output.is_some()) {
            return Ok(Some(Origin::Store(Box::new(record.clone()))));
        }
        let imported = self.imports.iter().enumerate();
        let imported = imported.filter_map(|(position, opened)| Some((position, opened.cache.by_recipe(key)?)));
        Ok(match imported.into_iter().next() {
            Some((position, step)) => Some(Origin::Import(position, step)),
            // One whose result is gone still tells what came before it.
            None => stored.map(|record| Origin::Store(Box::new(record))),
        })
    }

    fn add(&mut self, origin: &Origin<'a>) -> Result<(), Error> {
        let record = match origin {
            Origin::Store(record) => {
                let Some(output) = &record.output else { return Ok(()) };
                let mut chain = None;
                for layer in &output.layers {
                    let layer = self.stored(*layer)?;
                    chain = Some(self.graph.chain(chain, layer));
                }
                RecordEntry {
                    name: redact_text(&record.name),
                    components: record.components.iter().map(|one| self.graph.components.add(one)).collect(),
                    content: record.content,
                    chain,
                    cost: u64::try_from(record.cost.as_micros()).unwrap_or(u64::MAX),
                    created: record.created_ms,
                }
            }
            Origin::Import(position, step) => {
                let cache = &self.imports[*position].cache;
                let mut chain = None;
                for number in cache.chain(step.chain) {
                    let Some(layer) = self.imported(*position, cache, number) else { return Ok(()) };
                    chain = Some(self.graph.chain(chain, layer));
                }
                RecordEntry {
                    name: redact_text(&step.name),
                    components: cache.components(step).map(|one| self.graph.components.add(one)).collect(),
                    content: step.content,
                    chain,
                    cost: step.cost_us,
                    created: step.created_ms,
                }
            }
        };
        self.graph.records.push(record);
        Ok(())
    }

    /// The number of a layer of the store.
    fn stored(&mut self, id: LayerId) -> Result<u32, Error> {
        if let Some(number) = self.graph.stored.get(&id) {
            return Ok(*number);
        }
        let number = if let Some(&(chain_id, diff_id)) = self.bases.by_layer.get(&id) {
            self.graph.layer(Same::Chain(chain_id), Held::Base { chain_id, diff_id })
        } else {
            let meta = self.store.layer(&id)?.meta;
            let chain_id: Option<BlobDigest> = meta.chain_id.and_then(|chain| chain.parse().ok());
            match (meta.diff_id, chain_id) {
                // Of an image that the build does not stand on any more: its tar says nothing of directories that are
                // those of the layers below, so upon nothing it would be other files.
                (Some(diff_id), Some(chain_id)) if chain_id != diff_id.into() => {
                    self.graph.layer(Same::Chain(chain_id), Held::Base { chain_id, diff_id })
                }
                (diff_id, _) => self.graph.layer(diff_id.map_or(Same::Layer(id), Same::Tar), Held::Store(id)),
            }
        };
        self.graph.stored.insert(id, number);
        Ok(number)
    }

    /// The number of a layer of an imported cache.
    fn imported(&mut self, position: usize, cache: &Cache, number: u32) -> Option<u32> {
        if let Some(known) = self.graph.imported.get(&(position, number)) {
            return Some(*known);
        }
        let layer = cache.layer(number)?;
        let known = match &layer.at {
            At::Base(chain_id) => {
                let held = Held::Base { chain_id: *chain_id, diff_id: layer.diff_id };
                self.graph.layer(Same::Chain(*chain_id), held)
            }
            At::Blob(_) => self.graph.layer(Same::Tar(layer.diff_id), Held::Import(position, number)),
        };
        self.graph.imported.insert((position, number), known);
        Some(known)
    }
}

fn inputs<'a>(components: impl Iterator<Item = &'a Component>) -> impl Iterator<Item = CacheKey> {
    components.filter_map(|component| match component.part {
        Part::Input(_) => Some(CacheKey::from_bytes(*component.digest.as_bytes())),
        _ => None,
    })
}

impl Graph {
    fn layer(&mut self, same: Same, held: Held) -> u32 {
        let next = number(self.layers.len());
        let known = *self.numbers.entry(same).or_insert(next);
        if known == next {
            self.layers.push(held);
        }
        known
    }

    fn chain(&mut self, below: Option<u32>, layer: u32) -> u32 {
        let next = number(self.chains.len());
        let known = *self.chain_numbers.entry((below, layer)).or_insert(next);
        if known == next {
            self.chains.push((below, layer));
        }
        known
    }

    /// Leaves out the steps with a layer that is not `wanted`, and whatever only they needed.
    fn finish(self, wanted: Option<&HashSet<u32>>) -> Collected {
        let Self { layers, chains, components, mut records, .. } = self;
        let mut whole: Vec<bool> = Vec::with_capacity(chains.len());
        for (below, layer) in &chains {
            let below = below.is_none_or(|below| whole[below as usize]);
            whole.push(below && wanted.is_none_or(|wanted| wanted.contains(layer)));
        }
        records.retain(|record| record.chain.is_none_or(|chain| whole[chain as usize]));
        let mut kept = Kept { layers, chains, ..Kept::default() };
        let (mut own, components) = (Components::default(), components.into_vec());
        let mut makers = HashMap::new();
        for (position, record) in records.iter_mut().enumerate() {
            record.chain = record.chain.map(|chain| kept.chain(chain));
            if let Some(chain) = record.chain {
                makers.entry(kept.out_chains[chain as usize].1).or_insert(number(position));
            }
            for component in &mut record.components {
                *component = own.add(&components[*component as usize]);
            }
        }
        Collected { layers: kept.out_layers, chains: kept.out_chains, components: own.into_vec(), records, makers }
    }
}

/// Numbers anew what is used.
#[derive(Debug, Default)]
struct Kept {
    layers: Vec<Held>,
    chains: Vec<(Option<u32>, u32)>,
    new_layers: HashMap<u32, u32>,
    new_chains: HashMap<u32, u32>,
    out_layers: Vec<Held>,
    out_chains: Vec<(Option<u32>, u32)>,
}

impl Kept {
    fn chain(&mut self, top: u32) -> u32 {
        let mut missing = Vec::new();
        let mut next = Some(top);
        while let Some(chain) = next.filter(|chain| !self.new_chains.contains_key(chain)) {
            missing.push(chain);
            next = self.chains[chain as usize].0;
        }
        for chain in missing.into_iter().rev() {
            let (below, layer) = self.chains[chain as usize];
            let below = below.map(|below| self.new_chains[&below]);
            let fresh = number(self.out_layers.len());
            let layer_number = *self.new_layers.entry(layer).or_insert(fresh);
            if layer_number == fresh {
                self.out_layers.push(self.layers[layer as usize].clone());
            }
            self.new_chains.insert(chain, number(self.out_chains.len()));
            self.out_chains.push((below, layer_number));
        }
        self.new_chains[&top]
    }
}

fn number(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

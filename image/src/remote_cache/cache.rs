//! A cache that was read: its config, checked, and found by key.

use std::collections::{HashMap, HashSet};

use builder_cache::{BlobDigest, DiffId};
use builder_solver::cache_key::{self, keys_of};
use builder_solver::{CacheKey, Component, ContentDigest, OpDigest, Part};

use super::backend::Blob;
use super::error::Error;
use super::format::{
    CONFIG_LIMIT, DEEPEST_CHAIN, Document, LONGEST_NAME, LayerEntry, MOST_CHAINS, MOST_COMPONENTS, MOST_HASHED,
    MOST_LAYERS, MOST_MOUNTS, MOST_RECORDS, MountEntry, RecordEntry, SCHEMA, Versions,
};
use crate::compress::Encoding;

/// A cache.
#[derive(Debug)]
pub struct Cache {
    name: String,
    location: String,
    layers: Vec<Layer>,
    chains: Vec<(Option<u32>, u32)>,
    components: Vec<Component>,
    steps: Vec<Step>,
    mounts: Vec<CarriedMount>,
    by_recipe: HashMap<CacheKey, usize>,
    by_content: HashMap<CacheKey, usize>,
    by_name: HashMap<String, usize>,
    ops: HashSet<OpDigest>,
}

/// A step of a cache.
#[derive(Debug)]
pub struct Step {
    /// The key that it is found by before anything runs.
    pub recipe: CacheKey,
    /// The key that it is found by when its inputs came out the same.
    pub content: Option<CacheKey>,
    /// Its definition.
    pub op: OpDigest,
    /// Its name for people.
    pub name: String,
    /// How long it took, in microseconds.
    pub cost_us: u64,
    /// When it ran, in milliseconds since the epoch.
    pub created_ms: i64,
    components: Vec<u32>,
    pub(super) chain: Option<u32>,
}

/// A layer of a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layer {
    pub(super) diff_id: DiffId,
    pub(super) tar_size: Option<u64>,
    pub(super) content: Option<ContentDigest>,
    pub(super) empty: bool,
    pub(super) created_ms: i64,
    /// Its tar is not what its files are written as.
    pub(super) foreign: bool,
    /// How its blob was made, when that is a way that is known here.
    pub(super) packed: Option<String>,
    pub(super) at: At,
}

/// Where a layer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum At {
    /// In a base image; this is its chain id there.
    Base(BlobDigest),
    /// In the cache.
    Blob(Blob),
}

/// A cache mount that came along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarriedMount {
    /// Which mount it is.
    pub key: CacheKey,
    /// What people call it.
    pub name: String,
    /// Its files.
    pub blob: Blob,
}

impl Cache {
    /// Reads a config; `blobs` are those that its manifest lists.
    ///
    /// # Errors
    /// When it breaks any rule of the format, or when its keys mean something else than here.
    pub(super) fn decode(name: &str, location: &str, config: &[u8], blobs: &[Blob]) -> Result<Self, Error> {
        let damaged = |reason: String| Error::damaged(name, reason);
        if config.len() as u64 > CONFIG_LIMIT {
            return Err(damaged(format!("its config has more than {CONFIG_LIMIT} bytes")));
        }
        let json = |error: serde_json::Error| damaged(format!("its config can't be understood ({error})"));
        let versions: Versions = serde_json::from_slice(config).map_err(json)?;
        if versions.schema != SCHEMA || versions.keys != cache_key::VERSION {
            let reason = "a builder of another version made it, whose keys mean something else".to_owned();
            return Err(Error::NotACache { place: name.to_owned(), reason });
        }
        let document: Document = serde_json::from_slice(config).map_err(json)?;
        Self::check(name, location, document, blobs).map_err(damaged)
    }

    fn check(name: &str, location: &str, document: Document, blobs: &[Blob]) -> Result<Self, String> {
        let Document { layers, chains, components, records, mounts, .. } = document;
        let most = [
            ("layers", layers.len(), MOST_LAYERS),
            ("chains", chains.len(), MOST_CHAINS),
            ("components", components.len(), MOST_COMPONENTS),
            ("records", records.len(), MOST_RECORDS),
            ("mounts", mounts.len(), MOST_MOUNTS),
        ];
        if let Some((what, count, limit)) = most.into_iter().find(|(_, count, limit)| count > limit) {
            return Err(format!("it has {count} {what}; at most {limit} are accepted"));
        }
        let layers = layers.iter().map(|entry| layer(entry, blobs)).collect::<Result<Vec<_>, _>>()?;
        check_chains(&chains, layers.len())?;
        let mounts = mounts.into_iter().map(|entry| mount(entry, blobs)).collect::<Result<Vec<_>, _>>()?;
        let mut cache = Self {
            name: name.to_owned(),
            location: location.to_owned(),
            layers,
            chains,
            components,
            steps: Vec::with_capacity(records.len()),
            mounts,
            by_recipe: HashMap::with_capacity(records.len()),
            by_content: HashMap::new(),
            by_name: HashMap::new(),
            ops: HashSet::new(),
        };
        // What all records together may name: a record has a few dozen components, and not all of them.
        let (mut named, mut hashed) = (0, 0);
        for record in records {
            named += record.components.len();
            // Names are hashed anew for each key that they are a part of.
            let used = record.components.iter().filter_map(|&number| cache.components.get(number as usize));
            hashed += used.map(name_length).sum::<usize>();
            if named > 64 * MOST_RECORDS || hashed > MOST_HASHED {
                return Err("its records have too many components".to_owned());
            }
            cache.add(record)?;
        }
        Ok(cache)
    }

    fn add(&mut self, record: RecordEntry) -> Result<(), String> {
        let RecordEntry { name, components, content, chain, cost, created } = record;
        if name.len() > LONGEST_NAME {
            return Err(format!("a step has a name of {} bytes", name.len()));
        }
        if let Some(missing) = components.iter().find(|&&number| self.components.get(number as usize).is_none()) {
            return Err(format!("a step is made of the component {missing}, which is not there"));
        }
        if let Some(missing) = chain.filter(|&number| self.chains.get(number as usize).is_none()) {
            return Err(format!("a step results in the chain {missing}, which is not there"));
        }
        let (op, recipe) = keys_of(components.iter().map(|&number| &self.components[number as usize]));
        let position = self.steps.len();
        // Whoever comes first counts.
        self.by_recipe.entry(recipe).or_insert(position);
        if let Some(content) = content {
            self.by_content.entry(content).or_insert(position);
        }
        self.by_name.insert(name.clone(), position);
        self.ops.insert(op);
        self.steps.push(Step { recipe, content, op, name, cost_us: cost, created_ms: created, components, chain });
        Ok(())
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its blobs are, as in [`builder_cache::LayerSource::location`].
    pub fn location(&self) -> &str {
        &self.location
    }

    /// All steps, inputs before their users.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The cache mounts that came along.
    pub fn mounts(&self) -> &[CarriedMount] {
        &self.mounts
    }

    /// The step with this recipe key.
    pub fn by_recipe(&self, key: &CacheKey) -> Option<&Step> {
        self.by_recipe.get(key).map(|&position| &self.steps[position])
    }

    /// The step with this content key.
    pub fn by_content(&self, key: &CacheKey) -> Option<&Step> {
        self.by_content.get(key).map(|&position| &self.steps[position])
    }

    /// The last step of this name.
    pub fn by_name(&self, name: &str) -> Option<&Step> {
        self.by_name.get(name).map(|&position| &self.steps[position])
    }

    /// Whether a step has this definition.
    pub fn has_op(&self, op: &OpDigest) -> bool {
        self.ops.contains(op)
    }

    /// What the key of a step is made of.
    pub fn components<'a>(&'a self, step: &'a Step) -> impl Iterator<Item = &'a Component> + Clone {
        step.components.iter().map(|&number| &self.components[number as usize])
    }

    /// The op of a step in one word.
    pub fn kind<'a>(&'a self, step: &'a Step) -> &'a str {
        let kind = self.components(step).find(|component| component.part == Part::Kind);
        kind.map_or("", |component| &component.value)
    }

    pub(super) fn layer(&self, number: u32) -> Option<&Layer> {
        self.layers.get(number as usize)
    }

    /// Upon which chain, which layer.
    pub(super) fn link(&self, chain: u32) -> Option<(Option<u32>, u32)> {
        self.chains.get(chain as usize).copied()
    }

    /// The layers of a chain, bottom first.
    pub(super) fn chain(&self, top: Option<u32>) -> Vec<u32> {
        let mut layers = Vec::new();
        let mut next = top;
        // Positions only point backwards: this ends.
        while let Some((below, layer)) = next.and_then(|number| self.link(number)) {
            layers.push(layer);
            next = below;
        }
        layers.reverse();
        layers
    }
}

/// How long the name is that is hashed with a component.
fn name_length(component: &Component) -> usize {
    if let Part::Env(name) = &component.part { name.len() } else { 0 }
}

fn layer(entry: &LayerEntry, blobs: &[Blob]) -> Result<Layer, String> {
    let LayerEntry { diff_id, tar_size, content, empty, created, foreign, .. } = *entry;
    let at = match (entry.chain_id, entry.blob) {
        (Some(chain_id), None) => At::Base(chain_id),
        (None, Some(number)) => At::Blob(listed(number, blobs)?),
        _ => return Err(format!("the layer {diff_id} must have either a blob or a base image")),
    };
    let packed = entry.packed.clone().filter(|recipe| Encoding::of_recipe(recipe).is_some());
    // Nobody asks for the files of an empty layer, so that nobody would find out.
    let empty = empty && diff_id == DiffId::of(&[0; DiffId::EMPTY_TAR_SIZE]);
    Ok(Layer { diff_id, tar_size, content, empty, created_ms: created, foreign, packed, at })
}

fn mount(entry: MountEntry, blobs: &[Blob]) -> Result<CarriedMount, String> {
    let MountEntry { key, name, blob } = entry;
    if name.len() > LONGEST_NAME {
        return Err(format!("a cache mount has a name of {} bytes", name.len()));
    }
    Ok(CarriedMount { key, name, blob: listed(blob, blobs)? })
}

fn listed(number: u32, blobs: &[Blob]) -> Result<Blob, String> {
    let blob = blobs.get(number as usize);
    let blob = blob.ok_or_else(|| format!("it uses the blob {number}, and its manifest lists {}", blobs.len()))?;
    if blob.size > i64::MAX as u64 {
        return Err(format!("the blob {} can't have {} bytes", blob.digest, blob.size));
    }
    Ok(blob.clone())
}

fn check_chains(chains: &[(Option<u32>, u32)], layers: usize) -> Result<(), String> {
    let mut depths: Vec<u32> = Vec::with_capacity(chains.len());
    for (number, (below, layer)) in chains.iter().enumerate() {
        if *layer as usize >= layers {
            return Err(format!("the chain {number} has the layer {layer}, which is not there"));
        }
        let depth = match below {
            None => 1,
            Some(below) => match depths.get(*below as usize) {
                Some(depth) => depth + 1,
                None => return Err(format!("the chain {number} lies upon {below}, which does not come before it")),
            },
        };
        if depth > DEEPEST_CHAIN {
            return Err(format!("the chain {number} has more than {DEEPEST_CHAIN} layers"));
        }
        depths.push(depth);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_tar_without_files_makes_an_empty_layer() {
        for (tar, is_empty) in [(vec![0; DiffId::EMPTY_TAR_SIZE], true), (b"files".to_vec(), false)] {
            let entry = json!({ "diffId": DiffId::of(&tar), "empty": true, "blob": 0 });
            let blob = json!({ "mediaType": "x", "digest": BlobDigest::of(&tar), "size": tar.len() });
            let entry = serde_json::from_value(entry).unwrap();
            let layer = layer(&entry, &[serde_json::from_value(blob).unwrap()]).unwrap();
            assert_eq!(layer.empty, is_empty);
        }
    }
}

//! Images of the store, made of results.

use builder_cache::{BlobDigest, DiffId, KeyLock, LayerId, NewImage, Store};
use builder_frontend::plan::{LayerFacts, Plan};
use builder_frontend::platform::Platform;
use builder_image::assemble::layer_size;
use builder_image::compress::{Compression as Codec, Encoding};
use builder_image::layer::{WriteOptions, formed_tar, recreate};
use builder_image::remote_cache::INLINE_KEY;
use builder_solver::CacheKey;
use builder_solver::digest::FramedHasher;
use rayon::prelude::*;

use super::Exporter;
use crate::build::result::{BuildResult, PlatformResult};
use crate::commands::images::timestamp;
use crate::error::CliResult;
use crate::outputs::{Epoch, ImageForm};
use crate::progress::Step;

/// What of an output's form decides on the image's config: its layers' tars and its times.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Recipe {
    epoch: Epoch,
    rewrite: bool,
    /// An eStargz is another tar.
    estargz: Option<Encoding>,
    /// Even of layers that came with an image.
    force: bool,
}

impl Recipe {
    pub(super) fn new(form: &ImageForm, default: Codec) -> Self {
        let encoding = form.encoding(default);
        let estargz = (encoding.compression == Codec::Estargz).then_some(encoding);
        let force = estargz.is_some() && form.force_compression;
        Self { epoch: form.epoch, rewrite: form.rewrite_timestamp, estargz, force }
    }

    /// Times are to be rewritten, and nobody says to what.
    pub(super) fn lacks_epoch(&self, result: &BuildResult) -> bool {
        let none = |result: &PlatformResult| self.epoch.or(result.plan.source_date_epoch).is_none();
        self.rewrite && result.platforms.iter().any(none)
    }
}

/// What a build stands on.
#[derive(Debug, Clone, Default)]
pub(super) struct BaseLayers {
    count: usize,
    /// The digests that the base image has for its layers: they may be in another form there than on their own.
    diff_ids: Vec<DiffId>,
}

impl BaseLayers {
    pub(super) fn of(store: &Store, plan: &Plan) -> CliResult<Self> {
        let Some(base) = &plan.base else { return Ok(Self::default()) };
        let image = base.id.parse().ok().map(|id| store.image(&id)).transpose()?.flatten();
        let image = image.filter(|image| image.diff_ids.len() == base.layers);
        Ok(Self { count: base.layers, diff_ids: image.map(|image| image.diff_ids).unwrap_or_default() })
    }
}

/// How a layer becomes a tar.
pub(super) struct LayerTar {
    /// Its digest, when that says all.
    pub(super) known: Option<DiffId>,
    pub(super) write: WriteOptions,
    /// As an eStargz.
    packed: Option<Encoding>,
}

impl Recipe {
    /// How the layer becomes a tar of such an image. `number` is its place there; whoever has none is above the base.
    pub(super) fn tar(
        &self,
        store: &Store,
        base: &BaseLayers,
        clamp: Option<i64>,
        layer: &LayerId,
        number: Option<usize>,
    ) -> CliResult<LayerTar> {
        let meta = store.layer(layer)?.meta;
        let of_base = number.filter(|number| *number < base.count);
        let own = of_base.is_none();
        // Layers of the base image stay as they are, in the form that they have there.
        let known = of_base.and_then(|number| base.diff_ids.get(number)).copied();
        let write = match known {
            Some(diff_id) => recreate(store, layer, &diff_id)?.unwrap_or_default(),
            None => WriteOptions { clamp: clamp.filter(|_| self.rewrite && own) },
        };
        let packed = self.estargz.filter(|_| self.force || (own && meta.source_blob.is_none()));
        let known = known.or(meta.diff_id.filter(|_| write.clamp.is_none())).filter(|_| packed.is_none());
        Ok(LayerTar { known, write, packed })
    }

    /// The latest time that files and config may have.
    pub(super) fn clamp(&self, plan: &Plan) -> Option<i64> {
        self.epoch.or(plan.source_date_epoch)
    }
}

/// An image that was made, for each platform.
pub(super) struct Made {
    pub(super) recipe: Recipe,
    pub(super) platforms: Vec<(Platform, BlobDigest)>,
    /// Held while images are in the store only until the outputs are written, so that nobody names them meanwhile.
    passing: Vec<(BlobDigest, KeyLock)>,
}

impl Made {
    /// The time that is told of the image, when it is fixed.
    pub(super) fn epoch(&self, result: &BuildResult) -> Option<i64> {
        result.platforms.iter().find_map(|result| self.recipe.epoch.or(result.plan.source_date_epoch))
    }

    /// Takes away what was to be there for a moment only.
    pub(super) fn pass(&self, store: &Store) -> CliResult<()> {
        for (id, _) in &self.passing {
            store.remove_nameless_image(id)?;
        }
        Ok(())
    }

    /// Which platform is meant when nobody says one: this machine's, or else the first.
    pub(super) fn default_id(&self) -> Option<BlobDigest> {
        let offers: Vec<builder_image::Platform> =
            self.platforms.iter().map(|(platform, _)| for_image(platform)).collect();
        let best = builder_image::Platform::host().choose(&offers).unwrap_or_default();
        self.platforms.get(best).map(|(_, id)| *id)
    }
}

/// Takes it all away after a failure, which is what is to be told: nobody would ever look for these images.
pub(super) fn pass_all(made: &[Made], store: &Store) {
    for image in made {
        image.pass(store).ok();
    }
}

fn for_image(platform: &Platform) -> builder_image::Platform {
    builder_image::Platform {
        os: platform.os.clone(),
        architecture: platform.architecture.clone(),
        variant: (!platform.variant.is_empty()).then(|| platform.variant.clone()),
    }
}

/// An image that is about to be put into the store.
struct Ready {
    /// Position of its recipe.
    recipe: usize,
    platform: Platform,
    stays: bool,
    config: Vec<u8>,
    image: NewImage,
}

/// Makes an image of each recipe for each platform.
pub(super) fn make(exporter: &Exporter<'_>, recipes: &[(Recipe, bool)], step: &Step) -> CliResult<Vec<Made>> {
    let part = step.part("exporting layers");
    let mut ready = Vec::new();
    for (position, (recipe, stays)) in recipes.iter().enumerate() {
        for result in &exporter.result.platforms {
            ready.push(prepare(exporter, recipe, result, position, *stays)?);
        }
    }
    drop(part);
    let mut made: Vec<Made> = recipes
        .iter()
        .map(|(recipe, _)| Made { recipe: recipe.clone(), platforms: Vec::new(), passing: Vec::new() })
        .collect();
    for one in &ready {
        if let Some(made) = made.get_mut(one.recipe) {
            made.platforms.push((one.platform.clone(), one.image.id));
        }
    }
    // Turns are taken in one order by everybody, and once for each image.
    let mut order: Vec<&Ready> = ready.iter().collect();
    order.sort_by_key(|one| (one.image.id, !one.stays));
    order.dedup_by_key(|one| one.image.id);
    for one in order {
        step.note(format!("writing image {}", one.image.id));
        let turn = match put(exporter.store, one) {
            Ok(turn) => turn,
            Err(error) => {
                pass_all(&made, exporter.store);
                return Err(error);
            }
        };
        if let (Some(turn), Some(made)) = (turn, made.get_mut(one.recipe)) {
            made.passing.push((one.image.id, turn));
        }
    }
    Ok(made)
}

/// Puts an image into the store. Gives the turn back when it is there for a moment only.
fn put(store: &Store, one: &Ready) -> CliResult<Option<KeyLock>> {
    let id = &one.image.id;
    let turn = store.lock_key(&image_key(id))?;
    let passing = !one.stays && store.image(id)?.is_none();
    if !store.has_blob(id)? {
        store.put_blob(&one.config)?;
    }
    store.put_image(&one.image)?;
    Ok(passing.then_some(turn))
}

fn prepare(
    exporter: &Exporter<'_>,
    recipe: &Recipe,
    result: &PlatformResult,
    position: usize,
    stays: bool,
) -> CliResult<Ready> {
    let store = exporter.store;
    let clamp = recipe.clamp(&result.plan);
    let base = BaseLayers::of(store, &result.plan)?;
    let of_layer = |(number, layer): (usize, &LayerId)| {
        let meta = store.layer(layer)?.meta;
        let tar = recipe.tar(store, &base, clamp, layer, Some(number))?;
        let diff_id = match tar.known {
            Some(known) => known,
            None => formed_tar(store, layer, tar.packed.unwrap_or_default(), &tar.write)?.diff_id,
        };
        let created = result.plan.source_date_epoch.map_or(meta.created_ms, |epoch| epoch.saturating_mul(1000));
        let created = clamp.map_or(created, |latest| created.min(latest.saturating_mul(1000)));
        let facts = LayerFacts { diff_id: diff_id.to_string(), created: Some(timestamp(created)) };
        Ok((facts, diff_id, layer_size(store, layer)?))
    };
    let layers: Vec<(LayerFacts, DiffId, u64)> =
        result.snapshot.layers.par_iter().enumerate().map(of_layer).collect::<CliResult<_>>()?;
    let facts: Vec<LayerFacts> = layers.iter().map(|(facts, ..)| facts.clone()).collect();
    let config = result.plan.image_config(&facts)?;
    let created = config.created.as_deref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let diff_ids: Vec<DiffId> = layers.iter().map(|(_, diff_id, _)| *diff_id).collect();
    let cache = exporter.inline.map(|inline| inline.member(result, &diff_ids)).transpose()?.flatten();
    let bytes = match cache {
        None => serde_json::to_vec(&config)?,
        Some(cache) => {
            let mut config = serde_json::to_value(&config)?;
            config[INLINE_KEY] = cache;
            serde_json::to_vec(&config)?
        }
    };
    let image = NewImage {
        id: BlobDigest::of(&bytes),
        snapshot: result.snapshot.clone(),
        diff_ids,
        manifest: None,
        created_ms: created.map_or(0, jiff::Timestamp::as_millisecond),
        size: layers.iter().map(|(.., size)| *size).sum(),
        target: Some(result.target),
    };
    Ok(Ready { recipe: position, platform: result.platform.clone(), stays, config: bytes, image })
}

/// Under which key builders take turns with an image that comes and goes.
fn image_key(id: &BlobDigest) -> CacheKey {
    CacheKey::from_bytes(FramedHasher::new("image").part(id.as_bytes()).finish())
}

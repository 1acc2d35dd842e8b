//! What a tag or digest means: the manifest for a platform, and its config.

use builder_cache::{BlobDigest, BlobInfo, DiffId, LayerSource, Store};
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
use serde::Deserialize;

use super::error::Error;
use super::origin::location;
use crate::archive::descriptor::{DOCKER_LIST, DOCKER_MANIFEST, MANIFEST_LIMIT, layer_format};
use crate::archive::oci::is_attestation;
use crate::config::{CONFIG_LIMIT, ConfigView};
use crate::platform::Platform;
use crate::registry::said::clean;
use crate::registry::{Fetched, Repository, Which};

/// How deep indexes may lead to indexes.
const DEPTH: usize = 4;

/// How many layers an image may have.
const LAYERS: usize = 4096;

/// How many platforms of an index an error names.
const MOST_NAMED: usize = 20;

/// An image of a registry, without its layers.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Host and path of its repository.
    pub repository: String,
    /// The index that was asked for, unless it was a manifest.
    pub index: Option<Fetched>,
    /// The manifest.
    pub manifest: Fetched,
    /// The bytes of the config.
    pub config: Vec<u8>,
    /// The image's id: the digest of the config.
    pub id: BlobDigest,
    /// Which machines it is for, as its config says; and its index, of the variant.
    pub platform: Platform,
    /// Its layers, bottom first: digest of the tar, and where the blob is.
    pub layers: Vec<(DiffId, LayerSource)>,
    pub(super) created_ms: i64,
}

impl Resolved {
    /// The digest of what was asked for: of the index if there is one, else of the manifest.
    pub fn digest(&self) -> BlobDigest {
        self.index.as_ref().unwrap_or(&self.manifest).digest
    }
}

/// Resolves a tag or digest for a platform. Of an index, what fits the platform best is taken; what is no image in it
/// is skipped.
pub fn resolve(repository: &Repository, which: &Which, platform: &Platform) -> Result<Resolved, Error> {
    Resolver { store: None, repository, what: what(repository, which) }.resolve(which, platform)
}

/// The same; what the store has is not asked for.
pub fn resolve_with(
    store: &Store,
    repository: &Repository,
    which: &Which,
    platform: &Platform,
) -> Result<Resolved, Error> {
    Resolver { store: Some(store), repository, what: what(repository, which) }.resolve(which, platform)
}

/// The platforms that an index has images for, each with its manifest; empty for a manifest.
pub fn offers(what: &str, fetched: &Fetched) -> Result<Vec<(Platform, Descriptor)>, Error> {
    if kind(what, fetched)? != Kind::Index {
        return Ok(Vec::new());
    }
    let images = images(what, fetched)?.into_iter();
    Ok(images.filter_map(|image| Some((image.platform().as_ref().map(Platform::from)?, image))).collect())
}

fn what(repository: &Repository, which: &Which) -> String {
    format!("{}{which}", repository.name())
}

struct Resolver<'a> {
    store: Option<&'a Store>,
    repository: &'a Repository,
    /// For messages.
    what: String,
}

/// What a manifest can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Index,
    Image,
}

impl Resolver<'_> {
    fn resolve(&self, which: &Which, platform: &Platform) -> Result<Resolved, Error> {
        let mut fetched = self.manifest(which)?;
        let (mut index, mut listed) = (None, None);
        for _ in 0..DEPTH {
            if kind(&self.what, &fetched)? == Kind::Image {
                let mut image = self.image(index, fetched, platform)?;
                let own = &mut image.platform;
                // Many a config does not say the variant. Two images of an index are told apart by it.
                own.variant = own.variant.take().or(listed
                    .filter(|listed: &Platform| (&listed.os, &listed.architecture) == (&own.os, &own.architecture))
                    .and_then(|listed| listed.variant));
                return Ok(image);
            }
            let (next, place) = self.choose(&fetched, platform)?;
            listed = place.or(listed);
            index.get_or_insert(fetched);
            fetched = self.manifest(&Which::Digest(next)).map_err(|error| match error {
                Error::Registry(source) if source.is_not_found() => {
                    Error::LeftOut { what: self.what.clone(), wanted: platform.to_string(), source: source.into() }
                }
                error => error,
            })?;
        }
        Err(self.malformed("index", "indexes lead to indexes too many times"))
    }

    fn manifest(&self, which: &Which) -> Result<Fetched, Error> {
        if let (Some(store), Which::Digest(digest)) = (self.store, which)
            && store.has_blob(digest)?
            && let Ok(bytes) = store.read_blob(digest, MANIFEST_LIMIT)
        {
            let view = Typed::of(&bytes).unwrap_or_default();
            return Ok(Fetched { digest: *digest, media_type: view.media_type.unwrap_or_default(), bytes });
        }
        Ok(self.repository.manifest(which)?)
    }

    /// The manifest in an index that fits best, and what the index says it is for.
    fn choose(&self, index: &Fetched, platform: &Platform) -> Result<(BlobDigest, Option<Platform>), Error> {
        let images = images(&self.what, index)?;
        let platforms: Vec<Option<Platform>> =
            images.iter().map(|image| image.platform().as_ref().map(Platform::from)).collect();
        let known: Vec<&Platform> = platforms.iter().flatten().collect();
        let chosen = match (images.as_slice(), known.is_empty()) {
            ([], _) => return Err(self.no_image("its index lists no image")),
            // One that does not say what it is for is for everybody, as its config may know better.
            ([only], true) => only,
            _ => {
                let best = platform.choose(known.iter().copied()).and_then(|at| known.get(at)).copied();
                let at = best.and_then(|best| platforms.iter().position(|other| other.as_ref() == Some(best)));
                match at.and_then(|at| images.get(at)) {
                    Some(image) => image,
                    None => return Err(self.no_platform(platform, &known)),
                }
            }
        };
        Ok((self.digest(chosen, "index")?, chosen.platform().as_ref().map(Platform::from)))
    }

    fn image(&self, index: Option<Fetched>, manifest: Fetched, wanted: &Platform) -> Result<Resolved, Error> {
        let parsed: ImageManifest = parse("manifest", &self.what, &manifest.bytes)?;
        match parsed.config().media_type() {
            MediaType::ImageConfig => {}
            MediaType::Other(other) if other.starts_with("application/vnd.docker.container.image.") => {}
            other => return Err(self.no_image(format!("it is an artifact of the type {other}"))),
        }
        let id = self.digest(parsed.config(), "manifest")?;
        let config = self.config(&id)?;
        let view: ConfigView = parse("config", &self.what, &config)?;
        // An index may be wrong about what it lists, but not about a platform that nothing was asked for.
        if index.is_some() && wanted.os != view.platform.os {
            return Err(self.no_platform(wanted, &[&view.platform]));
        }
        let (layers, diff_ids) = (parsed.layers(), view.diff_ids());
        if layers.len() != diff_ids.len() || layers.len() > LAYERS {
            let reason = format!("it has {} layers, and its config {}", layers.len(), diff_ids.len());
            return Err(self.malformed("manifest", reason));
        }
        let location = location(self.repository);
        let source = |layer: &Descriptor| {
            let media_type = layer.media_type().to_string();
            if layer_format(&media_type).is_none() {
                return Err(self.no_image(format!("it has a layer of the type {media_type}")));
            }
            let blob = BlobInfo { digest: self.digest(layer, "manifest")?, size: layer.size() };
            Ok(LayerSource { blob, media_type, location: location.clone(), recipe: None })
        };
        let layers = diff_ids.iter().zip(layers).map(|(diff_id, layer)| Ok((*diff_id, source(layer)?)));
        let layers = layers.collect::<Result<_, Error>>()?;
        let created_ms = view.created_ms();
        let repository = self.repository.name();
        Ok(Resolved { repository, index, manifest, config, id, platform: view.platform, layers, created_ms })
    }

    fn config(&self, id: &BlobDigest) -> Result<Vec<u8>, Error> {
        if let Some(store) = self.store
            && store.has_blob(id)?
            && let Ok(bytes) = store.read_blob(id, CONFIG_LIMIT)
        {
            return Ok(bytes);
        }
        Ok(self.repository.small_blob(id, CONFIG_LIMIT)?)
    }

    fn digest(&self, descriptor: &Descriptor, part: &'static str) -> Result<BlobDigest, Error> {
        let digest = descriptor.digest().to_string();
        digest.parse().map_err(|_| self.malformed(part, format!("`{digest}` is no digest that is supported here")))
    }

    fn no_platform(&self, wanted: &Platform, found: &[&Platform]) -> Error {
        let mut names: Vec<_> = found.iter().take(MOST_NAMED).filter_map(|found| clean(&found.to_string())).collect();
        if found.len() > MOST_NAMED {
            names.push(format!("and {} more", found.len() - MOST_NAMED));
        }
        let found = names.join(", ");
        Error::NoPlatform { what: self.what.clone(), wanted: wanted.to_string(), found }
    }

    fn no_image(&self, reason: impl AsRef<str>) -> Error {
        Error::NotAnImage { what: self.what.clone(), reason: clean(reason.as_ref()).unwrap_or_default() }
    }

    fn malformed(&self, part: &'static str, reason: impl AsRef<str>) -> Error {
        Error::Malformed { part, what: self.what.clone(), reason: clean(reason.as_ref()).unwrap_or_default() }
    }
}

/// The images of an index.
fn images(what: &str, index: &Fetched) -> Result<Vec<Descriptor>, Error> {
    let index: ImageIndex = parse("index", what, &index.bytes)?;
    Ok(index.manifests().iter().filter(|image| !is_attestation(image)).cloned().collect())
}

/// The little that all manifests have in common.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    schema_version: Option<u64>,
    media_type: Option<String>,
    #[serde(default)]
    manifests: serde_json::Value,
}

impl Typed {
    fn of(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// What a manifest is. Its own word counts; what the registry says of it may be wrong, and it may say nothing.
fn kind(what: &str, fetched: &Fetched) -> Result<Kind, Error> {
    let typed: Typed = parse("manifest", what, &fetched.bytes)?;
    let media_type = typed.media_type.as_deref().unwrap_or(&fetched.media_type);
    match media_type.split(';').next().unwrap_or_default().trim() {
        "application/vnd.oci.image.index.v1+json" | DOCKER_LIST => Ok(Kind::Index),
        "application/vnd.oci.image.manifest.v1+json" | DOCKER_MANIFEST => Ok(Kind::Image),
        _ if typed.schema_version == Some(1) => Err(Error::NotAnImage {
            what: what.to_owned(),
            reason: "its manifest has the schema version 1, which nothing writes any more: push it again".to_owned(),
        }),
        "" | "application/json" | "text/plain" | "application/octet-stream" => {
            Ok(if typed.manifests.is_array() { Kind::Index } else { Kind::Image })
        }
        other => Err(Error::NotAnImage {
            what: what.to_owned(),
            reason: format!("its manifest is of the type {}", clean(other).unwrap_or_default()),
        }),
    }
}

fn parse<T: serde::de::DeserializeOwned>(part: &'static str, what: &str, bytes: &[u8]) -> Result<T, Error> {
    let parsed = serde_json::from_slice(bytes);
    parsed.map_err(|error| {
        let reason = clean(&error.to_string()).unwrap_or_default();
        Error::Malformed { part, what: what.to_owned(), reason }
    })
}

//! Images of registries: when they are asked for, and what the store has of them then.

mod policy;
mod show;

use builder_cache::{BlobDigest, Named, Store};
use builder_image::pull::{self, Error, Registered};
use builder_image::registry::{Registry, Repository, Which};
use builder_image::{Platform, Reference};

use crate::error::{CliError, CliResult};
use crate::store;

pub(crate) use self::policy::PullPolicy;
pub(crate) use self::show::{Puller, Voice, for_run};

/// An image that a registry was asked about, and that the store knows now. Its layers may be absent.
#[derive(Debug)]
pub(crate) struct Pulled {
    /// The image.
    pub(crate) id: BlobDigest,
    /// What the registry knows the tag by.
    pub(crate) digest: BlobDigest,
    /// The tag named another image before, or none.
    pub(crate) changed: bool,
}

/// Asks the registry what a reference means for a platform, and lets the store know the image, under its names, without
/// its layers. What the store knows costs one question.
pub(crate) fn image(
    store: &Store,
    registry: &Registry,
    reference: &Reference,
    platform: &Platform,
) -> Result<Pulled, Error> {
    let repository = registry.repository(reference);
    let which = match Which::of(reference) {
        Which::Tag(tag) => match repository.head(&Which::Tag(tag.clone()))? {
            Some(head) => Which::Digest(head.digest),
            // What the registry says to the question itself is told.
            None => Which::Tag(tag),
        },
        digest @ Which::Digest(_) => digest,
    };
    if let Which::Digest(digest) = &which
        && is_known(store, &repository, digest, platform)?
        && let Some(pulled) = named(store, reference, *digest, platform)?
    {
        return Ok(pulled);
    }
    let resolved = pull::resolve_with(store, &repository, &which, platform)?;
    let registered = pull::register(store, &resolved)?;
    finish(store, reference, &registered)
}

fn finish(store: &Store, reference: &Reference, image: &Registered) -> Result<Pulled, Error> {
    let before = pull::name(store, reference, tag_of(reference), image)?;
    Ok(Pulled { id: image.id, digest: image.digest(), changed: before != Some(image.id) })
}

/// A reference with a digest gives no tag, whatever tag stands in it.
fn tag_of(reference: &Reference) -> Option<&builder_image::reference::Tag> {
    reference.tag().filter(|_| reference.digest().is_none())
}

/// Whether the store has what a digest of the repository means for the platform, and an index would offer nothing that
/// fits better.
fn is_known(store: &Store, repository: &Repository, digest: &BlobDigest, platform: &Platform) -> Result<bool, Error> {
    let Some(named) = store.name(&format!("{}@{digest}", repository.name()))? else { return Ok(false) };
    let Some((own, id)) = on_platform(store, &named, platform) else { return Ok(false) };
    Ok(platform.is(&own) || store.image(&id)?.is_some_and(|image| image.manifest == Some(*digest)))
}

/// Which of the images that a name stands for is for a platform.
fn on_platform(store: &Store, named: &Named, platform: &Platform) -> Option<(Platform, BlobDigest)> {
    let mut offers: Vec<(Platform, BlobDigest)> = if named.platforms.is_empty() {
        vec![(of_config(store, &named.image).ok()?, named.image)]
    } else {
        listed(named)
    };
    let at = platform.choose(offers.iter().map(|(offer, _)| offer))?;
    Some(offers.swap_remove(at))
}

/// The images of a name for several platforms.
fn listed(named: &Named) -> Vec<(Platform, BlobDigest)> {
    named.platforms.iter().filter_map(|(text, id)| Some((self::platform(Some(text)).ok()?, *id))).collect()
}

/// What an image is for by its config.
fn of_config(store: &Store, id: &BlobDigest) -> CliResult<Platform> {
    let config = store::config(store, id)?;
    let variant = Some(config.variant).filter(|variant| !variant.is_empty());
    Ok(Platform { os: config.os, architecture: config.architecture, variant })
}

/// What an image that was found by a name is for.
pub(crate) fn platform_of(store: &Store, name: &str, id: &BlobDigest) -> CliResult<Platform> {
    let named = store.name(name)?;
    let listed = named.iter().flat_map(listed).find(|(_, other)| other == id);
    listed.map_or_else(|| of_config(store, id), |(platform, _)| Ok(platform))
}

/// The tag stands for what the digest stands for.
fn named(
    store: &Store,
    reference: &Reference,
    digest: BlobDigest,
    platform: &Platform,
) -> Result<Option<Pulled>, Error> {
    let tag = tag_of(reference);
    let Some((known, before)) = pull::name_known(store, reference, tag, &digest)? else { return Ok(None) };
    let id = on_platform(store, &known, platform).map_or(known.image, |(_, id)| id);
    Ok(Some(Pulled { id, digest, changed: tag.is_some() && before != Some(known.image) }))
}

/// The name of a reference in the store: by digest when it has one.
pub(crate) fn store_name(reference: &Reference) -> String {
    match reference.digest() {
        Some(digest) => format!("{}@{digest}", reference.name()),
        None => reference.to_string(),
    }
}

/// The platform of an option, or this machine's.
pub(crate) fn platform(text: Option<&str>) -> CliResult<Platform> {
    let Some(text) = text else { return Ok(Platform::host()) };
    let platform: builder_frontend::platform::Platform = text.parse().map_err(CliError::message)?;
    let variant = Some(platform.variant).filter(|variant| !variant.is_empty());
    Ok(Platform { os: platform.os, architecture: platform.architecture, variant })
}

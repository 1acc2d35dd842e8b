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
        && let Some(known) = known(store, &repository, digest, platform)?
    {
        return named(store, reference, *digest, &known, platform);
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

/// What the store has under a digest of the repository, if there is one for the platform in it.
fn known(
    store: &Store,
    repository: &Repository,
    digest: &BlobDigest,
    platform: &Platform,
) -> Result<Option<Named>, Error> {
    let Some(named) = store.name(&format!("{}@{digest}", repository.name()))? else { return Ok(None) };
    Ok(on_platform(store, &named, platform).map(|_| named))
}

/// Which of the images that a name stands for is for a platform.
fn on_platform(store: &Store, named: &Named, platform: &Platform) -> Option<BlobDigest> {
    let images = if named.platforms.is_empty() {
        vec![named.image]
    } else {
        named.platforms.iter().map(|(_, id)| *id).collect()
    };
    let mut offers = Vec::with_capacity(images.len());
    for id in &images {
        let config = store::config(store, id).ok()?;
        let variant = Some(config.variant).filter(|variant| !variant.is_empty());
        offers.push(Platform { os: config.os, architecture: config.architecture, variant });
    }
    platform.choose(&offers).and_then(|at| images.get(at).copied())
}

/// The tag stands for what the digest stands for.
fn named(
    store: &Store,
    reference: &Reference,
    digest: BlobDigest,
    known: &Named,
    platform: &Platform,
) -> Result<Pulled, Error> {
    let id = on_platform(store, known, platform).unwrap_or(known.image);
    let mut changed = false;
    if let Some(tag) = tag_of(reference) {
        let before = store.set_name(&format!("{}:{tag}", reference.name()), known)?;
        changed = before != Some(known.image);
    }
    Ok(Pulled { id, digest, changed })
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

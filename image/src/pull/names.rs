//! What the store calls an image that was pulled.

use builder_cache::{BlobDigest, KeyLock, Named, Store};
use builder_solver::CacheKey;
use builder_solver::digest::FramedHasher;

use super::error::Error;
use super::register::Registered;
use crate::platform::Platform;
use crate::reference::{Reference, Tag};

/// Names an image after where it was pulled from: by digest, and by the tag if there is one. When its index was pulled
/// for other platforms before, the names stand for all of these images. Tells which image the tag named before.
pub fn name(
    store: &Store,
    reference: &Reference,
    tag: Option<&Tag>,
    image: &Registered,
) -> Result<Option<BlobDigest>, Error> {
    let by_digest = format!("{}@{}", reference.name(), image.digest());
    let _turn = turn(store, &by_digest)?;
    let target = target(store, &by_digest, image)?;
    store.set_name(&by_digest, &target)?;
    if image.index.is_some() {
        store.set_name(&format!("{}@{}", reference.name(), image.manifest), &Named::one(image.id))?;
    }
    match tag {
        Some(tag) => Ok(store.set_name(&format!("{}:{tag}", reference.name()), &target)?),
        None => Ok(None),
    }
}

/// Gives a tag what the digest of its repository stands for in the store. Tells that, and which image the tag named
/// before; nothing when the store does not know the digest any more.
pub fn name_known(
    store: &Store,
    reference: &Reference,
    tag: Option<&Tag>,
    digest: &BlobDigest,
) -> Result<Option<(Named, Option<BlobDigest>)>, Error> {
    let by_digest = format!("{}@{digest}", reference.name());
    let _turn = turn(store, &by_digest)?;
    let Some(known) = store.name(&by_digest)? else { return Ok(None) };
    let before = match tag {
        Some(tag) => store.set_name(&format!("{}:{tag}", reference.name()), &known)?,
        None => None,
    };
    Ok(Some((known, before)))
}

/// Two that pull an index for two platforms add to its names one after the other.
fn turn(store: &Store, by_digest: &str) -> Result<KeyLock, Error> {
    let key = CacheKey::from_bytes(FramedHasher::new("name").part(by_digest.as_bytes()).finish());
    Ok(store.lock_key(&key)?)
}

/// The image, and those that the same index is known to have for other platforms.
fn target(store: &Store, by_digest: &str, image: &Registered) -> Result<Named, Error> {
    let alone = Named::one(image.id);
    if image.index.is_none() {
        return Ok(alone);
    }
    let mut platforms = Vec::new();
    if let Some(known) = store.name(by_digest)? {
        platforms = known.platforms;
        if platforms.is_empty() && known.image != image.id {
            platforms.push((platform_of(store, &known.image)?, known.image));
        }
    }
    let platform = image.platform.to_string();
    platforms.retain(|(known, id)| *known != platform && *id != image.id);
    // What only the index tells is to be remembered.
    if platforms.is_empty() && platform_of(store, &image.id)? == platform {
        return Ok(alone);
    }
    platforms.push((platform, image.id));
    let host = Platform::host().to_string();
    let mine = platforms.iter().find(|(platform, _)| *platform == host).map_or(image.id, |(_, id)| *id);
    Ok(Named { platforms, ..Named::one(mine) })
}

fn platform_of(store: &Store, id: &BlobDigest) -> Result<String, Error> {
    let bytes = store.read_blob(id, crate::config::CONFIG_LIMIT)?;
    let view = crate::config::ConfigView::parse(&bytes);
    Ok(view.map_or_else(|_| Platform::host().to_string(), |view| view.platform.to_string()))
}

//! What the store calls an image that was pulled.

use builder_cache::{BlobDigest, Named, Store};

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

/// The image, and those that the same index is known to have for other platforms.
fn target(store: &Store, by_digest: &str, image: &Registered) -> Result<Named, Error> {
    let alone = Named::one(image.id);
    let Some(known) = store.name(by_digest)?.filter(|_| image.index.is_some()) else { return Ok(alone) };
    let mut platforms = known.platforms;
    if platforms.is_empty() && known.image != image.id {
        platforms.push((platform_of(store, &known.image)?, known.image));
    }
    let platform = image.platform.to_string();
    platforms.retain(|(known, id)| *known != platform && *id != image.id);
    if platforms.is_empty() {
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

//! Finding the store, and images in it by what people call them.

use std::path::PathBuf;

use anyhow::Context;
use builder_cache::{BlobDigest, Image, Store};
use builder_frontend::config::ImageConfig;
use builder_image::Reference;

use crate::commands::Global;
use crate::error::{CliError, CliResult};
use crate::{provider, pull};

/// The largest config that is read (8 MiB; real ones have kilobytes).
const MAX_CONFIG: u64 = 8 << 20;

/// Where the store is when nobody says: `/var/lib/builder` for root, the user's data directory otherwise.
pub(crate) fn root(global: &Global) -> CliResult<PathBuf> {
    if let Some(root) = &global.root {
        return Ok(std::path::absolute(root)?);
    }
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/builder"));
    }
    let home = || {
        std::env::var_os("HOME").filter(|home| !home.is_empty()).map(|home| PathBuf::from(home).join(".local/share"))
    };
    std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(home)
        .map(|data| data.join("builder"))
        .ok_or_else(|| {
            CliError::with_hint(anyhow::anyhow!("there is no place for the store"), "set BUILDER_ROOT or HOME")
        })
}

/// Opens the store.
pub(crate) fn open(global: &Global) -> CliResult<Store> {
    let root = root(global)?;
    let store = Store::open(&root).with_context(|| format!("the store {} can't be opened", root.display()))?;
    provider::install(global, &store);
    Ok(store)
}

/// What a person calls an image, and which one that is.
#[derive(Debug)]
pub(crate) struct Found {
    /// The image.
    pub(crate) image: Image,
    /// The full name, when it was found by name.
    pub(crate) name: Option<String>,
}

/// Finds an image by name, by id, or by the beginning of its id.
pub(crate) fn find(store: &Store, text: &str) -> CliResult<Found> {
    try_find(store, text)?.ok_or_else(|| no_such_image(text))
}

/// The error for an image that is not in the store.
pub(crate) fn no_such_image(text: &str) -> CliError {
    CliError::with_hint(
        anyhow::anyhow!("no such image: {text}"),
        "`builder images` lists what is in the store; `builder load -i FILE` and `builder import FILE NAME` bring images in",
    )
}

/// The same; nothing when there is no such image.
pub(crate) fn try_find(store: &Store, text: &str) -> CliResult<Option<Found>> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    let hexadecimal = !digits.is_empty() && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    if digits.len() == text.len()
        && let Ok(reference) = text.parse::<Reference>()
    {
        let name = reference.to_string();
        if let Some(image) = store.image_by_name(&name)? {
            return Ok(Some(Found { image, name: Some(name) }));
        }
        // With a digest, the tag only tells people what it was.
        if let (Some(_), Some(digest)) = (reference.tag(), reference.digest()) {
            let name = format!("{}@{digest}", reference.name());
            if let Some(image) = store.image_by_name(&name)? {
                return Ok(Some(Found { image, name: Some(name) }));
            }
        }
    }
    if !hexadecimal {
        if digits.len() == text.len() && text.parse::<Reference>().is_err() {
            text.parse::<Reference>()
                .map_err(|error| CliError::message(format!("invalid reference `{text}`: {error}")))?;
        }
        return Ok(None);
    }
    let mut found = store.images_by_id_prefix(digits)?;
    if found.len() > 1 {
        return Err(CliError::message(format!(
            "`{text}` is the beginning of {} image ids: give more digits",
            found.len()
        )));
    }
    Ok(found.pop().map(|image| Found { image, name: None }))
}

/// What a name that was found stands for on a platform, when it stands for several images; else what was found.
pub(crate) fn for_platform(store: &Store, name: &str, found: Image, platform: Option<&str>) -> CliResult<Image> {
    let Some(wanted) = platform else { return Ok(found) };
    let named = store.name(name)?.map(|named| named.platforms).unwrap_or_default();
    let wanted = pull::platform(Some(wanted))?;
    let offers: Vec<_> = named.iter().filter_map(|(text, id)| Some((pull::platform(Some(text)).ok()?, id))).collect();
    let best = wanted.choose(offers.iter().map(|(platform, _)| platform)).and_then(|at| offers.get(at));
    let Some((_, id)) = best else { return Ok(found) };
    Ok(store.image(id)?.unwrap_or(found))
}

/// The full form of a name that is to be given.
pub(crate) fn full_name(text: &str) -> CliResult<String> {
    match text.parse::<Reference>() {
        Ok(reference) => Ok(reference.to_string()),
        Err(error) => Err(CliError::message(format!("invalid reference `{text}`: {error}"))),
    }
}

/// The full form of a new name. A digest belongs to what it is the digest of.
pub(crate) fn new_name(text: &str) -> CliResult<String> {
    let name = full_name(text)?;
    if name.contains('@') {
        return Err(CliError::message("refusing to create a tag with a digest reference"));
    }
    Ok(name)
}

/// The bytes of an image's config, verified.
pub(crate) fn config_bytes(store: &Store, id: &BlobDigest) -> CliResult<Vec<u8>> {
    store
        .read_blob(id, MAX_CONFIG)
        .with_context(|| format!("the config of image {id} can't be read"))
        .map_err(Into::into)
}

/// An image's config.
pub(crate) fn config(store: &Store, id: &BlobDigest) -> CliResult<ImageConfig> {
    let bytes = config_bytes(store, id)?;
    Ok(serde_json::from_slice(&bytes).with_context(|| format!("the config of image {id} is not valid"))?)
}

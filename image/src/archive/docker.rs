//! Images of a docker-archive: `manifest.json` and the paths in it.

use builder_cache::BlobDigest;

use super::error::Error;
use super::index::DockerImage;
use super::load::Found;
use super::source::Source;
use crate::config::CONFIG_LIMIT;
use crate::reference::Reference;

pub(super) fn parse(manifest: &[u8]) -> Result<Vec<DockerImage>, Error> {
    serde_json::from_slice(manifest).map_err(Error::json("manifest.json"))
}

/// The images that `manifest.json` lists.
pub(super) fn images(source: &Source<'_>, listed: &[DockerImage]) -> Result<Vec<Found>, Error> {
    listed.iter().map(|image| found(source, image)).collect()
}

/// The names that `manifest.json` has for a config.
pub(super) fn names(image: &DockerImage) -> Result<Vec<Reference>, Error> {
    let tags = image.repo_tags.iter().flatten();
    // What Docker writes for an image that has none.
    let named = tags.filter(|tag| tag.as_str() != "<none>:<none>");
    let parsed = named.map(|tag| tag.parse::<Reference>().map_err(Error::from));
    // Nothing here has the digest of a manifest: who names one may not mean this image.
    parsed.filter(|name| !name.as_ref().is_ok_and(|name| name.digest().is_some())).collect()
}

fn found(source: &Source<'_>, image: &DockerImage) -> Result<Found, Error> {
    let config = source.read(&image.config, CONFIG_LIMIT)?.ok_or_else(|| Error::Missing(image.config.clone()))?;
    if let Some(expected) = digest_in(&image.config) {
        let found = BlobDigest::of(&config);
        if found != expected {
            return Err(Error::Digest { path: image.config.clone(), expected, found });
        }
    }
    let layers = image
        .layers
        .iter()
        .map(|path| {
            // Only a layout's paths name what the file holds; `<id>/layer.tar` and `<diff id>.tar` are checked
            // against the config when they are unpacked.
            let expected = if path.starts_with("blobs/sha256/") { digest_in(path) } else { None };
            source.blob(path, expected.as_ref())
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Found { names: names(image)?, manifest: None, config, layers })
}

/// The digest that a path ends with: `<hex>.json`, `blobs/sha256/<hex>`.
pub(super) fn digest_in(path: &str) -> Option<BlobDigest> {
    let name = path.rsplit('/').next()?;
    format!("sha256:{}", name.strip_suffix(".json").unwrap_or(name)).parse().ok()
}

//! From a backend to the caches that it has.

use std::io::Read;
use std::sync::Arc;

use builder_cache::{BlobDigest, BlobInfo};
use serde_json::Value;

use super::backend::{Backend, Blob};
use super::cache::Cache;
use super::error::Error;
use super::format::{CONFIG_LIMIT, CONFIG_TYPE};
use super::inline::INLINE_KEY;
use super::manifest::{self, MANIFEST_LIMIT};

/// What the media type of the config of BuildKit's caches begins with.
const BUILDKIT: &str = "application/vnd.buildkit.cacheconfig.";
/// How many platforms of an index are looked into.
const MOST_PLATFORMS: usize = 32;

/// A cache, and where it is.
#[derive(Debug)]
pub struct Opened {
    /// What it says.
    pub cache: Cache,
    /// Where its blobs are.
    pub backend: Arc<dyn Backend>,
}

/// The caches of a backend: the one that its manifest holds, or those that are inside of an image, one for each
/// platform. Nothing but manifests and configs is read.
///
/// # Errors
/// When there is none, or when it is damaged.
pub fn open(backend: &Arc<dyn Backend>) -> Result<Vec<Opened>, Error> {
    let place = backend.name();
    let bytes = backend.manifest(None)?.ok_or_else(|| Error::Missing(place.clone()))?;
    let read = parse(&place, &bytes)?;
    let types = read.manifests.iter().map(|child| &child.media_type);
    if types.chain(read.config.iter().map(|config| &config.media_type)).any(|kind| kind.starts_with(BUILDKIT)) {
        let reason =
            "BuildKit wrote it, whose keys mean something else: give this builder a name of its own".to_owned();
        return Err(Error::NotACache { place, reason });
    }
    let mut opened = Vec::new();
    if read.manifests.is_empty() {
        opened.extend(open_one(backend, &place, &read)?);
    }
    for child in read.manifests.iter().take(MOST_PLATFORMS) {
        let bytes = backend.manifest(Some(&child.digest))?;
        let bytes = bytes.ok_or_else(|| Error::NoBlob { place: place.clone(), digest: child.digest })?;
        check(&place, &bytes, &child.digest)?;
        opened.extend(open_one(backend, &place, &parse(&place, &bytes)?)?);
    }
    if opened.is_empty() {
        let reason = "it is an image without a cache in it: build it with --cache-to type=inline".to_owned();
        return Err(Error::NotACache { place, reason });
    }
    Ok(opened)
}

fn parse(place: &str, bytes: &[u8]) -> Result<manifest::Read, Error> {
    if bytes.len() as u64 > MANIFEST_LIMIT {
        return Err(Error::damaged(place, format!("its manifest has more than {MANIFEST_LIMIT} bytes")));
    }
    let read = serde_json::from_slice(bytes);
    read.map_err(|error| Error::damaged(place, format!("its manifest can't be understood ({error})")))
}

/// The cache of one manifest, if there is one.
fn open_one(backend: &Arc<dyn Backend>, place: &str, read: &manifest::Read) -> Result<Option<Opened>, Error> {
    let Some(config) = &read.config else { return Ok(None) };
    let decode = |config: &[u8]| Cache::decode(place, &backend.location(), config, &read.layers);
    let cache = if config.media_type == CONFIG_TYPE {
        decode(&small_blob(backend.as_ref(), place, config, CONFIG_LIMIT)?)?
    } else if is_image(config) {
        let bytes = small_blob(backend.as_ref(), place, config, crate::config::CONFIG_LIMIT)?;
        let Ok(image) = serde_json::from_slice::<Value>(&bytes) else { return Ok(None) };
        let Some(inside) = image.get(INLINE_KEY) else { return Ok(None) };
        decode(inside.to_string().as_bytes())?
    } else {
        return Ok(None);
    };
    Ok(Some(Opened { cache, backend: Arc::clone(backend) }))
}

fn is_image(config: &Blob) -> bool {
    matches!(
        config.media_type.as_str(),
        "application/vnd.oci.image.config.v1+json" | "application/vnd.docker.container.image.v1+json"
    )
}

/// Reads a blob into memory and checks it.
fn small_blob(backend: &dyn Backend, place: &str, blob: &Blob, limit: u64) -> Result<Vec<u8>, Error> {
    if blob.size > limit {
        return Err(Error::damaged(place, format!("the blob {} has more than {limit} bytes", blob.digest)));
    }
    let mut bytes = Vec::new();
    let info = BlobInfo { digest: blob.digest, size: blob.size };
    let read = backend.blob(&info)?.take(blob.size + 1).read_to_end(&mut bytes);
    read.map_err(|error| match crate::registry::Error::from_io(error) {
        Ok(error) => Error::Registry(error),
        Err(source) => Error::io(place, "read", source),
    })?;
    check(place, &bytes, &blob.digest)?;
    Ok(bytes)
}

fn check(place: &str, bytes: &[u8], expected: &BlobDigest) -> Result<(), Error> {
    let found = BlobDigest::of(bytes);
    if found == *expected {
        return Ok(());
    }
    Err(Error::Digest { place: place.to_owned(), expected: *expected, found })
}

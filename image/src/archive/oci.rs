//! Images of an OCI layout: `index.json` and what it leads to.

use builder_cache::BlobDigest;
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};

use super::descriptor::{DOCKER_LIST, DOCKER_MANIFEST, MANIFEST_LIMIT, digest_of};
use super::error::Error;
use super::index::{IMAGE_NAME, REF_NAME, blob_path};
use super::load::{Found, Wanted};
use super::source::Source;
use crate::config::CONFIG_LIMIT;
use crate::platform::Platform;
use crate::reference::Reference;

/// How deep indexes may lead to indexes.
const DEPTH: usize = 4;

/// The images that `index.json` lists for `platform`.
pub(super) fn images(source: &Source<'_>, index: &[u8], platform: &Platform) -> Result<Vec<Found>, Error> {
    let index: ImageIndex = serde_json::from_slice(index).map_err(Error::json("index.json"))?;
    let mut found: Vec<Found> = Vec::new();
    for descriptor in choose(index.manifests(), platform)? {
        let Some(digest) = manifest_digest(source, descriptor, platform, "index.json", DEPTH)? else { continue };
        let name = name_of(descriptor);
        if let Some(known) = found.iter_mut().find(|known| known.manifest.as_ref().is_some_and(|(d, _)| *d == digest)) {
            known.names.extend(name.filter(|name| !known.names.contains(name)));
            continue;
        }
        if let Some(image) = image(source, &digest, name)? {
            found.push(image);
        }
    }
    Ok(found)
}

/// The image of a layout that is asked for, without names. None when it is not there.
pub(super) fn wanted(
    source: &Source<'_>,
    index: &[u8],
    wanted: &Wanted,
    platform: &Platform,
) -> Result<Vec<Found>, Error> {
    let index: ImageIndex = serde_json::from_slice(index).map_err(Error::json("index.json"))?;
    let all: Vec<&Descriptor> = index.manifests().iter().filter(|descriptor| !is_attestation(descriptor)).collect();
    let tagged = |tag: &str| -> Vec<Descriptor> {
        all.iter().filter(|descriptor| has_tag(descriptor, tag)).map(|descriptor| (*descriptor).clone()).collect()
    };
    let chosen = match wanted {
        Wanted::Tag(tag) => tagged(tag),
        Wanted::Only => match (tagged("latest"), all.as_slice()) {
            (none, [only]) if none.is_empty() => vec![(*only).clone()],
            (latest, _) => latest,
        },
        Wanted::Digest(digest) => {
            let listed = all.iter().find(|descriptor| digest_of(descriptor, "index.json").is_ok_and(|d| d == *digest));
            match listed {
                Some(descriptor) => vec![(*descriptor).clone()],
                // An index that is listed leads to manifests that are not.
                None if is_index(source, digest)? => {
                    let nested = nested(source, digest, platform, DEPTH)?;
                    return Ok(nested
                        .map(|digest| image(source, &digest, None))
                        .transpose()?
                        .flatten()
                        .into_iter()
                        .collect());
                }
                None => return Ok(image(source, digest, None)?.into_iter().collect()),
            }
        }
    };
    let mut found: Vec<Found> = Vec::new();
    for descriptor in choose(&chosen, platform)? {
        let Some(digest) = manifest_digest(source, descriptor, platform, "index.json", DEPTH)? else { continue };
        if !found.iter().any(|known| known.manifest.as_ref().is_some_and(|(known, _)| *known == digest)) {
            found.extend(image(source, &digest, None)?);
        }
    }
    Ok(found)
}

/// Whether a blob is an index, and no manifest.
fn is_index(source: &Source<'_>, digest: &BlobDigest) -> Result<bool, Error> {
    let bytes = source.read_verified(digest, MANIFEST_LIMIT)?;
    let parsed: serde_json::Value = serde_json::from_slice(&bytes).map_err(Error::json(&blob_path(digest)))?;
    Ok(parsed["manifests"].is_array())
}

/// Whether a descriptor has a tag: alone, as the specification has it, or at the end of a whole name.
fn has_tag(descriptor: &Descriptor, tag: &str) -> bool {
    [IMAGE_NAME, REF_NAME].into_iter().filter_map(|key| annotation(descriptor, key)).any(|name| {
        let last = name.rsplit('/').next().unwrap_or_default();
        name == tag || last.rsplit_once(':').is_some_and(|(_, own)| own == tag)
    })
}

/// Of several descriptors with one name and different platforms, the one for this machine; else all.
fn choose<'d>(all: &'d [Descriptor], platform: &Platform) -> Result<Vec<&'d Descriptor>, Error> {
    let images: Vec<&Descriptor> = all.iter().filter(|descriptor| !is_attestation(descriptor)).collect();
    let mut chosen = Vec::new();
    let mut groups: Vec<(Option<&String>, Vec<&Descriptor>)> = Vec::new();
    for descriptor in images {
        let name = annotation(descriptor, IMAGE_NAME).or_else(|| annotation(descriptor, REF_NAME));
        match groups.iter_mut().find(|(known, _)| *known == name) {
            Some((_, group)) => group.push(descriptor),
            None => groups.push((name, vec![descriptor])),
        }
    }
    for (_, group) in groups {
        let platforms: Vec<Platform> =
            group.iter().filter_map(|descriptor| descriptor.platform().as_ref().map(Platform::from)).collect();
        let differ = platforms.len() == group.len() && platforms.iter().any(|other| other != &platforms[0]);
        if differ {
            chosen.push(group[best(platform, &platforms)?]);
        } else {
            chosen.extend(group);
        }
    }
    Ok(chosen)
}

fn best(wanted: &Platform, offers: &[Platform]) -> Result<usize, Error> {
    wanted.choose(offers).ok_or_else(|| Error::NoPlatform {
        wanted: wanted.to_string(),
        found: offers.iter().map(Platform::to_string).collect::<Vec<_>>().join(", "),
    })
}

/// Attestations stand beside images, for a platform that nobody has.
pub(crate) fn is_attestation(descriptor: &Descriptor) -> bool {
    annotation(descriptor, "vnd.docker.reference.type").is_some()
        || descriptor.platform().as_ref().is_some_and(|platform| platform.os().to_string() == "unknown")
}

fn annotation<'d>(descriptor: &'d Descriptor, key: &str) -> Option<&'d String> {
    descriptor.annotations().as_ref()?.get(key)
}

/// The image's name. The name within a layout is a tag by the specification, and then names nothing; most tools write
/// a whole name there. A name with a digest is believed only of what has that digest.
fn name_of(descriptor: &Descriptor) -> Option<Reference> {
    let name = annotation(descriptor, IMAGE_NAME).or_else(|| {
        let name = annotation(descriptor, REF_NAME)?;
        let tag_alone = !name.contains(['/', ':', '@'])
            && (name == "latest" || name.trim_start_matches('v').starts_with(|letter: char| letter.is_ascii_digit()));
        (!tag_alone).then_some(name)
    })?;
    let name: Reference = name.parse().ok()?;
    let own = digest_of(descriptor, "index.json").ok();
    (name.digest().is_none() || name.digest() == own.as_ref()).then_some(name)
}

/// Follows indexes down to a manifest. `None` for what is no image.
fn manifest_digest(
    source: &Source<'_>,
    descriptor: &Descriptor,
    platform: &Platform,
    path: &str,
    depth: usize,
) -> Result<Option<BlobDigest>, Error> {
    let digest = digest_of(descriptor, path)?;
    match descriptor.media_type() {
        MediaType::ImageManifest => Ok(Some(digest)),
        MediaType::Other(other) if other == DOCKER_MANIFEST => Ok(Some(digest)),
        MediaType::ImageIndex => nested(source, &digest, platform, depth),
        MediaType::Other(other) if other == DOCKER_LIST => nested(source, &digest, platform, depth),
        _ => Ok(None),
    }
}

fn nested(
    source: &Source<'_>,
    digest: &BlobDigest,
    platform: &Platform,
    depth: usize,
) -> Result<Option<BlobDigest>, Error> {
    let path = blob_path(digest);
    if depth == 0 {
        return Err(Error::malformed(&path, "indexes lead to indexes too many times"));
    }
    let bytes = source.read_verified(digest, MANIFEST_LIMIT)?;
    let index: ImageIndex = serde_json::from_slice(&bytes).map_err(Error::json(&path))?;
    let images: Vec<&Descriptor> = index.manifests().iter().filter(|descriptor| !is_attestation(descriptor)).collect();
    let platforms: Vec<Option<Platform>> =
        images.iter().map(|descriptor| descriptor.platform().as_ref().map(Platform::from)).collect();
    let known: Vec<Platform> = platforms.iter().flatten().cloned().collect();
    let chosen = match (images.as_slice(), known.is_empty()) {
        ([], _) => return Ok(None),
        ([only], true) => only,
        _ => {
            let at = best(platform, &known)?;
            let wanted = Some(&known[at]);
            let Some(at) = platforms.iter().position(|platform| platform.as_ref() == wanted) else { return Ok(None) };
            images[at]
        }
    };
    manifest_digest(source, chosen, platform, &path, depth - 1)
}

/// Reads manifest and config of an image. `None` for an artifact of another kind.
fn image(source: &Source<'_>, digest: &BlobDigest, name: Option<Reference>) -> Result<Option<Found>, Error> {
    let path = blob_path(digest);
    let bytes = source.read_verified(digest, MANIFEST_LIMIT)?;
    let manifest: ImageManifest = serde_json::from_slice(&bytes).map_err(Error::json(&path))?;
    match manifest.config().media_type() {
        MediaType::ImageConfig => {}
        MediaType::Other(other) if other.starts_with("application/vnd.docker.container.image.") => {}
        _ => return Ok(None),
    }
    let config_digest = digest_of(manifest.config(), &path)?;
    let config = source.read_verified(&config_digest, CONFIG_LIMIT)?;
    let mut layers = Vec::with_capacity(manifest.layers().len());
    for layer in manifest.layers() {
        let digest = digest_of(layer, &path)?;
        let blob = source.blob(&blob_path(&digest), Some(&digest))?;
        if blob.size != layer.size() {
            let reason = format!("it says that {digest} has {} bytes, but it has {}", layer.size(), blob.size);
            return Err(Error::malformed(&path, reason));
        }
        layers.push(blob);
    }
    Ok(Some(Found { names: name.into_iter().collect(), manifest: Some((*digest, bytes)), config, layers }))
}

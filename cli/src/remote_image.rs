//! Images as a registry has them, looked at without bringing them in.

use anyhow::Context as _;
use builder_cache::BlobDigest;
use builder_image::registry::{Error, Fetched, Repository, Which};
use builder_image::{Platform, Reference};
use serde_json::{Value, json};

use crate::error::{CliError, CliResult};

/// The largest config that is read.
const MAX_CONFIG: u64 = 8 << 20;

/// The manifests that an index names, with their descriptors.
pub(crate) type Children = Vec<(BlobDigest, Value)>;

/// The name of an image in a registry.
pub(crate) fn reference(text: &str) -> CliResult<Reference> {
    text.parse().map_err(|error| CliError::message(format!("invalid reference `{text}`: {error}")))
}

/// A manifest or index.
pub(crate) fn manifest(repository: &Repository, which: &Which, reference: &Reference) -> CliResult<Fetched> {
    repository.manifest(which).map_err(|error| match error {
        Error::NotFound { status, said, .. } => {
            let said = said.map(|said| format!(" ({said})")).unwrap_or_default();
            CliError::message(format!("no such manifest: {reference}: the registry answered {status}{said}"))
        }
        error => error.into(),
    })
}

/// What a manifest says, whatever it is.
pub(crate) fn document(fetched: &Fetched, name: &str) -> CliResult<Value> {
    let document: Value =
        serde_json::from_slice(&fetched.bytes).with_context(|| format!("the manifest of {name} is not valid JSON"))?;
    if !document.is_object() {
        return Err(CliError::message(format!("the manifest of {name} is no JSON object")));
    }
    if document["schemaVersion"] == 1 {
        return Err(CliError::message(format!(
            "the manifest of {name} has the form of before 2016 (schema 1), which is not supported: push the image again"
        )));
    }
    Ok(document)
}

/// The manifests of an index; none when the document is no index.
pub(crate) fn children(document: &Value) -> Option<Children> {
    let descriptors = document.get("manifests")?.as_array()?;
    let digest = |descriptor: &Value| descriptor["digest"].as_str()?.parse::<BlobDigest>().ok();
    Some(descriptors.iter().filter_map(|descriptor| Some((digest(descriptor)?, descriptor.clone()))).collect())
}

/// Whether a config describes an image, and not something else that a registry keeps.
pub(crate) fn is_image_config(media_type: &str) -> bool {
    matches!(media_type, "application/vnd.oci.image.config.v1+json" | "application/vnd.docker.container.image.v1+json")
}

/// The config that a manifest names.
pub(crate) fn config(repository: &Repository, manifest: &Value) -> CliResult<Value> {
    let digest = manifest["config"]["digest"].as_str().unwrap_or_default();
    let digest =
        digest.parse::<BlobDigest>().with_context(|| format!("the config's digest `{digest}` is not valid"))?;
    let bytes = repository.small_blob(&digest, MAX_CONFIG)?;
    Ok(serde_json::from_slice(&bytes).with_context(|| format!("the config {digest} is not valid JSON"))?)
}

/// What `inspect` shows of an image that is in a registry: the fields of one that is here, as far as they can be known.
pub(crate) fn describe(repository: &Repository, reference: &Reference, platform: &Platform) -> CliResult<Value> {
    let top = manifest(repository, &Which::of(reference), reference)?;
    let document = self::document(&top, &reference.to_string())?;
    let children = children(&document);
    let (fetched, document) = match &children {
        None => (top.clone(), document),
        Some(children) => {
            let digest = choose(children, platform, reference)?;
            let fetched = repository.manifest(&Which::Digest(digest))?;
            let name = format!("{}@{digest}", reference.name());
            let document = self::document(&fetched, &name)?;
            (fetched, document)
        }
    };
    let media_type = document["config"]["mediaType"].as_str().unwrap_or_default();
    if !is_image_config(media_type) {
        let kind = document["artifactType"].as_str().unwrap_or(media_type);
        return Err(CliError::with_hint(
            anyhow::anyhow!("{reference} is no image: the registry has `{kind}` under this name"),
            "`builder manifest inspect` shows it",
        ));
    }
    let config = config(repository, &document)?;
    let layers = document["layers"].as_array().cloned().unwrap_or_default();
    let diff_ids = config["rootfs"]["diff_ids"].clone();
    let size: u64 = layers.iter().filter_map(|layer| layer["size"].as_u64()).sum();
    let layers: Vec<Value> = layers
        .iter()
        .enumerate()
        .map(|(at, layer)| {
            json!({
                "DiffID": diff_ids[at], "Digest": layer["digest"], "MediaType": layer["mediaType"], "Size": layer["size"],
            })
        })
        .collect();
    let tags: Vec<String> =
        if reference.tag().is_some() && reference.digest().is_none() { vec![reference.familiar()] } else { Vec::new() };
    let mut described = json!({
        "Id": document["config"]["digest"],
        "RepoTags": tags,
        "RepoDigests": [format!("{}@{}", reference.familiar_name(), top.digest)],
        "Digest": fetched.digest.to_string(),
        "MediaType": fetched.media_type,
        "Created": config.get("created"),
        "Author": config.get("author").cloned().unwrap_or_else(|| json!("")),
        "Architecture": config.get("architecture"),
        "Variant": config.get("variant"),
        "Os": config.get("os"),
        "Size": size,
        "Config": config.get("config"),
        "RootFS": { "Type": "layers", "Layers": diff_ids },
        "Layers": layers,
    });
    if let Some(annotations) = document.get("annotations") {
        described["Annotations"] = annotations.clone();
    }
    if let Some(children) = children {
        let platforms = offers(&children)
            .into_iter()
            .map(|(digest, platform)| json!({ "Platform": platform.to_string(), "Digest": digest.to_string() }));
        described["Platforms"] = platforms.collect();
    }
    Ok(described)
}

/// The images of an index; attestations are none.
fn offers(children: &Children) -> Vec<(BlobDigest, Platform)> {
    let platform = |descriptor: &Value| {
        let text = |name: &str| descriptor["platform"][name].as_str().map(str::to_owned);
        let platform = Platform { os: text("os")?, architecture: text("architecture")?, variant: text("variant") };
        (platform.os != "unknown").then_some(platform)
    };
    children.iter().filter_map(|(digest, descriptor)| Some((*digest, platform(descriptor)?))).collect()
}

fn choose(children: &Children, wanted: &Platform, reference: &Reference) -> CliResult<BlobDigest> {
    let offers = offers(children);
    if offers.is_empty() && children.len() == 1 {
        return Ok(children[0].0);
    }
    let best = wanted.choose(offers.iter().map(|(_, platform)| platform)).and_then(|at| offers.get(at));
    best.map(|(digest, _)| *digest).ok_or_else(|| {
        let there: Vec<String> = offers.iter().map(|(_, platform)| platform.to_string()).collect();
        CliError::message(format!("{reference} has no image for {wanted}: it has {}", there.join(", ")))
    })
}

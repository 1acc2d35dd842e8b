//! `index.json`, `oci-layout` and `manifest.json` of what we write.

use std::collections::{BTreeSet, HashMap};

use builder_cache::BlobDigest;
use oci_spec::image::{Descriptor, ImageIndexBuilder, MediaType};
use serde::{Deserialize, Serialize};

use super::descriptor::{json, with_names};
use super::error::Error;
use super::plan::ImagePlan;
use crate::reference::Reference;

/// The full name, as containerd and Docker read it.
pub(super) const IMAGE_NAME: &str = "io.containerd.image.name";
/// The name within the layout: a tag by the specification; a whole name to Podman and skopeo.
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// `oci-layout`.
pub(super) const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// Where a blob is in a layout.
pub(super) fn blob_path(digest: &BlobDigest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// An image and its names.
pub(super) type Named<'a> = (&'a ImagePlan, &'a [Reference]);

/// One descriptor for each name of each image.
pub(super) fn descriptors(images: &[Named<'_>]) -> Result<Vec<Descriptor>, Error> {
    let mut tags = BTreeSet::new();
    let mut ambiguous = BTreeSet::new();
    for tag in images.iter().flat_map(|(_, names)| names.iter()).filter_map(Reference::tag) {
        if !tags.insert(tag) {
            ambiguous.insert(tag);
        }
    }
    let mut descriptors = Vec::new();
    for (image, names) in images {
        if names.is_empty() {
            descriptors.push(with_names(&image.manifest, &image.platform, HashMap::new())?);
        }
        for name in *names {
            let full = name.to_string();
            let within = match name.tag() {
                Some(tag) if !ambiguous.contains(tag) => tag.to_string(),
                _ => full.clone(),
            };
            let annotations = [(IMAGE_NAME.to_owned(), full), (REF_NAME.to_owned(), within)];
            descriptors.push(with_names(&image.manifest, &image.platform, annotations.into())?);
        }
    }
    Ok(descriptors)
}

/// `index.json`.
pub(super) fn index(descriptors: Vec<Descriptor>) -> Result<Vec<u8>, Error> {
    let index = ImageIndexBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageIndex)
        .manifests(descriptors)
        .build()
        .map_err(|error| Error::malformed("index.json", error.to_string()))?;
    json("index.json", &index)
}

/// An entry of Docker's `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DockerImage {
    pub(super) config: String,
    #[serde(default)]
    pub(super) repo_tags: Option<Vec<String>>,
    #[serde(default)]
    pub(super) layers: Vec<String>,
}

/// `manifest.json`.
pub(super) fn docker_manifest(images: &[Named<'_>]) -> Result<Vec<u8>, Error> {
    let images: Vec<DockerImage> = images
        .iter()
        .map(|(image, names)| DockerImage {
            config: blob_path(&image.config),
            repo_tags: Some(names.iter().filter(|name| name.tag().is_some()).map(familiar_tag).collect()),
            layers: image.layers.iter().map(blob_path).collect(),
        })
        .collect();
    json("manifest.json", &images)
}

/// Docker's list knows no digests.
fn familiar_tag(name: &Reference) -> String {
    let tag = name.tag().map_or("", |tag| tag.as_str());
    format!("{}:{tag}", name.familiar_name())
}

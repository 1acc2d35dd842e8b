//! `index.json`, `oci-layout` and `manifest.json` of what we write.

use std::collections::BTreeSet;

use builder_cache::BlobDigest;
use oci_spec::image::{Descriptor, MediaType};
use serde::{Deserialize, Serialize};

use super::descriptor::{Annotations, annotated, index as any_index, json};
use super::error::Error;
use super::plan::{ImagePlan, ManifestPlan};
use crate::platform::Platform;
use crate::reference::Reference;

/// The full name, as containerd and Docker read it.
pub(super) const IMAGE_NAME: &str = "io.containerd.image.name";
/// The name within the layout: a tag by the specification; a whole name to Podman and skopeo.
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// When the image was made.
pub const CREATED: &str = "org.opencontainers.image.created";

/// `oci-layout`.
pub(super) const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// Where a blob is in a layout.
pub(crate) fn blob_path(digest: &BlobDigest) -> String {
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
        let describe = |more: &[(&str, &str)]| {
            let mut annotations = image.root_annotations.clone();
            annotations.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
            annotated(&image.root, image.root_platform.as_ref(), &annotations)
        };
        if names.is_empty() {
            descriptors.push(describe(&[])?);
        }
        for name in *names {
            let full = name.to_string();
            let within = match name.tag() {
                Some(tag) if !ambiguous.contains(tag) => tag.to_string(),
                _ => full.clone(),
            };
            descriptors.push(describe(&[(IMAGE_NAME, &full), (REF_NAME, &within)])?);
        }
    }
    Ok(descriptors)
}

/// `index.json`.
pub(super) fn index(descriptors: Vec<Descriptor>) -> Result<Vec<u8>, Error> {
    any_index(MediaType::ImageIndex, descriptors, &Annotations::new())
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

/// `manifest.json`. It knows no platforms: of several, this machine's is listed, or else the first.
pub(super) fn docker_manifest(images: &[Named<'_>]) -> Result<Vec<u8>, Error> {
    let images: Vec<DockerImage> = images
        .iter()
        .filter_map(|(image, names)| {
            let manifest = for_here(&image.manifests)?;
            Some(DockerImage {
                config: blob_path(&manifest.config),
                repo_tags: Some(names.iter().filter(|name| name.tag().is_some()).map(familiar_tag).collect()),
                layers: manifest.layers.iter().map(blob_path).collect(),
            })
        })
        .collect();
    json("manifest.json", &images)
}

fn for_here(manifests: &[ManifestPlan]) -> Option<&ManifestPlan> {
    let best = Platform::host().choose(manifests.iter().map(|manifest| &manifest.platform));
    manifests.get(best.unwrap_or_default())
}

/// Docker's list knows no digests.
fn familiar_tag(name: &Reference) -> String {
    let tag = name.tag().map_or("", |tag| tag.as_str());
    format!("{}:{tag}", name.familiar_name())
}

//! How the manifest of what a name stands for is made: kept with the name, since an image's config says nothing of it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use builder_cache::BlobDigest;
use builder_frontend::platform::Platform;
use builder_image::Reference;
use builder_image::archive::{Annotations, Attestation, MediaTypes, SaveImage, SaveOptions, SavePlatform};
use builder_image::compress::{Compression as Codec, Encoding};
use serde::{Deserialize, Serialize};

use crate::error::CliResult;
use crate::outputs::ImageForm;

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct NameForm {
    /// How layers are compressed, when that was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    compression: Option<Codec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<u8>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    force_compression: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    docker_types: bool,
    /// An index even over one platform.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    index: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: Annotations,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    descriptor_annotations: Annotations,
    /// Manifests with attestations look like images.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    attestation_images: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    platforms: BTreeMap<String, PlatformForm>,
}

/// What is kept of a platform.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
struct PlatformForm {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: Annotations,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    descriptor_annotations: Annotations,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attestations: Vec<Attestation>,
}

impl NameForm {
    /// Of an output, with what is said of it on each platform.
    pub(super) fn new(
        form: &ImageForm,
        index: bool,
        platforms: &[(Platform, BlobDigest)],
        attestations: impl Fn(&Platform) -> Vec<Attestation>,
    ) -> Self {
        let notes = &form.annotations;
        let of_platform = |platform: &Platform| PlatformForm {
            annotations: notes.manifest(platform),
            descriptor_annotations: notes.manifest_descriptor(platform),
            attestations: attestations(platform),
        };
        let platforms = platforms.iter().map(|(platform, _)| (platform.to_string(), of_platform(platform)));
        Self {
            compression: form.compression,
            level: form.level,
            force_compression: form.force_compression,
            docker_types: form.docker_types,
            index,
            annotations: notes.index(),
            descriptor_annotations: notes.index_descriptor(),
            attestation_images: form.attestation_images,
            platforms: platforms.filter(|(_, form)| *form != PlatformForm::default()).collect(),
        }
    }

    /// Reads what was kept; `None` is nothing.
    pub(crate) fn parse(text: Option<&str>) -> CliResult<Self> {
        let form = text.map(serde_json::from_str).transpose();
        Ok(form.context("what was said of the image can't be read from the store: build it again")?.unwrap_or_default())
    }

    /// The blobs that it speaks of.
    pub(crate) fn blobs(&self) -> Vec<BlobDigest> {
        let all = self.platforms.values().flat_map(|platform| &platform.attestations);
        let blobs: BTreeSet<BlobDigest> = all.map(|attestation| attestation.predicate).collect();
        blobs.into_iter().collect()
    }

    /// What to keep; nothing when nothing was said.
    pub(super) fn text(&self) -> CliResult<Option<String>> {
        let said = *self != Self::default();
        Ok(said.then(|| serde_json::to_string(self)).transpose()?)
    }

    /// The image that this makes of those of the store.
    pub(crate) fn image(&self, platforms: &[(Platform, BlobDigest)], names: Vec<Reference>) -> SaveImage {
        let single = platforms.len() == 1;
        let platforms = platforms.iter().map(|(platform, id)| {
            // An image for one platform may call it in other words than who built it.
            let only = || self.platforms.values().next().filter(|_| single);
            let form = self.platforms.get(&platform.to_string()).or_else(only).cloned().unwrap_or_default();
            let PlatformForm { annotations, descriptor_annotations, attestations } = form;
            SavePlatform { id: *id, annotations, descriptor_annotations, attestations }
        });
        SaveImage {
            platforms: platforms.collect(),
            names,
            index: self.index,
            annotations: self.annotations.clone(),
            descriptor_annotations: self.descriptor_annotations.clone(),
            options: self.options(),
            attestation_images: self.attestation_images,
        }
    }

    /// How layers are to be written, when that was said.
    fn options(&self) -> Option<SaveOptions> {
        let form = ImageForm {
            compression: self.compression,
            level: self.level,
            force_compression: self.force_compression,
            docker_types: self.docker_types,
            ..ImageForm::default()
        };
        let said = form.compression.is_some() || form.level.is_some() || form.docker_types;
        said.then(|| save_options(&form, form.encoding(Codec::Uncompressed)))
    }
}

/// How an image of this form is written.
pub(super) fn save_options(form: &ImageForm, encoding: Encoding) -> SaveOptions {
    SaveOptions {
        compression: encoding.compression,
        level: encoding.level,
        force_compression: form.force_compression,
        media_types: if form.docker_types { MediaTypes::Docker } else { MediaTypes::Oci },
        ..SaveOptions::default()
    }
}

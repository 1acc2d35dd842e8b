//! Media types, descriptors and manifests of what we write.

use std::collections::{BTreeMap, HashMap};

use builder_cache::{BlobDigest, BlobInfo};
use oci_spec::image::{
    Arch, Descriptor, DescriptorBuilder, ImageIndexBuilder, ImageManifestBuilder, MediaType, Os, PlatformBuilder,
    Sha256Digest,
};
use serde::Serialize;
use serde_json::Value;

use super::error::Error;
use crate::compress::Format;
use crate::platform::Platform;

/// The largest manifest or index that is accepted, as registries have it.
pub(crate) const MANIFEST_LIMIT: u64 = 4 << 20;

/// Docker's name of a manifest, an index and a config.
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// Whose names of media types a manifest uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MediaTypes {
    /// OCI's.
    #[default]
    Oci,
    /// Docker's (version 2, schema 2).
    Docker,
}

impl MediaTypes {
    pub(super) fn manifest(self) -> MediaType {
        match self {
            Self::Oci => MediaType::ImageManifest,
            Self::Docker => MediaType::Other(DOCKER_MANIFEST.to_owned()),
        }
    }

    pub(super) fn index(self) -> MediaType {
        match self {
            Self::Oci => MediaType::ImageIndex,
            Self::Docker => MediaType::Other(DOCKER_LIST.to_owned()),
        }
    }

    pub(super) fn config(self) -> MediaType {
        match self {
            Self::Oci => MediaType::ImageConfig,
            Self::Docker => MediaType::Other(DOCKER_CONFIG.to_owned()),
        }
    }

    /// The type of a layer; `None` when there is none for this compression.
    pub(crate) fn layer(self, format: Format) -> Option<MediaType> {
        let docker = |suffix: &str| MediaType::Other(format!("{DOCKER_LAYER}{suffix}"));
        Some(match (self, format) {
            (Self::Oci, Format::Plain) => MediaType::ImageLayer,
            (Self::Oci, Format::Gzip) => MediaType::ImageLayerGzip,
            (Self::Oci, Format::Zstd) => MediaType::ImageLayerZstd,
            (Self::Docker, Format::Plain) => docker(""),
            (Self::Docker, Format::Gzip) => docker(".gzip"),
            (Self::Docker, Format::Zstd) => docker(".zstd"),
            (_, Format::Bzip2 | Format::Xz) => return None,
        })
    }
}

/// How the media type of a layer says that it is compressed, in the words of OCI and of Docker.
pub(crate) fn layer_format(media_type: &str) -> Option<Format> {
    match media_type.rsplit(['+', '.']).next()? {
        "tar" => Some(Format::Plain),
        "gzip" => Some(Format::Gzip),
        "zstd" => Some(Format::Zstd),
        _ => None,
    }
}

/// A descriptor of a blob of ours.
pub(super) fn descriptor(media_type: MediaType, blob: &BlobInfo) -> Result<Descriptor, Error> {
    let digest: Sha256Digest = blob.digest.hex().parse().map_err(unexpected)?;
    Ok(Descriptor::new(media_type, blob.size, digest))
}

/// The same with where it runs, if it does, and with annotations.
pub(super) fn annotated(
    bare: &Descriptor,
    platform: Option<&Platform>,
    annotations: &Annotations,
) -> Result<Descriptor, Error> {
    let mut builder = DescriptorBuilder::default()
        .media_type(bare.media_type().clone())
        .digest(bare.digest().clone())
        .size(bare.size());
    if let Some(platform) = platform {
        let mut place = PlatformBuilder::default()
            .os(Os::from(platform.os.as_str()))
            .architecture(Arch::from(platform.architecture.as_str()));
        if let Some(variant) = &platform.variant {
            place = place.variant(variant.clone());
        }
        builder = builder.platform(place.build().map_err(unexpected)?);
    }
    if !annotations.is_empty() {
        builder = builder.annotations(map(annotations));
    }
    builder.build().map_err(unexpected)
}

/// Annotations by their keys.
pub type Annotations = BTreeMap<String, String>;

fn map(annotations: &Annotations) -> HashMap<String, String> {
    annotations.clone().into_iter().collect()
}

/// The bytes of a manifest.
pub(super) fn manifest(
    types: MediaTypes,
    config: Descriptor,
    layers: Vec<Descriptor>,
    annotations: &Annotations,
) -> Result<Vec<u8>, Error> {
    let mut manifest = ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(types.manifest())
        .config(config)
        .layers(layers);
    if !annotations.is_empty() {
        manifest = manifest.annotations(map(annotations));
    }
    json("manifest", &manifest.build().map_err(unexpected)?)
}

/// The bytes of an index.
pub(super) fn index(
    media_type: MediaType,
    manifests: Vec<Descriptor>,
    annotations: &Annotations,
) -> Result<Vec<u8>, Error> {
    let mut index = ImageIndexBuilder::default().schema_version(2_u32).media_type(media_type).manifests(manifests);
    if !annotations.is_empty() {
        index = index.annotations(map(annotations));
    }
    json("index", &index.build().map_err(unexpected)?)
}

/// JSON whose bytes do not depend on the order of a hash map.
pub(super) fn json(what: &str, value: &impl Serialize) -> Result<Vec<u8>, Error> {
    let mut value = serde_json::to_value(value).map_err(Error::json(what))?;
    sort_annotations(&mut value);
    Ok(value.to_string().into_bytes())
}

fn sort_annotations(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(sort_annotations),
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                match value {
                    Value::Object(annotations) if key == "annotations" => annotations.sort_keys(),
                    _ => sort_annotations(value),
                }
            }
        }
        _ => {}
    }
}

/// The digest in somebody else's descriptor.
pub(super) fn digest_of(descriptor: &Descriptor, path: &str) -> Result<BlobDigest, Error> {
    let text = descriptor.digest().to_string();
    text.parse().map_err(|_| Error::malformed(path, format!("`{text}` is not a SHA-256 digest")))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
fn unexpected(error: oci_spec::OciSpecError) -> Error {
    Error::malformed("manifest", error.to_string())
}

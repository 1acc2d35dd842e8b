//! What an archive of an image consists of: manifest, config, and a blob for each layer.
//!
//! A layer that came with an image keeps the blob it came as, unless another compression is forced. A layer that was
//! built here is written straight from its files when it is not to be compressed, and else made into a blob of the
//! store once. A manifest that came with an image is kept when all its blobs are.

use std::io::Read;

use builder_cache::{BlobDigest, BlobInfo, DiffId, Image, LayerId, Store};
use oci_spec::image::{Descriptor, ImageManifest, MediaType};

use super::content::{Blobs, Content, add_bytes};
use super::descriptor::{MANIFEST_LIMIT, MediaTypes, descriptor, digest_of, manifest};
use super::error::Error;
use super::save::SaveOptions;
use crate::compress::{Compression, Format};
use crate::config::{CONFIG_LIMIT, ConfigView};
use crate::layer::{WriteOptions, diff_id, layer_blob};
use crate::platform::Platform;

/// One image of an archive.
#[derive(Debug)]
pub(super) struct ImagePlan {
    pub(super) config: BlobDigest,
    pub(super) layers: Vec<BlobDigest>,
    pub(super) manifest: Descriptor,
    pub(super) platform: Platform,
}

/// Finds (or makes) everything that an image needs, and adds it to `blobs`.
pub(super) fn plan(
    store: &Store,
    id: &BlobDigest,
    options: &SaveOptions,
    blobs: &mut Blobs,
) -> Result<ImagePlan, Error> {
    let image = store.image(id)?.ok_or(Error::NoImage(*id))?;
    let config = store.read_blob(id, CONFIG_LIMIT)?;
    let platform = ConfigView::parse(&config).map_err(Error::json(&id.to_string()))?.platform;
    if image.diff_ids.len() != image.snapshot.layers.len() {
        return Err(Error::malformed(&id.to_string(), "it has not as many digests as layers"));
    }
    let mut layers = Vec::with_capacity(image.diff_ids.len());
    for (layer, diff_id) in image.snapshot.layers.iter().zip(&image.diff_ids) {
        let (format, blob, content) = find_layer(store, layer, diff_id, options)?;
        let media_type = options.media_types.layer(format).ok_or(Error::NoLayerTar(*diff_id))?;
        blobs.insert(blob.digest, (blob.size, content));
        layers.push(descriptor(media_type, &blob)?);
    }
    let config = add_bytes(blobs, config);
    let digests = layers.iter().map(|layer| digest_of(layer, "manifest")).collect::<Result<Vec<_>, _>>()?;
    let bytes = match kept_manifest(store, &image, options, &digests)? {
        Some(bytes) => bytes,
        None => manifest(options.media_types, descriptor(options.media_types.config(), &config)?, layers)?,
    };
    let manifest = add_bytes(blobs, bytes);
    let manifest = descriptor(options.media_types.manifest(), &manifest)?;
    Ok(ImagePlan { config: config.digest, layers: digests, manifest, platform })
}

/// The image's own manifest, if it says just what this archive is to hold.
fn kept_manifest(
    store: &Store,
    image: &Image,
    options: &SaveOptions,
    layers: &[BlobDigest],
) -> Result<Option<Vec<u8>>, Error> {
    let Some(digest) = image.manifest else { return Ok(None) };
    let bytes = store.read_blob(&digest, MANIFEST_LIMIT)?;
    let Ok(manifest) = serde_json::from_slice::<ImageManifest>(&bytes) else { return Ok(None) };
    let own_types = match manifest.media_type() {
        None | Some(MediaType::ImageManifest) => MediaTypes::Oci,
        Some(_) => MediaTypes::Docker,
    };
    let own: Option<Vec<BlobDigest>> = manifest.layers().iter().map(|layer| digest_of(layer, "").ok()).collect();
    Ok((own_types == options.media_types && own.as_deref() == Some(layers)).then_some(bytes))
}

fn find_layer(
    store: &Store,
    layer: &LayerId,
    wanted: &DiffId,
    options: &SaveOptions,
) -> Result<(Format, BlobInfo, Content), Error> {
    let meta = store.layer(layer)?.meta;
    let wanted_format = format_of(options.compression);
    if meta.diff_id.is_none_or(|own| own == *wanted)
        && let Some(blob) = meta.source_blob.map(|source| store.blob(&source)).transpose()?.flatten()
    {
        let format = sniff(store, &blob.digest)?;
        let kept = !options.force_compression && options.media_types.layer(format).is_some();
        if kept || format == wanted_format {
            return Ok((format, blob, Content::Stored));
        }
    }
    if let Some(blob) = store.layer_blob(wanted, &options.compression.recipe())? {
        return Ok((wanted_format, blob, Content::Stored));
    }
    let tar = diff_id_cheaply(store, layer, options)?;
    if tar.is_none_or(|own| own == *wanted) {
        let found = make_layer(store, layer, options)?;
        if found.0 == *wanted {
            return Ok((wanted_format, found.1, found.2));
        }
    }
    // An image with clamped times: its tar was kept when it was assembled, if perhaps in another compression.
    for compression in [Compression::Uncompressed, Compression::Gzip, Compression::Zstd] {
        if let Some(blob) = store.layer_blob(wanted, &compression.recipe())? {
            return Ok((format_of(compression), blob, Content::Stored));
        }
    }
    Err(Error::NoLayerTar(*wanted))
}

/// The layer's own digest, as far as it is known.
fn diff_id_cheaply(store: &Store, layer: &LayerId, options: &SaveOptions) -> Result<Option<DiffId>, Error> {
    match options.compression {
        // Needed anyway, before the tar is written.
        Compression::Uncompressed => Ok(Some(diff_id(store, layer)?.diff_id)),
        Compression::Gzip | Compression::Zstd => Ok(store.layer(layer)?.meta.diff_id),
    }
}

fn make_layer(store: &Store, layer: &LayerId, options: &SaveOptions) -> Result<(DiffId, BlobInfo, Content), Error> {
    if options.compression == Compression::Uncompressed {
        let tar = diff_id(store, layer)?;
        let blob = BlobInfo { digest: tar.diff_id.into(), size: tar.size };
        return Ok((tar.diff_id, blob, Content::Layer(*layer, tar)));
    }
    let made = layer_blob(store, layer, options.compression, &WriteOptions::default())?;
    Ok((made.diff_id, made.blob, Content::Stored))
}

fn format_of(compression: Compression) -> Format {
    match compression {
        Compression::Uncompressed => Format::Plain,
        Compression::Gzip => Format::Gzip,
        Compression::Zstd => Format::Zstd,
    }
}

fn sniff(store: &Store, blob: &BlobDigest) -> Result<Format, Error> {
    let mut first = Vec::new();
    let read = store.open_blob(blob)?.take(16).read_to_end(&mut first);
    read.map_err(|source| Error::Read { path: store.blob_path(blob).display().to_string(), source })?;
    Ok(Format::of(&first))
}

//! What an image consists of in an archive or a registry: manifest, config, and a blob for each layer; and for an image of several
//! platforms an index over all of that.
//!
//! A layer that came with an image keeps the blob it came as, unless another compression is forced. A layer that was
//! built here is written straight from its files when it is not to be compressed, and else made into a blob of the
//! store once. A manifest that came with an image is kept when all its blobs are.

use std::io::{self, Read};

use builder_cache::{BlobDigest, BlobInfo, DiffId, Image, LayerId, Store};
use oci_spec::image::{Descriptor, ImageManifest, MediaType};

use super::attest;
use super::content::{Collect, Content, OfLayer, add_bytes, add_manifest};
use super::descriptor::{
    Annotations, MANIFEST_LIMIT, MediaTypes, annotated, descriptor, digest_of, index, layer_format, manifest,
};
use super::error::Error;
use super::index::CREATED;
use super::save::{SaveImage, SaveOptions, SavePlatform};
use crate::compress::{Compression, Encoding, Format};
use crate::config::{CONFIG_LIMIT, ConfigView};
use crate::estargz;
use crate::layer::{WriteOptions, diff_id, formed_tar, layer_blob, recreate};
use crate::platform::Platform;
use crate::push::Form;

/// One image of an archive.
#[derive(Debug)]
pub(crate) struct ImagePlan {
    /// For each platform.
    pub(super) manifests: Vec<ManifestPlan>,
    /// What the archive's own index lists: the one manifest, or the index over them.
    pub(super) root: Descriptor,
    pub(super) root_platform: Option<Platform>,
    pub(super) root_annotations: Annotations,
}

/// One manifest.
#[derive(Debug)]
pub(crate) struct ManifestPlan {
    pub(super) config: BlobDigest,
    pub(super) layers: Vec<BlobDigest>,
    pub(super) manifest: Descriptor,
    pub(super) platform: Platform,
    created: Option<String>,
}

/// Finds (or makes) everything that an image needs, and adds it to `blobs`.
pub(crate) fn plan(
    store: &Store,
    image: &SaveImage,
    options: &SaveOptions,
    blobs: &mut dyn Collect,
) -> Result<ImagePlan, Error> {
    let options = image.options.as_ref().unwrap_or(options);
    let mut manifests = Vec::with_capacity(image.platforms.len());
    for platform in &image.platforms {
        manifests.push(plan_manifest(store, platform, options, blobs)?);
    }
    let created = manifests.iter().filter_map(|manifest| manifest.created.clone()).max();
    let mut root_annotations: Annotations = created.map(|time| (CREATED.to_owned(), time)).into_iter().collect();
    let attested = image.platforms.iter().any(|platform| !platform.attestations.is_empty());
    if let (false, [manifest], [platform]) = (image.index || attested, manifests.as_slice(), image.platforms.as_slice())
    {
        root_annotations.extend(platform.descriptor_annotations.clone());
        let (root, root_platform) = (manifest.manifest.clone(), Some(manifest.platform.clone()));
        return Ok(ImagePlan { manifests, root, root_platform, root_annotations });
    }
    root_annotations.extend(image.descriptor_annotations.clone());
    let listed = manifests.iter().zip(&image.platforms).map(|(manifest, platform)| {
        annotated(&manifest.manifest, Some(&manifest.platform), &platform.descriptor_annotations)
    });
    let mut listed = listed.collect::<Result<Vec<_>, Error>>()?;
    for (manifest, platform) in manifests.iter().zip(&image.platforms) {
        if !platform.attestations.is_empty() {
            let as_image = image.attestation_images;
            listed.push(attest::plan(store, &manifest.manifest, &platform.attestations, as_image, blobs)?);
        }
    }
    let media_type = options.media_types.index();
    let bytes = index(media_type.clone(), listed, &image.annotations)?;
    let root = add_manifest(blobs, media_type, bytes)?;
    Ok(ImagePlan { manifests, root, root_platform: None, root_annotations })
}

fn plan_manifest(
    store: &Store,
    platform: &SavePlatform,
    options: &SaveOptions,
    blobs: &mut dyn Collect,
) -> Result<ManifestPlan, Error> {
    let id = &platform.id;
    let image = store.image(id)?.ok_or(Error::NoImage(*id))?;
    let own = own_manifest(store, &image)?;
    let kept = own.as_ref().filter(|_| options.own_media_types).map(OwnManifest::types);
    let options = &SaveOptions { media_types: kept.unwrap_or(options.media_types), ..*options };
    let config = store.read_blob(id, CONFIG_LIMIT)?;
    let view = ConfigView::parse(&config).map_err(Error::json(&id.to_string()))?;
    if image.diff_ids.len() != image.snapshot.layers.len() {
        return Err(Error::malformed(&id.to_string(), "it has not as many digests as layers"));
    }
    let mut layers = Vec::with_capacity(image.diff_ids.len());
    let came_as = own.as_ref().and_then(OwnManifest::layers).unwrap_or_default();
    for (at, (layer, diff_id)) in image.snapshot.layers.iter().zip(&image.diff_ids).enumerate() {
        let (format, blob, content) = find_layer(store, layer, diff_id, came_as.get(at), options)?;
        let media_type = options.media_types.layer(format).ok_or(Error::NoLayerTar(*diff_id))?;
        let annotations = layer_annotations(store, layer, diff_id, format, (&blob, &content), options)?;
        blobs.blob(blob, content, Some(OfLayer { id: layer, diff_id, media_type: &media_type }));
        layers.push(annotated(&descriptor(media_type, &blob)?, None, &annotations)?);
    }
    let created = view.created_text();
    let config = add_bytes(blobs, config);
    let digests = layers.iter().map(|layer| digest_of(layer, "manifest")).collect::<Result<Vec<_>, _>>()?;
    let kept = own.as_ref().filter(|own| platform.annotations.is_empty() && own.says(options, &digests));
    let bytes = if let Some(own) = kept {
        own.bytes.clone()
    } else {
        let mut annotations = own.map(|own| own.annotations()).unwrap_or_default();
        annotations.extend(platform.annotations.clone());
        let types = options.media_types;
        manifest(types, descriptor(types.config(), &config)?, layers, &annotations)?
    };
    let manifest = add_manifest(blobs, options.media_types.manifest(), bytes)?;
    Ok(ManifestPlan { config: config.digest, layers: digests, manifest, platform: view.platform, created })
}

/// The manifest that an image came with.
struct OwnManifest {
    bytes: Vec<u8>,
    parsed: ImageManifest,
}

fn own_manifest(store: &Store, image: &Image) -> Result<Option<OwnManifest>, Error> {
    let Some(digest) = image.manifest else { return Ok(None) };
    let bytes = store.read_blob(&digest, MANIFEST_LIMIT)?;
    let parsed = serde_json::from_slice(&bytes).ok();
    Ok(parsed.map(|parsed| OwnManifest { bytes, parsed }))
}

impl OwnManifest {
    fn types(&self) -> MediaTypes {
        match self.parsed.media_type() {
            None | Some(MediaType::ImageManifest) => MediaTypes::Oci,
            Some(_) => MediaTypes::Docker,
        }
    }

    /// Whether it says just what the archive is to hold.
    fn says(&self, options: &SaveOptions, layers: &[BlobDigest]) -> bool {
        self.types() == options.media_types && self.layers().as_deref() == Some(layers)
    }

    fn layers(&self) -> Option<Vec<BlobDigest>> {
        self.parsed.layers().iter().map(|layer| digest_of(layer, "").ok()).collect()
    }

    fn annotations(&self) -> Annotations {
        self.parsed.annotations().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

fn find_layer(
    store: &Store,
    layer: &LayerId,
    wanted: &DiffId,
    came_as: Option<&BlobDigest>,
    options: &SaveOptions,
) -> Result<(Format, BlobInfo, Content), Error> {
    let known = store.layer(layer)?;
    let meta = known.meta;
    let wanted_format = options.compression.format();
    // Two images may have one tar as two blobs. Of a layer that was not fetched, none of them is right yet: each image
    // stands for its own.
    let own = came_as.filter(|_| known.absent).map(|own| source_blob(store, layer, own)).transpose()?.flatten();
    let source = match own {
        Some(own) => Some(own),
        None if known.absent && meta.source_blob.is_some() && is_disputed(store, layer)? => {
            store.provide(&[*layer])?;
            let right = store.layer(layer)?.meta.source_blob;
            right.map(|source| source_blob(store, layer, &source)).transpose()?.flatten()
        }
        None => meta.source_blob.map(|source| source_blob(store, layer, &source)).transpose()?.flatten(),
    };
    if meta.diff_id.is_none_or(|own| own == *wanted)
        && let Some((format, blob, content)) = source
    {
        let kept = !options.force_compression && options.media_types.layer(format).is_some();
        if kept || (format == wanted_format && !is_exact(options)) {
            return Ok((format, blob, content));
        }
    }
    if let Some(blob) = store.layer_blob(wanted, &options.encoding().recipe())? {
        return Ok((wanted_format, blob, Content::Stored));
    }
    if let Some(blob) = absent_blob(store, layer, wanted, options)? {
        return Ok((wanted_format, blob, Content::Remote(*layer)));
    }
    if meta.diff_id.is_none() && diff_id_is_needed(options) {
        diff_id(store, layer)?;
    }
    let known = recreate(store, layer, wanted)?;
    // Until its own digest is known, a layer may have the tar that is wanted.
    let unknown = store.layer(layer)?.meta.diff_id.is_none().then(WriteOptions::default);
    if let Some(write) = known.or(unknown) {
        let found = make_layer(store, layer, &write, options)?;
        if found.0 == *wanted {
            return Ok((format_of_tar(options), found.1, found.2));
        }
    }
    // An eStargz, or a tar that only its blob is left of.
    for blob in store.layer_blobs(wanted)? {
        let format = sniff(store, &blob.digest)?;
        if options.media_types.layer(format).is_some() {
            return Ok((format, blob, Content::Stored));
        }
    }
    Err(Error::NoLayerTar(*wanted))
}

/// The blob that a layer came as: in the store, or where it can be had.
fn source_blob(
    store: &Store,
    layer: &LayerId,
    source: &BlobDigest,
) -> Result<Option<(Format, BlobInfo, Content)>, Error> {
    if let Some(blob) = store.blob(source)? {
        return Ok(Some((sniff(store, source)?, blob, Content::Stored)));
    }
    let known = store.layer_sources(layer)?.into_iter().find(|known| known.blob.digest == *source);
    Ok(known.and_then(|known| Some((layer_format(&known.media_type)?, known.blob, Content::Remote(*layer)))))
}

/// Whether images disagree on the blob of a layer. Anybody's manifest can claim one for a tar that others have, too;
/// which of them holds it shows when it is unpacked.
fn is_disputed(store: &Store, layer: &LayerId) -> Result<bool, Error> {
    let sources = store.layer_sources(layer)?;
    let Some((first, others)) = sources.split_first() else { return Ok(false) };
    Ok(others.iter().any(|other| other.blob.digest != first.blob.digest))
}

/// The blob that would be made of a layer that steps made elsewhere, where it can be had: then nobody needs its files.
fn absent_blob(
    store: &Store,
    layer: &LayerId,
    wanted: &DiffId,
    options: &SaveOptions,
) -> Result<Option<BlobInfo>, Error> {
    let known = store.layer(layer)?;
    if !known.absent || known.meta.diff_id != Some(*wanted) {
        return Ok(None);
    }
    let recipe = options.encoding().recipe();
    let sources = store.layer_sources(layer)?;
    Ok(sources.into_iter().find(|source| source.recipe.as_ref() == Some(&recipe)).map(|source| source.blob))
}

/// The blob of a layer before there is an image that says which tar of it is wanted.
pub(crate) fn early_layer(
    store: &Store,
    layer: &LayerId,
    form: Form,
    options: &SaveOptions,
) -> Result<(BlobInfo, Content), Error> {
    let write = match form {
        Form::Known(diff_id) => {
            let (_, blob, content) = find_layer(store, layer, &diff_id, None, options)?;
            return Ok((blob, content));
        }
        Form::Made(write) => write,
    };
    if options.compression == Compression::Uncompressed {
        let (_, blob, content) = make_layer(store, layer, &write, options)?;
        return Ok((blob, content));
    }
    Ok((layer_blob(store, layer, options.encoding(), &write)?.blob, Content::Stored))
}

/// Whether a blob of the right kind may still be of the wrong level.
fn is_exact(options: &SaveOptions) -> bool {
    options.force_compression && options.level.is_some()
}

/// Before a tar is written without compression, its digest must be known.
fn diff_id_is_needed(options: &SaveOptions) -> bool {
    options.compression == Compression::Uncompressed
}

fn make_layer(
    store: &Store,
    layer: &LayerId,
    write: &WriteOptions,
    options: &SaveOptions,
) -> Result<(DiffId, BlobInfo, Content), Error> {
    let encoding = tar_encoding(options);
    if encoding.compression == Compression::Uncompressed {
        let tar = formed_tar(store, layer, encoding, write)?;
        let blob = BlobInfo { digest: tar.diff_id.into(), size: tar.size };
        return Ok((tar.diff_id, blob, Content::Layer(*layer, *write, tar)));
    }
    let made = layer_blob(store, layer, encoding, write)?;
    Ok((made.diff_id, made.blob, Content::Stored))
}

/// A tar that is no eStargz can't become one and stay the same tar; gzip is what comes next.
fn tar_encoding(options: &SaveOptions) -> Encoding {
    match options.encoding() {
        Encoding { compression: Compression::Estargz, level } => Encoding { compression: Compression::Gzip, level },
        other => other,
    }
}

fn format_of_tar(options: &SaveOptions) -> Format {
    tar_encoding(options).compression.format()
}

/// What the manifest says of a layer that is an eStargz.
fn layer_annotations(
    store: &Store,
    layer: &LayerId,
    diff_id: &DiffId,
    format: Format,
    (blob, content): (&BlobInfo, &Content),
    options: &SaveOptions,
) -> Result<Annotations, Error> {
    let mut annotations = Annotations::new();
    // What is elsewhere is not fetched to look into it; who keeps the manifest keeps its annotations.
    let here = matches!(content, Content::Stored);
    if format != Format::Gzip || options.media_types != MediaTypes::Oci || !here {
        return Ok(annotations);
    }
    let table = estargz::toc_digest(store.open_blob(&blob.digest)?);
    if let Some(toc) = table.map_err(unreadable(store, &blob.digest))? {
        annotations.insert(estargz::TOC_DIGEST.to_owned(), toc.to_string());
        let form = store.derivation(layer, diff_id)?;
        if let Some((_, size)) = form.map(|form| store.derived_tar(layer, &form)).transpose()?.flatten() {
            annotations.insert(estargz::UNCOMPRESSED_SIZE.to_owned(), size.to_string());
        }
    }
    Ok(annotations)
}

fn sniff(store: &Store, blob: &BlobDigest) -> Result<Format, Error> {
    let mut first = Vec::new();
    let read = store.open_blob(blob)?.take(16).read_to_end(&mut first);
    read.map_err(unreadable(store, blob))?;
    Ok(Format::of(&first))
}

fn unreadable(store: &Store, blob: &BlobDigest) -> impl FnOnce(io::Error) -> Error {
    let path = store.blob_path(blob).display().to_string();
    move |source| Error::Read { path, source }
}

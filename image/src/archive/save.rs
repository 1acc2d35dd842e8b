//! Images of the store → a tar or a directory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use builder_cache::{BlobDigest, Store};
use oci_spec::image::{Descriptor, ImageIndex};

use super::content::{self, Blobs};
use super::descriptor::{MediaTypes, digest_of};
use super::error::Error;
use super::index::{IMAGE_NAME, LAYOUT, Named, REF_NAME, blob_path, descriptors, docker_manifest, index};
use super::plan::{ImagePlan, plan};
use crate::compress::Compression;
use crate::reference::Reference;
use crate::tar::padding;
use crate::tar::write::{END, directory, file, small_file};

/// What kind of archive to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// An OCI image layout with Docker's `manifest.json` beside it: everybody reads it.
    #[default]
    Docker,
    /// An OCI image layout and nothing else.
    Oci,
}

/// How to save.
#[derive(Debug, Clone, Copy, Default)]
pub struct SaveOptions {
    /// The kind of archive.
    pub format: Format,
    /// How layers that were built here are compressed. Others keep the form that they came in.
    pub compression: Compression,
    /// Give other layers this compression, too. Their image gets another manifest, and keeps its id.
    pub force_compression: bool,
    /// Whose names of media types to use.
    pub media_types: MediaTypes,
}

/// An image to save, and the names that the archive gives it.
#[derive(Debug, Clone)]
pub struct SaveImage {
    /// Which.
    pub id: BlobDigest,
    /// Its names.
    pub names: Vec<Reference>,
}

/// What was saved.
#[derive(Debug, Clone)]
pub struct Saved {
    /// The images, in the order asked for.
    pub images: Vec<SavedImage>,
}

/// An image that was saved.
#[derive(Debug, Clone)]
pub struct SavedImage {
    /// Which.
    pub id: BlobDigest,
    /// Its manifest in the archive (`containerimage.descriptor`).
    pub manifest: Descriptor,
}

/// Writes an archive of images. Equal images give equal bytes.
pub fn save(store: &Store, images: &[SaveImage], options: &SaveOptions, out: &mut dyn Write) -> Result<Saved, Error> {
    let (plans, blobs) = plan_all(store, images, options)?;
    let named = named(&plans, images);
    let mut small = |path: &str, bytes: &[u8]| small_file(out, path, bytes).map_err(Error::Write);
    small("oci-layout", LAYOUT)?;
    small("index.json", &index(descriptors(&named)?)?)?;
    if options.format == Format::Docker {
        small("manifest.json", &docker_manifest(&named)?)?;
    }
    for path in ["blobs/", "blobs/sha256/"] {
        out.write_all(&directory(path)).map_err(Error::Write)?;
    }
    for (digest, (size, content)) in &blobs {
        out.write_all(&file(&blob_path(digest), *size)).map_err(Error::Write)?;
        content::write(store, digest, content, out)?;
        out.write_all(&END[..padding(*size)]).map_err(Error::Write)?;
    }
    out.write_all(&END).and_then(|()| out.flush()).map_err(Error::Write)?;
    Ok(saved(plans, images))
}

/// Writes images into a layout directory, which may exist: what it holds stays, and a name that it has already moves.
pub fn save_layout(
    store: &Store,
    images: &[SaveImage],
    options: &SaveOptions,
    directory: &Path,
) -> Result<Saved, Error> {
    let (plans, blobs) = plan_all(store, images, options)?;
    let named = named(&plans, images);
    fs::create_dir_all(directory.join("blobs/sha256")).map_err(Error::Write)?;
    for (digest, (size, content)) in &blobs {
        let path = directory.join(blob_path(digest));
        if path.metadata().is_ok_and(|known| known.len() == *size) {
            continue;
        }
        replace(&path, |out| content::write(store, digest, content, out))?;
    }
    let new = descriptors(&named)?;
    let merged = merge(directory, new)?;
    replace(&directory.join("index.json"), |out| out.write_all(&index(merged)?).map_err(Error::Write))?;
    replace(&directory.join("oci-layout"), |out| out.write_all(LAYOUT).map_err(Error::Write))?;
    if options.format == Format::Docker {
        let manifest = docker_manifest(&named)?;
        replace(&directory.join("manifest.json"), |out| out.write_all(&manifest).map_err(Error::Write))?;
    }
    Ok(saved(plans, images))
}

fn plan_all(store: &Store, images: &[SaveImage], options: &SaveOptions) -> Result<(Vec<ImagePlan>, Blobs), Error> {
    let mut blobs = Blobs::new();
    let plans = images.iter().map(|image| plan(store, &image.id, options, &mut blobs)).collect::<Result<_, _>>()?;
    Ok((plans, blobs))
}

/// An image that is asked for twice is one image with the names of both.
fn named<'a>(plans: &'a [ImagePlan], images: &'a [SaveImage]) -> Vec<Named<'a>> {
    plans.iter().zip(images).map(|(plan, image)| (plan, image.names.as_slice())).collect()
}

fn saved(plans: Vec<ImagePlan>, images: &[SaveImage]) -> Saved {
    let images = plans.into_iter().zip(images);
    Saved { images: images.map(|(plan, image)| SavedImage { id: image.id, manifest: plan.manifest }).collect() }
}

/// What an existing layout lists, but for the names that are new now.
fn merge(directory: &Path, new: Vec<Descriptor>) -> Result<Vec<Descriptor>, Error> {
    let path = directory.join("index.json");
    let old = match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice::<ImageIndex>(&bytes).map_err(Error::json("index.json"))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(new),
        Err(source) => return Err(Error::Read { path: path.display().to_string(), source }),
    };
    let name = |descriptor: &Descriptor| {
        let annotations: BTreeMap<_, _> = descriptor.annotations().iter().flatten().collect();
        let get = |key: &str| annotations.get(&key.to_owned()).map(|value| (*value).clone());
        get(IMAGE_NAME).or_else(|| get(REF_NAME))
    };
    let mut merged = Vec::new();
    for descriptor in old.manifests() {
        let same = |other: &Descriptor| {
            name(other) == name(descriptor) && (name(other).is_some() || other.digest() == descriptor.digest())
        };
        if !new.iter().any(same) {
            digest_of(descriptor, "index.json")?;
            merged.push(descriptor.clone());
        }
    }
    merged.extend(new);
    Ok(merged)
}

/// Writes a file aside and puts it in place whole.
fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<(), Error>) -> Result<(), Error> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let temporary = tempfile::Builder::new()
        .prefix(".builder-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(parent)
        .map_err(Error::Write)?;
    let mut out: BufWriter<&File> = BufWriter::with_capacity(128 << 10, temporary.as_file());
    write(&mut out)?;
    out.flush().map_err(Error::Write)?;
    drop(out);
    temporary.persist(path).map_err(|error| Error::Write(error.error))?;
    Ok(())
}

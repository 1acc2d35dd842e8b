//! Images of the store → a tar or a directory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use builder_cache::{BlobDigest, Store};
use oci_spec::image::{Descriptor, ImageIndex};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::attest::Attestation;
use super::content::{self, Blobs};
use super::descriptor::{Annotations, MediaTypes, annotated, digest_of};
use super::error::Error;
use super::index::{IMAGE_NAME, LAYOUT, Named, REF_NAME, blob_path, descriptors, docker_manifest, index};
use super::plan::{ImagePlan, plan};
use crate::compress::{Compression, Encoding};
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
    /// How hard to try.
    pub level: Option<u8>,
    /// Give other layers this compression, too. Their image gets another manifest, and keeps its id.
    pub force_compression: bool,
    /// Whose names of media types to use.
    pub media_types: MediaTypes,
    /// A manifest that came with an image keeps those that it has.
    pub own_media_types: bool,
}

impl SaveOptions {
    /// Compression and level.
    pub fn encoding(&self) -> Encoding {
        Encoding { compression: self.compression, level: self.level }
    }
}

/// An image to save, and the names that the archive gives it.
#[derive(Debug, Clone, Default)]
pub struct SaveImage {
    /// Its platforms.
    pub platforms: Vec<SavePlatform>,
    /// Its names.
    pub names: Vec<Reference>,
    /// Write an index, as for several platforms, even over one.
    pub index: bool,
    /// Annotations of the index.
    pub annotations: Annotations,
    /// Annotations of the descriptor of the index.
    pub descriptor_annotations: Annotations,
    /// How to save it, when that is not as all the others; the format is always theirs.
    pub options: Option<SaveOptions>,
    /// Manifests with attestations look like images, for registries that know no artifacts.
    pub attestation_images: bool,
}

/// What an image is on one platform.
#[derive(Debug, Clone)]
pub struct SavePlatform {
    /// Which image of the store.
    pub id: BlobDigest,
    /// Annotations of its manifest.
    pub annotations: Annotations,
    /// Annotations of the descriptor of its manifest.
    pub descriptor_annotations: Annotations,
    /// What is said of it. Where anything is, there is an index.
    pub attestations: Vec<Attestation>,
}

impl SaveImage {
    /// An image for one platform.
    pub fn one(id: BlobDigest, names: Vec<Reference>) -> Self {
        Self { platforms: vec![SavePlatform::plain(id)], names, ..Self::default() }
    }
}

impl SavePlatform {
    /// Without annotations.
    pub fn plain(id: BlobDigest) -> Self {
        Self {
            id,
            annotations: Annotations::new(),
            descriptor_annotations: Annotations::new(),
            attestations: Vec::new(),
        }
    }
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
    /// Its manifest in the archive, or the index of its manifests (`containerimage.descriptor`).
    pub root: Descriptor,
    /// Its manifest on each platform.
    pub manifests: Vec<Descriptor>,
}

/// Tells what an image would be in an archive, and makes what is needed to know that.
pub fn describe(store: &Store, image: &SaveImage, options: &SaveOptions) -> Result<SavedImage, Error> {
    plan(store, image, options, &mut Blobs::new())?.saved()
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
    saved(plans)
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
    let _turn = turn(directory).map_err(Error::Write)?;
    let new = descriptors(&named)?;
    let merged = merge(directory, new)?;
    replace(&directory.join("index.json"), |out| out.write_all(&index(merged)?).map_err(Error::Write))?;
    replace(&directory.join("oci-layout"), |out| out.write_all(LAYOUT).map_err(Error::Write))?;
    if options.format == Format::Docker {
        let manifest = docker_manifest(&named)?;
        replace(&directory.join("manifest.json"), |out| out.write_all(&manifest).map_err(Error::Write))?;
    }
    saved(plans)
}

fn plan_all(store: &Store, images: &[SaveImage], options: &SaveOptions) -> Result<(Vec<ImagePlan>, Blobs), Error> {
    let mut blobs = Blobs::new();
    let plans = images.iter().map(|image| plan(store, image, options, &mut blobs)).collect::<Result<_, _>>()?;
    Ok((plans, blobs))
}

/// An image that is asked for twice is one image with the names of both.
fn named<'a>(plans: &'a [ImagePlan], images: &'a [SaveImage]) -> Vec<Named<'a>> {
    plans.iter().zip(images).map(|(plan, image)| (plan, image.names.as_slice())).collect()
}

fn saved(plans: Vec<ImagePlan>) -> Result<Saved, Error> {
    Ok(Saved { images: plans.into_iter().map(ImagePlan::saved).collect::<Result<_, _>>()? })
}

impl ImagePlan {
    pub(crate) fn saved(self) -> Result<SavedImage, Error> {
        Ok(SavedImage {
            root: annotated(&self.root, self.root_platform.as_ref(), &self.root_annotations)?,
            manifests: self.manifests.into_iter().map(|manifest| manifest.manifest).collect(),
        })
    }
}

/// Waits for others who write to the same layout: each adds to what the one before has listed.
fn turn(directory: &Path) -> io::Result<File> {
    let held = File::open(directory)?;
    loop {
        match flock(&held, FlockOperation::LockExclusive) {
            Err(Errno::INTR) => {}
            // Not every file system has locks.
            Ok(()) | Err(Errno::NOLCK | Errno::NOTSUP | Errno::NOSYS) => return Ok(held),
            Err(error) => return Err(error.into()),
        }
    }
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

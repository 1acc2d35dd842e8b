//! Archives and layouts → images of the store.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use builder_cache::{BlobDigest, BlobInfo, Store};

use super::error::Error;
use super::source::Source;
use super::unpack::unpack;
use super::{docker, oci};
use crate::assemble::put_foreign;
use crate::config::ConfigView;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::tar::Limits;

/// The largest list of images that is accepted.
const LIST_LIMIT: u64 = 8 << 20;

/// How to load.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// How much the archive, and each layer, may hold.
    pub limits: Limits,
    /// Which of several images is wanted.
    pub platform: Platform,
    /// Only this image of an OCI layout, which gets no name in the store.
    pub wanted: Option<Wanted>,
}

/// One image of a layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The one with the tag `latest`, or the only one.
    Only,
    /// The one with this tag.
    Tag(String),
    /// The one with this manifest or index.
    Digest(BlobDigest),
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Only => f.write_str("with the tag latest"),
            Self::Tag(tag) => write!(f, "with the tag {tag}"),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { limits: Limits::default(), platform: Platform::host(), wanted: None }
    }
}

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedImage {
    /// Its id.
    pub id: BlobDigest,
    /// The names that the archive gave it; they name it in the store now.
    pub names: Vec<LoadedName>,
    /// Which machines it is for.
    pub platform: Platform,
}

/// A name of an image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedName {
    /// The name.
    pub name: Reference,
    /// The other image that it named before.
    pub replaced: Option<BlobDigest>,
}

/// An image as an archive describes it; its layers' blobs are in the store.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) names: Vec<Reference>,
    pub(super) manifest: Option<(BlobDigest, Vec<u8>)>,
    pub(super) config: Vec<u8>,
    pub(super) layers: Vec<BlobInfo>,
}

/// Loads the images of a tar, compressed or not, from a file or a pipe.
pub fn load(store: &Store, input: impl Read + Send, options: &LoadOptions) -> Result<Vec<LoadedImage>, Error> {
    tidy(store, || put_all(store, &Source::spool(store, input, options.limits)?, options))
}

/// Loads the images of an OCI layout directory.
pub fn load_layout(store: &Store, directory: &Path, options: &LoadOptions) -> Result<Vec<LoadedImage>, Error> {
    tidy(store, || put_all(store, &Source::directory(store, directory)?, options))
}

/// Loads under a lease. What a load that failed has put into the store is of no use to anybody: it goes, unless another
/// builder is at work, and then with the next prune.
fn tidy<T>(store: &Store, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let lease = store.lease()?;
    let result = work();
    drop(lease);
    if result.is_err() {
        let _ = store.collect_garbage();
    }
    result
}

fn put_all(store: &Store, source: &Source<'_>, options: &LoadOptions) -> Result<Vec<LoadedImage>, Error> {
    let found = match &options.wanted {
        None => find(source, &options.platform)?,
        Some(wanted) => {
            let index = source.read("index.json", LIST_LIMIT)?.ok_or(Error::NotAnArchive)?;
            oci::wanted(source, &index, wanted, &options.platform)?
        }
    };
    // All images are whole before the first one shows.
    let ready = found
        .into_iter()
        .map(|image| {
            let config = ConfigView::parse(&image.config).map_err(Error::json("image config"))?;
            if config.diff_ids().len() != image.layers.len() {
                let reason = format!("it has {} layers and {} diff ids", image.layers.len(), config.diff_ids().len());
                return Err(Error::malformed("image config", reason));
            }
            let snapshot = unpack(store, config.diff_ids(), &image.layers, options.limits)?;
            Ok((image, config, snapshot))
        })
        .collect::<Result<Vec<_>, Error>>()?;
    ready
        .into_iter()
        .map(|(image, config, snapshot)| {
            let id = store.put_blob(&image.config)?;
            let manifest = image.manifest.map(|(_, bytes)| store.put_blob(&bytes)).transpose()?;
            put_foreign(store, id, snapshot, config.diff_ids().to_vec(), manifest, config.created_ms())?;
            let names = image.names.into_iter().map(|name| {
                let replaced = store.tag(&name.to_string(), &id)?.filter(|before| *before != id);
                Ok(LoadedName { name, replaced })
            });
            Ok(LoadedImage { id, names: names.collect::<Result<_, Error>>()?, platform: config.platform })
        })
        .collect()
}

/// Where there are both lists, the layout's is used, since it knows manifests; the other may know more names.
fn find(source: &Source<'_>, platform: &Platform) -> Result<Vec<Found>, Error> {
    let listed = source.read("manifest.json", LIST_LIMIT)?.map(|bytes| docker::parse(&bytes)).transpose()?;
    let Some(index) = source.read("index.json", LIST_LIMIT)? else {
        return match listed {
            Some(listed) => docker::images(source, &listed),
            None if source.read("repositories", LIST_LIMIT)?.is_some() => Err(Error::TooOld),
            None => Err(Error::NotAnArchive),
        };
    };
    let mut found = oci::images(source, &index, platform)?;
    for image in listed.iter().flatten() {
        let Some(config) = docker::digest_in(&image.config) else { continue };
        if let Some(known) = found.iter_mut().find(|known| BlobDigest::of(&known.config) == config) {
            let more = docker::names(image)?;
            known.names.extend(more);
        }
    }
    for image in &mut found {
        let mut seen = BTreeSet::new();
        image.names.retain(|name| seen.insert(name.clone()));
    }
    Ok(found)
}

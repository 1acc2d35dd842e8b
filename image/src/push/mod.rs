//! Images of the store → registries.
//!
//! ```text
//! archive::plan ──each blob as soon as it is known──▶ a lane for each repository ──all there──▶ manifests, tags
//!   or a layer by itself, while others are built        HEAD → mount → send
//! ```
//!
//! A blob is sent once to each repository, however often and by whom it is offered, and only when the repository does
//! not have it and can't take it over from another one of its registry. A push that failed goes on where it was when it
//! is done again. Nothing is read from the disk that is not sent. A manifest follows what it speaks of, and an index
//! its manifests: whoever pulls meanwhile finds an image that is whole.

mod body;
mod error;
mod lane;

use std::sync::{Arc, Mutex, PoisonError};

use builder_cache::{BlobDigest, BlobInfo, DiffId, LayerId, LayerSource, Store};
use oci_spec::image::Descriptor;

use self::lane::{Job, Lane};
use crate::archive::content::{Collect, Content, OfLayer};
use crate::archive::plan::{ImagePlan, early_layer, plan};
use crate::archive::{SaveImage, SaveOptions, SavedImage};
use crate::layer::WriteOptions;
use crate::reference::Tag;
use crate::registry::{Repository, Which};
use crate::transfer::Watch;

pub use self::error::Error;

/// Sends images to repositories. Clones share what is under way; when the last one goes, what is not sent by then is
/// given up.
#[derive(Debug, Clone)]
pub struct Pusher(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    watch: Arc<dyn Watch>,
    lanes: Mutex<Vec<Arc<Lane>>>,
}

/// An image whose blobs are where they should be.
#[derive(Debug, Clone)]
pub struct Sent {
    /// What it is there.
    pub image: SavedImage,
    /// The manifests, each after what it speaks of; the last one is the image.
    manifests: Vec<Manifest>,
}

#[derive(Debug, Clone)]
struct Manifest {
    digest: BlobDigest,
    media_type: String,
    bytes: Vec<u8>,
}

/// Which tar of a layer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One that is known by its digest.
    Known(DiffId),
    /// One that is made of the layer's files.
    Made(WriteOptions),
}

impl Pusher {
    /// Nothing is sent yet.
    pub fn new(store: &Store, watch: Arc<dyn Watch>) -> Self {
        Self(Arc::new(Inner { store: store.clone(), watch, lanes: Mutex::default() }))
    }

    /// Begins to send a layer that an image will have, and comes back as soon as its blob is known. What goes wrong on
    /// the way is told when the image is sent, if it goes wrong again then.
    pub fn layer(&self, layer: &LayerId, form: Form, options: &SaveOptions, to: &[Repository]) -> Result<(), Error> {
        let (blob, content) = early_layer(&self.0.store, layer, form, options)?;
        let job = Job { blob, content: Arc::new(content), layer: Some(*layer) };
        self.lanes(to).iter().for_each(|lane| lane.offer(job.clone()));
        Ok(())
    }

    /// Makes sure that all blobs of an image are in these repositories.
    pub fn send(&self, image: &SaveImage, options: &SaveOptions, to: &[Repository]) -> Result<Sent, Error> {
        let lanes = self.lanes(to);
        let mut collected = Collected { lanes: &lanes, blobs: Vec::new(), manifests: Vec::new(), layers: Vec::new() };
        let planned = plan(&self.0.store, image, options, &mut collected);
        let Collected { blobs, manifests, layers, .. } = collected;
        let sent = planned.and_then(ImagePlan::saved).map_err(Error::from).and_then(|image| {
            lanes.iter().try_for_each(|lane| lane.wait(&blobs))?;
            Ok(image)
        });
        if sent.is_err() {
            for lane in &lanes {
                lane.give_up();
            }
        }
        let image = sent?;
        for lane in &lanes {
            layers.iter().try_for_each(|layer| layer.remember(&self.0.store, lane.repository()))?;
        }
        Ok(Sent { image, manifests })
    }

    /// Puts the manifests of an image into one of the repositories that its blobs were sent to: under these tags, or
    /// only by its digest.
    pub fn name(&self, sent: &Sent, repository: &Repository, tags: &[Tag]) -> Result<(), Error> {
        let put = |manifest: &Manifest, which: &Which| {
            let found = repository.push_manifest(which, &manifest.media_type, &manifest.bytes)?;
            if found == manifest.digest {
                return Ok(());
            }
            let name = format!("{}{which}", repository.name());
            Err(Error::OtherDigest { name, expected: manifest.digest, found })
        };
        let Some((root, children)) = sent.manifests.split_last() else { return Ok(()) };
        children.iter().try_for_each(|child| put(child, &Which::Digest(child.digest)))?;
        if tags.is_empty() {
            return put(root, &Which::Digest(root.digest));
        }
        tags.iter().try_for_each(|tag| put(root, &Which::Tag(tag.clone())))
    }

    fn lanes(&self, to: &[Repository]) -> Vec<Arc<Lane>> {
        let mut known = self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lanes: Vec<Arc<Lane>> = Vec::with_capacity(to.len());
        for repository in to {
            let name = repository.name();
            let same = |lane: &&Arc<Lane>| lane.repository().name() == name;
            if lanes.iter().any(|lane| same(&lane)) {
                continue;
            }
            let lane = if let Some(lane) = known.iter().find(same) {
                Arc::clone(lane)
            } else {
                let lane = Arc::new(Lane::new(repository.clone(), &self.0.store, &self.0.watch));
                known.push(Arc::clone(&lane));
                lane
            };
            lanes.push(lane);
        }
        lanes
    }
}

impl Sent {
    /// The digest of the image: that of its manifest, or of the index.
    pub fn digest(&self) -> Option<BlobDigest> {
        self.manifests.last().map(|root| root.digest)
    }

    /// The size of its manifest, or of the index.
    pub fn size(&self) -> u64 {
        self.manifests.last().map_or(0, |root| root.bytes.len() as u64)
    }
}

/// A layer that is in a repository now.
struct Placed {
    layer: LayerId,
    diff_id: DiffId,
    blob: BlobInfo,
    media_type: String,
}

impl Placed {
    /// Notes where the layer's own blob can be had, too: the next repository of that registry takes it from there.
    fn remember(&self, store: &Store, repository: &Repository) -> Result<(), Error> {
        if store.layer(&self.layer)?.meta.diff_id != Some(self.diff_id) {
            return Ok(());
        }
        let location = format!("registry:{}", repository.name());
        let recipe = store.blob_recipe(&self.diff_id, &self.blob.digest)?;
        let source = LayerSource { blob: self.blob, media_type: self.media_type.clone(), location, recipe };
        Ok(store.add_layer_source(&self.layer, &source)?)
    }
}

/// Hands blobs on as they are found, and keeps the manifests.
struct Collected<'a> {
    lanes: &'a [Arc<Lane>],
    blobs: Vec<BlobDigest>,
    manifests: Vec<Manifest>,
    layers: Vec<Placed>,
}

impl Collect for Collected<'_> {
    fn blob(&mut self, blob: BlobInfo, content: Content, layer: Option<OfLayer<'_>>) {
        if let Some(OfLayer { id, diff_id, media_type }) = layer {
            let media_type = media_type.to_string();
            self.layers.push(Placed { layer: *id, diff_id: *diff_id, blob, media_type });
        }
        self.blobs.push(blob.digest);
        let job = Job { blob, content: Arc::new(content), layer: layer.map(|layer| *layer.id) };
        self.lanes.iter().for_each(|lane| lane.offer(job.clone()));
    }

    fn manifest(&mut self, descriptor: &Descriptor, blob: BlobInfo, bytes: Vec<u8>) {
        let media_type = descriptor.media_type().to_string();
        // Equal images of two platforms are one manifest.
        if !self.manifests.iter().any(|known| known.digest == blob.digest) {
            self.manifests.push(Manifest { digest: blob.digest, media_type, bytes });
        }
    }
}

//! What an image consists of, wherever it goes, and writing it without a copy aside.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use builder_cache::{BlobDigest, BlobInfo, DiffId, LayerId, Store};
use oci_spec::image::{Descriptor, MediaType};

use super::descriptor::descriptor;
use super::error::Error;
use crate::block::{BlockSink, Stopped, StreamError, WriteSink, stream};
use crate::layer::{LayerTar, WriteOptions, write_stored};

/// Where a blob's bytes are.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// Here.
    Bytes(Vec<u8>),
    /// In the store.
    Stored,
    /// Nowhere yet: it is a tar of a layer, whose digest is known.
    Layer(LayerId, WriteOptions, LayerTar),
    /// Where the layer came from; not in the store.
    Remote(LayerId),
}

/// The layer that a blob is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OfLayer<'a> {
    /// Its name in the store.
    pub(crate) id: &'a LayerId,
    /// Which tar of it.
    pub(crate) diff_id: &'a DiffId,
    /// What the manifest says that the blob is.
    pub(crate) media_type: &'a MediaType,
}

/// Takes what a plan finds, as it finds it: layers and config of a manifest before the manifest, manifests before
/// their index. Making a layer's blob can take a while, so the ones before it can be on their way meanwhile.
pub(crate) trait Collect {
    /// A blob.
    fn blob(&mut self, blob: BlobInfo, content: Content, layer: Option<OfLayer<'_>>);

    /// A manifest or an index.
    fn manifest(&mut self, descriptor: &Descriptor, blob: BlobInfo, bytes: Vec<u8>);
}

/// Blobs by digest: each is written once, in an order that never varies.
pub(super) type Blobs = BTreeMap<BlobDigest, (u64, Content)>;

impl Collect for Blobs {
    fn blob(&mut self, blob: BlobInfo, content: Content, _: Option<OfLayer<'_>>) {
        self.insert(blob.digest, (blob.size, content));
    }

    fn manifest(&mut self, _: &Descriptor, blob: BlobInfo, bytes: Vec<u8>) {
        self.insert(blob.digest, (blob.size, Content::Bytes(bytes)));
    }
}

/// Adds bytes.
pub(super) fn add_bytes(blobs: &mut dyn Collect, bytes: Vec<u8>) -> BlobInfo {
    let info = BlobInfo { digest: BlobDigest::of(&bytes), size: bytes.len() as u64 };
    blobs.blob(info, Content::Bytes(bytes), None);
    info
}

/// Adds a manifest or an index.
pub(super) fn add_manifest(
    blobs: &mut dyn Collect,
    media_type: MediaType,
    bytes: Vec<u8>,
) -> Result<Descriptor, Error> {
    let info = BlobInfo { digest: BlobDigest::of(&bytes), size: bytes.len() as u64 };
    let descriptor = descriptor(media_type, &info)?;
    blobs.manifest(&descriptor, info, bytes);
    Ok(descriptor)
}

/// Writes a blob's bytes. What comes from the disk is hashed on the way: a damaged blob must not leave the store.
pub(crate) fn write(store: &Store, digest: &BlobDigest, content: &Content, out: &mut dyn Write) -> Result<(), Error> {
    match content {
        Content::Bytes(bytes) => out.write_all(bytes).map_err(Error::Write),
        Content::Stored => write_stored_blob(store, digest, &mut WriteSink(out)),
        Content::Layer(layer, options, tar) => write_stored(store, layer, options, tar, out).map_err(Error::from),
        Content::Remote(layer) => {
            fetch(store, layer, digest)?;
            write_stored_blob(store, digest, &mut WriteSink(out))
        }
    }
}

/// Brings a layer's blob into the store from where it is.
pub(crate) fn fetch(store: &Store, layer: &LayerId, digest: &BlobDigest) -> Result<(), Error> {
    if store.provide_blob(layer, digest)? { Ok(()) } else { Err(builder_cache::Error::NoBlob(*digest).into()) }
}

enum Failure {
    Stopped,
    Read(std::io::Error),
}

impl From<Stopped> for Failure {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

fn write_stored_blob(store: &Store, digest: &BlobDigest, sink: &mut dyn BlockSink) -> Result<(), Error> {
    let mut file = store.open_blob(digest)?;
    let written = stream(
        |out| {
            while out.fill(u64::MAX, |room| file.read(room)).map_err(Failure::Read)?? > 0 {}
            Ok(())
        },
        sink,
    );
    let read = |source| Error::Read { path: store.blob_path(digest).display().to_string(), source };
    match written {
        Ok(hashed) if BlobDigest::from(hashed.digest) == *digest => Ok(()),
        Ok(hashed) => {
            let path = store.blob_path(digest);
            Err(builder_cache::Error::DamagedBlob { path, found: hashed.digest.into() }.into())
        }
        Err(StreamError::Produce(Failure::Read(error))) => Err(read(error)),
        Err(StreamError::Produce(Failure::Stopped)) => Err(read(std::io::ErrorKind::BrokenPipe.into())),
        Err(StreamError::Consume(error)) => Err(Error::Write(error)),
    }
}

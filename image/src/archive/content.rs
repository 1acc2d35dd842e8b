//! The blobs of an archive that is to be written, and writing them without a copy aside.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use builder_cache::{BlobDigest, BlobInfo, LayerId, Store};

use super::error::Error;
use crate::block::{BlockSink, Stopped, StreamError, WriteSink, stream};
use crate::layer::{LayerTar, WriteOptions, write_stored};

/// Where a blob's bytes are.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// Here.
    Bytes(Vec<u8>),
    /// In the store.
    Stored,
    /// Nowhere yet: it is a tar of a layer, whose digest is known.
    Layer(LayerId, WriteOptions, LayerTar),
}

/// Blobs by digest: each is written once, in an order that never varies.
pub(super) type Blobs = BTreeMap<BlobDigest, (u64, Content)>;

/// Adds bytes.
pub(super) fn add_bytes(blobs: &mut Blobs, bytes: Vec<u8>) -> BlobInfo {
    let info = BlobInfo { digest: BlobDigest::of(&bytes), size: bytes.len() as u64 };
    blobs.insert(info.digest, (info.size, Content::Bytes(bytes)));
    info
}

/// Writes a blob's bytes. What comes from the disk is hashed on the way: a damaged blob must not leave the store.
pub(super) fn write(store: &Store, digest: &BlobDigest, content: &Content, out: &mut dyn Write) -> Result<(), Error> {
    match content {
        Content::Bytes(bytes) => out.write_all(bytes).map_err(Error::Write),
        Content::Stored => write_stored_blob(store, digest, &mut WriteSink(out)),
        Content::Layer(layer, options, tar) => write_stored(store, layer, options, tar, out).map_err(Error::from),
    }
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

//! Layers of the store as tars and blobs, each made once and remembered.

use std::io::{self, Write};

use builder_cache::{BlobInfo, DiffId, LayerId, Store};

use super::error::Error;
use super::input::read_retrying;
use super::write::{LayerTar, WriteOptions, write_blocks, write_layer};
use crate::block::{BlockSink, Hashed, StreamError, WriteSink, stream};
use crate::compress::{Compression, Compressor, decoder};

/// A layer as a blob of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerBlob {
    /// The digest of its tar.
    pub diff_id: DiffId,
    /// The blob: that tar, compressed.
    pub blob: BlobInfo,
}

/// The digest and size of a layer's tar. Computed at the first call and remembered; a layer that came with an image
/// has those of the tar that it came as.
pub fn diff_id(store: &Store, layer: &LayerId) -> Result<LayerTar, Error> {
    let meta = store.layer(layer)?.meta;
    if let (Some(diff_id), Some(size)) = (meta.diff_id, meta.tar_size) {
        return Ok(LayerTar { diff_id, size });
    }
    let tar = write_layer(&store.part_dirs(layer)?, &WriteOptions::default(), &mut io::sink())?;
    store.set_layer_diff_id(layer, &tar.diff_id, tar.size)?;
    Ok(tar)
}

/// A layer's tar as a blob with this compression. Made at the first call, in one pass that gives the diff id, too.
///
/// With a clamp the tar differs from the layer's own: its digest is not remembered as the layer's, and the blob is
/// found again only by that digest.
pub fn layer_blob(
    store: &Store,
    layer: &LayerId,
    compression: Compression,
    options: &WriteOptions,
) -> Result<LayerBlob, Error> {
    let recipe = compression.recipe();
    let known = if options.clamp.is_none() { store.layer(layer)?.meta.diff_id } else { None };
    if let Some(diff_id) = known
        && let Some(blob) = store.layer_blob(&diff_id, &recipe)?
    {
        return Ok(LayerBlob { diff_id, blob });
    }
    let mut out = Compressor::new(store.blob_writer()?, compression).map_err(Error::Sink)?;
    let tar = match known {
        Some(_) => copy_tar(store, layer, &mut out)?,
        None => write_blocks(&store.part_dirs(layer)?, options, &mut out)?,
    };
    if let Some(expected) = known.filter(|known| *known != tar.diff_id) {
        return Err(Error::DiffId { expected, found: tar.diff_id });
    }
    let blob = out.finish().map_err(Error::Sink)?.commit(None)?;
    if options.clamp.is_none() {
        store.set_layer_diff_id(layer, &tar.diff_id, tar.size)?;
    }
    store.set_layer_blob(&tar.diff_id, &recipe, &blob)?;
    Ok(LayerBlob { diff_id: tar.diff_id, blob })
}

/// Writes the tar of a layer whose digest is known already, and makes sure that it still is that one.
pub fn write_stored(store: &Store, layer: &LayerId, expected: &LayerTar, out: &mut dyn Write) -> Result<(), Error> {
    let found = copy_tar(store, layer, &mut WriteSink(out))?;
    if found == *expected {
        return Ok(());
    }
    Err(Error::DiffId { expected: expected.diff_id, found: found.diff_id })
}

/// A layer's own tar: from the blob that it came as, or else from its files.
fn copy_tar(store: &Store, layer: &LayerId, sink: &mut dyn BlockSink) -> Result<LayerTar, Error> {
    let Some(source) = store.layer(layer)?.meta.source_blob else {
        return write_blocks(&store.part_dirs(layer)?, &WriteOptions::default(), sink);
    };
    let blob = store.open_blob(&source)?;
    let damaged = |error: io::Error| Error::Io { action: "read", path: source.to_string(), source: error };
    let copied = stream(
        |out| {
            let (_, mut tar) = decoder(blob).map_err(damaged)?;
            while out.fill(u64::MAX, |room| read_retrying(&mut tar, room)).map_err(damaged)?? > 0 {}
            Ok(())
        },
        sink,
    );
    match copied {
        Ok(Hashed { digest, size }) => Ok(LayerTar { diff_id: digest, size }),
        Err(StreamError::Produce(error)) => Err(error),
        Err(StreamError::Consume(error)) => Err(Error::Sink(error)),
    }
}

//! Layers of the store as tars and blobs, each made once and remembered.
//!
//! A layer has a tar of its own, whose digest is written down with the layer. Other tars can be made of it, and the
//! store remembers their digests by the form that they have: with clamped times (`clamp 1700000000`), as an eStargz
//! (its recipe), or both. What kind of blob a tar is packed into does not change the tar; only an eStargz has a tar of
//! its own.

use std::io::{self, Write};

use builder_cache::{BlobDigest, BlobInfo, DiffId, LayerId, Store};

use super::error::Error;
use super::input::read_retrying;
use super::write::{LayerTar, WriteOptions, produce_layer, write_blocks, write_layer};
use crate::block::{BlockSink, BlockWriter, Hashed, Pulled, StreamError, WriteSink, pull, stream};
use crate::compress::{Compression, Compressor, Encoding, decoder};
use crate::estargz;

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
    let mut known = store.layer(layer)?;
    if known.absent && known.meta.tar_size.is_none() {
        // What its files would be written as is not what it came as.
        store.provide(&[*layer])?;
        known = store.layer(layer)?;
    }
    if let (Some(diff_id), Some(size)) = (known.meta.diff_id, known.meta.tar_size) {
        return Ok(LayerTar { diff_id, size });
    }
    let tar = write_layer(&store.part_dirs(layer)?, &WriteOptions::default(), &mut io::sink())?;
    store.set_layer_diff_id(layer, &tar.diff_id, tar.size)?;
    Ok(tar)
}

/// The digest and size of the tar that a layer has in this form, made as far as that is needed to know them.
pub fn formed_tar(
    store: &Store,
    layer: &LayerId,
    encoding: impl Into<Encoding>,
    options: &WriteOptions,
) -> Result<LayerTar, Error> {
    let encoding = encoding.into();
    let Some(form) = form(encoding, options) else { return diff_id(store, layer) };
    if let Some((diff_id, size)) = store.derived_tar(layer, &form)? {
        // An eStargz that is gone must be made again by whoever wants it, which is better done at once.
        if encoding.compression != Compression::Estargz || store.layer_blob(&diff_id, &encoding.recipe())?.is_some() {
            return Ok(LayerTar { diff_id, size });
        }
    }
    if encoding.compression == Compression::Uncompressed {
        let tar = copy_tar(store, layer, options, &mut WriteSink(io::sink()))?;
        store.set_derived_tar(layer, &form, &tar.diff_id, tar.size)?;
        return Ok(tar);
    }
    let made = layer_blob(store, layer, encoding, options)?;
    let size = store.derived_tar(layer, &form)?.map_or(0, |(_, size)| size);
    Ok(LayerTar { diff_id: made.diff_id, size })
}

/// A layer's tar as a blob with this compression. Made at the first call, in one pass that gives the diff id, too.
///
/// With a clamp, and as an eStargz, the tar differs from the layer's own, and so does the diff id.
pub fn layer_blob(
    store: &Store,
    layer: &LayerId,
    encoding: impl Into<Encoding>,
    options: &WriteOptions,
) -> Result<LayerBlob, Error> {
    let encoding = encoding.into();
    let recipe = encoding.recipe();
    let form = form(encoding, options);
    let known = match &form {
        None => store.layer(layer)?.meta.diff_id,
        Some(form) => store.derived_tar(layer, form)?.map(|(diff_id, _)| diff_id),
    };
    if let Some(diff_id) = known
        && let Some(blob) = store.layer_blob(&diff_id, &recipe)?
    {
        return Ok(LayerBlob { diff_id, blob });
    }
    let mut writer = store.blob_writer()?;
    let (tar, writer) = if encoding.compression == Compression::Estargz {
        (make_estargz(store, layer, encoding.level, options, &mut writer)?, writer)
    } else {
        let mut out = Compressor::new(writer, encoding).map_err(Error::Sink)?;
        let tar = copy_tar(store, layer, options, &mut out)?;
        (tar, out.finish().map_err(Error::Sink)?)
    };
    if let Some(expected) = known.filter(|known| *known != tar.diff_id) {
        return Err(Error::DiffId { expected, found: tar.diff_id });
    }
    let blob = writer.commit(None)?;
    match form {
        None => store.set_layer_diff_id(layer, &tar.diff_id, tar.size)?,
        Some(form) => store.set_derived_tar(layer, &form, &tar.diff_id, tar.size)?,
    }
    store.set_layer_blob(&tar.diff_id, &recipe, &blob)?;
    Ok(LayerBlob { diff_id: tar.diff_id, blob })
}

/// What the tar is called that differs from the layer's own.
fn form(encoding: Encoding, options: &WriteOptions) -> Option<String> {
    let estargz = (encoding.compression == Compression::Estargz).then(|| encoding.recipe());
    let clamp = options.clamp.map(|clamp| format!("{CLAMP}{clamp}"));
    let parts: Vec<String> = clamp.into_iter().chain(estargz).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

const CLAMP: &str = "clamp ";

/// How the tar `wanted` is made of the layer, when it can be made from its files alone: its own tar, or one with
/// clamped times.
pub fn recreate(store: &Store, layer: &LayerId, wanted: &DiffId) -> Result<Option<WriteOptions>, Error> {
    if store.layer(layer)?.meta.diff_id == Some(*wanted) {
        return Ok(Some(WriteOptions::default()));
    }
    let form = store.derivation(layer, wanted)?;
    let clamp = form.and_then(|form| form.strip_prefix(CLAMP)?.parse().ok());
    Ok(clamp.map(|clamp| WriteOptions { clamp: Some(clamp) }))
}

/// Writes the tar of a layer whose digest is known already, and makes sure that it still is that one.
pub fn write_stored(
    store: &Store,
    layer: &LayerId,
    options: &WriteOptions,
    expected: &LayerTar,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let found = copy_tar(store, layer, options, &mut WriteSink(out))?;
    if found == *expected {
        return Ok(());
    }
    Err(Error::DiffId { expected: expected.diff_id, found: found.diff_id })
}

/// A layer's tar: its own one from the blob that it came as, or else from its files.
fn copy_tar(
    store: &Store,
    layer: &LayerId,
    options: &WriteOptions,
    sink: &mut dyn BlockSink,
) -> Result<LayerTar, Error> {
    let Some(source) = source_blob(store, layer, options)? else {
        return write_blocks(&store.part_dirs(layer)?, options, sink);
    };
    match stream(|out| copy_source(store, &source, out), sink) {
        Ok(Hashed { digest, size }) => Ok(LayerTar { diff_id: digest, size }),
        Err(StreamError::Produce(error)) => Err(error),
        Err(StreamError::Consume(error)) => Err(Error::Sink(error)),
    }
}

/// The blob to take the tar from. Times are clamped where a tar is made anew from files.
fn source_blob(store: &Store, layer: &LayerId, options: &WriteOptions) -> Result<Option<BlobDigest>, Error> {
    if options.clamp.is_some() {
        return Ok(None);
    }
    let source = store.layer(layer)?.meta.source_blob;
    if let Some(source) = &source {
        // That of an absent layer is elsewhere.
        store.provide_blob(layer, source)?;
    }
    Ok(source)
}

fn copy_source(store: &Store, source: &BlobDigest, out: &mut BlockWriter) -> Result<(), Error> {
    let blob = store.open_blob(source)?;
    let damaged = |error: io::Error| Error::Io { action: "read", path: source.to_string(), source: error };
    let (_, mut tar) = decoder(blob).map_err(damaged)?;
    while out.fill(u64::MAX, |room| read_retrying(&mut tar, room)).map_err(damaged)?? > 0 {}
    Ok(())
}

fn make_estargz(
    store: &Store,
    layer: &LayerId,
    level: Option<u8>,
    options: &WriteOptions,
    out: &mut dyn Write,
) -> Result<LayerTar, Error> {
    let source = source_blob(store, layer, options)?;
    let expected = if source.is_some() { store.layer(layer)?.meta.diff_id } else { None };
    let parts = store.part_dirs(layer)?;
    let Pulled { consumed, produced, hashed } = pull(
        expected.is_some(),
        |blocks| match &source {
            Some(source) => copy_source(store, source, blocks),
            None => produce_layer(&parts, options, blocks),
        },
        |input| estargz::write(input, level, out),
    );
    // When reading ends early, each side sees that of the other; who stopped because the other did, does not know why.
    match produced {
        Ok(()) | Err(Error::Stopped(_)) => {}
        Err(error) => return Err(error),
    }
    let tar = consumed?;
    match expected.filter(|expected| *expected != hashed.digest) {
        Some(expected) => Err(Error::DiffId { expected, found: hashed.digest }),
        None => Ok(tar),
    }
}

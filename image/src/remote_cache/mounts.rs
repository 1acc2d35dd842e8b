//! Cache mounts that travel: the files of one are one blob, which changes when they do.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use builder_cache::Store;

use super::backend::Blob;
use super::cache::CarriedMount;
use super::error::Error;
use super::hashing::Hashing;
use super::open::Opened;
use crate::compress::{Compression, Compressor, Format};
use crate::layer::{UnpackOptions, unpack, write_root};
use crate::tar::Limits;

/// Packs the files of a cache mount into a blob of the store. Nobody may write to it meanwhile.
///
/// # Errors
/// When they can't be read.
pub fn pack_mount(store: &Store, directory: &Path) -> Result<Blob, Error> {
    let failed = |source| Error::io(&directory.display().to_string(), "read", source);
    let root = OwnedFd::from(File::open(directory).map_err(failed)?);
    let mut out = Compressor::new(store.blob_writer()?, Compression::Zstd).map_err(failed)?;
    write_root(&root, None, &mut out)?;
    let info = out.finish().map_err(failed)?.commit(None)?;
    Ok(Blob { media_type: super::send::media_type(Format::Zstd), digest: info.digest, size: info.size })
}

/// Puts the files of a cache mount into an empty directory. After an error it holds a part of them.
///
/// # Errors
/// When they can't be had, or are not what the cache says.
pub fn fill_mount(opened: &Opened, mount: &CarriedMount, directory: &Path) -> Result<(), Error> {
    let place = opened.cache.name();
    let failed = |source| Error::io(place, "read", source);
    let root = File::open(directory).map_err(failed)?;
    // A byte too many is enough to make it another blob.
    let mut input = Hashing::new(opened.backend.blob(&mount.blob.info())?.take(mount.blob.size.saturating_add(1)));
    let options = UnpackOptions { limits: Limits::of_blob(mount.blob.size), ..UnpackOptions::default() };
    unpack(&mut input, root.as_fd(), Path::new("/"), &options)?;
    io::copy(&mut input, &mut io::sink()).map_err(failed)?;
    input.check(place, &mount.blob.digest)
}

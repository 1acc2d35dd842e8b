//! One layer: socket → blob of the store, and → decompression → files, in one pass.
//!
//! | thread | does |
//! |---|---|
//! | reader | socket, digest of the blob, the blob's file |
//! | decoder | decompression |
//! | hasher | digest of the tar |
//! | caller's | reads the tar and writes the files |

use std::io::{self, Read, Write};
use std::path::Path;

use builder_cache::{BlobInfo, BlobWriter, LayerSource, Store};

use super::error::Error;
use super::origin::OriginReader;
use crate::block::{Pulled, Stopped, pull};
use crate::http::Stop;
use crate::layer::{Applied, ApplyOptions, apply_layer};
use crate::registry;
use crate::remote_cache::guarded_place;
use crate::tar::Limits;
use crate::transfer::{State, Watch};

/// Bytes between two notes on how far a blob is.
const NOTE: u64 = 512 << 10;

/// How a blob is fetched.
pub(super) struct Transfer<'a> {
    pub(super) store: &'a Store,
    pub(super) source: &'a LayerSource,
    pub(super) watch: &'a dyn Watch,
    pub(super) stop: &'a Stop,
}

/// Why the stream of a blob ended early.
enum Failure {
    Stopped,
    Read(io::Error),
}

impl From<Stopped> for Failure {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl Transfer<'_> {
    /// Fetches the blob, keeps it, and unpacks it to the directory on the way. When this fails, nothing was kept.
    pub(super) fn unpack(&self, input: OriginReader, to: &Path, options: &ApplyOptions) -> Result<Applied, Error> {
        let writer = self.store.blob_writer()?;
        let options = ApplyOptions { limits: self.limits(), ..options.clone() };
        let mut tee = self.tee(input, Some(writer));
        let Pulled { consumed, produced, .. } = pull(
            false,
            |blocks| {
                while blocks.fill(u64::MAX, |room| tee.read(room)).map_err(Failure::Read)?? > 0 {}
                Ok(())
            },
            |blocks| apply_layer(blocks, to, &options),
        );
        // Wrong bytes explain whatever unpacking makes of them; and what the connection says, a stream that ends early.
        self.check(&mut tee)?;
        match produced {
            Ok(()) => {
                let applied = consumed.map_err(|source| self.unpacking(source))?;
                self.keep(tee)?;
                Ok(applied)
            }
            Err(Failure::Stopped) => match consumed {
                Err(source) => Err(self.unpacking(source)),
                Ok(_) => Err(Error::Cancelled),
            },
            Err(Failure::Read(error)) => Err(self.reading(error)),
        }
    }

    /// Unpacks the blob, which the store has.
    pub(super) fn unpack_stored(&self, to: &Path, options: &ApplyOptions) -> Result<Applied, Error> {
        let file = self.store.open_blob(&self.source.blob.digest)?;
        self.watch.note(&self.source.blob.digest, State::Extracting { done: 0, total: self.source.blob.size });
        let options = ApplyOptions { limits: self.limits(), ..options.clone() };
        apply_layer(self.tee(Box::new(file), None), to, &options).map_err(|source| self.unpacking(source))
    }

    /// Fetches the blob alone.
    pub(super) fn keep_blob(&self, input: OriginReader) -> Result<(), Error> {
        let mut tee = self.tee(input, Some(self.store.blob_writer()?));
        let mut buffer = vec![0; 256 << 10];
        while tee.read(&mut buffer).map_err(|error| self.reading(error))? > 0 {}
        self.check(&mut tee)?;
        self.keep(tee)
    }

    /// Compares what came with the blob's digest, once it is all there.
    fn check(&self, tee: &mut Tee<'_>) -> Result<(), Error> {
        let BlobInfo { digest: expected, size } = self.source.blob;
        let Some(writer) = tee.writer.as_mut().filter(|_| tee.done == size) else { return Ok(()) };
        let found = writer.digest()?;
        if found == expected {
            return Ok(());
        }
        Err(registry::Error::Digest { what: format!("{}@{expected}", self.place()), expected, found }.into())
    }

    /// Makes the blob part of the store, if it is the right one.
    fn keep(&self, tee: Tee<'_>) -> Result<(), Error> {
        let Some(writer) = tee.writer else { return Ok(()) };
        let blob = self.source.blob;
        let info = writer.commit(Some(&blob.digest))?;
        if info.size != blob.size {
            // The digest is right, so that only the manifest is wrong; nothing of a manifest that lies is used.
            let (expected, found) = (blob.size, info.size);
            return Err(Error::Size { blob: blob.digest, location: self.place(), expected, found });
        }
        Ok(())
    }

    fn limits(&self) -> Limits {
        Limits::of_blob(self.source.blob.size)
    }

    fn tee(&self, input: OriginReader, writer: Option<BlobWriter>) -> Tee<'_> {
        Tee { transfer: self, input, writer, done: 0, noted: 0 }
    }

    fn place(&self) -> String {
        place(&self.source.location)
    }

    fn unpacking(&self, source: crate::layer::Error) -> Error {
        Error::Unpack { blob: self.source.blob.digest, location: self.place(), source: Box::new(source) }
    }

    fn reading(&self, error: io::Error) -> Error {
        if self.stop.is_over() {
            return Error::Cancelled;
        }
        match registry::Error::from_io(error) {
            Ok(error) => Error::Registry(error),
            Err(error) => match error.downcast::<Keep>() {
                Ok(Keep(source)) => Error::Keep { blob: self.source.blob.digest, source },
                Err(error) => {
                    Error::Fetch { blob: self.source.blob.digest, location: self.place(), source: error.into() }
                }
            },
        }
    }
}

/// A location for people.
pub(super) fn place(location: &str) -> String {
    guarded_place(location).unwrap_or_else(|| location.split_once(':').map_or(location, |(_, place)| place).to_owned())
}

/// What was read can't be written.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Keep(io::Error);

/// Reads a blob, keeps what was read, and notes how far it is.
struct Tee<'a> {
    transfer: &'a Transfer<'a>,
    input: OriginReader,
    writer: Option<BlobWriter>,
    done: u64,
    noted: u64,
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Transfer { source, watch, stop, .. } = self.transfer;
        let count = loop {
            if stop.is_over() {
                return Err(registry::Error::Cancelled.into());
            }
            match self.input.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if let Some(writer) = &mut self.writer {
            let kept = writer.write_all(buffer.get(..count).unwrap_or_default());
            kept.map_err(|error| io::Error::other(Keep(error)))?;
        }
        self.done += count as u64;
        let total = source.blob.size;
        if self.done > total {
            let (expected, found) = (total, self.done);
            let what = format!("{}@{}", place(&source.location), source.blob.digest);
            return Err(registry::Error::Size { what, expected, found }.into());
        }
        if self.done - self.noted >= NOTE || (count == 0 && self.writer.is_some()) {
            self.noted = self.done;
            let done = self.done;
            watch.note(
                &source.blob.digest,
                match (count, &self.writer) {
                    (0, _) | (_, None) => State::Extracting { done, total },
                    _ => State::Downloading { done, total },
                },
            );
        }
        Ok(count)
    }
}

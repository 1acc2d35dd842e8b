//! A compressed stream as a tar reader sees it: decompressed on a thread of its own, hashed on another.

use std::io::{self, Read};

use builder_cache::{BlobDigest, BlobInfo};
use sha2::{Digest, Sha256};

use super::error::Error;
use crate::block::{BlockReader, Hashed, Pulled, Stopped, pull};
use crate::compress::decoder;
use crate::tar::{Limits, Reader, Reason, TarError};

/// What was read, to its end.
#[derive(Debug)]
pub(super) struct Consumed<T> {
    pub(super) value: T,
    /// Of the tar.
    pub(super) tar: Hashed,
    /// Of the stream as it came.
    pub(super) blob: Option<BlobInfo>,
}

#[derive(Debug)]
enum Failure {
    Stopped,
    Input(io::Error),
}

impl From<Stopped> for Failure {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// Why a tar could not be read through.
#[derive(Debug)]
pub(crate) enum StreamFailure<E> {
    /// The stream or the tar in it is broken.
    Layer(Error),
    /// The consumer gave up for a reason of its own.
    Consumer(E),
}

/// A consumer's error, which may be the tar's.
pub(crate) trait FromTar: From<TarError> {
    /// The tar's error again, if it is one.
    fn into_tar(self) -> Result<TarError, Self>;
}

impl FromTar for TarError {
    fn into_tar(self) -> Result<TarError, Self> {
        Ok(self)
    }
}

impl FromTar for crate::archive::Error {
    fn into_tar(self) -> Result<TarError, Self> {
        match self {
            Self::Tar(error) => Ok(error),
            other => Err(other),
        }
    }
}

/// Decompresses `input` and lets `consume` read the tar in it. Bytes that `consume` leaves are read, too: they are
/// part of the digests.
pub(super) fn read_tar<T>(
    input: impl Read + Send,
    limits: Limits,
    hash_blob: bool,
    consume: impl FnOnce(&mut Reader<&mut BlockReader>) -> Result<T, TarError>,
) -> Result<Consumed<T>, Error> {
    read(input, limits, true, hash_blob, consume).map_err(|failure| match failure {
        StreamFailure::Layer(error) => error,
        StreamFailure::Consumer(error) => error.into(),
    })
}

/// The same without digests, for a consumer with errors of its own.
pub(crate) fn read_archive<T, E: FromTar>(
    input: impl Read + Send,
    limits: Limits,
    consume: impl FnOnce(&mut Reader<&mut BlockReader>) -> Result<T, E>,
) -> Result<T, StreamFailure<E>> {
    read(input, limits, false, false, consume).map(|consumed| consumed.value)
}

fn read<T, E: FromTar>(
    input: impl Read + Send,
    limits: Limits,
    hash_tar: bool,
    hash_blob: bool,
    consume: impl FnOnce(&mut Reader<&mut BlockReader>) -> Result<T, E>,
) -> Result<Consumed<T>, StreamFailure<E>> {
    let Pulled { consumed, produced, hashed } = pull(
        hash_tar,
        |out| {
            let mut input = Hashing { input, hasher: hash_blob.then(Sha256::new), size: 0 };
            let (_, mut decoder) = decoder(&mut input).map_err(Failure::Input)?;
            while out.fill(u64::MAX, |room| read_retrying(&mut decoder, room)).map_err(Failure::Input)?? > 0 {}
            drop(decoder);
            io::copy(&mut input, &mut io::sink()).map_err(Failure::Input)?;
            Ok(input.finish())
        },
        |blocks| {
            let mut reader = Reader::new(blocks, limits);
            let value = consume(&mut reader)?;
            reader.drain()?;
            Ok(value)
        },
    );
    let layer = |error: TarError| StreamFailure::Layer(error.into());
    match (consumed.map_err(E::into_tar), produced) {
        (Ok(value), Ok(blob)) => Ok(Consumed { value, tar: hashed, blob }),
        // The reader only saw that the stream ended too early; why is what the decoder knows.
        (Err(Ok(TarError { entry, offset, reason: Reason::Truncated })), Err(Failure::Input(error))) => {
            Err(layer(TarError { entry, offset, reason: why(error) }))
        }
        (Err(Ok(error)), _) => Err(layer(error)),
        (Err(Err(error)), _) => Err(StreamFailure::Consumer(error)),
        (Ok(_), Err(Failure::Input(error))) => Err(layer(TarError::new(b"", hashed.size, why(error)))),
        (Ok(_), Err(Failure::Stopped)) => Err(StreamFailure::Layer(Stopped.into())),
    }
}

fn why(error: io::Error) -> Reason {
    if error.kind() == io::ErrorKind::UnexpectedEof { Reason::Truncated } else { Reason::Read(error) }
}

/// Reads once, again after a signal.
pub(super) fn read_retrying(input: &mut impl Read, room: &mut [u8]) -> io::Result<usize> {
    loop {
        match input.read(room) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

struct Hashing<R> {
    input: R,
    hasher: Option<Sha256>,
    size: u64,
}

impl<R> Hashing<R> {
    fn finish(self) -> Option<BlobInfo> {
        let digest = BlobDigest::from_bytes(self.hasher?.finalize().into());
        Some(BlobInfo { digest, size: self.size })
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        self.size += count as u64;
        Ok(count)
    }
}

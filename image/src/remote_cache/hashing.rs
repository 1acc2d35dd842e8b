//! Blobs that are hashed on their way: to places that take whatever they are given, and from all places.

use std::io::{self, Read};

use builder_cache::BlobDigest;
use sha2::{Digest, Sha256};

use super::error::Error;

/// Hashes what passes.
pub(super) struct Hashing<R> {
    input: R,
    hasher: Sha256,
}

impl<R: Read> Hashing<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, hasher: Sha256::new() }
    }

    /// Fails when what passed is not the blob with this digest.
    pub(super) fn check(&self, place: &str, expected: &BlobDigest) -> Result<(), Error> {
        let found = BlobDigest::from_bytes(self.hasher.clone().finalize().into());
        if found == *expected {
            return Ok(());
        }
        Err(Error::Digest { place: place.to_owned(), expected: *expected, found })
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        Ok(length)
    }
}

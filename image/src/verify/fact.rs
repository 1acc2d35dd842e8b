//! What is known of a stream of bytes after it was read once.

use std::io::{self, Read};

use builder_cache::{BlobDigest, DiffId};
use sha2::{Digest, Sha256};

use crate::compress::decoder;
use crate::tar::Limits;

/// The largest text that is kept to be looked into; statements are the largest.
const TEXT: u64 = 84 << 20;

/// What came of reading a file.
#[derive(Debug)]
pub(super) struct Fact {
    pub(super) digest: BlobDigest,
    pub(super) size: u64,
    /// What it is when it looks like JSON.
    pub(super) text: Option<Vec<u8>>,
    /// What it unpacks to when it does not.
    pub(super) unpacked: Option<Result<DiffId, String>>,
}

impl Fact {
    /// Reads a stream to its end. `texts` is how much may still be kept of texts.
    pub(super) fn of(input: impl Read + Send, size: u64, texts: &mut u64) -> io::Result<Self> {
        let mut input = Hashing { input, hasher: Sha256::new(), size: 0 };
        let mut first = [0];
        let begins = input.read(&mut first)? == 1 && matches!(first[0], b'{' | b'[' | b' ' | b'\n' | b'\t');
        if begins && size <= TEXT.min(*texts) {
            let mut text = vec![first[0]];
            input.by_ref().take(TEXT).read_to_end(&mut text)?;
            *texts -= (text.len() as u64).min(*texts);
            io::copy(&mut input, &mut io::sink())?;
            return Ok(input.finish(Some(text), None));
        }
        let begun = first.get(..usize::from(input.size > 0)).unwrap_or_default().to_vec();
        let unpacked = unpack(io::Cursor::new(begun).chain(&mut input), size).map_err(|error| error.to_string());
        // A decoder may end before its input does.
        io::copy(&mut input, &mut io::sink())?;
        Ok(input.finish(None, Some(unpacked)))
    }
}

fn unpack(input: impl Read + Send, size: u64) -> io::Result<DiffId> {
    let (_, unpacked) = decoder(input)?;
    let most = Limits::of_blob(size).bytes.unwrap_or(u64::MAX);
    let mut hashing = Hashing { input: unpacked.take(most.saturating_add(1)), hasher: Sha256::new(), size: 0 };
    io::copy(&mut hashing, &mut io::sink())?;
    if hashing.size > most {
        return Err(io::Error::other("it unpacks to more than a layer may have"));
    }
    Ok(DiffId::from_bytes(hashing.hasher.finalize().into()))
}

/// Hashes what passes.
struct Hashing<R> {
    input: R,
    hasher: Sha256,
    size: u64,
}

impl<R> Hashing<R> {
    fn finish(self, text: Option<Vec<u8>>, unpacked: Option<Result<DiffId, String>>) -> Fact {
        Fact { digest: BlobDigest::from_bytes(self.hasher.finalize().into()), size: self.size, text, unpacked }
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        self.size += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn one_pass_tells_it_all() {
        let tar = vec![7; 100_000];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&tar).unwrap();
        let gzip = gzip.finish().unwrap();
        for (bytes, expected) in [(gzip.clone(), DiffId::of(&tar)), (tar.clone(), DiffId::of(&tar))] {
            let fact = Fact::of(bytes.as_slice(), bytes.len() as u64, &mut 1000).unwrap();
            assert_eq!((fact.digest, fact.size), (BlobDigest::of(&bytes), bytes.len() as u64));
            assert_eq!(fact.unpacked, Some(Ok(expected)));
        }
        let fact = Fact::of(&gzip[..gzip.len() - 9], 0, &mut 1000).unwrap();
        assert!(fact.unpacked.unwrap().is_err());
        assert_eq!(fact.digest, BlobDigest::of(&gzip[..gzip.len() - 9]));
        let mut left = 10;
        let fact = Fact::of(&b"{\"a\":1}"[..], 7, &mut left).unwrap();
        assert_eq!((fact.text.as_deref(), left), (Some(&b"{\"a\":1}"[..]), 3));
        let fact = Fact::of(&b"{\"a\":1}"[..], 7, &mut left).unwrap();
        assert_eq!((fact.text, fact.digest), (None, BlobDigest::of(b"{\"a\":1}")), "too much to keep");
        assert_eq!(Fact::of(&b""[..], 0, &mut left).unwrap().size, 0);
    }
}

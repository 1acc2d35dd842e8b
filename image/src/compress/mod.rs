//! Compression of layer tars, the same bytes for any number of threads; and reading whatever others compressed.
//!
//! | | writes | how it stays the same |
//! |---|---|---|
//! | none | the tar | |
//! | gzip | one member for each MiB of the tar, by libdeflate on the pool | members do not know of each other |
//! | zstd | one frame | libzstd cuts jobs by size; one worker or more give the same bytes |
//! | eStargz | one member for each file, by libdeflate on the pool ([`crate::estargz`]) | as gzip |
//!
//! [`Encoding::recipe`] names codec, version and level: blobs are remembered under it, so that a new codec makes
//! new blobs and never passes an old one for its own.

mod decode;
pub(crate) mod gzip;
mod zstandard;

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;
use std::sync::Arc;

pub use decode::{Format, decoder, is_archive};

use serde::{Deserialize, Serialize};

use crate::block::{Block, BlockFiller, BlockSink, WriteSink};

/// How a layer's tar is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As it is.
    #[default]
    Uncompressed,
    /// In gzip members.
    Gzip,
    /// In a zstd frame.
    Zstd,
    /// In a gzip member for each file, with a table of contents: gzip that can be read from the middle. The table is
    /// part of the tar, which so becomes another one.
    Estargz,
}

impl Compression {
    /// Under which name blobs are remembered: equal recipes give equal bytes.
    pub fn recipe(self) -> String {
        Encoding::from(self).recipe()
    }

    /// The highest level that it has.
    pub fn highest_level(self) -> u8 {
        match self {
            Self::Uncompressed | Self::Zstd => 22,
            Self::Gzip | Self::Estargz => 9,
        }
    }

    /// How what it makes begins.
    pub(crate) fn format(self) -> Format {
        match self {
            Self::Uncompressed => Format::Plain,
            Self::Gzip | Self::Estargz => Format::Gzip,
            Self::Zstd => Format::Zstd,
        }
    }
}

/// A compression, and how hard it tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Encoding {
    /// Which.
    pub compression: Compression,
    /// From 0 to [`Compression::highest_level`]; `None` is this builder's own choice.
    pub level: Option<u8>,
}

impl Encoding {
    /// Under which name blobs are remembered: equal recipes give equal bytes.
    pub fn recipe(self) -> String {
        match self.compression {
            Compression::Uncompressed => "uncompressed".to_owned(),
            Compression::Gzip => gzip::recipe(self.level),
            Compression::Zstd => zstandard::recipe(self.level),
            Compression::Estargz => crate::estargz::recipe(self.level),
        }
    }

    /// What has this recipe here. That of another version of a codec is nobody's.
    pub fn of_recipe(recipe: &str) -> Option<Self> {
        [Compression::Uncompressed, Compression::Gzip, Compression::Zstd, Compression::Estargz]
            .into_iter()
            .filter(|compression| recipe.starts_with(&compression.to_string()))
            .flat_map(|compression| (0..=compression.highest_level()).map(move |level| (compression, Some(level))))
            .map(|(compression, level)| Self { compression, level })
            .find(|encoding| encoding.recipe() == recipe)
    }
}

impl From<Compression> for Encoding {
    fn from(compression: Compression) -> Self {
        Self { compression, level: None }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uncompressed => "uncompressed",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Estargz => "estargz",
        })
    }
}

/// The name is none of a compression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no compression: choose uncompressed, gzip, zstd or estargz")]
pub struct ParseCompressionError(String);

impl FromStr for Compression {
    type Err = ParseCompressionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "uncompressed" => Ok(Self::Uncompressed),
            "gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            "estargz" => Ok(Self::Estargz),
            _ => Err(ParseCompressionError(text.chars().take(40).collect())),
        }
    }
}

/// Compresses what is written to it into `W`. Call [`Compressor::finish`]: without it the end is missing.
#[derive(Debug)]
pub struct Compressor<W: Write> {
    filler: BlockFiller,
    codec: Codec<W>,
}

enum Codec<W: Write> {
    Plain(WriteSink<W>),
    Gzip(gzip::GzipSink<W>),
    Zstd(zstandard::ZstdSink<W>),
}

impl<W: Write> fmt::Debug for Codec<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Gzip(_) => "Gzip",
            Self::Zstd(_) => "Zstd",
        })
    }
}

impl<W: Write> Compressor<W> {
    /// Begins a compressed stream. An eStargz is no compressed stream: it is made of files.
    pub fn new(out: W, encoding: impl Into<Encoding>) -> io::Result<Self> {
        let Encoding { compression, level } = encoding.into();
        let codec = match compression {
            Compression::Uncompressed => Codec::Plain(WriteSink(out)),
            Compression::Gzip => Codec::Gzip(gzip::GzipSink::new(out, level)),
            Compression::Zstd => Codec::Zstd(zstandard::ZstdSink::new(out, level)?),
            Compression::Estargz => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Self { filler: BlockFiller::new(), codec })
    }

    /// Writes what is left and gives the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        if !self.filler.is_empty() {
            let block = Arc::new(self.filler.take());
            self.codec.write_block(block)?;
        }
        match self.codec {
            Codec::Plain(sink) => Ok(sink.0),
            Codec::Gzip(sink) => sink.finish(),
            Codec::Zstd(sink) => sink.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let codec = &mut self.codec;
        self.filler.push(bytes, |block| codec.write_block(Arc::new(block)))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // Blocks are cut by size alone; flushing must not change the bytes.
        Ok(())
    }
}

impl<W: Write> BlockSink for Codec<W> {
    fn write_block(&mut self, block: Arc<Block>) -> io::Result<()> {
        match self {
            Self::Plain(sink) => sink.write_block(block),
            Self::Gzip(sink) => sink.write_block(block),
            Self::Zstd(sink) => sink.write_block(block),
        }
    }
}

impl<W: Write> BlockSink for Compressor<W> {
    /// Takes whole blocks without copying, as long as nothing was written otherwise.
    fn write_block(&mut self, block: Arc<Block>) -> io::Result<()> {
        if self.filler.is_empty() { self.codec.write_block(block) } else { self.write_all(block.bytes()) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// Text that compresses about as well as programs do.
    fn sample(length: usize) -> Vec<u8> {
        let mut state = 7_u64;
        let mut bytes = Vec::with_capacity(length + 16);
        while bytes.len() < length {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let word = (state >> 33) % 5000;
            bytes.extend_from_slice(format!("{word:x} ").as_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    fn compress(bytes: &[u8], encoding: impl Into<Encoding>, pieces: usize) -> Vec<u8> {
        let mut out = Compressor::new(Vec::new(), encoding).unwrap();
        for piece in bytes.chunks(pieces) {
            out.write_all(piece).unwrap();
        }
        out.finish().unwrap()
    }

    #[test]
    fn what_is_compressed_comes_back() {
        for compression in [Compression::Uncompressed, Compression::Gzip, Compression::Zstd] {
            for length in [0, 1, 1000, 1 << 20, (1 << 20) + 1, 5_000_000] {
                let bytes = sample(length);
                let compressed = compress(&bytes, compression, 77_777);
                let (_, mut decoder) = decoder(&compressed[..]).unwrap();
                let mut back = Vec::new();
                decoder.read_to_end(&mut back).unwrap();
                assert!(back == bytes, "{compression} {length}");
            }
        }
    }

    #[test]
    fn each_level_comes_back_and_has_a_recipe_of_its_own() {
        let bytes = sample(2_500_000);
        let mut recipes = std::collections::BTreeSet::new();
        for (compression, levels) in [(Compression::Gzip, 0..=9), (Compression::Zstd, 1..=5)] {
            let mut sizes = Vec::new();
            for level in levels {
                let encoding = Encoding { compression, level: Some(level) };
                let compressed = compress(&bytes, encoding, 100_000);
                let (_, mut decoder) = decoder(&compressed[..]).unwrap();
                let mut back = Vec::new();
                decoder.read_to_end(&mut back).unwrap();
                assert!(back == bytes, "{encoding:?}");
                assert!(recipes.insert(encoding.recipe()), "{encoding:?}");
                sizes.push(compressed.len());
            }
            assert!(sizes.last() < sizes.first(), "{compression}: {sizes:?}");
        }
        assert!(recipes.contains(&Compression::Gzip.recipe()) && recipes.contains(&Compression::Zstd.recipe()));
    }

    #[test]
    fn pieces_do_not_change_the_bytes() {
        let bytes = sample(3_500_000);
        for compression in [Compression::Gzip, Compression::Zstd] {
            let whole = compress(&bytes, compression, bytes.len());
            assert!(whole == compress(&bytes, compression, 1000), "{compression}");
        }
    }

    #[test]
    fn the_number_of_zstd_workers_does_not_change_the_bytes() {
        let bytes = sample(30_000_000);
        let with = |workers| {
            let mut sink = zstandard::ZstdSink::with_workers(Vec::new(), None, workers).unwrap();
            let mut filler = BlockFiller::new();
            filler.push(&bytes, |block| sink.write_block(Arc::new(block))).unwrap();
            sink.write_block(Arc::new(filler.take())).unwrap();
            sink.finish().unwrap()
        };
        let one = with(1);
        assert!(one == with(2) && one == with(4));
    }

    #[test]
    fn names_and_recipes() {
        for compression in [Compression::Uncompressed, Compression::Gzip, Compression::Zstd, Compression::Estargz] {
            assert_eq!(compression.to_string().parse(), Ok(compression));
            assert_eq!(serde_json::to_value(compression).unwrap(), compression.to_string());
            assert!(compression.recipe().starts_with(&compression.to_string()));
        }
        assert!("bzip2".parse::<Compression>().is_err());
    }
}

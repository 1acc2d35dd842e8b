//! Finding out how bytes are compressed, by the bytes.

use std::io::{self, BufReader, Cursor, Read};

use crate::tar::{Limits, Reader};

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Not at all, or in a way that nobody here knows.
    Plain,
    /// gzip.
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// Zstandard.
    Zstd,
}

/// Bytes that tell the formats apart.
const MAGIC: usize = 10;

/// What an xz stream may ask for; `xz -9` asks for 65 MiB.
const XZ_MEMORY: u64 = 256 << 20;

impl Format {
    /// Recognises a stream by its first bytes.
    pub fn of(first: &[u8]) -> Self {
        match first {
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', b'&', b'S', b'Y', ..]
            | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, 0x45, 0x38, 0x50, 0x90, ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            // A frame, or one of the frames that are to be skipped.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }
}

/// Decompresses `input`, whatever it is. Streams of several members (or frames) are read to the end.
pub fn decoder<'a, R: Read + Send + 'a>(mut input: R) -> io::Result<(Format, Box<dyn Read + Send + 'a>)> {
    let mut first = Vec::with_capacity(MAGIC);
    input.by_ref().take(MAGIC as u64).read_to_end(&mut first)?;
    let format = Format::of(&first);
    let input = Cursor::new(first).chain(input);
    let buffered = |input| BufReader::with_capacity(128 << 10, input);
    Ok((
        format,
        match format {
            Format::Plain => Box::new(input),
            Format::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(buffered(input))),
            Format::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(buffered(input))),
            Format::Xz => {
                let stream = xz2::stream::Stream::new_stream_decoder(XZ_MEMORY, xz2::stream::CONCATENATED)
                    .map_err(io::Error::other)?;
                Box::new(xz2::bufread::XzDecoder::new_stream(buffered(input), stream))
            }
            Format::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(buffered(input))?),
        },
    ))
}

/// Whether `input` is a tar, compressed or not, with at least one entry: what `ADD` unpacks.
pub fn is_archive(input: impl Read + Send) -> bool {
    let Ok((_, decoder)) = decoder(input) else { return false };
    matches!(Reader::new(decoder, Limits::default()).next_entry(), Ok(Some(_)))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(bytes: &[u8]) -> (Format, io::Result<Vec<u8>>) {
        let (format, mut decoder) = decoder(bytes).unwrap();
        let mut out = Vec::new();
        (format, decoder.read_to_end(&mut out).map(|_| out))
    }

    #[test]
    fn every_format_is_recognised_and_read_to_the_end() {
        let twice = |once: Vec<u8>| [once.clone(), once].concat();
        let gzip = |bytes: &[u8]| {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        };
        let bzip2 = |bytes: &[u8]| {
            let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        };
        let xz = |bytes: &[u8]| {
            let mut out = xz2::write::XzEncoder::new(Vec::new(), 6);
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        };
        let zstd = |bytes: &[u8]| zstd::stream::encode_all(bytes, 3).unwrap();
        let table: [(Format, Vec<u8>); 4] = [
            (Format::Gzip, twice(gzip(b"hello"))),
            (Format::Bzip2, twice(bzip2(b"hello"))),
            (Format::Xz, twice(xz(b"hello"))),
            (Format::Zstd, twice(zstd(b"hello"))),
        ];
        for (format, bytes) in table {
            let (found, text) = read(&bytes);
            assert_eq!((found, text.unwrap().as_slice()), (format, b"hellohello".as_slice()));
            let (_, cut) = read(&bytes[..bytes.len() - 3]);
            assert!(cut.is_err(), "{format:?} must notice that it was cut");
        }
        for plain in [b"".as_slice(), b"B", b"BZhello there", b"plain text"] {
            assert_eq!(read(plain).0, Format::Plain);
        }
    }
}

//! eStargz: gzip that can be read from the middle, so that a runtime fetches the files of a layer one by one.
//!
//! ```text
//!  ┌ member ──────────────────┐┌ member ─────────────────────┐  ┌ member ───────────────┐┌ member ┐
//!  header of a file with data  data · padding · next headers …  stargz.index.json · end   footer
//!                             ▲ `offset` in the table of contents ▲ offset in the footer
//! ```
//!
//! To everybody else it is a gzip file with a tar in it, and two small files more: `stargz.index.json`, the table of
//! contents, which is the tar's last entry; and `.no.prefetch.landmark`, its first one, which says that no file is
//! wanted before the others. Since both are part of the tar, its digest, the diff id, is another than the layer's own.
//!
//! Data is cut into chunks of 4 MiB, each a member of its own with a digest of its own in the table. The table's own
//! digest goes into the manifest ([`TOC_DIGEST`]).
//!
//! The bytes depend on the tar, on libdeflate's version and on the level, and on nothing else.

mod read;
mod toc;
mod write;

use crate::compress::gzip;

pub(crate) use read::toc_digest;
pub(crate) use write::write;

/// The annotation of a layer with the digest of its table of contents.
pub const TOC_DIGEST: &str = "containerd.io/snapshot/stargz/toc.digest";
/// The annotation of a layer with the size of its tar.
pub const UNCOMPRESSED_SIZE: &str = "io.containers.estargz.uncompressed-size";

/// The table of contents.
const TOC: &str = "stargz.index.json";
/// Nothing is wanted before the rest.
const NO_PREFETCH: &str = ".no.prefetch.landmark";
/// What is in front of this is wanted first; made by tools that know what a container reads.
const PREFETCH: &str = ".prefetch.landmark";
/// What a landmark holds.
const LANDMARK: &[u8] = &[0xf];

/// Bytes of a chunk.
const CHUNK: usize = 4 << 20;

/// The length of the footer.
const FOOTER: usize = 51;

/// Under which name blobs are remembered.
pub(crate) fn recipe(level: Option<u8>) -> String {
    format!("estargz {} chunks-4MiB", gzip::codec(level))
}

/// An empty gzip member that says where the table begins.
fn footer(toc: u64) -> Vec<u8> {
    // Magic, deflate, with an extra field, no time, no hints, unknown system.
    let mut bytes = vec![0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff];
    bytes.extend_from_slice(&26_u16.to_le_bytes());
    bytes.extend_from_slice(b"SG");
    bytes.extend_from_slice(&22_u16.to_le_bytes());
    bytes.extend_from_slice(format!("{toc:016x}STARGZ").as_bytes());
    // One stored block of no bytes, which is the last; then checksum and size of nothing.
    bytes.extend_from_slice(&[1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}

/// Where the table begins, by the last bytes of a blob.
fn parse_footer(bytes: &[u8]) -> Option<u64> {
    let hex = bytes.get(16..32)?;
    let offset = u64::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?;
    (bytes == footer(offset)).then_some(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_footer_says_where_the_table_is() {
        for offset in [0, 1, 0xdead_beef, u64::MAX] {
            let bytes = footer(offset);
            assert_eq!((bytes.len(), parse_footer(&bytes)), (FOOTER, Some(offset)));
            let mut gzip = flate2::bufread::GzDecoder::new(&bytes[..]);
            assert_eq!(std::io::copy(&mut gzip, &mut std::io::sink()).unwrap(), 0);
        }
        assert_eq!(parse_footer(&[0; FOOTER]), None);
        assert_eq!(parse_footer(b"short"), None);
    }
}

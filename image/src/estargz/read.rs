//! Looking into blobs that are there.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Take};

use builder_cache::BlobDigest;
use sha2::{Digest, Sha256};

use super::{FOOTER, TOC, parse_footer};
use crate::tar::{Limits, Reader};

/// The largest table that is read.
const TOC_LIMIT: u64 = 1 << 30;

/// The digest of a blob's table of contents; `None` when it has none.
pub(crate) fn toc_digest(mut blob: File) -> io::Result<Option<BlobDigest>> {
    let Some(end) = blob.metadata()?.len().checked_sub(FOOTER as u64) else { return Ok(None) };
    let mut footer = [0; FOOTER];
    blob.seek(SeekFrom::Start(end))?;
    blob.read_exact(&mut footer)?;
    let Some(start) = parse_footer(&footer).filter(|start| *start <= end) else { return Ok(None) };
    blob.seek(SeekFrom::Start(start))?;
    Ok(hash_table(blob.take(end - start)))
}

/// The digest of the table in a member; anybody may have made it, so that it may be something else.
fn hash_table(member: Take<File>) -> Option<BlobDigest> {
    let mut tar =
        Reader::new(flate2::bufread::MultiGzDecoder::new(BufReader::new(member)).take(TOC_LIMIT), Limits::default());
    let entry = tar.next_entry().ok()??;
    if entry.path != TOC.as_bytes() || entry.size > TOC_LIMIT {
        return None;
    }
    // Of a foreign blob nobody knows how much that is: none of it is kept.
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match tar.read_data(&mut buffer).ok()? {
            0 => return Some(BlobDigest::from_bytes(hasher.finalize().into())),
            count => hasher.update(&buffer[..count]),
        }
    }
}

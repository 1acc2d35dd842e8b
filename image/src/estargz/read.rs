//! Looking into blobs that are there.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Take};

use builder_cache::{BlobDigest, Store};
use sha2::{Digest, Sha256};

use super::{FOOTER, TOC, parse_footer};
use crate::tar::{Limits, Reader};

/// The largest table that is read.
const TOC_LIMIT: u64 = 1 << 30;

/// The digest of a blob's table of contents; `None` when it has none.
pub(crate) fn toc_digest(store: &Store, blob: &BlobDigest) -> Option<BlobDigest> {
    let mut file = store.open_blob(blob).ok()?;
    let size = file.metadata().ok()?.len();
    let end = size.checked_sub(FOOTER as u64)?;
    let mut footer = [0; FOOTER];
    file.seek(SeekFrom::Start(end)).ok()?;
    file.read_exact(&mut footer).ok()?;
    let start = parse_footer(&footer)?;
    file.seek(SeekFrom::Start(start)).ok()?;
    let member: Take<File> = file.take(end.checked_sub(start)?);
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

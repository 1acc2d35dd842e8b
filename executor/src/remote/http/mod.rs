//! Files from URLs.
//!
//! A download goes straight into a layer of its own, hashed on the way: SHA-256 for checksums, BLAKE3 for the layer's
//! content digest. The next time the server is asked whether that is still right: by the `ETag`, or by the time of the
//! last change where that is old enough to tell two versions apart. A file with a checksum that is in the store is
//! asked for never.

mod client;
mod date;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use builder_cache::content::{DataDigest, EntryKind, EntryMeta, TreeBuilder};
use builder_cache::{ActiveLayer, BlobDigest, LayerId, LayerMeta, Snapshot, Store};
use builder_image::http::header::{
    AUTHORIZATION, CONTENT_LENGTH, DATE, ETAG, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use builder_image::http::url;
use builder_solver::HttpSource;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use client::{Client, Response};

use super::error::RemoteError;
use super::{Remotes, Stop, redact, remembered};

/// Permission bits of a file that was downloaded.
const MODE: u32 = 0o600;

/// By how many seconds an answer must be younger than the file's last change for that time to tell versions apart
/// (RFC 9110, 8.8.2.2).
const OLD_ENOUGH: i64 = 60;

/// How much is read at once.
const CHUNK: usize = 256 << 10;

/// A file that was downloaded.
#[derive(Debug, Clone)]
pub struct Download {
    /// The digest of its bytes.
    pub digest: BlobDigest,
    /// When it last changed, in seconds since the epoch, if the server says so.
    pub last_modified: Option<i64>,
    /// Its size.
    pub size: u64,
    layer: LayerId,
    path: PathBuf,
}

impl Download {
    /// A tree with the file at its root.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::scratch().with(self.layer)
    }

    /// Where the file is; it stays there while somebody holds a lease on the store.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What a URL answered last.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    etag: Option<String>,
    /// As the server wrote it, if it tells versions apart.
    unchanged_since: Option<String>,
    last_modified: Option<i64>,
    digest: BlobDigest,
    size: u64,
    layer: LayerId,
}

impl Remembered {
    fn download(&self, store: &Store, name: &str) -> Option<Download> {
        let directory = store.part_dirs(&self.layer).ok()?.pop()?;
        let path = directory.join(name);
        if !path.is_file() {
            return None;
        }
        Some(Download {
            digest: self.digest,
            last_modified: self.last_modified,
            size: self.size,
            layer: self.layer,
            path,
        })
    }
}

/// The digest that a checksum is.
pub(super) fn parse_checksum(address: &str, checksum: &str) -> Result<BlobDigest, RemoteError> {
    let wrong = |_| RemoteError::BadChecksum { url: redact(address), checksum: checksum.to_owned() };
    checksum.trim().parse().map_err(wrong)
}

/// Downloads a file unless what is known is still right.
pub(super) fn fetch(remotes: &Remotes, source: &HttpSource, stop: Stop<'_>) -> Result<Download, RemoteError> {
    let (store, name) = (remotes.store(), &source.name);
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) || name.len() > 255 {
        return Err(RemoteError::BadName { url: redact(&source.url), name: name.clone() });
    }
    let expected = source.checksum.as_deref().map(|text| parse_checksum(&source.url, text)).transpose()?;
    let place = remembered::place(&remotes.directory("http"), &[&source.url, name]);
    let known = remembered::read::<Remembered>(&place);
    let known = known.and_then(|known| known.download(store, name).map(|download| (known, download)));
    if let Some((_, download)) = &known
        && expected == Some(download.digest)
    {
        return Ok(download.clone());
    }

    let mut headers = authorization(remotes, &source.url)?;
    // Who expects certain bytes has no use for the news that others did not change.
    let known = known.filter(|_| expected.is_none());
    if let Some((known, _)) = &known {
        if let Some(etag) = &known.etag {
            headers.push((IF_NONE_MATCH, etag.clone()));
        } else if let Some(time) = &known.unchanged_since {
            headers.push((IF_MODIFIED_SINCE, time.clone()));
        }
    }
    let response = remotes.client()?.request(&source.url, &headers, stop)?;
    if let Some((known, download)) = &known {
        let same = || known.etag.is_some() && response.header(ETAG).map(opaque) == known.etag.as_deref().map(opaque);
        // Some servers send the whole file and the ETag that they were told.
        if response.status() == 304 || response.status() == 200 && same() {
            return Ok(download.clone());
        }
    }
    if !(200..300).contains(&response.status()) {
        return Err(response.into_error(&source.url));
    }
    let about = About::of(&response);
    let written = write(store, source, response, &about, expected.as_ref(), stop)?;
    let answer = Remembered {
        etag: about.etag,
        unchanged_since: about.unchanged_since,
        last_modified: about.last_modified,
        digest: written.digest,
        size: written.size,
        layer: written.layer,
    };
    remembered::write(&place, &answer)?;
    Ok(written)
}

/// The header for the server's host, if there is a secret for it. A token wins over a header.
fn authorization(remotes: &Remotes, url: &str) -> Result<Vec<(HeaderName, String)>, RemoteError> {
    let Some(host) = url::host(url) else { return Ok(Vec::new()) };
    for (prefix, before) in [("HTTP_AUTH_TOKEN_", "Bearer "), ("HTTP_AUTH_HEADER_", "")] {
        let id = format!("{prefix}{host}");
        if let Some(value) = remotes.header(&id)? {
            return Ok(vec![(AUTHORIZATION, format!("{before}{value}"))]);
        }
    }
    Ok(Vec::new())
}

/// An `ETag` without the mark of a weak one.
fn opaque(etag: &str) -> &str {
    etag.trim().trim_start_matches("W/")
}

/// What the headers of an answer say.
#[derive(Debug)]
struct About {
    etag: Option<String>,
    unchanged_since: Option<String>,
    last_modified: Option<i64>,
    length: Option<u64>,
}

impl About {
    fn of(response: &Response) -> Self {
        let modified = response.header(LAST_MODIFIED);
        let last_modified = modified.and_then(date::parse);
        let answered = response.header(DATE).and_then(date::parse);
        let old_enough = last_modified.zip(answered).is_some_and(|(then, now)| now - then >= OLD_ENOUGH);
        Self {
            etag: response.header(ETAG).map(str::to_owned).filter(|etag| !etag.trim().is_empty()),
            unchanged_since: modified.filter(|_| old_enough).map(str::to_owned),
            last_modified,
            length: response.header(CONTENT_LENGTH).and_then(|length| length.trim().parse().ok()),
        }
    }
}

/// Writes the body of an answer to a layer of its own.
fn write(
    store: &Store,
    source: &HttpSource,
    response: Response,
    about: &About,
    expected: Option<&BlobDigest>,
    stop: Stop<'_>,
) -> Result<Download, RemoteError> {
    let active = store.new_layer()?;
    let path = active.upper().join(&source.name);
    let failed = |error: std::io::Error| RemoteError::Write { path: path.clone(), source: error };
    let mut file = File::options().write(true).create_new(true).mode(MODE).open(&path).map_err(failed)?;
    file.set_permissions(fs::Permissions::from_mode(MODE)).map_err(failed)?;
    let (digest, data, size) = copy(source, response, &mut file, &path, stop)?;
    if let Some(length) = about.length
        && length != size
    {
        let reason = format!("it ended after {size} of {length} bytes");
        return Err(RemoteError::Http { url: redact(&source.url), reason });
    }
    if let Some(expected) = expected
        && *expected != digest
    {
        return Err(RemoteError::Checksum { url: redact(&source.url), expected: *expected, found: digest });
    }
    let since = Duration::from_secs(about.last_modified.unwrap_or(0).max(0) as u64);
    file.set_modified(SystemTime::UNIX_EPOCH + since).map_err(failed)?;
    drop(file);
    let layer = commit(store, active, &source.name, &data, size)?;
    let directory = store.part_dirs(&layer)?.pop().unwrap_or_default();
    let path = directory.join(&source.name);
    Ok(Download { digest, last_modified: about.last_modified, size, layer, path })
}

fn copy(
    source: &HttpSource,
    mut response: Response,
    file: &mut File,
    path: &Path,
    stop: Stop<'_>,
) -> Result<(BlobDigest, DataDigest, u64), RemoteError> {
    let (mut sha256, mut blake3, mut size) = (Sha256::new(), blake3::Hasher::new(), 0);
    let mut buffer = vec![0; CHUNK];
    loop {
        if stop() {
            return Err(RemoteError::Cancelled);
        }
        let length = match response.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => {
                let reason = format!("the connection broke after {size} bytes: {error}");
                return Err(RemoteError::Http { url: redact(&source.url), reason });
            }
        };
        sha256.update(&buffer[..length]);
        blake3.update(&buffer[..length]);
        file.write_all(&buffer[..length])
            .map_err(|error| RemoteError::Write { path: path.to_owned(), source: error })?;
        size += length as u64;
    }
    let digest = BlobDigest::from_bytes(sha256.finalize().into());
    Ok((digest, DataDigest::from_bytes(*blake3.finalize().as_bytes()), size))
}

/// Commits a layer with one file at its root; its digest is known, and nothing is read again.
fn commit(
    store: &Store,
    active: ActiveLayer,
    name: &str,
    data: &DataDigest,
    size: u64,
) -> Result<LayerId, RemoteError> {
    let mut tree = TreeBuilder::new();
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let file = EntryMeta { uid, gid, size, ..EntryMeta::new(EntryKind::File, MODE) };
    tree.add(b"", EntryMeta { uid, gid, ..EntryMeta::new(EntryKind::Directory, 0o755) }.digest(None));
    tree.add(name.as_bytes(), file.digest(Some(data)));
    let trees = tree.finish();
    store.put_trees(&trees)?;
    let meta = LayerMeta {
        content: Some(trees.root),
        size,
        files: 1,
        created_ms: crate::op::now_ms(),
        ..LayerMeta::default()
    };
    Ok(active.commit(meta)?)
}

//! A cache in a directory: an OCI image layout, in which a tag names it.
//!
//! Several caches, and images of other tools, can share a directory. Whoever writes has the directory for itself
//! (`flock`) until it is done; before that it removes every blob that no manifest of the directory refers to any more,
//! so that a directory that a CI system carries from run to run does not grow for ever. Readers take no lock: a blob that
//! goes away under them is a blob that is not there.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use builder_cache::{BlobDigest, BlobInfo};
use rustix::fs::{FlockOperation, OFlags, flock};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::backend::{Backend, Blob, Open};
use super::error::Error;
use super::manifest::MANIFEST_LIMIT;

/// What locations in directories begin with: `layout:/directory`.
const LOCATION: &str = "layout:";
/// The annotation that holds a tag.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// What half-written files begin with.
const PARTIAL: &str = ".partial-";
/// The largest `index.json` that is read.
const INDEX_LIMIT: u64 = 4 << 20;
const BUFFER: usize = 256 << 10;

/// A tag, or a digest, of a directory.
#[derive(Debug)]
pub struct LocalBackend {
    directory: PathBuf,
    which: Which,
    /// Held from the first write to the last.
    turn: Mutex<Option<File>>,
}

#[derive(Debug)]
enum Which {
    Tag(String),
    Digest(BlobDigest),
}

impl LocalBackend {
    /// The cache that a tag names. A relative directory is one of the working directory.
    pub fn tag(directory: &Path, tag: &str) -> Self {
        Self::new(directory, Which::Tag(tag.to_owned()))
    }

    /// The cache whose manifest has a digest, to be read.
    pub fn digest(directory: &Path, digest: BlobDigest) -> Self {
        Self::new(directory, Which::Digest(digest))
    }

    fn new(directory: &Path, which: Which) -> Self {
        let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
        Self { directory, which, turn: Mutex::default() }
    }

    /// The backend of a location, to read blobs from; `None` when it is in no directory.
    pub fn of_location(location: &str) -> Option<Self> {
        let directory = location.strip_prefix(LOCATION)?;
        Some(Self { directory: directory.into(), which: Which::Tag(String::new()), turn: Mutex::default() })
    }

    /// Whether a blob can be read.
    pub(super) fn is_there(&self, blob: &BlobInfo) -> bool {
        let found = fs::symlink_metadata(self.blob_path(&blob.digest));
        found.is_ok_and(|found| found.is_file() && found.len() == blob.size)
    }

    fn blob_path(&self, digest: &BlobDigest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    fn blobs(&self) -> PathBuf {
        self.directory.join("blobs").join("sha256")
    }

    fn failed(&self, action: &'static str) -> impl Fn(io::Error) -> Error {
        let place = self.name();
        move |source| Error::io(&place, action, source)
    }

    /// The first write waits for other builders, makes what a layout needs, and removes what killed ones left.
    fn begin(&self) -> Result<(), Error> {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if turn.is_some() {
            return Ok(());
        }
        let written = self.failed("written");
        fs::create_dir_all(self.blobs()).map_err(&written)?;
        let lock = File::open(&self.directory).map_err(&written)?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| written(error.into()))?;
        for entry in fs::read_dir(self.blobs()).map_err(&written)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
                fs::remove_file(entry.path()).map_err(&written)?;
            }
        }
        let marker = self.directory.join("oci-layout");
        if !marker.exists() {
            self.write_whole(&marker, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        *turn = Some(lock);
        Ok(())
    }

    /// Writes a file aside and puts it in its place.
    fn write_whole(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let written = self.failed("written");
        let mut file = self.partial().map_err(&written)?;
        file.write_all(bytes).map_err(&written)?;
        keep(file, path).map_err(&written)
    }

    fn partial(&self) -> io::Result<tempfile::NamedTempFile> {
        tempfile::Builder::new().prefix(PARTIAL).tempfile_in(self.blobs())
    }

    /// `index.json`, as far as there is one.
    fn index(&self) -> Result<Value, Error> {
        match read_some(&self.directory.join("index.json"), INDEX_LIMIT) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| Error::damaged(&self.name(), format!("its index.json can't be understood ({error})"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [] }))
            }
            Err(error) => Err(self.failed("read")(error)),
        }
    }

    /// Removes blobs that nothing refers to. When not everything is understood, nothing is removed.
    fn tidy(&self, index: &Value) -> io::Result<()> {
        let mut used = HashSet::new();
        let mut waiting = Vec::new();
        refer(index, &mut waiting);
        while let Some((digest, is_manifest)) = waiting.pop() {
            if !used.insert(digest) || !is_manifest {
                continue;
            }
            match read_some(&self.blob_path(&digest), MANIFEST_LIMIT) {
                Ok(bytes) => refer(&serde_json::from_slice(&bytes)?, &mut waiting),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        for entry in fs::read_dir(self.blobs())? {
            let entry = entry?;
            let name = entry.file_name();
            let digest = name.to_str().and_then(|name| format!("sha256:{name}").parse::<BlobDigest>().ok());
            if digest.is_some_and(|digest| !used.contains(&digest)) && entry.file_type()?.is_file() {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// Puts a file that is whole in its place.
fn keep(file: tempfile::NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    file.persist(path)?;
    Ok(())
}

/// Collects everything that looks like a descriptor, and whether it may hold more of them.
fn refer(value: &Value, found: &mut Vec<(BlobDigest, bool)>) {
    match value {
        Value::Array(list) => list.iter().for_each(|item| refer(item, found)),
        Value::Object(members) => {
            if let Some(digest) = members.get("digest").and_then(Value::as_str).and_then(|text| text.parse().ok()) {
                let media_type = members.get("mediaType").and_then(Value::as_str).unwrap_or("manifest");
                found.push((digest, media_type.contains("manifest") || media_type.contains("index")));
            }
            members.values().for_each(|value| refer(value, found));
        }
        _ => {}
    }
}

/// Reads a file that is small.
fn read_some(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_file(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("{} has more than {limit} bytes", path.display())));
    }
    Ok(bytes)
}

impl Backend for LocalBackend {
    fn name(&self) -> String {
        let directory = self.directory.display();
        match &self.which {
            Which::Tag(tag) if tag.is_empty() || tag == "latest" => format!("local {directory}"),
            Which::Tag(tag) => format!("local {directory}:{tag}"),
            Which::Digest(digest) => format!("local {directory}@{digest}"),
        }
    }

    fn location(&self) -> String {
        format!("{LOCATION}{}", self.directory.display())
    }

    fn manifest(&self, digest: Option<&BlobDigest>) -> Result<Option<Vec<u8>>, Error> {
        let digest = match (digest, &self.which) {
            (Some(digest), _) | (None, Which::Digest(digest)) => *digest,
            (None, Which::Tag(tag)) => {
                let index = self.index()?;
                let mut named = index["manifests"].as_array().into_iter().flatten();
                let named = named.rfind(|entry| entry["annotations"][REF_NAME].as_str() == Some(tag));
                let Some(text) = named.and_then(|entry| entry["digest"].as_str()) else { return Ok(None) };
                let wrong = |error| Error::damaged(&self.name(), format!("its index.json names {error}"));
                text.parse().map_err(wrong)?
            }
        };
        match read_some(&self.blob_path(&digest), MANIFEST_LIMIT) {
            Ok(bytes) => {
                let found = BlobDigest::of(&bytes);
                if found != digest {
                    return Err(Error::Digest { place: self.name(), expected: digest, found });
                }
                Ok(Some(bytes))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("read")(error)),
        }
    }

    fn put_manifest(&self, media_type: &str, bytes: &[u8], _: &[Blob]) -> Result<(), Error> {
        let Which::Tag(tag) = &self.which else {
            let reason = "a cache is written under a tag, and not under a digest".to_owned();
            return Err(Error::NotACache { place: self.name(), reason });
        };
        self.begin()?;
        let digest = BlobDigest::of(bytes);
        self.write_whole(&self.blob_path(&digest), bytes)?;
        let mut index = self.index()?;
        let entry = json!({
            "mediaType": media_type,
            "digest": digest,
            "size": bytes.len(),
            "annotations": { REF_NAME: tag },
        });
        let wrong = || Error::damaged(&self.name(), "its index.json is no index");
        let members = index.as_object_mut().ok_or_else(wrong)?;
        let manifests = members.entry("manifests").or_insert_with(|| json!([]));
        let manifests = manifests.as_array_mut().ok_or_else(wrong)?;
        manifests.retain(|entry| entry["annotations"][REF_NAME].as_str() != Some(tag));
        manifests.push(entry);
        self.write_whole(&self.directory.join("index.json"), index.to_string().as_bytes())?;
        self.tidy(&index).map_err(self.failed("tidied up"))?;
        // The next builder's turn.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(())
    }

    fn blob(&self, blob: &BlobInfo) -> Result<Box<dyn Read + Send>, Error> {
        match open_file(&self.blob_path(&blob.digest)) {
            Ok(file) => Ok(Box::new(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::NoBlob { place: self.name(), digest: blob.digest })
            }
            Err(error) => Err(self.failed("read")(error)),
        }
    }

    fn has_blob(&self, blob: &BlobInfo) -> Result<bool, Error> {
        self.begin()?;
        Ok(self.is_there(blob))
    }

    fn put_blob(&self, blob: &BlobInfo, open: Open<'_>, advance: &(dyn Fn(u64) + Sync)) -> Result<(), Error> {
        self.begin()?;
        let written = self.failed("written");
        let mut input = open(0).map_err(&written)?;
        let mut file = self.partial().map_err(&written)?;
        let (mut hasher, mut size, mut buffer) = (Sha256::new(), 0, vec![0; BUFFER]);
        loop {
            let length = match input.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(written(error)),
            };
            hasher.update(&buffer[..length]);
            file.write_all(&buffer[..length]).map_err(&written)?;
            size += length as u64;
            advance(size);
        }
        let found = BlobDigest::from_bytes(hasher.finalize().into());
        if found != blob.digest {
            return Err(Error::Digest { place: self.name(), expected: blob.digest, found });
        }
        keep(file, &self.blob_path(&blob.digest)).map_err(&written)
    }
}

/// Opens a file of a directory that strangers may have filled: nothing that it could wait for.
fn open_file(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} is no file", path.display())))
}

/// A blob of the store from an offset on.
pub(super) fn open_at(path: &Path, offset: u64) -> io::Result<Box<dyn Read + Send>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    Ok(Box::new(file))
}

//! Blobs: bytes named by their SHA-256.
//!
//! A blob is there when it has a row and a file of the row's size. It is written aside while its digest is computed,
//! compared with the digest that was announced, renamed into place, and gets its row last.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

use crate::error::{At, Error, Result};
use crate::id::{BlobDigest, DiffId};
use crate::lock::Lease;
use crate::session::Session;
use crate::store::{Commit, Store};

/// Small writes are collected up to this size before they are hashed and written.
const BUFFER: usize = 128 * 1024;

/// What a blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobInfo {
    /// Its digest.
    pub digest: BlobDigest,
    /// Its size in bytes.
    pub size: u64,
}

/// Writes a blob, hashing on the way. Dropped without [`BlobWriter::commit`], it leaves nothing behind.
pub struct BlobWriter {
    store: Store,
    path: PathBuf,
    file: File,
    hasher: Sha256,
    size: u64,
    buffer: Vec<u8>,
    committed: bool,
    _session: Arc<Session>,
    _lease: Lease,
}

impl BlobWriter {
    /// Puts the blob into the store, unless its digest is not the `expected` one.
    pub fn commit(mut self, expected: Option<&BlobDigest>) -> Result<BlobInfo> {
        self.flush_buffer().at("write", &self.path)?;
        let digest = BlobDigest::from_bytes(std::mem::take(&mut self.hasher).finalize().into());
        if let Some(&expected) = expected.filter(|&&expected| expected != digest) {
            return Err(Error::DigestMismatch { expected, found: digest });
        }
        let info = BlobInfo { digest, size: self.size };
        // One that is there stays: it may be on the disk already, and this one is not.
        if self.store.blob(&digest)?.is_some() {
            return Ok(info);
        }
        let target = self.store.blob_path(&digest);
        self.file.set_permissions(fs::Permissions::from_mode(0o644)).at("write", &self.path)?;
        fs::rename(&self.path, &target).at("create", &target)?;
        self.committed = true;
        self.store.write(Commit::Lazy, |db| {
            db.prepare_cached("INSERT OR REPLACE INTO blobs (digest, size, boot) VALUES (?, ?, ?)")?
                .execute(params![digest.as_bytes(), info.size as i64, self.store.inner.boot])?;
            Ok(())
        })?;
        Ok(info)
    }

    /// The digest of what was written so far.
    pub fn digest(&mut self) -> Result<BlobDigest> {
        self.flush_buffer().at("write", &self.path)?;
        Ok(BlobDigest::from_bytes(self.hasher.clone().finalize().into()))
    }

    /// How many bytes were written.
    pub fn size(&self) -> u64 {
        self.size + self.buffer.len() as u64
    }

    fn flush_buffer(&mut self) -> io::Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        let result = self.put(&buffer);
        self.buffer = buffer;
        self.buffer.clear();
        result
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush_buffer()?;
        }
        if bytes.len() >= BUFFER {
            self.put(bytes)?;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flush_buffer()
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if !self.committed {
            // What can't be removed now is swept away with the session.
            fs::remove_file(&self.path).ok();
        }
    }
}

impl std::fmt::Debug for BlobWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobWriter").field("path", &self.path).field("size", &self.size()).finish_non_exhaustive()
    }
}

impl Store {
    /// The file that holds the blob, if the store has it.
    pub fn blob_path(&self, digest: &BlobDigest) -> PathBuf {
        blob_path(self.root(), digest)
    }

    /// Whether the store has the blob.
    pub fn has_blob(&self, digest: &BlobDigest) -> Result<bool> {
        Ok(self.blob(digest)?.is_some())
    }

    /// What the store knows of the blob, if it has it.
    pub fn blob(&self, digest: &BlobDigest) -> Result<Option<BlobInfo>> {
        let Some(size) = self.read(|db| blob_size(db, digest))? else { return Ok(None) };
        let path = self.blob_path(digest);
        match fs::symlink_metadata(&path) {
            Ok(file) if file.is_file() && file.len() == size => Ok(Some(BlobInfo { digest: *digest, size })),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("look at", path, error)),
        }
    }

    /// Opens the blob for reading. The bytes are not verified: see [`Store::verify_blob`].
    pub fn open_blob(&self, digest: &BlobDigest) -> Result<File> {
        if !self.has_blob(digest)? {
            return Err(Error::NoBlob(*digest));
        }
        let path = self.blob_path(digest);
        File::open(&path).at("open", path)
    }

    /// Begins a blob.
    pub fn blob_writer(&self) -> Result<BlobWriter> {
        let lease = self.lease()?;
        let session = self.session()?;
        let (_, path) = session.fresh("ingest-")?;
        let file = File::create_new(&path).at("create", &path)?;
        Ok(BlobWriter {
            store: self.clone(),
            path,
            file,
            hasher: Sha256::new(),
            size: 0,
            buffer: Vec::new(),
            committed: false,
            _session: session,
            _lease: lease,
        })
    }

    /// Stores a small blob. One that is there already costs a look-up.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<BlobDigest> {
        let digest = BlobDigest::of(bytes);
        if !self.has_blob(&digest)? {
            let mut writer = self.blob_writer()?;
            writer.write_all(bytes).at("write", &writer.path)?;
            writer.commit(Some(&digest))?;
        }
        Ok(digest)
    }

    /// Reads a blob of at most `max` bytes and verifies it against its digest.
    pub fn read_blob(&self, digest: &BlobDigest, max: u64) -> Result<Vec<u8>> {
        let info = self.blob(digest)?.ok_or(Error::NoBlob(*digest))?;
        if info.size > max {
            return Err(Error::BlobTooLarge { digest: *digest, size: info.size, max });
        }
        let path = self.blob_path(digest);
        let mut bytes = Vec::with_capacity(info.size as usize);
        // No more than it should have, should it grow meanwhile.
        let read = File::open(&path).and_then(|file| file.take(info.size + 1).read_to_end(&mut bytes));
        read.at("read", &path)?;
        let found = BlobDigest::of(&bytes);
        if found == *digest { Ok(bytes) } else { Err(Error::DamagedBlob { path, found }) }
    }

    /// Reads a blob of any size and compares it with its digest.
    pub fn verify_blob(&self, digest: &BlobDigest) -> Result<()> {
        let mut file = self.open_blob(digest)?;
        let path = self.blob_path(digest);
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => hasher.update(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read", path, error)),
            }
        }
        let found = BlobDigest::from_bytes(hasher.finalize().into());
        if found == *digest { Ok(()) } else { Err(Error::DamagedBlob { path, found }) }
    }

    /// Forgets a blob (a damaged one, so that it can be written again) and removes its file.
    pub fn remove_blob(&self, digest: &BlobDigest) -> Result<()> {
        self.write(Commit::Durable, |db| {
            db.execute("DELETE FROM blobs WHERE digest = ?", [digest.as_bytes()])?;
            Ok(())
        })?;
        remove_file(&self.blob_path(digest)).map(drop)
    }

    /// The blob that was made of the layer tar `diff_id` with this compression, if the store still has it.
    pub fn layer_blob(&self, diff_id: &DiffId, compression: &str) -> Result<Option<BlobInfo>> {
        let digest = self.read(|db| {
            let mut select = db.prepare_cached("SELECT blob FROM layer_blobs WHERE diff_id = ? AND compression = ?")?;
            let digest = select.query_row(params![diff_id.as_bytes(), compression], |row| row.get(0)).optional()?;
            Ok(digest.map(BlobDigest::from_bytes))
        })?;
        match digest {
            Some(digest) => self.blob(&digest),
            None => Ok(None),
        }
    }

    /// All blobs that were made of the layer tar `diff_id` and are still there.
    pub fn layer_blobs(&self, diff_id: &DiffId) -> Result<Vec<BlobInfo>> {
        let digests = self.read(|db| {
            let mut select =
                db.prepare_cached("SELECT blob FROM layer_blobs WHERE diff_id = ? ORDER BY compression")?;
            let digests = select.query_map([diff_id.as_bytes()], |row| Ok(BlobDigest::from_bytes(row.get(0)?)))?;
            Ok(digests.collect::<rusqlite::Result<Vec<_>>>()?)
        })?;
        digests.iter().filter_map(|digest| self.blob(digest).transpose()).collect()
    }

    /// How a blob was made of the layer tar `diff_id`, when that was remembered.
    pub fn blob_recipe(&self, diff_id: &DiffId, blob: &BlobDigest) -> Result<Option<String>> {
        self.read(|db| {
            let mut select = db.prepare_cached(
                "SELECT compression FROM layer_blobs WHERE diff_id = ? AND blob = ? ORDER BY compression LIMIT 1",
            )?;
            Ok(select.query_row(params![diff_id.as_bytes(), blob.as_bytes()], |row| row.get(0)).optional()?)
        })
    }

    /// Remembers the blob that was made of the layer tar `diff_id`.
    pub fn set_layer_blob(&self, diff_id: &DiffId, compression: &str, blob: &BlobInfo) -> Result<()> {
        self.write(Commit::Lazy, |db| {
            db.prepare_cached("INSERT OR REPLACE INTO layer_blobs (diff_id, compression, blob) VALUES (?, ?, ?)")?
                .execute(params![diff_id.as_bytes(), compression, blob.digest.as_bytes()])?;
            Ok(())
        })
    }
}

pub(crate) fn blob_path(root: &Path, digest: &BlobDigest) -> PathBuf {
    root.join("blobs").join("sha256").join(digest.hex())
}

/// The size in a blob's row.
pub(crate) fn blob_size(db: &Connection, digest: &BlobDigest) -> Result<Option<u64>> {
    let mut select = db.prepare_cached("SELECT size FROM blobs WHERE digest = ?")?;
    let size: Option<i64> = select.query_row([digest.as_bytes()], |row| row.get(0)).optional()?;
    Ok(size.map(|size| size as u64))
}

/// Removes a file that may be gone already, and tells how many bytes that freed.
pub(crate) fn remove_file(path: &Path) -> Result<u64> {
    let size = fs::symlink_metadata(path).map_or(0, |file| file.len());
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        result => result.at("remove", path).map(|()| size),
    }
}

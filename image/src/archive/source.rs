//! The files of an archive that is loaded, by path.
//!
//! A tar may come through a pipe, with `manifest.json` behind everything that it speaks of. So small files are kept in
//! memory, and large ones go into the store as blobs at once, named by what they turn out to be (or checked against
//! the digest in their path). What nothing refers to in the end stays a whole blob that the next prune removes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use builder_cache::{BlobDigest, BlobInfo, BlobWriter, Store};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;

use super::error::Error;
use crate::layer::{StreamFailure, clean_path, read_archive};
use crate::tar::{Entry, Kind, Limits, Reader};
use crate::text::show;

/// Files up to this size are kept in memory, …
const SMALL: u64 = 64 << 10;
/// … JSON up to this, …
const JSON: u64 = 8 << 20;
/// … and all of them together up to this.
const MEMORY: u64 = 64 << 20;
/// How many links lead to a file at most.
const HOPS: usize = 8;

/// Where the files are.
#[derive(Debug)]
pub(super) struct Source<'a> {
    store: &'a Store,
    files: Files,
}

#[derive(Debug)]
enum Files {
    Spooled(HashMap<Vec<u8>, Held>),
    Directory(OwnedFd),
}

#[derive(Debug)]
enum Held {
    Bytes(Vec<u8>),
    Blob(BlobInfo),
    Link(Vec<u8>),
}

impl<'a> Source<'a> {
    /// Reads a tar, compressed or not, to its end.
    pub(super) fn spool(store: &'a Store, input: impl Read + Send, limits: Limits) -> Result<Self, Error> {
        let mut spool = Spool { store, files: HashMap::new(), memory: 0, buffer: vec![0; 256 << 10] };
        let read = read_archive(input, limits, |reader| {
            while let Some(entry) = reader.next_entry()? {
                spool.entry(&entry, reader)?;
            }
            Ok(())
        });
        match read {
            Ok(()) => Ok(Self { store, files: Files::Spooled(spool.files) }),
            Err(StreamFailure::Layer(error)) => Err(error.into()),
            Err(StreamFailure::Consumer(error)) => Err(error),
        }
    }

    /// A directory with the same files.
    pub(super) fn directory(store: &'a Store, path: &Path) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|error| Error::Read { path: path.display().to_string(), source: error.into() })?;
        Ok(Self { store, files: Files::Directory(root) })
    }

    /// Reads a small file whole. `None` when it is not there.
    pub(super) fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let too_large = |size| Error::TooLarge { path: path.to_owned(), size, limit };
        match &self.files {
            Files::Spooled(files) => match find(files, path)? {
                None | Some(Held::Link(_)) => Ok(None),
                Some(Held::Bytes(bytes)) if bytes.len() as u64 > limit => Err(too_large(bytes.len() as u64)),
                Some(Held::Bytes(bytes)) => Ok(Some(bytes.clone())),
                Some(Held::Blob(blob)) if blob.size > limit => Err(too_large(blob.size)),
                Some(Held::Blob(blob)) => Ok(Some(self.store.read_blob(&blob.digest, limit)?)),
            },
            Files::Directory(root) => {
                let Some((file, size)) = open(root, path)? else { return Ok(None) };
                if size > limit {
                    return Err(too_large(size));
                }
                let mut bytes = Vec::new();
                file.take(limit).read_to_end(&mut bytes).map_err(read_error(path))?;
                Ok(Some(bytes))
            }
        }
    }

    /// Reads a small file whose digest is known.
    pub(super) fn read_verified(&self, digest: &BlobDigest, limit: u64) -> Result<Vec<u8>, Error> {
        let path = super::index::blob_path(digest);
        let Some(bytes) = self.read(&path, limit)? else {
            if self.store.has_blob(digest)? {
                return Ok(self.store.read_blob(digest, limit)?);
            }
            return Err(Error::Missing(path));
        };
        let found = BlobDigest::of(&bytes);
        if found == *digest { Ok(bytes) } else { Err(Error::Digest { path, expected: *digest, found }) }
    }

    /// Makes sure that a file is a blob of the store.
    pub(super) fn blob(&self, path: &str, expected: Option<&BlobDigest>) -> Result<BlobInfo, Error> {
        if let Some(known) = expected.map(|digest| self.store.blob(digest)).transpose()?.flatten() {
            return Ok(known);
        }
        let check = |found: BlobInfo| match expected.filter(|expected| **expected != found.digest) {
            Some(expected) => Err(Error::Digest { path: path.to_owned(), expected: *expected, found: found.digest }),
            None => Ok(found),
        };
        match &self.files {
            Files::Spooled(files) => match find(files, path)? {
                Some(Held::Blob(blob)) => check(*blob),
                Some(Held::Bytes(bytes)) => {
                    let found = check(BlobInfo { digest: BlobDigest::of(bytes), size: bytes.len() as u64 })?;
                    self.store.put_blob(bytes)?;
                    Ok(found)
                }
                _ => Err(Error::Missing(path.to_owned())),
            },
            Files::Directory(root) => {
                let Some((mut file, _)) = open(root, path)? else { return Err(Error::Missing(path.to_owned())) };
                let mut writer = self.store.blob_writer()?;
                let mut buffer = vec![0; 256 << 10];
                loop {
                    match file.read(&mut buffer).map_err(read_error(path))? {
                        0 => break,
                        count => writer.write_all(&buffer[..count]).map_err(Error::Write)?,
                    }
                }
                commit(writer, path, expected)
            }
        }
    }
}

fn commit(writer: BlobWriter, path: &str, expected: Option<&BlobDigest>) -> Result<BlobInfo, Error> {
    writer.commit(expected).map_err(|error| match error {
        builder_cache::Error::DigestMismatch { expected, found } => {
            Error::Digest { path: path.to_owned(), expected, found }
        }
        other => other.into(),
    })
}

fn read_error(path: &str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Read { path: path.to_owned(), source }
}

/// Follows the links that lead from a path to a file.
fn find<'f>(files: &'f HashMap<Vec<u8>, Held>, path: &str) -> Result<Option<&'f Held>, Error> {
    let circle = || Error::Link(show(path.as_bytes()));
    let mut at = clean_path(path.as_bytes()).map_err(|_| circle())?;
    for _ in 0..HOPS {
        match files.get(&at) {
            Some(Held::Link(target)) => at.clone_from(target),
            other => return Ok(other),
        }
    }
    Err(circle())
}

/// Opens a regular file inside of the directory.
pub(crate) fn open(root: &OwnedFd, path: &str) -> Result<Option<(File, u64)>, Error> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = match openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(read_error(path)(error.into())),
    };
    let stat = fstat(&fd).map_err(|error| read_error(path)(error.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Error::malformed(path, "it is not a regular file"));
    }
    Ok(Some((File::from(fd), stat.st_size as u64)))
}

struct Spool<'a> {
    store: &'a Store,
    files: HashMap<Vec<u8>, Held>,
    memory: u64,
    buffer: Vec<u8>,
}

impl Spool<'_> {
    fn entry<R: Read>(&mut self, entry: &Entry, reader: &mut Reader<R>) -> Result<(), Error> {
        let path = clean_path(&entry.path).map_err(|reason| reader.error(reason))?;
        let held = match &entry.kind {
            Kind::File => self.file(&path, entry, reader)?,
            Kind::Symlink(target) => {
                let directory = path.iter().rposition(|&byte| byte == b'/').map_or(&[][..], |slash| &path[..slash]);
                let target = [directory, b"/", target].concat();
                Held::Link(clean_path(&target).map_err(|_| Error::Link(show(&path)))?)
            }
            Kind::HardLink(target) => Held::Link(clean_path(target).map_err(|_| Error::Link(show(&path)))?),
            _ => return Ok(()),
        };
        // A second file of the same name could be what another tool would see.
        if self.files.insert(path.clone(), held).is_some() && !path.starts_with(b"blobs/") {
            return Err(Error::malformed(&show(&path), "the archive holds it twice"));
        }
        Ok(())
    }

    fn file<R: Read>(&mut self, path: &[u8], entry: &Entry, reader: &mut Reader<R>) -> Result<Held, Error> {
        let name = show(path);
        if entry.segments.is_some() {
            return Err(Error::malformed(&name, "it is stored as a sparse file"));
        }
        let limit = if path.ends_with(b".json") && !path.contains(&b'/') { JSON } else { SMALL };
        if entry.size <= limit && self.memory + entry.size <= MEMORY {
            self.memory += entry.size;
            let mut bytes = vec![0; entry.size as usize];
            let mut filled = 0;
            while filled < bytes.len() {
                filled += reader.read_data(&mut bytes[filled..])?;
            }
            return Ok(Held::Bytes(bytes));
        }
        let digest_in_path = path.strip_prefix(b"blobs/sha256/").and_then(|hex| std::str::from_utf8(hex).ok());
        let expected: Option<BlobDigest> = digest_in_path.and_then(|hex| format!("sha256:{hex}").parse().ok());
        if let Some(known) = expected.map(|digest| self.store.blob(&digest)).transpose()?.flatten() {
            return Ok(Held::Blob(known));
        }
        let mut writer = self.store.blob_writer()?;
        loop {
            match reader.read_data(&mut self.buffer)? {
                0 => break,
                count => writer.write_all(&self.buffer[..count]).map_err(Error::Write)?,
            }
        }
        commit(writer, &name, expected.as_ref()).map(Held::Blob)
    }
}

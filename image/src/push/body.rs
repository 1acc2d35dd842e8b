//! The bytes of blobs that are sent. They are checked on the way: the last ones of a blob that is damaged never leave.

use std::fs::File;
use std::io::{self, Cursor, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use builder_cache::{BlobDigest, BlobInfo, Store};
use sha2::{Digest, Sha256};

use crate::archive::content::{self, Content};

/// How many pieces of a tar that is made on the way may wait.
const QUEUE: usize = 2;

/// Opens a blob at `offset`.
pub(super) fn open(
    store: &Store,
    blob: &BlobInfo,
    content: &Arc<Content>,
    offset: u64,
    given_up: &Arc<AtomicBool>,
) -> io::Result<Box<dyn Read + Send>> {
    let at = usize::try_from(offset).unwrap_or(usize::MAX);
    Ok(match &**content {
        Content::Bytes(bytes) => Box::new(Cursor::new(bytes.get(at..).unwrap_or_default().to_vec())),
        Content::Stored | Content::Remote(_) => {
            let file = store.open_blob(&blob.digest).map_err(io::Error::other)?;
            let given_up = Arc::clone(given_up);
            let mut all = Checked { file, hasher: Sha256::new(), left: blob.size, digest: blob.digest, given_up };
            // What is gone already counts, too.
            io::copy(&mut (&mut all).take(offset), &mut io::sink())?;
            Box::new(all)
        }
        Content::Layer(..) => Box::new(made(store, blob, content, offset, given_up)?),
    })
}

fn ended(given_up: &AtomicBool) -> io::Result<()> {
    if given_up.load(Ordering::Relaxed) { Err(io::Error::other("the push was given up")) } else { Ok(()) }
}

/// A file of the store.
struct Checked {
    file: File,
    hasher: Sha256,
    left: u64,
    digest: BlobDigest,
    given_up: Arc<AtomicBool>,
}

impl Read for Checked {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        ended(&self.given_up)?;
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(room.len());
        if wanted == 0 {
            return Ok(0);
        }
        let damaged = || io::Error::other(format!("the store's blob {} is damaged", self.digest));
        let count = match self.file.read(&mut room[..wanted])? {
            0 => return Err(damaged()),
            count => count,
        };
        self.hasher.update(&room[..count]);
        self.left -= count as u64;
        if self.left == 0 && BlobDigest::from_bytes(self.hasher.finalize_reset().into()) != self.digest {
            return Err(damaged());
        }
        Ok(count)
    }
}

/// A tar that is made of a layer's files while it is sent.
struct Made {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Cursor<Vec<u8>>,
}

fn made(
    store: &Store,
    blob: &BlobInfo,
    content: &Arc<Content>,
    offset: u64,
    given_up: &Arc<AtomicBool>,
) -> io::Result<Made> {
    let (sender, pieces) = sync_channel(QUEUE);
    let mut out = Pieces { sender, held: Vec::new(), skip: offset, given_up: Arc::clone(given_up) };
    let (store, content, digest) = (store.clone(), Arc::clone(content), blob.digest);
    thread::Builder::new().name("push-layer".to_owned()).spawn(move || {
        let written = content::write(&store, &digest, &content, &mut out);
        // Nobody listens when the connection broke.
        let _ = out.sender.send(written.map(|()| out.held).map_err(io::Error::other));
    })?;
    Ok(Made { pieces, piece: Cursor::default() })
}

struct Pieces {
    sender: SyncSender<io::Result<Vec<u8>>>,
    /// The last one, which leaves when all of it is known to be right.
    held: Vec<u8>,
    skip: u64,
    given_up: Arc<AtomicBool>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        ended(&self.given_up)?;
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip -= skipped as u64;
        let rest = bytes.get(skipped..).unwrap_or_default();
        if !rest.is_empty() {
            let before = std::mem::replace(&mut self.held, rest.to_vec());
            self.sender.send(Ok(before)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Made {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.piece.read(room)? {
                0 if !room.is_empty() => match self.pieces.recv() {
                    Ok(piece) => self.piece = Cursor::new(piece?),
                    Err(_) => return Ok(0),
                },
                count => return Ok(count),
            }
        }
    }
}

//! A tar → an eStargz.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use builder_cache::{BlobDigest, DiffId};
use sha2::{Digest, Sha256};

use super::toc::{Toc, TocEntry};
use super::{CHUNK, LANDMARK, NO_PREFETCH, PREFETCH, TOC, footer};
use crate::compress::gzip;
use crate::layer::{Error, LayerTar, clean_path};
use crate::pool::{self, Ordered};
use crate::tar::{self, Entry, Kind, Limits, Reader, Reason, padding, write::END};

/// Members that are in memory at a time, each with its input: at most 8 MiB.
const WINDOW: usize = 12;

/// Members that may wait for the thread that hashes all of the tar.
const QUEUE: usize = 4;

/// Makes an eStargz of a tar. Tells digest and size of the tar that is in it.
pub(crate) fn write(tar: impl Read, level: Option<u8>, out: &mut dyn Write) -> Result<LayerTar, Error> {
    let mut reader = Reader::new(tar, Limits::default());
    let mut writer = Writer::new(out, level);
    writer.landmark()?;
    while let Some(entry) = reader.next_entry()? {
        // One that was made into an eStargz before.
        let path = clean_path(&entry.path).unwrap_or_default();
        if [TOC, NO_PREFETCH, PREFETCH].iter().any(|name| path == name.as_bytes()) {
            continue;
        }
        writer.entry(entry, &mut reader)?;
    }
    reader.drain()?;
    writer.finish()
}

/// A member that was compressed.
struct Compressed {
    bytes: Vec<u8>,
    /// The digest of the data that it begins with.
    chunk: Option<BlobDigest>,
}

struct Writer<'a> {
    out: &'a mut dyn Write,
    level: Option<u8>,
    /// Bytes of the blob so far.
    written: u64,
    jobs: Ordered<io::Result<Compressed>>,
    /// Where each member begins, and the digest of its data.
    members: Vec<(u64, Option<BlobDigest>)>,
    submitted: usize,
    /// What the next member holds so far.
    member: Vec<u8>,
    /// How much of it is data of a file.
    data: usize,
    entries: Vec<TocEntry>,
    hasher: Hasher,
    size: u64,
}

/// The digest of the whole tar, on a thread of its own.
struct Hasher {
    members: SyncSender<Arc<Vec<u8>>>,
    thread: JoinHandle<DiffId>,
}

impl Hasher {
    fn start() -> Self {
        let (members, queue): (_, Receiver<Arc<Vec<u8>>>) = sync_channel(QUEUE);
        let thread = thread::spawn(move || {
            let mut hasher = Sha256::new();
            for member in queue {
                hasher.update(&*member);
            }
            DiffId::from_bytes(hasher.finalize().into())
        });
        Self { members, thread }
    }

    fn finish(self) -> DiffId {
        drop(self.members);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl<'a> Writer<'a> {
    fn new(out: &'a mut dyn Write, level: Option<u8>) -> Self {
        Self {
            out,
            level,
            written: 0,
            jobs: Ordered::new((2 * pool::threads()).min(WINDOW)),
            members: Vec::new(),
            submitted: 0,
            member: Vec::new(),
            data: 0,
            entries: Vec::new(),
            hasher: Hasher::start(),
            size: 0,
        }
    }

    fn landmark(&mut self) -> Result<(), Error> {
        let size = LANDMARK.len() as u64;
        let entry = tar::write::entry(NO_PREFETCH, size);
        self.header(&entry);
        self.cut()?;
        let mut toc = TocEntry::new(&entry);
        toc.member = Some(self.submitted);
        self.entries.push(toc);
        self.member.extend_from_slice(LANDMARK);
        self.data = LANDMARK.len();
        self.member.extend_from_slice(&END[..padding(size)]);
        Ok(())
    }

    fn entry<R: Read>(&mut self, mut entry: Entry, data: &mut Reader<R>) -> Result<(), Error> {
        // Stored in full: a chunk of the blob is a chunk of the file.
        let segments = entry.segments.take();
        entry.mtime_nanos = 0;
        let mut toc = TocEntry::new(&entry);
        // Headers alone may be cut anywhere between them.
        if self.member.len() >= CHUNK {
            self.cut()?;
        }
        self.header(&entry);
        if entry.kind != Kind::File || entry.size == 0 {
            if entry.kind == Kind::File {
                toc.digest = Some(BlobDigest::of(b""));
            }
            self.entries.push(toc);
            return Ok(());
        }
        let mut expand = match segments {
            Some(segments) => {
                Expand { segments: segments.into_iter().map(|part| (part.offset, part.length)).collect() }
            }
            None => Expand { segments: vec![(0, entry.size)] },
        };
        let first = self.entries.len();
        let name = toc.name.clone();
        let several = entry.size > CHUNK as u64;
        let mut hasher = Sha256::new();
        let mut at = 0;
        let mut next = Some(toc);
        while at < entry.size {
            self.cut()?;
            let length = (entry.size - at).min(CHUNK as u64);
            self.member.resize(length as usize, 0);
            self.data = length as usize;
            expand.fill(at, &mut self.member, data)?;
            if several {
                hasher.update(&self.member);
            }
            let mut toc = next.take().unwrap_or_else(|| TocEntry::chunk(&name, at));
            toc.member = Some(self.submitted);
            // Only the last chunk goes without its size.
            if several && at + length < entry.size {
                toc.chunk_size = length;
            }
            self.entries.push(toc);
            at += length;
        }
        // The digest of a file that is one chunk is that of the chunk.
        if let Some(toc) = self.entries.get_mut(first).filter(|_| several) {
            toc.digest = Some(BlobDigest::from_bytes(hasher.finalize().into()));
        }
        self.member.extend_from_slice(&END[..padding(entry.size)]);
        Ok(())
    }

    fn header(&mut self, entry: &Entry) {
        tar::write::header(entry, &mut self.member);
    }

    /// Ends the current member.
    fn cut(&mut self) -> Result<(), Error> {
        if self.member.is_empty() {
            return Ok(());
        }
        if self.jobs.is_full() {
            self.settle()?;
        }
        let member = Arc::new(std::mem::take(&mut self.member));
        // The thread ends only after this sender is gone.
        let _ = self.hasher.members.send(Arc::clone(&member));
        self.size += member.len() as u64;
        let (data, level) = (std::mem::take(&mut self.data), self.level);
        self.submitted += 1;
        self.jobs.submit(move || {
            let chunk = (data > 0).then(|| BlobDigest::of(&member[..data]));
            Ok(Compressed { bytes: gzip::member(&member, level)?, chunk })
        });
        Ok(())
    }

    /// Writes the oldest member. Tells whether there was one.
    fn settle(&mut self) -> Result<bool, Error> {
        let Some(done) = self.jobs.next() else { return Ok(false) };
        let done = done.map_err(Error::Sink)?;
        self.members.push((self.written, done.chunk));
        self.put(&done.bytes)?;
        Ok(true)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(Error::Sink)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn finish(mut self) -> Result<LayerTar, Error> {
        self.cut()?;
        while self.settle()? {}
        for entry in &mut self.entries {
            if let Some((offset, chunk)) = entry.member.and_then(|member| self.members.get(member)) {
                (entry.offset, entry.chunk_digest) = (*offset, *chunk);
                if entry.kind == "reg" {
                    entry.digest = entry.digest.or(*chunk);
                }
            }
        }
        let toc = Toc { version: 1, entries: std::mem::take(&mut self.entries) };
        let toc = serde_json::to_vec(&toc).map_err(|error| Error::Sink(error.into()))?;
        let start = self.written;
        self.header(&tar::write::entry(TOC, toc.len() as u64));
        self.member.extend_from_slice(&toc);
        self.member.extend_from_slice(&END[..padding(toc.len() as u64)]);
        self.member.extend_from_slice(&END);
        self.cut()?;
        while self.settle()? {}
        self.put(&footer(start))?;
        Ok(LayerTar { diff_id: self.hasher.finish(), size: self.size })
    }
}

/// A file's bytes with its holes.
struct Expand {
    /// Offset and length of what is stored and not read yet.
    segments: Vec<(u64, u64)>,
}

impl Expand {
    /// Fills `buffer`, which is all zero, with the bytes from `at` on.
    fn fill<R: Read>(&mut self, at: u64, buffer: &mut [u8], data: &mut Reader<R>) -> Result<(), Error> {
        let end = at + buffer.len() as u64;
        let mut done = 0;
        for (offset, length) in &mut self.segments {
            if *offset >= end {
                break;
            }
            let stop = (*offset + *length).min(end);
            let mut filled = (*offset - at) as usize;
            while filled < (stop - at) as usize {
                match data.read_data(&mut buffer[filled..(stop - at) as usize])? {
                    0 => return Err(data.error(Reason::Truncated).into()),
                    count => filled += count,
                }
            }
            *length -= stop - *offset;
            *offset = stop;
            if *length > 0 {
                break;
            }
            done += 1;
        }
        self.segments.drain(..done);
        Ok(())
    }
}

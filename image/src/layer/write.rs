//! A layer's directory → its tar, always the same bytes for the same files.
//!
//! What is decided here and never varies: the order of [`super::walk`], the headers of [`crate::tar::write`], times in
//! whole seconds (as Docker's layers have them; a clamp makes later ones equal to it), hard links among the layer's
//! own paths with the first path as the file, no entry for the root, sockets left out, sparse files written in full,
//! removals as empty files of mode 0 at time 0, and two zero blocks at the end.
//!
//! How it is fast: this thread writes to the sink; one thread walks and puts the stream together; one hashes; small
//! files are read ahead on the pool. What is in memory at a time is a dozen blocks and batches of 1 MiB each.

use std::collections::HashMap;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use builder_cache::DiffId;
use rustix::fs::{Mode, OFlags, fstat, open};
use rustix::io::{Errno, read};

use super::batch::{Batch, Body, Links, Prepared, STEPS, open_file, read_batch};
use super::error::Error;
use super::walk::{Form, Node, Step, Walk};
use crate::block::{BlockSink, BlockWriter, Hashed, Stopped, StreamError, WriteSink, stream};
use crate::pool::{self, Ordered};
use crate::tar::{self, Entry, Kind, padding, write::END};

/// How to write a layer's tar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// No file is younger than this, in seconds since the epoch (`SOURCE_DATE_EPOCH`).
    pub clamp: Option<i64>,
}

/// A tar that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerTar {
    /// The SHA-256 of its bytes.
    pub diff_id: DiffId,
    /// How many they are.
    pub size: u64,
}

/// Writes the tar of one layer, whose directories are given topmost first ([`builder_cache::Store::part_dirs`]).
pub fn write_layer(
    parts: &[impl AsRef<Path>],
    options: &WriteOptions,
    sink: &mut dyn Write,
) -> Result<LayerTar, Error> {
    write_blocks(parts, options, &mut WriteSink(sink))
}

/// Writes the tar of a root file system: nothing in it is a removal. With a `time`, every file has it.
pub fn write_root(root: &OwnedFd, time: Option<i64>, sink: &mut dyn Write) -> Result<LayerTar, Error> {
    write_roots(&[Rooted::whole(root)], time, sink)
}

/// Writes one tar of several root file systems.
pub fn write_roots(roots: &[Rooted<'_>], time: Option<i64>, sink: &mut dyn Write) -> Result<LayerTar, Error> {
    let style = Style { form: Form::Root, time: time.map(Time::Fixed), nanos: false, owner: None };
    hashed(stream(|out| produce_roots(roots, style, out), &mut WriteSink(sink)))
}

/// A root file system that is a part of a tar.
#[derive(Debug, Clone, Copy)]
pub struct Rooted<'a> {
    /// The root.
    pub root: &'a OwnedFd,
    /// What people call it.
    pub name: &'a str,
    /// The directory of the tar that it is in; empty for none.
    pub directory: &'a str,
}

impl<'a> Rooted<'a> {
    /// A root that is all of a tar.
    pub fn whole(root: &'a OwnedFd) -> Self {
        Self { root, name: "", directory: "" }
    }
}

pub(crate) fn write_blocks(
    parts: &[impl AsRef<Path>],
    options: &WriteOptions,
    sink: &mut dyn BlockSink,
) -> Result<LayerTar, Error> {
    run(&open_parts(parts)?, layer_style(options), sink)
}

/// The same for somebody who reads it on another thread.
pub(crate) fn produce_layer(
    parts: &[impl AsRef<Path>],
    options: &WriteOptions,
    out: &mut BlockWriter,
) -> Result<(), Error> {
    produce(&open_parts(parts)?, layer_style(options), out)
}

fn layer_style(options: &WriteOptions) -> Style {
    Style { form: Form::Layer, time: options.clamp.map(Time::Latest), nanos: false, owner: None }
}

fn open_parts(parts: &[impl AsRef<Path>]) -> Result<Vec<OwnedFd>, Error> {
    let open_part = |part: &Path| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        open(part, flags, Mode::empty()).map_err(|error| Error::at("open", part, error))
    };
    parts.iter().map(|part| open_part(part.as_ref())).collect()
}

/// Writes a tar of roots with times to the nanosecond, for somebody who unpacks it again at once.
pub(crate) fn write_exact(roots: &[Rooted<'_>], time: Option<i64>, out: &mut BlockWriter) -> Result<(), Error> {
    produce_roots(roots, Style { form: Form::Root, time: time.map(Time::Fixed), nanos: true, owner: None }, out)
}

/// What entries look like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) form: Form,
    pub(super) time: Option<Time>,
    pub(super) nanos: bool,
    /// Everything belongs to this user and group.
    pub(super) owner: Option<(u32, u32)>,
}

/// What becomes of the times of files, in seconds since the epoch.
#[derive(Debug, Clone, Copy)]
pub(super) enum Time {
    /// Later ones become this.
    Latest(i64),
    /// All become this.
    Fixed(i64),
}

impl Time {
    fn of(self, (seconds, nanos): (i64, u32)) -> (i64, u32) {
        match self {
            Self::Latest(latest) if seconds < latest => (seconds, nanos),
            Self::Latest(seconds) | Self::Fixed(seconds) => (seconds, 0),
        }
    }
}

fn run(roots: &[OwnedFd], style: Style, sink: &mut dyn BlockSink) -> Result<LayerTar, Error> {
    hashed(stream(|out| produce(roots, style, out), sink))
}

fn hashed(streamed: Result<Hashed, StreamError<Error>>) -> Result<LayerTar, Error> {
    match streamed {
        Ok(Hashed { digest, size }) => Ok(LayerTar { diff_id: digest, size }),
        Err(StreamError::Produce(error)) => Err(error),
        Err(StreamError::Consume(error)) => Err(Error::Sink(error)),
    }
}

fn produce(roots: &[OwnedFd], style: Style, out: &mut BlockWriter) -> Result<(), Error> {
    let mut writer = EntryWriter::new(out, style);
    write_entries(roots, &mut writer)?;
    writer.out.write(&END)?;
    Ok(())
}

fn produce_roots(roots: &[Rooted<'_>], style: Style, out: &mut BlockWriter) -> Result<(), Error> {
    let mut writer = EntryWriter::new(out, style);
    // Where roots share a directory, no file of one may stand for a file of another.
    let again = |number: usize| roots[..number].iter().any(|other| other.directory == roots[number].directory);
    let whole = roots.iter().any(|part| part.directory.is_empty());
    let shared = roots.len() > 1 && (whole || (0..roots.len()).any(again));
    writer.seen = shared.then(HashMap::new);
    for (number, part) in roots.iter().enumerate() {
        let root = part.root.try_clone().map_err(|error| Error::io("open", b"/", error))?;
        writer.links = Links::default();
        part.name.clone_into(&mut writer.name);
        writer.prefix = Vec::new();
        if !part.directory.is_empty() {
            if !again(number) {
                let stat = fstat(&root).map_err(|error| Error::io("read", b"/", error))?;
                writer.directory(part.directory, stat.st_mtime)?;
            }
            writer.prefix = [part.directory.as_bytes(), b"/"].concat();
        }
        write_entries(&[root], &mut writer)?;
    }
    writer.out.write(&END)?;
    Ok(())
}

pub(super) fn write_entries(roots: &[OwnedFd], writer: &mut EntryWriter<'_>) -> Result<(), Error> {
    let mut jobs = Ordered::new(4 * pool::threads().min(4));
    let mut steps: Vec<Step> = Vec::with_capacity(STEPS);
    for step in Walk::new(roots, writer.style.form) {
        steps.push(step?);
        if steps.len() == STEPS {
            if jobs.is_full() {
                writer.batch(jobs.next())?;
            }
            let full = std::mem::replace(&mut steps, Vec::with_capacity(STEPS));
            jobs.submit(move || read_batch(full));
        }
    }
    jobs.submit(move || read_batch(steps));
    while let Some(batch) = jobs.next() {
        writer.batch(Some(batch))?;
    }
    Ok(())
}

pub(super) struct EntryWriter<'a> {
    out: &'a mut BlockWriter,
    style: Style,
    links: Links,
    header: Vec<u8>,
    /// In front of every path; ends with a slash.
    prefix: Vec<u8>,
    /// What people call the root that is written.
    name: String,
    /// Every path so far: whether it is a directory, and of which root.
    seen: Option<HashMap<Vec<u8>, (bool, String)>>,
}

impl<'a> EntryWriter<'a> {
    pub(super) fn new(out: &'a mut BlockWriter, style: Style) -> Self {
        let (links, header) = (Links::default(), Vec::new());
        Self { out, style, links, header, prefix: Vec::new(), name: String::new(), seen: None }
    }

    /// A directory that no root has.
    fn directory(&mut self, path: &str, mtime: i64) -> Result<(), Error> {
        let (mtime, _) = self.style.time.map_or((mtime, 0), |time| time.of((mtime, 0)));
        let entry = Entry { kind: Kind::Directory, mode: 0o755, mtime, ..tar::write::entry(path, 0) };
        self.header.clear();
        tar::write::header(&entry, &mut self.header);
        self.out.write(&self.header)?;
        Ok(())
    }

    /// Whether the entry is to be written; an error when another root has something else there.
    fn is_new(&mut self, entry: &Entry) -> Result<bool, Error> {
        let Some(seen) = &mut self.seen else { return Ok(true) };
        let is_directory = entry.kind == Kind::Directory;
        match seen.get(&entry.path) {
            None => {
                seen.insert(entry.path.clone(), (is_directory, self.name.clone()));
                Ok(true)
            }
            Some((true, _)) if is_directory => Ok(false),
            Some((_, first)) => Err(Error::Overlap {
                path: crate::text::show(&entry.path),
                first: first.clone(),
                second: self.name.clone(),
            }),
        }
    }

    /// Puts this in front of every path that follows.
    pub(super) fn set_prefix(&mut self, prefix: Vec<u8>) {
        self.prefix = prefix;
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Stopped> {
        self.out.write(bytes)
    }

    pub(super) fn batch(&mut self, batch: Option<Batch>) -> Result<(), Error> {
        let Some(batch) = batch else { return Ok(()) };
        for prepared in batch.entries {
            self.entry(prepared?, &batch.data)?;
        }
        Ok(())
    }

    fn entry(&mut self, mut prepared: Prepared, data: &[u8]) -> Result<(), Error> {
        self.links.resolve(&mut prepared);
        let entry = &mut prepared.entry;
        if !self.prefix.is_empty() {
            entry.path.splice(..0, self.prefix.iter().copied());
            if let Kind::HardLink(target) = &mut entry.kind {
                target.splice(..0, self.prefix.iter().copied());
            }
        }
        if !self.is_new(entry)? {
            return Ok(());
        }
        if let Some(owner) = self.style.owner {
            (entry.uid, entry.gid) = owner;
        }
        if let Some(time) = self.style.time {
            (entry.mtime, entry.mtime_nanos) = time.of((entry.mtime, entry.mtime_nanos));
        }
        if !self.style.nanos {
            entry.mtime_nanos = 0;
        }
        self.header.clear();
        tar::write::header(entry, &mut self.header);
        self.out.write(&self.header)?;
        match prepared.body {
            Body::None => return Ok(()),
            Body::Read(range) => self.out.write(&data[range])?,
            Body::Later(node) => self.file(&node, prepared.entry.size)?,
        }
        self.out.write(&END[..padding(prepared.entry.size)])?;
        Ok(())
    }

    /// Reads a file straight into the stream's blocks.
    fn file(&mut self, node: &Node, size: u64) -> Result<(), Error> {
        let (fd, stat) = open_file(node)?;
        let changed = || Error::Changed(crate::text::show(&node.path()));
        if stat.st_size as u64 != size {
            return Err(changed());
        }
        let mut left = size;
        while left > 0 {
            let count = self
                .out
                .fill(left, |room| read_retrying(&fd, room))
                .map_err(|error| Error::io("read", &node.path(), error))??;
            if count == 0 {
                return Err(changed());
            }
            left -= count as u64;
        }
        Ok(())
    }
}

fn read_retrying(fd: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match read(fd.as_fd(), &mut *buffer) {
            Err(Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

//! A layer's directory → its tar, always the same bytes for the same files.
//!
//! What is decided here and never varies: the order of [`super::walk`], the headers of [`crate::tar::write`], times in
//! whole seconds (as Docker's layers have them; a clamp makes later ones equal to it), hard links among the layer's
//! own paths with the first path as the file, no entry for the root, sockets left out, sparse files written in full,
//! removals as empty files of mode 0 at time 0, and two zero blocks at the end.
//!
//! How it is fast: this thread writes to the sink; one thread walks and puts the stream together; one hashes; small
//! files are read ahead on the pool. What is in memory at a time is a dozen blocks and batches of 1 MiB each.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use builder_cache::DiffId;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, read};

use super::batch::{Batch, Body, Links, Prepared, STEPS, open_file, read_batch};
use super::error::Error;
use super::walk::{Form, Node, Step, Walk};
use crate::block::{BlockSink, BlockWriter, Hashed, StreamError, WriteSink, stream};
use crate::pool::{self, Ordered};
use crate::tar::{self, padding, write::END};

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

/// Writes the tar of a root file system: nothing in it is a removal.
pub fn write_root(root: &OwnedFd, options: &WriteOptions, sink: &mut dyn Write) -> Result<LayerTar, Error> {
    let root = root.try_clone().map_err(|error| Error::io("open", b"/", error))?;
    let style = Style { form: Form::Root, clamp: options.clamp, nanos: false };
    run(&[root], style, &mut WriteSink(sink))
}

pub(crate) fn write_blocks(
    parts: &[impl AsRef<Path>],
    options: &WriteOptions,
    sink: &mut dyn BlockSink,
) -> Result<LayerTar, Error> {
    let roots = parts
        .iter()
        .map(|part| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            open(part.as_ref(), flags, Mode::empty()).map_err(|error| Error::at("open", part.as_ref(), error))
        })
        .collect::<Result<Vec<OwnedFd>, Error>>()?;
    run(&roots, Style { form: Form::Layer, clamp: options.clamp, nanos: false }, sink)
}

/// Writes a root's tar with times to the nanosecond, for somebody who unpacks it again at once.
pub(crate) fn write_exact(root: &OwnedFd, clamp: Option<i64>, out: &mut BlockWriter) -> Result<(), Error> {
    let root = root.try_clone().map_err(|error| Error::io("open", b"/", error))?;
    produce(&[root], Style { form: Form::Root, clamp, nanos: true }, out)
}

/// What entries look like.
#[derive(Debug, Clone, Copy)]
struct Style {
    form: Form,
    clamp: Option<i64>,
    nanos: bool,
}

fn run(roots: &[OwnedFd], style: Style, sink: &mut dyn BlockSink) -> Result<LayerTar, Error> {
    match stream(|out| produce(roots, style, out), sink) {
        Ok(Hashed { digest, size }) => Ok(LayerTar { diff_id: digest, size }),
        Err(StreamError::Produce(error)) => Err(error),
        Err(StreamError::Consume(error)) => Err(Error::Sink(error)),
    }
}

fn produce(roots: &[OwnedFd], style: Style, out: &mut BlockWriter) -> Result<(), Error> {
    let mut jobs = Ordered::new(4 * pool::threads().min(4));
    let mut writer = EntryWriter { out, style, links: Links::default(), header: Vec::new() };
    let mut steps: Vec<Step> = Vec::with_capacity(STEPS);
    for step in Walk::new(roots, style.form) {
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
    writer.out.write(&END)?;
    Ok(())
}

struct EntryWriter<'a> {
    out: &'a mut BlockWriter,
    style: Style,
    links: Links,
    header: Vec<u8>,
}

impl EntryWriter<'_> {
    fn batch(&mut self, batch: Option<Batch>) -> Result<(), Error> {
        let Some(batch) = batch else { return Ok(()) };
        for prepared in batch.entries {
            self.entry(prepared?, &batch.data)?;
        }
        Ok(())
    }

    fn entry(&mut self, mut prepared: Prepared, data: &[u8]) -> Result<(), Error> {
        self.links.resolve(&mut prepared);
        let entry = &mut prepared.entry;
        if let Some(latest) = self.style.clamp.filter(|&latest| entry.mtime >= latest) {
            (entry.mtime, entry.mtime_nanos) = (latest, 0);
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

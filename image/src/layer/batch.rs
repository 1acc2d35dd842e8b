//! Reading small files ahead: a batch of a walk's steps becomes tar entries with their bytes, on any thread.

use std::collections::HashMap;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, major, minor, openat, readlinkat, statat};
use rustix::io::{Errno, read};

use super::error::Error;
use super::walk::{Node, Step};
use super::xattr;
use crate::tar::{Entry, Kind, Xattr};

/// Steps in a batch.
pub(super) const STEPS: usize = 64;
/// Files up to this size are read into the batch; others are read when their turn comes.
const SMALL: u64 = 256 << 10;
/// Bytes that a batch holds at most, give or take one small file.
const BUDGET: usize = 1 << 20;

/// A batch that was read.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) entries: Vec<Result<Prepared, Error>>,
    pub(super) data: Vec<u8>,
}

/// An entry that is ready to be written.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) entry: Entry,
    /// Device and inode of a file that has other names.
    pub(super) linked: Option<(u64, u64)>,
    pub(super) body: Body,
}

/// Where an entry's bytes are.
#[derive(Debug)]
pub(super) enum Body {
    None,
    /// In the batch.
    Read(Range<usize>),
    /// Still on the disk.
    Later(Node),
}

/// Reads the steps of a batch.
pub(super) fn read_batch(steps: Vec<Step>) -> Batch {
    let mut batch = Batch { entries: Vec::with_capacity(steps.len()), data: Vec::with_capacity(SMALL as usize) };
    for step in steps {
        let prepared = match step {
            Step::Directory(directory) => {
                let entry = describe(directory.path, Kind::Directory, &directory.stat, directory.xattrs);
                Ok(Some(Prepared { entry, linked: None, body: Body::None }))
            }
            Step::Opaque(path) => Ok(Some(mark(super::path::join(&path, super::path::OPAQUE)))),
            Step::Whiteout(path) => {
                let (directory, name) = super::path::split(&path);
                let name = [super::path::WHITEOUT, name].concat();
                Ok(Some(mark(super::path::join(directory, &name))))
            }
            Step::Node(node) => read_node(node, &mut batch.data),
        };
        batch.entries.extend(prepared.transpose());
    }
    batch
}

/// Removals are empty files that say nothing of owners or times.
fn mark(path: Vec<u8>) -> Prepared {
    let entry = Entry {
        path,
        kind: Kind::File,
        mode: 0,
        uid: 0,
        gid: 0,
        mtime: 0,
        mtime_nanos: 0,
        xattrs: Vec::new(),
        size: 0,
        segments: None,
        offset: 0,
    };
    Prepared { entry, linked: None, body: Body::None }
}

fn describe(path: Vec<u8>, kind: Kind, stat: &Stat, xattrs: Vec<Xattr>) -> Entry {
    Entry {
        path,
        size: if kind == Kind::File { stat.st_size as u64 } else { 0 },
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: stat.st_mtime,
        mtime_nanos: stat.st_mtime_nsec as u32,
        xattrs,
        segments: None,
        offset: 0,
    }
}

fn read_node(node: Node, data: &mut Vec<u8>) -> Result<Option<Prepared>, Error> {
    if node.kind == FileType::RegularFile {
        return read_file(node, data).map(Some);
    }
    let path = node.path();
    let fail = |error: Errno| Error::io("read", &path, error);
    let stat = statat(node.parent(), &node.name, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
    let device = || (major(stat.st_rdev), minor(stat.st_rdev));
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => {
            Kind::Symlink(readlinkat(node.parent(), &node.name, Vec::new()).map_err(fail)?.into_bytes())
        }
        FileType::CharacterDevice => Kind::CharDevice(device().0, device().1),
        FileType::BlockDevice => Kind::BlockDevice(device().0, device().1),
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => return Ok(None),
        _ => return Err(Error::Changed(crate::text::show(&path))),
    };
    let linked = linked(&stat);
    Ok(Some(Prepared { entry: describe(path, kind, &stat, Vec::new()), linked, body: Body::None }))
}

fn linked(stat: &Stat) -> Option<(u64, u64)> {
    (stat.st_nlink > 1).then_some((stat.st_dev, stat.st_ino))
}

fn read_file(node: Node, data: &mut Vec<u8>) -> Result<Prepared, Error> {
    let path = node.path();
    let (fd, stat) = open_file(&node)?;
    let xattrs = xattr::read(fd.as_fd(), &path)?.kept;
    let entry = describe(path, Kind::File, &stat, xattrs);
    let linked = linked(&stat);
    if entry.size > SMALL || data.len() > BUDGET {
        return Ok(Prepared { entry, linked, body: Body::Later(node) });
    }
    let start = data.len();
    let size = entry.size as usize;
    data.reserve(size);
    while data.len() - start < size {
        match read(&fd, spare_capacity(data)) {
            Ok(0) => return Err(Error::Changed(crate::text::show(&entry.path))),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(Error::io("read", &entry.path, error)),
        }
    }
    data.truncate(start + size);
    Ok(Prepared { entry, linked, body: Body::Read(start..start + size) })
}

/// Opens a regular file without a trace (access time) where that is allowed.
pub(super) fn open_file(node: &Node) -> Result<(OwnedFd, Stat), Error> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let open = |flags| openat(node.parent(), &node.name, flags, Mode::empty());
    let fd = match open(flags | OFlags::NOATIME) {
        Err(Errno::PERM) => open(flags),
        other => other,
    };
    let fail = |error: Errno| Error::io("read", &node.path(), error);
    let fd = fd.map_err(fail)?;
    let stat = fstat(&fd).map_err(fail)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Error::Changed(crate::text::show(&node.path())));
    }
    Ok((fd, stat))
}

/// Finds the first path of files with several names.
#[derive(Debug, Default)]
pub(super) struct Links(HashMap<(u64, u64), Vec<u8>>);

impl Links {
    /// Makes every later name of a file a hard link to its first.
    pub(super) fn resolve(&mut self, prepared: &mut Prepared) {
        let Some(inode) = prepared.linked else { return };
        match self.0.get(&inode) {
            Some(first) => {
                prepared.entry.kind = Kind::HardLink(first.clone());
                prepared.entry.size = 0;
                prepared.entry.xattrs.clear();
                prepared.body = Body::None;
            }
            None => {
                self.0.insert(inode, prepared.entry.path.clone());
            }
        }
    }
}

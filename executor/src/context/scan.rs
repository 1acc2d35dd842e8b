//! Walks a directory in parallel, level by level.
//!
//! Level by level and not depth first: no recursion that a deep tree could overflow, few open descriptors (each
//! directory is opened beneath the root by its path), and both many small and one huge directory keep all cores busy.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use builder_cache::content::DataDigest;
use rayon::prelude::*;
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::entry::{Entry, EntryContent, Stamp};
use super::error::SourceError;
use super::hash::hash_file;
use super::index::{Index, Known};
use super::root::{self, Name, join};
use super::tree::{Directory, DirectoryId, Tree};
use crate::pattern::{IgnoreMatcher, MatchState};

/// Directories with more names than this are worked on by several threads.
const PARALLEL_NAMES: usize = 256;

/// How to look at files.
pub(super) struct Scanner<'a> {
    pub(super) root: BorrowedFd<'a>,
    pub(super) ignore: &'a IgnoreMatcher,
    /// What is known already; `None` where nothing may be believed or remembered.
    pub(super) index: Option<&'a Index>,
    /// Whether to read the bytes of files.
    pub(super) hash: bool,
    /// When the scan began, by the clock that stamps files.
    pub(super) start: (i64, u32),
    /// Set when the index has to learn something.
    pub(super) learned: AtomicBool,
}

/// A directory that waits to be listed.
pub(super) struct Pending {
    pub(super) path: Vec<u8>,
    pub(super) own: Entry,
    pub(super) state: MatchState,
    /// A pattern excludes the directory itself, but not all that is below it.
    pub(super) excluded: bool,
    pub(super) device: Device,
}

/// The file system that a directory is on.
#[derive(Clone, Copy)]
pub(super) struct Device {
    pub(super) dev: u64,
    pub(super) stable: bool,
}

struct Listed {
    directory: Directory,
    pending: Vec<Pending>,
}

impl Scanner<'_> {
    /// Scans everything below a directory. An excluded directory with nothing included below it comes back empty.
    pub(super) fn tree(&self, start: Pending) -> Result<Tree, SourceError> {
        let mut directories: Vec<Directory> = Vec::new();
        let mut excluded = Vec::new();
        let mut levels = Vec::new();
        let mut level = vec![start];
        while !level.is_empty() {
            excluded.extend(level.iter().map(|pending| pending.excluded));
            let listed: Vec<Listed> =
                level.into_par_iter().map(|pending| self.list(pending)).collect::<Result<_, _>>()?;
            let first = directories.len();
            let mut next = first + listed.len();
            levels.push(first..next);
            level = Vec::new();
            for Listed { mut directory, pending } in listed {
                for entry in &mut directory.entries {
                    if let EntryContent::Directory(id) = &mut entry.content {
                        *id = DirectoryId::new(next);
                        next += 1;
                    }
                }
                directories.push(directory);
                level.extend(pending);
            }
        }
        if excluded.iter().any(|&excluded| excluded) {
            prune(&mut directories, &excluded);
        }
        Ok(Tree::new(directories, levels))
    }

    /// Who owns an entry. Only snapshots, which have no index, keep owners.
    fn owner(&self, stat: &Stat) -> (u32, u32) {
        if self.index.is_some() { (0, 0) } else { (stat.st_uid, stat.st_gid) }
    }

    fn list(&self, pending: Pending) -> Result<Listed, SourceError> {
        let Pending { path, mut own, state, device, .. } = pending;
        let failed = |error| vanished_or("read the directory", &path, error);
        let directory = root::open_directory(self.root, &path).map_err(failed)?;
        let device = device.of(own.stamp.dev, &directory);
        own.xattrs =
            root::attributes(&directory).map_err(|error| SourceError::read("read the attributes of", &path, error))?;
        let mut names = root::list(&directory).map_err(failed)?;
        names.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        names.dedup_by(|one, other| one.name == other.name);
        let one = |name: Name| self.name(&directory, &path, name, &state, device);
        let found: Vec<Option<(Entry, Option<Pending>)>> = if names.len() < PARALLEL_NAMES {
            names.into_iter().map(one).collect::<Result<_, _>>()?
        } else {
            names.into_par_iter().with_min_len(PARALLEL_NAMES / 4).map(one).collect::<Result<_, _>>()?
        };
        let mut entries = Vec::with_capacity(found.len());
        let mut pending = Vec::new();
        for (entry, below) in found.into_iter().flatten() {
            entries.push(entry);
            pending.extend(below);
        }
        let directory = Directory { path: path.into(), own, entries, indexed: device.stable };
        Ok(Listed { directory, pending })
    }

    /// Looks at one name of a directory; `None` for what is left out.
    fn name(
        &self,
        directory: impl AsFd,
        parent: &[u8],
        name: Name,
        state: &MatchState,
        device: Device,
    ) -> Result<Option<(Entry, Option<Pending>)>, SourceError> {
        let Name { name, file_type } = name;
        let directory = directory.as_fd();
        let mut stat = None;
        let mut file_type = file_type;
        if file_type == FileType::Unknown {
            let found = stat_name(directory, parent, &name)?;
            file_type = FileType::from_raw_mode(found.st_mode);
            stat = Some(found);
        }
        // A socket of the client comes as an empty file, as in BuildKit; one in a snapshot can't be in a layer.
        if file_type == FileType::Socket && self.index.is_none() {
            return Ok(None);
        }
        let mut excluded = false;
        let mut below = MatchState::default();
        if !self.ignore.is_empty() {
            let path = join(parent, &name);
            if file_type == FileType::Directory {
                (excluded, below) = self.ignore.matches(&path, state);
                if excluded && !self.ignore.may_include_below(&path) {
                    return Ok(None);
                }
            } else if self.ignore.excludes(&path, state) {
                return Ok(None);
            }
        }
        let entry = self.entry(directory, parent, name, file_type, stat, device)?;
        let pending = entry.is_directory().then(|| Pending {
            path: join(parent, &entry.name),
            own: entry.clone(),
            state: below,
            excluded,
            device,
        });
        Ok(Some((entry, pending)))
    }

    /// Makes an entry. A directory comes without attributes, which are read when it is opened.
    pub(super) fn entry(
        &self,
        directory: BorrowedFd<'_>,
        parent: &[u8],
        name: Box<[u8]>,
        file_type: FileType,
        stat: Option<Stat>,
        device: Device,
    ) -> Result<Entry, SourceError> {
        let index = self.index.filter(|_| device.stable);
        let unknown = index.is_none_or(Index::is_empty);
        if file_type == FileType::RegularFile && stat.is_none() && self.hash && unknown {
            return self.read(directory, parent, name, None, index.is_some());
        }
        let stat = match stat {
            Some(stat) => stat,
            None => stat_name(directory, parent, &name)?,
        };
        let stamp = Stamp::of(&stat);
        if stamp.file_type() != file_type {
            return Err(SourceError::changed(&join(parent, &name)));
        }
        if file_type == FileType::RegularFile && self.hash {
            let known = index.and_then(|index| index.get(&stamp));
            return match known {
                Some(Known { racy: false, data, xattrs, .. }) => Ok(Entry {
                    name,
                    stamp,
                    owner: self.owner(&stat),
                    links: stat.st_nlink as u32,
                    content: EntryContent::File(Some(data)),
                    xattrs,
                }),
                racy_or_unknown => self.read(directory, parent, name, racy_or_unknown.as_ref(), index.is_some()),
            };
        }
        let content = match file_type {
            FileType::RegularFile => EntryContent::File(None),
            FileType::Directory => EntryContent::Directory(DirectoryId::ROOT),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(directory, &*name, Vec::new())
                    .map_err(|error| vanished_or("read the link", &join(parent, &name), error))?;
                EntryContent::Symlink(target.into_bytes().into())
            }
            FileType::CharacterDevice => {
                EntryContent::CharDevice(rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev))
            }
            FileType::BlockDevice => {
                EntryContent::BlockDevice(rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev))
            }
            FileType::Fifo => EntryContent::Fifo,
            FileType::Socket if self.index.is_some() => EntryContent::File(Some(DataDigest::of(b""))),
            FileType::Socket | FileType::Unknown => return Err(SourceError::changed(&join(parent, &name))),
        };
        let xattrs = if file_type == FileType::Directory {
            None
        } else {
            root::attributes_at(directory, &name)
                .map_err(|error| SourceError::read("read the attributes of", &join(parent, &name), error))?
        };
        Ok(Entry { name, stamp, owner: self.owner(&stat), links: stat.st_nlink as u32, content, xattrs })
    }

    /// Reads a file.
    fn read(
        &self,
        directory: BorrowedFd<'_>,
        parent: &[u8],
        name: Box<[u8]>,
        racy: Option<&Known>,
        indexed: bool,
    ) -> Result<Entry, SourceError> {
        let failed = |error| vanished_or("read", &join(parent, &name), error);
        let file = root::open_file(directory, &name).map_err(failed)?;
        let stat = rustix::fs::fstat(&file).map_err(failed)?;
        let stamp = Stamp::of(&stat);
        if stamp.file_type() != FileType::RegularFile {
            return Err(SourceError::changed(&join(parent, &name)));
        }
        let xattrs = root::attributes(&file)
            .map_err(|error| SourceError::read("read the attributes of", &join(parent, &name), error))?;
        let data: DataDigest = hash_file(&file, stamp.size).map_err(failed)?;
        if indexed {
            let known = Known::new(stamp, data, xattrs.clone(), self.start);
            if racy != Some(&known) {
                self.learned.store(true, Ordering::Relaxed);
            }
        }
        let content = EntryContent::File(Some(data));
        Ok(Entry { name, stamp, owner: self.owner(&stat), links: stat.st_nlink as u32, content, xattrs })
    }
}

impl Device {
    /// The file system of a directory below one on this file system.
    pub(super) fn of(self, dev: u64, directory: impl AsFd) -> Self {
        if dev == self.dev { self } else { Self { dev, stable: is_stable(directory) } }
    }
}

/// Whether inode numbers and ctimes of the file system can be trusted to tell of every change.
pub(super) fn is_stable(directory: impl AsFd) -> bool {
    const UNSTABLE: [i64; 13] = [
        0x6573_5546, // FUSE, virtiofs
        0x6573_5543, // FUSE control
        0x6969,      // NFS
        0xff53_4d42, // CIFS
        0xfe53_4d42, // SMB 2
        0x517b,      // SMB
        0x0102_1997, // 9p
        0x00c3_6400, // Ceph
        0x5346_414f, // AFS
        0x6b41_4653, // kAFS
        0x786f_4256, // VirtualBox shared folders
        0x794c_7630, // overlay
        0x0bd0_0bd0, // Lustre
    ];
    rustix::fs::fstatfs(directory).is_ok_and(|info| !UNSTABLE.contains(&(info.f_type & 0xffff_ffff)))
}

fn stat_name(directory: BorrowedFd<'_>, parent: &[u8], name: &[u8]) -> Result<Stat, SourceError> {
    root::stat(directory, name)
        .map_err(|error| SourceError::read("look at", &join(parent, name), error))?
        .ok_or_else(|| SourceError::changed(&join(parent, name)))
}

/// Something that was listed and is gone, or is of another type now, changed while we looked.
fn vanished_or(action: &'static str, path: &[u8], error: Errno) -> SourceError {
    match error {
        Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NXIO | Errno::STALE => SourceError::changed(path),
        error => SourceError::read(action, path, error),
    }
}

/// Takes out excluded directories below which nothing is included.
fn prune(directories: &mut [Directory], excluded: &[bool]) {
    let mut dropped = vec![false; directories.len()];
    for position in (0..directories.len()).rev() {
        let directory = &mut directories[position];
        directory
            .entries
            .retain(|entry| !matches!(entry.content, EntryContent::Directory(id) if dropped[id.0 as usize]));
        dropped[position] = excluded[position] && directory.entries.is_empty();
    }
}

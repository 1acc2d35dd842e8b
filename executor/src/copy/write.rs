//! Carries a plan out.

use std::collections::{BTreeMap, HashMap};
use std::ops::AddAssign;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use builder_cache::content::DataDigest;
use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, makedev};
use rustix::io::Errno;

use crate::context::root::{self, join, split};
use crate::context::{Entry, EntryContent, FileSource, Xattr};

use super::data::{copy_file, write_all};
use super::delta::Delta;
use super::error::{CopyError, absolute};
use super::plan::{DirectorySettings, Leaf, Origin, Plan, Planned};

/// Directories with more children than this are worked on by several threads.
const PARALLEL_CHILDREN: usize = 64;

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Files, links and devices.
    pub files: u64,
    /// The bytes of files, hard links counted once.
    pub bytes: u64,
}

impl AddAssign for Written {
    fn add_assign(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
    }
}

/// What names of one file have in common: source, device, inode, and what the copy shall be like.
type LinkKey = (*const FileSource, u64, u64, (u32, u32, u32));

/// A directory whose children are being written.
struct Work {
    index: usize,
    path: Vec<u8>,
    children: BTreeMap<Box<[u8]>, Planned>,
}

impl Plan<'_> {
    /// Writes what was planned below `root`, with `delta` only the difference. `root` must look like the root that
    /// the plan was made for, or with a delta like that with the last result on top.
    pub fn write(&mut self, root: BorrowedFd<'_>, delta: Option<&Delta>) -> Result<Written, CopyError> {
        if let Some(delta) = delta {
            // A file is replaced where it is written; an empty directory (of the last result: the base has nothing
            // there, or there would be no plan) has to go first.
            for path in delta.remove.iter().chain(delta.replaced()) {
                remove(root, path)?;
            }
        }
        let levels = self.levels();
        if delta.is_none() {
            // A delta has no files with several names.
            self.find_hard_links(&levels);
        }
        let mut written = Written::default();
        let mut touched = Vec::new();
        for level in levels {
            let mut work = Vec::with_capacity(level.len());
            for index in level {
                let directory = &mut self.directories[index];
                if delta.is_none_or(|delta| delta.concerns(&directory.path)) {
                    let children = std::mem::take(&mut directory.children);
                    work.push(Work { index, path: directory.path.clone(), children });
                }
            }
            let results: Result<Vec<Written>, CopyError> =
                work.par_iter_mut().map(|work| self.write_directory(root, work, delta)).collect();
            for Work { index, children, .. } in work {
                self.directories[index].children = children;
                touched.push(index);
            }
            for part in results? {
                written += part;
            }
        }
        self.make_hard_links(root)?;
        touched.par_iter().try_for_each(|&index| {
            let directory = &self.directories[index];
            directory.set.as_ref().map_or(Ok(()), |settings| set_directory(root, &directory.path, settings))
        })?;
        Ok(written)
    }

    fn write_directory(
        &self,
        root: BorrowedFd<'_>,
        work: &mut Work,
        delta: Option<&Delta>,
    ) -> Result<Written, CopyError> {
        if work.children.is_empty() {
            return Ok(Written::default());
        }
        let Work { path, children, .. } = work;
        let opened =
            root::open_directory(root, path).map_err(|error| CopyError::write("open the directory", path, error))?;
        let one = |name: &[u8], child: &mut Planned| -> Result<Written, CopyError> {
            if delta.is_some_and(|delta| !delta.concerns(&join(path, name))) {
                return Ok(Written::default());
            }
            match child {
                Planned::Directory(index) => {
                    if self.directories[*index].base.is_none() {
                        make_directory(&opened, path, name)?;
                    }
                    Ok(Written::default())
                }
                Planned::Leaf(leaf) if leaf.link_to.is_some() => Ok(Written { files: 1, bytes: 0 }),
                Planned::Leaf(leaf) => self.write_leaf(&opened, path, name, leaf),
            }
        };
        let add = |mut sum: Written, part: Written| {
            sum += part;
            sum
        };
        if children.len() < PARALLEL_CHILDREN {
            children.iter_mut().try_fold(Written::default(), |sum, (name, child)| Ok(add(sum, one(name, child)?)))
        } else {
            let children: Vec<_> = children.iter_mut().collect();
            children
                .into_par_iter()
                .with_min_len(PARALLEL_CHILDREN / 4)
                .map(|(name, child)| one(name, child))
                .try_reduce(Written::default, |sum, part| Ok(add(sum, part)))
        }
    }

    fn write_leaf(&self, directory: &OwnedFd, path: &[u8], name: &[u8], leaf: &mut Leaf) -> Result<Written, CopyError> {
        let place = Place { directory: directory.as_fd(), path, name };
        let Some((entry, source_directory, source)) = self.entry(leaf.origin) else {
            let data = match leaf.origin {
                Origin::Data(index) => self.data[index as usize].as_slice(),
                Origin::Entry { .. } => &[],
            };
            let file = place.create_file(leaf)?;
            write_all(&file, data).map_err(|error| place.failed("write", error))?;
            place.finish_file(&file, leaf, None, None)?;
            return Ok(Written { files: 1, bytes: data.len() as u64 });
        };
        match &entry.content {
            EntryContent::File(_) => {
                let file = place.create_file(leaf)?;
                let data: DataDigest = copy_file(source, source_directory, entry, file.as_fd(), &|| join(path, name))?;
                leaf.data = Some(data);
                place.finish_file(&file, leaf, entry.xattrs.as_deref(), Some(entry.stamp.mtime))?;
                return Ok(Written { files: 1, bytes: entry.stamp.size });
            }
            EntryContent::Symlink(target) => {
                place.replacing("link", || rustix::fs::symlinkat(&**target, place.directory, name))?;
            }
            EntryContent::CharDevice(..) | EntryContent::BlockDevice(..) | EntryContent::Fifo => {
                let (file_type, device) = match entry.content {
                    EntryContent::CharDevice(major, minor) => (FileType::CharacterDevice, makedev(major, minor)),
                    EntryContent::BlockDevice(major, minor) => (FileType::BlockDevice, makedev(major, minor)),
                    _ => (FileType::Fifo, 0),
                };
                let mode = Mode::from_raw_mode(0o600);
                place.replacing("make the device", || {
                    rustix::fs::mknodat(place.directory, name, file_type, mode, device)
                })?;
            }
            EntryContent::Directory(_) => return Ok(Written::default()),
        }
        place.finish_special(leaf, entry)?;
        Ok(Written { files: 1, bytes: 0 })
    }

    /// Finds the leaves that are one file with several names; all but the first become links to it.
    fn find_hard_links(&mut self, levels: &[Vec<usize>]) {
        let mut first: HashMap<LinkKey, Vec<u8>> = HashMap::new();
        for &index in levels.iter().flatten() {
            let mut children = std::mem::take(&mut self.directories[index].children);
            for (name, child) in &mut children {
                let Planned::Leaf(leaf) = child else { continue };
                let Some((entry, _, source)) = self.entry(leaf.origin) else { continue };
                if entry.links < 2 || !matches!(entry.content, EntryContent::File(_)) {
                    continue;
                }
                let key =
                    (std::ptr::from_ref(source), entry.stamp.dev, entry.stamp.ino, (leaf.mode, leaf.uid, leaf.gid));
                let path = join(&self.directories[index].path, name);
                match first.get(&key) {
                    Some(target) => leaf.link_to = Some(target.as_slice().into()),
                    None => {
                        first.insert(key, path);
                    }
                }
            }
            self.directories[index].children = children;
        }
    }

    fn make_hard_links(&mut self, root: BorrowedFd<'_>) -> Result<(), CopyError> {
        let mut links = Vec::new();
        for directory in &self.directories {
            for (name, child) in &directory.children {
                if let Planned::Leaf(Leaf { link_to: Some(target), .. }) = child {
                    links.push((directory.path.clone(), name.clone(), target.clone()));
                }
            }
        }
        for (path, name, target) in links {
            let open = |path: &[u8]| {
                root::open_directory(root, path).map_err(|error| CopyError::write("open the directory", path, error))
            };
            let (target_directory, target_name) = split(&target);
            let from = open(target_directory)?;
            let to = open(&path)?;
            let place = Place { directory: to.as_fd(), path: &path, name: &name };
            place.replacing("link", || rustix::fs::linkat(&from, target_name, &to, &*name, AtFlags::empty()))?;
            let data = self.leaf_data(&target);
            if let Some(leaf) = self.leaf_mut(&path, &name) {
                leaf.data = leaf.data.or(data);
            }
        }
        Ok(())
    }

    fn leaf_data(&mut self, path: &[u8]) -> Option<DataDigest> {
        let (parent, name) = split(path);
        self.leaf_mut(parent, name)?.data
    }

    fn leaf_mut(&mut self, parent: &[u8], name: &[u8]) -> Option<&mut Leaf> {
        let mut here = 0;
        for part in root::components(parent) {
            let Planned::Directory(index) = self.directories[here].children.get(part)? else { return None };
            here = *index;
        }
        match self.directories[here].children.get_mut(name)? {
            Planned::Leaf(leaf) => Some(leaf),
            Planned::Directory(_) => None,
        }
    }
}

/// Where a leaf goes.
struct Place<'a> {
    directory: BorrowedFd<'a>,
    path: &'a [u8],
    name: &'a [u8],
}

impl Place<'_> {
    fn failed(&self, action: &'static str, error: Errno) -> CopyError {
        CopyError::write(action, &join(self.path, self.name), error)
    }

    /// Makes something; what is there and no directory is replaced.
    fn replacing<T>(&self, action: &'static str, make: impl Fn() -> Result<T, Errno>) -> Result<T, CopyError> {
        match make() {
            Err(Errno::EXIST) => {}
            other => return other.map_err(|error| self.failed(action, error)),
        }
        match rustix::fs::unlinkat(self.directory, self.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) => {
                return Err(CopyError::FileOverDirectory { path: absolute(&join(self.path, self.name)) });
            }
            Err(error) => return Err(self.failed("replace", error)),
        }
        make().map_err(|error| self.failed(action, error))
    }

    fn create_file(&self, leaf: &Leaf) -> Result<OwnedFd, CopyError> {
        // With its final mode where that can do no harm before the owner is set.
        let mode = if leaf.uid == 0 && leaf.gid == 0 { leaf.mode & 0o777 } else { 0o600 };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.replacing("create", || rustix::fs::openat(self.directory, self.name, flags, Mode::from_raw_mode(mode)))
    }

    /// Owner before mode (a change of owner clears set-id bits), attributes after both (it clears capabilities), time
    /// last.
    fn finish_file(
        &self,
        file: &OwnedFd,
        leaf: &Leaf,
        xattrs: Option<&[Xattr]>,
        mtime: Option<(i64, u32)>,
    ) -> Result<(), CopyError> {
        let stat = rustix::fs::fstat(file).map_err(|error| self.failed("look at", error))?;
        if (stat.st_uid, stat.st_gid) != (leaf.uid, leaf.gid) {
            rustix::fs::fchown(file, Some(Uid::from_raw(leaf.uid)), Some(Gid::from_raw(leaf.gid)))
                .map_err(|error| self.failed("change the owner of", error))?;
        }
        if stat.st_mode & 0o7777 != leaf.mode {
            rustix::fs::fchmod(file, Mode::from_raw_mode(leaf.mode))
                .map_err(|error| self.failed("change the mode of", error))?;
        }
        for (name, value) in xattrs.unwrap_or_default() {
            rustix::fs::fsetxattr(file, name.as_slice(), value, XattrFlags::empty())
                .map_err(|error| self.failed("set an extended attribute of", error))?;
        }
        if let Some(mtime) = mtime {
            rustix::fs::futimens(file, &timestamps(mtime)).map_err(|error| self.failed("set the time of", error))?;
        }
        Ok(())
    }

    /// As [`Place::finish_file`] for what can't be opened.
    fn finish_special(&self, leaf: &Leaf, entry: &Entry) -> Result<(), CopyError> {
        let Self { directory, name, .. } = *self;
        rustix::fs::chownat(
            directory,
            name,
            Some(Uid::from_raw(leaf.uid)),
            Some(Gid::from_raw(leaf.gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(|error| self.failed("change the owner of", error))?;
        if !matches!(entry.content, EntryContent::Symlink(_)) {
            // No link: it was just made here, and nobody else sees this directory.
            rustix::fs::chmodat(directory, name, Mode::from_raw_mode(leaf.mode), AtFlags::empty())
                .map_err(|error| self.failed("change the mode of", error))?;
        }
        if let Some(xattrs) = &entry.xattrs {
            let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
            path.extend_from_slice(name);
            for (attribute, value) in xattrs {
                rustix::fs::lsetxattr(path.as_slice(), attribute.as_slice(), value, XattrFlags::empty())
                    .map_err(|error| self.failed("set an extended attribute of", error))?;
            }
        }
        rustix::fs::utimensat(directory, name, &timestamps(entry.stamp.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| self.failed("set the time of", error))
    }
}

/// Makes a directory, unless one is there.
fn make_directory(parent: &OwnedFd, parent_path: &[u8], name: &[u8]) -> Result<(), CopyError> {
    let failed = |error| CopyError::write("make the directory", &join(parent_path, name), error);
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => match root::stat(parent, name).map_err(failed)? {
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => Ok(()),
            _ => Err(failed(Errno::EXIST)),
        },
        Err(error) => Err(failed(error)),
    }
}

fn set_directory(root: BorrowedFd<'_>, path: &[u8], settings: &DirectorySettings) -> Result<(), CopyError> {
    let failed = |action: &'static str| move |error: Errno| CopyError::write(action, path, error);
    let directory = root::open_directory(root, path).map_err(failed("open the directory"))?;
    let wanted = &settings.attributes;
    let stat = rustix::fs::fstat(&directory).map_err(failed("look at"))?;
    if (stat.st_uid, stat.st_gid) != (wanted.uid, wanted.gid) {
        rustix::fs::fchown(&directory, Some(Uid::from_raw(wanted.uid)), Some(Gid::from_raw(wanted.gid)))
            .map_err(failed("change the owner of"))?;
    }
    // Always: it makes an overlay take the directory into its layer even if nothing changes.
    rustix::fs::fchmod(&directory, Mode::from_raw_mode(wanted.mode)).map_err(failed("change the mode of"))?;
    for (name, value) in wanted.xattrs.as_deref().unwrap_or_default() {
        rustix::fs::fsetxattr(&directory, name.as_slice(), value, XattrFlags::empty())
            .map_err(failed("set an extended attribute of"))?;
    }
    if let Some(mtime) = settings.mtime {
        rustix::fs::futimens(&directory, &timestamps(mtime)).map_err(failed("set the time of"))?;
    }
    Ok(())
}

fn timestamps((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: i64::from(nanoseconds) },
    }
}

/// Removes a path with everything below it; nothing there is fine.
fn remove(root: BorrowedFd<'_>, path: &[u8]) -> Result<(), CopyError> {
    let (parent, name) = split(path);
    let failed = |error| CopyError::write("remove", path, error);
    let directory = match root::open_directory(root, parent) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        other => other.map_err(failed)?,
    };
    match rustix::fs::unlinkat(&directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(error) => return Err(failed(error)),
    }
    // Paths are at most 4096 bytes long, so this goes down at most 2048 directories.
    let below = root::open_directory(&directory, name).map_err(failed)?;
    for child in root::list(&below).map_err(failed)? {
        remove(root, &join(path, &child.name))?;
    }
    rustix::fs::unlinkat(&directory, name, AtFlags::REMOVEDIR).map_err(failed)
}

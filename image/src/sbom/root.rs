//! Reading files of an image that nobody trusts.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, RawDir, ResolveFlags, fstat, openat2};
use rustix::io::Errno;

/// How much is read of an image in all.
const TOTAL: u64 = 4 << 30;

/// How many names of a directory are looked at.
const NAMES: usize = 1 << 20;

/// How many warnings are kept.
const WARNINGS: usize = 50;

/// How often a lookup is repeated that collided with a rename elsewhere on the machine.
const ATTEMPTS: usize = 128;

/// An open root file system.
#[derive(Debug)]
pub(super) struct Root<'a> {
    directory: &'a OwnedFd,
    left: Cell<u64>,
    warnings: RefCell<Vec<String>>,
}

impl<'a> Root<'a> {
    pub(super) fn new(directory: &'a OwnedFd) -> Self {
        Self { directory, left: Cell::new(TOTAL), warnings: RefCell::default() }
    }

    /// Notes what could not be read.
    pub(super) fn warn(&self, message: String) {
        let mut warnings = self.warnings.borrow_mut();
        match warnings.len() {
            WARNINGS => warnings.push("there is more that could not be read".to_owned()),
            more if more > WARNINGS => {}
            _ => warnings.push(message),
        }
    }

    pub(super) fn into_warnings(self) -> Vec<String> {
        self.warnings.into_inner()
    }

    /// Opens a regular file, and tells its size. Links are followed as a process inside of the root would.
    pub(super) fn open(&self, path: &str) -> Option<(File, u64)> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = match self.open_at(path, flags, ResolveFlags::IN_ROOT) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => return None,
            Err(error) => {
                self.warn(format!("`{path}` can't be read: {}", io::Error::from(error)));
                return None;
            }
        };
        let stat = fstat(&fd).ok()?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        regular.then(|| (File::from(fd), stat.st_size as u64))
    }

    /// The bytes of a regular file of at most `limit` bytes; larger ones are left out.
    pub(super) fn read(&self, path: &str, limit: u64) -> Option<Vec<u8>> {
        let (file, size) = self.open(path)?;
        if size > limit || size > self.left.get() {
            self.warn(format!("`{path}` has {size} bytes, which is too much to read"));
            return None;
        }
        self.left.set(self.left.get() - size);
        let mut bytes = Vec::with_capacity(size as usize);
        match file.take(limit).read_to_end(&mut bytes) {
            Ok(_) => Some(bytes),
            Err(error) => {
                self.warn(format!("`{path}` can't be read: {error}"));
                None
            }
        }
    }

    /// The same as a text; what is not UTF-8 is replaced.
    pub(super) fn text(&self, path: &str, limit: u64) -> Option<String> {
        let bytes = self.read(path, limit)?;
        Some(match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        })
    }

    /// The names in a directory, in order, with what they are. `links`: whether links on the way are followed.
    pub(super) fn names(&self, path: &str, links: bool) -> Vec<(String, FileType)> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let resolve = if links { ResolveFlags::IN_ROOT } else { ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS };
        let Ok(directory) = self.open_at(if path.is_empty() { "." } else { path }, flags, resolve) else {
            return Vec::new();
        };
        let mut buffer = Vec::with_capacity(32 << 10);
        let mut names = Vec::new();
        let mut entries = RawDir::new(&directory, buffer.spare_capacity_mut());
        while let Some(Ok(entry)) = entries.next() {
            // Nobody's packages lie below names that are no text.
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name == "." || name == ".." {
                continue;
            }
            if names.len() == NAMES {
                self.warn(format!("`{path}` has more names than are looked at"));
                break;
            }
            names.push((name.to_owned(), entry.file_type()));
        }
        // What the file system does not say is a matter of one more call.
        for (name, kind) in names.iter_mut().filter(|(_, kind)| *kind == FileType::Unknown) {
            let stat = rustix::fs::statat(&directory, name.as_str(), rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
            *kind = stat.map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode));
        }
        names.sort_by(|(one, _), (other, _)| one.cmp(other));
        names
    }

    fn open_at(&self, path: &str, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
        let resolve = resolve | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..ATTEMPTS {
            match openat2(self.directory.as_fd(), path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
        Err(Errno::AGAIN)
    }
}

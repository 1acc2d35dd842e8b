//! Entries → files below a root, for layers and for archives that are added.
//!
//! The two differ in three things. A layer's directory is private and in overlay form: `.wh.` names become the
//! overlay's marks, and a parent directory that is missing is only implied. An added archive goes into a root that is
//! in use: names have no meaning, and links that are already there lead where they lead inside of that root.
//!
//! What holds for both: a path is cleaned first and can't leave the root; parents are opened by `openat2` inside of
//! the root; the last name is never followed; an entry replaces what has its name, except that a directory stays.
//! In a layer parents are opened without following links; where the layer itself has a link to one of its own
//! directories, the kernel resolves it inside of the layer.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, linkat, openat2};
use rustix::io::Errno;

use super::node::{self, Rules, look, system};
use super::path::{META, OPAQUE, WHITEOUT, clean, join, split};
use super::unpack::Unpacked;
use crate::tar::{Entry, Kind, Reader, Reason, TarError};
use crate::text::show;

/// What names mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A layer's own directory.
    Layer,
    /// A root that is in use.
    Root,
}

/// Unpacks entries.
#[derive(Debug)]
pub(super) struct Extract<'a> {
    root: BorrowedFd<'a>,
    place: Place,
    /// Where the archive's own root is.
    base: Vec<u8>,
    rules: Rules,
    kinds_stay: bool,
    /// The parent of the last entry: most entries have the same.
    parent: Option<(Vec<u8>, Rc<OwnedFd>)>,
    /// Directories whose mode and time are set at the end.
    directories: Vec<(Vec<u8>, u32, (i64, u32))>,
    buffer: Vec<u8>,
    /// Parents that no entry described.
    pub(super) implied: BTreeSet<Vec<u8>>,
    /// Entries made.
    pub(super) files: u64,
    /// Bytes of regular files.
    pub(super) size: u64,
}

impl<'a> Extract<'a> {
    /// Unpacks below `base` (clean, made when missing) of `root`.
    pub(super) fn new(root: BorrowedFd<'a>, place: Place, base: Vec<u8>, rules: Rules) -> Self {
        Self {
            root,
            place,
            base,
            rules,
            kinds_stay: false,
            parent: None,
            directories: Vec::new(),
            buffer: vec![0; 256 << 10],
            implied: BTreeSet::new(),
            files: 0,
            size: 0,
        }
    }

    /// From now on a directory never takes the place of anything else, nor anything else that of a directory.
    pub(super) fn keep_kinds(&mut self) {
        self.kinds_stay = true;
    }

    /// What was unpacked so far.
    pub(super) fn unpacked(&self) -> Unpacked {
        Unpacked { files: self.files, size: self.size }
    }

    /// Unpacks everything.
    pub(super) fn all<R: Read>(&mut self, reader: &mut Reader<R>) -> Result<(), TarError> {
        let base = self.base.clone();
        self.parent(&base).map_err(|reason| TarError::new(&base, 0, reason))?;
        while let Some(entry) = reader.next_entry()? {
            self.entry(&entry, reader)?;
        }
        self.finish()
    }

    fn entry<R: Read>(&mut self, entry: &Entry, reader: &mut Reader<R>) -> Result<(), TarError> {
        let fail = |reason| TarError::new(&entry.path, entry.offset, reason);
        let path = clean(&entry.path).map_err(fail)?;
        if self.place == Place::Layer && self.removal(&path).map_err(fail)? {
            return Ok(());
        }
        let path = join(&self.base, &path);
        if path == self.base {
            return self.root_entry(entry).map_err(fail);
        }
        let (directory, name) = split(&path);
        let parent = self.parent(directory).map_err(fail)?;
        match &entry.kind {
            Kind::Directory => self.directory(parent.as_fd(), name, &path, entry).map_err(fail)?,
            Kind::HardLink(target) => self.link(parent.as_fd(), name, &path, target).map_err(fail)?,
            Kind::File => {
                self.clear(parent.as_fd(), name, &path).map_err(fail)?;
                node::make_file(parent.as_fd(), name, entry, &self.rules, reader, &mut self.buffer)?;
                self.size += entry.size;
            }
            _ => {
                self.clear(parent.as_fd(), name, &path).map_err(fail)?;
                node::make_special(parent.as_fd(), name, entry, &self.rules).map_err(fail)?;
            }
        }
        self.files += 1;
        Ok(())
    }

    /// The archive's own root: a layer's says what the root is, an added archive's says nothing of where it goes.
    fn root_entry(&mut self, entry: &Entry) -> Result<(), Reason> {
        if entry.kind != Kind::Directory {
            return Err(Reason::ReplacesRoot);
        }
        if self.place == Place::Root {
            return Ok(());
        }
        node::finish_directory_early(self.root, entry, &Rules { made_by_root: false, ..self.rules })?;
        self.later(&[], entry);
        Ok(())
    }

    /// Carries out `.wh.` entries. `true` when the entry was one.
    fn removal(&mut self, path: &[u8]) -> Result<bool, Reason> {
        let (directory, name) = split(path);
        for part in directory.split(|&byte| byte == b'/') {
            if part.starts_with(META) {
                return Ok(true);
            }
            if part.starts_with(WHITEOUT) {
                return Err(Reason::ReservedName);
            }
        }
        let Some(target) = name.strip_prefix(WHITEOUT) else { return Ok(false) };
        if name == OPAQUE {
            self.opaque(directory)?;
        } else if !name.starts_with(META) {
            if matches!(target, b"" | b"." | b"..") {
                return Err(Reason::BadWhiteout);
            }
            self.whiteout(directory, target)?;
        }
        Ok(true)
    }

    fn opaque(&mut self, directory: &[u8]) -> Result<(), Reason> {
        self.parent(directory)?;
        let (above, name) = split(directory);
        let fd = if directory.is_empty() {
            node::open_directory(self.root, b".")
        } else {
            node::open_directory(self.parent(above)?.as_fd(), name)
        };
        node::make_opaque(fd.map_err(system("open"))?.as_fd()).map_err(system("mark the directory"))?;
        self.files += 1;
        Ok(())
    }

    /// A removal concerns lower layers only: what this layer itself has stays.
    fn whiteout(&mut self, directory: &[u8], name: &[u8]) -> Result<(), Reason> {
        let parent = self.parent(directory)?;
        match look(parent.as_fd(), name).map_err(system("read"))? {
            Some(stat) if node::is_directory(&stat) => {
                let fd = node::open_directory(parent.as_fd(), name).map_err(system("open"))?;
                node::make_opaque(fd.as_fd()).map_err(system("mark the directory"))?;
            }
            Some(_) => {}
            None => node::make_whiteout(parent.as_fd(), name).map_err(system("make a whiteout"))?,
        }
        self.files += 1;
        Ok(())
    }

    fn directory(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: &[u8], entry: &Entry) -> Result<(), Reason> {
        let mut removed_below = false;
        if let Err(error) = node::make_directory(parent, name) {
            if error != Errno::EXIST {
                return Err(system("make the directory")(error));
            }
            let stat = look(parent, name).map_err(system("read"))?;
            if !stat.is_some_and(|stat| node::is_directory(&stat)) {
                if self.kinds_stay {
                    return Err(Reason::NotADirectory);
                }
                removed_below = self.place == Place::Layer && stat.is_some_and(|stat| node::is_whiteout(&stat));
                node::remove(parent, name).map_err(system("replace"))?;
                node::make_directory(parent, name).map_err(system("make the directory"))?;
            }
        }
        let fd = node::open_directory(parent, name).map_err(system("open"))?;
        if removed_below {
            node::make_opaque(fd.as_fd()).map_err(system("mark the directory"))?;
        }
        // An existing directory may belong to anybody.
        node::finish_directory_early(fd.as_fd(), entry, &Rules { made_by_root: false, ..self.rules })?;
        self.implied.remove(path);
        self.later(path, entry);
        Ok(())
    }

    fn later(&mut self, path: &[u8], entry: &Entry) {
        self.directories.push((path.to_vec(), entry.mode, (entry.mtime, entry.mtime_nanos)));
    }

    fn link(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: &[u8], target: &[u8]) -> Result<(), Reason> {
        let missing = || Reason::LinkTarget(show(target));
        let target = join(&self.base, &clean(target)?);
        if target == path || target == self.base {
            return Err(missing());
        }
        let (directory, target_name) = split(&target);
        let from = self.open(directory).map_err(|_| missing())?;
        let stat = look(from.as_fd(), target_name).map_err(system("read"))?.ok_or_else(missing)?;
        if node::is_directory(&stat) || (self.place == Place::Layer && node::is_whiteout(&stat)) {
            return Err(missing());
        }
        self.clear(parent, name, path)?;
        match linkat(&from, target_name, parent, name, AtFlags::empty()) {
            // It was below what made way for the link.
            Err(Errno::NOENT) => Err(missing()),
            other => other.map_err(system("make the link")),
        }
    }

    /// Makes way for an entry that is no directory.
    fn clear(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<(), Reason> {
        let Some(stat) = look(parent, name).map_err(system("read"))? else { return Ok(()) };
        if self.kinds_stay && node::is_directory(&stat) {
            return Err(Reason::IsADirectory);
        }
        node::remove(parent, name).map_err(system("replace"))?;
        if node::is_directory(&stat) {
            let is_below =
                |other: &[u8]| other.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"));
            self.directories.retain(|(other, ..)| !is_below(other));
            self.implied.retain(|other| !is_below(other));
            self.parent = None;
        }
        Ok(())
    }

    /// The directory at a clean path, made if it is missing.
    fn parent(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, Reason> {
        if let Some((known, fd)) = &self.parent
            && known == path
        {
            return Ok(Rc::clone(fd));
        }
        let fd = match self.open(path) {
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_parents(path)?,
            other => other.map_err(|error| not_a_parent(path, error))?,
        };
        let fd = Rc::new(fd);
        self.parent = Some((path.to_vec(), Rc::clone(&fd)));
        Ok(fd)
    }

    fn make_parents(&mut self, path: &[u8]) -> Result<OwnedFd, Reason> {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let mut above = self.open(b"").map_err(|error| not_a_parent(b"", error))?;
        for end in ends.chain([path.len()]) {
            let prefix = &path[..end];
            above = match self.open(prefix) {
                Err(error @ (Errno::NOENT | Errno::NOTDIR)) => self.imply(above.as_fd(), prefix, error)?,
                other => other.map_err(|error| not_a_parent(prefix, error))?,
            };
        }
        Ok(above)
    }

    /// Makes a directory that no entry described (yet).
    fn imply(&mut self, above: BorrowedFd<'_>, path: &[u8], error: Errno) -> Result<OwnedFd, Reason> {
        let (_, name) = split(path);
        let there = look(above, name).map_err(system("read"))?;
        let removed_below = self.place == Place::Layer && there.is_some_and(|stat| node::is_whiteout(&stat));
        if there.is_some() && !removed_below {
            return Err(not_a_parent(path, error));
        }
        if removed_below {
            node::remove(above, name).map_err(system("replace"))?;
        }
        node::make_directory(above, name).map_err(system("make the directory"))?;
        let fd = node::open_directory(above, name).map_err(system("open"))?;
        if removed_below {
            node::make_opaque(fd.as_fd()).map_err(system("mark the directory"))?;
        } else {
            self.implied.insert(path.to_vec());
        }
        let entry = implied_entry();
        node::finish_directory_early(fd.as_fd(), &entry, &self.rules)?;
        self.later(path, &entry);
        Ok(fd)
    }

    fn open(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let open = |resolve| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            openat2(self.root, path, flags, Mode::empty(), resolve | ResolveFlags::NO_MAGICLINKS)
        };
        let inside = || loop {
            match open(ResolveFlags::IN_ROOT) {
                // Somebody renames directories at the same time: the kernel can't tell, and asks to try again.
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        };
        match self.place {
            Place::Root => inside(),
            Place::Layer => match open(ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS) {
                Err(Errno::LOOP) => inside(),
                other => other,
            },
        }
    }

    /// Modes and times of directories, now that nothing is made in them any more.
    fn finish(&mut self) -> Result<(), TarError> {
        self.parent = None;
        for (path, mode, time) in std::mem::take(&mut self.directories) {
            let (above, name) = split(&path);
            let opened = if path.is_empty() {
                node::open_directory(self.root, b".")
            } else {
                self.open(above).and_then(|above| node::open_directory(above.as_fd(), name))
            };
            match opened {
                Ok(fd) => node::finish_directory(fd.as_fd(), mode, time),
                // A later entry replaced it.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
                Err(error) => Err(system("open")(error)),
            }
            .map_err(|reason| TarError::new(&path, 0, reason))?;
        }
        Ok(())
    }
}

fn not_a_parent(path: &[u8], error: Errno) -> Reason {
    match error {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV => Reason::Parent(show(path)),
        other => system("open its parent directory")(other),
    }
}

fn implied_entry() -> Entry {
    Entry {
        path: Vec::new(),
        kind: Kind::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: 0,
        mtime_nanos: 0,
        xattrs: Vec::new(),
        size: 0,
        segments: None,
        offset: 0,
    }
}

//! Making one file from one entry, below an open directory, without ever following a link.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use builder_cache::content;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chmodat,
    chownat, fchmod, fchown, fsetxattr, ftruncate, futimens, makedev, mkdirat, mknodat, openat, statat, symlinkat,
    unlinkat, utimensat,
};
use rustix::io::{Errno, pwrite};

use super::xattr::is_kept;
use crate::tar::{Entry, Kind, Reader, Reason, TarError};

/// A file that is at least this long may get holes, in steps of this many zero bytes.
const HOLE: usize = 64 << 10;

/// How entries become files.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rules {
    /// Gives everything to this user and group.
    pub(super) owner: Option<(u32, u32)>,
    /// Attributes that the file system does not take are left out.
    pub(super) best_effort_xattrs: bool,
    /// New files belong to 0:0 without being told.
    pub(super) made_by_root: bool,
    /// Owners stay as the kernel gave them: only root can give files away.
    pub(super) keep_owner: bool,
}

impl Rules {
    /// Owner and group that an entry gets; `None` leaves what the kernel gave.
    fn owner(&self, entry: &Entry) -> Option<(u32, u32)> {
        let owner = self.owner.unwrap_or((entry.uid, entry.gid));
        let is_right_already = self.keep_owner || (self.made_by_root && owner == (0, 0));
        (!is_right_already).then_some(owner)
    }
}

pub(super) fn system(action: &'static str) -> impl Fn(Errno) -> Reason {
    move |error| Reason::System { action, error: io::Error::from(error) }
}

/// What a name in a directory is now.
pub(crate) fn look(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Stat>, Errno> {
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && content::is_whiteout(stat.st_rdev)
}

/// Opens a directory by its name.
pub(crate) fn open_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// Makes a directory that nobody else can enter until its entry's mode is set.
pub(super) fn make_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    mkdirat(parent, name, Mode::RWXU)
}

/// Marks a directory so that the overlay hides what lies below it; in a user namespace the mark has another name.
pub(super) fn make_opaque(directory: BorrowedFd<'_>) -> Result<(), Errno> {
    match fsetxattr(directory, c"trusted.overlay.opaque", b"y", XattrFlags::empty()) {
        Err(Errno::PERM) => fsetxattr(directory, c"user.overlay.opaque", b"y", XattrFlags::empty()),
        other => other,
    }
}

/// Makes the overlay's mark for a removed name.
pub(super) fn make_whiteout(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    content::make_whiteout(parent, name)
}

/// To the kernel the largest number is no id: it leaves the owner as it is.
fn user(id: u32) -> Option<Uid> {
    (id != u32::MAX).then(|| Uid::from_raw(id))
}

fn group(id: u32) -> Option<Gid> {
    (id != u32::MAX).then(|| Gid::from_raw(id))
}

/// Owner and attributes of a directory; mode and time come when all its entries are there.
pub(super) fn finish_directory_early(fd: BorrowedFd<'_>, entry: &Entry, rules: &Rules) -> Result<(), Reason> {
    if let Some((uid, gid)) = rules.owner(entry) {
        fchown(fd, user(uid), group(gid)).map_err(system("set the owner"))?;
    }
    set_xattrs(fd, entry, rules)
}

/// Mode and time of a directory.
pub(super) fn finish_directory(fd: BorrowedFd<'_>, mode: u32, time: (i64, u32)) -> Result<(), Reason> {
    fchmod(fd, Mode::from_raw_mode(mode)).map_err(system("set the mode"))?;
    futimens(fd, &times(time)).map_err(system("set the time"))
}

/// Makes a regular file with the bytes that the reader stands at.
pub(super) fn make_file<R: io::Read>(
    parent: BorrowedFd<'_>,
    name: &[u8],
    entry: &Entry,
    rules: &Rules,
    data: &mut Reader<R>,
    buffer: &mut [u8],
) -> Result<(), TarError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd =
        openat(parent, name, flags, Mode::RUSR | Mode::WUSR).map_err(|error| data.error(system("create")(error)))?;
    copy_data(&fd, entry, data, buffer)?;
    finish_file(&fd, entry, rules).map_err(|reason| data.error(reason))
}

fn finish_file(fd: &OwnedFd, entry: &Entry, rules: &Rules) -> Result<(), Reason> {
    // The kernel drops set-id bits and capabilities when the owner changes, so that comes first.
    if let Some((uid, gid)) = rules.owner(entry) {
        fchown(fd, user(uid), group(gid)).map_err(system("set the owner"))?;
    }
    fchmod(fd, Mode::from_raw_mode(entry.mode)).map_err(system("set the mode"))?;
    set_xattrs(fd.as_fd(), entry, rules)?;
    futimens(fd, &times((entry.mtime, entry.mtime_nanos))).map_err(system("set the time"))
}

fn set_xattrs(fd: BorrowedFd<'_>, entry: &Entry, rules: &Rules) -> Result<(), Reason> {
    for (name, value) in entry.xattrs.iter().filter(|(name, _)| is_kept(name)) {
        match fsetxattr(fd, name.as_slice(), value, XattrFlags::empty()) {
            Err(Errno::OPNOTSUPP | Errno::PERM) if rules.best_effort_xattrs => {}
            other => other.map_err(system("set an attribute"))?,
        }
    }
    Ok(())
}

fn copy_data<R: io::Read>(
    fd: &OwnedFd,
    entry: &Entry,
    data: &mut Reader<R>,
    buffer: &mut [u8],
) -> Result<(), TarError> {
    let mut segments = entry.segments.iter().flatten();
    let mut offset = 0;
    // Bytes of the current segment that are still to come; a file without segments is one.
    let mut left = if entry.segments.is_some() { 0 } else { entry.size };
    let mut written_to = 0;
    loop {
        if left == 0 {
            match segments.next() {
                Some(segment) => (offset, left) = (segment.offset, segment.length),
                None => break,
            }
            continue;
        }
        let end = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = fill(data, &mut buffer[..end])?;
        let mut at = offset;
        for piece in buffer[..count].chunks(HOLE) {
            if piece.len() < HOLE || piece.iter().any(|&byte| byte != 0) {
                write_at(fd, piece, at).map_err(|error| data.error(system("write")(error)))?;
                written_to = at + piece.len() as u64;
            }
            at += piece.len() as u64;
        }
        offset = at;
        left -= count as u64;
    }
    if written_to < entry.size {
        ftruncate(fd, entry.size).map_err(|error| data.error(system("write")(error)))?;
    }
    Ok(())
}

/// Fills the buffer whole, so that zero runs are looked for at the same places always.
fn fill<R: io::Read>(data: &mut Reader<R>, buffer: &mut [u8]) -> Result<usize, TarError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match data.read_data(&mut buffer[filled..])? {
            0 => return Err(data.error(Reason::Truncated)),
            count => filled += count,
        }
    }
    Ok(filled)
}

fn write_at(fd: &OwnedFd, mut bytes: &[u8], mut offset: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match pwrite(fd, bytes, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => {
                bytes = &bytes[count..];
                offset += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Makes a link, device or pipe.
pub(super) fn make_special(parent: BorrowedFd<'_>, name: &[u8], entry: &Entry, rules: &Rules) -> Result<(), Reason> {
    let mode = Mode::from_raw_mode(entry.mode);
    let device = |kind, major: u32, minor: u32| {
        mknodat(parent, name, kind, Mode::RUSR | Mode::WUSR, makedev(major, minor)).map_err(system("make the device"))
    };
    match &entry.kind {
        Kind::Symlink(target) => {
            if target.contains(&0) {
                return Err(Reason::ZeroByte);
            }
            symlinkat(target.as_slice(), parent, name).map_err(system("make the link"))?;
        }
        Kind::CharDevice(major, minor) => device(FileType::CharacterDevice, *major, *minor)?,
        Kind::BlockDevice(major, minor) => device(FileType::BlockDevice, *major, *minor)?,
        Kind::Fifo => mknodat(parent, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, makedev(0, 0))
            .map_err(system("make the pipe"))?,
        Kind::File | Kind::Directory | Kind::HardLink(_) => return Ok(()),
    }
    if let Some((uid, gid)) = rules.owner(entry) {
        chownat(parent, name, user(uid), group(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(system("set the owner"))?;
    }
    if !matches!(entry.kind, Kind::Symlink(_)) {
        // What was just made here is no link, so there is nothing to follow.
        chmodat(parent, name, mode, AtFlags::empty()).map_err(system("set the mode"))?;
    }
    utimensat(parent, name, &times((entry.mtime, entry.mtime_nanos)), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(system("set the time"))
}

fn times((seconds, nanos): (i64, u32)) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanos.into() },
    }
}

/// Removes whatever has this name, a directory with all that is in it.
pub(crate) fn remove(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(Errno::NOENT) => return Ok(()),
        other => return other,
    }
    let directory = open_directory(parent, name)?;
    let mut buffer = Vec::with_capacity(16 << 10);
    let mut names = Vec::new();
    let mut entries = rustix::fs::RawDir::new(&directory, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let name = entry?.file_name().to_owned();
        if name.as_bytes() != b"." && name.as_bytes() != b".." {
            names.push(name);
        }
    }
    for name in names {
        remove(directory.as_fd(), name.as_bytes())?;
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// An open directory by a path of the caller's.
pub(super) fn open_root(path: &std::path::Path) -> Result<OwnedFd, Errno> {
    openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

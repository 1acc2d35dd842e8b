//! Mount points that the image lacks.
//!
//! They are made through the root's descriptor before the sandbox starts and removed afterwards, by the descriptor
//! of the directory they were made in and only if what is there is still what was made, empty. Nothing is ever
//! looked up by a path that the sandbox could have bent in the meantime (CVE-2024-23652).

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Spec;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};

use super::error::{Error, Result};
use crate::rootfs::{RootMount, in_root};

/// What was made, in order.
#[derive(Debug, Default)]
pub(super) struct Stubs {
    made: Vec<Stub>,
}

#[derive(Debug)]
struct Stub {
    directory: OwnedFd,
    name: OsString,
    device: u64,
    inode: u64,
    is_directory: bool,
}

impl Stubs {
    /// Makes the mount points of `spec` that are missing in `root`. Those that lie inside of another mount are
    /// left to the sandbox. `is_file` tells of the mount with this index whether it is one of a file.
    pub(super) fn create(root: &RootMount, spec: &Spec, is_file: impl Fn(usize) -> bool) -> Result<Self> {
        let mut stubs = Self::default();
        let mut covered: Vec<PathBuf> = Vec::new();
        for (index, mount) in spec.mounts().iter().flatten().enumerate() {
            let destination = in_root::clean(mount.destination());
            if !covered.iter().any(|other| destination != *other && destination.starts_with(other)) {
                let is_directory = !is_file(index);
                stubs.ensure(root, &destination, is_directory).map_err(|source| Error::Setup {
                    what: format!("make the mount point /{} in the image", destination.display()),
                    source,
                })?;
            }
            covered.push(destination);
        }
        Ok(stubs)
    }

    fn ensure(&mut self, root: &RootMount, path: &Path, is_directory: bool) -> io::Result<()> {
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        match in_root::open(root, path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(()),
        }
        let mut directory = in_root::open_directory(root, Path::new("."))?;
        let mut so_far = PathBuf::new();
        let last = path.components().count() - 1;
        for (index, component) in path.components().enumerate() {
            let Component::Normal(name) = component else { continue };
            so_far.push(name);
            let as_directory = index < last || is_directory;
            let existing = if index < last {
                in_root::open_directory(root, &so_far)
            } else {
                in_root::open(root, &so_far, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())
            };
            directory = match existing {
                Ok(fd) => fd,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    root.will_be_restored(&directory);
                    self.make(&directory, name.to_owned(), as_directory)?;
                    if index == last {
                        return Ok(());
                    }
                    in_root::open_directory(root, &so_far)?
                }
                Err(error) => return Err(error),
            };
        }
        Ok(())
    }

    fn make(&mut self, directory: &OwnedFd, name: OsString, is_directory: bool) -> io::Result<()> {
        let _times = Times::of(directory);
        if is_directory {
            rustix::fs::mkdirat(directory, &name, Mode::from_raw_mode(0o755))?;
            // Whatever the umask is.
            rustix::fs::chmodat(directory, &name, Mode::from_raw_mode(0o755), AtFlags::empty())?;
        } else {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
            let file = rustix::fs::openat(directory, &name, flags, Mode::from_raw_mode(0o644))?;
            rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644))?;
        }
        let stat = rustix::fs::statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        self.made.push(Stub {
            directory: directory.as_fd().try_clone_to_owned()?,
            name,
            device: stat.st_dev,
            inode: stat.st_ino,
            is_directory,
        });
        Ok(())
    }
}

/// The times of a directory, set again when this is dropped: a mount point that comes and goes leaves no trace.
struct Times<'a> {
    directory: &'a OwnedFd,
    times: Option<Timestamps>,
}

impl<'a> Times<'a> {
    fn of(directory: &'a OwnedFd) -> Self {
        let time = |seconds: i64, nanoseconds: i64| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        let times = rustix::fs::fstat(directory).ok().map(|stat| Timestamps {
            last_access: time(stat.st_atime, stat.st_atime_nsec.cast_signed()),
            last_modification: time(stat.st_mtime, stat.st_mtime_nsec.cast_signed()),
        });
        Self { directory, times }
    }
}

impl Drop for Times<'_> {
    fn drop(&mut self) {
        if let Some(times) = &self.times {
            let _ = rustix::fs::utimensat(self.directory, ".", times, AtFlags::empty());
        }
    }
}

impl Drop for Stubs {
    /// Removes what is still as it was made. What the process put something into stays: it is the image's now.
    fn drop(&mut self) {
        for stub in self.made.iter().rev() {
            let Ok(stat) = rustix::fs::statat(&stub.directory, &stub.name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let kind = FileType::from_raw_mode(stat.st_mode);
            if (stat.st_dev, stat.st_ino) != (stub.device, stub.inode) {
                continue;
            }
            let _times = Times::of(&stub.directory);
            let _ = if stub.is_directory && kind == FileType::Directory {
                rustix::fs::unlinkat(&stub.directory, &stub.name, AtFlags::REMOVEDIR)
            } else if !stub.is_directory && kind == FileType::RegularFile && stat.st_size == 0 {
                rustix::fs::unlinkat(&stub.directory, &stub.name, AtFlags::empty())
            } else {
                Ok(())
            };
        }
    }
}

//! Files of a step that are nowhere but in memory: secrets, sockets, a `/etc/hosts` of its own.
//!
//! They lie in a tmpfs that is attached nowhere. It is gone with the step, and with the builder, however that ends.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

use crate::op::OpError;

/// A file system in memory.
#[derive(Debug)]
pub(super) struct Memory {
    tree: OwnedFd,
    count: u32,
}

/// What a file or socket is like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Memory {
    pub(super) fn new() -> Result<Self, OpError> {
        let make = || -> rustix::io::Result<OwnedFd> {
            let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
            fsconfig_set_string(&context, "mode", "700")?;
            fsconfig_set_string(&context, "size", "64m")?;
            // Since Linux 6.4: before that what is in it may be swapped out.
            let _ = fsconfig_set_flag(&context, "noswap");
            fsconfig_create(&context)?;
            fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_NODEV)
        };
        let tree = make().map_err(|error| failed("make a file system in memory")(error.into()))?;
        Ok(Self { tree, count: 0 })
    }

    /// Adds a file, and tells its path.
    pub(super) fn file(&mut self, bytes: &[u8], attributes: Attributes) -> Result<PathBuf, OpError> {
        let name = self.name();
        let write = || -> io::Result<()> {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&self.tree, &name, flags, Mode::RUSR)?;
            let mut file = std::fs::File::from(file);
            file.write_all(bytes)?;
            self.set(&name, attributes)
        };
        write().map_err(failed("write a file in memory"))?;
        Ok(PathBuf::from("/").join(name))
    }

    /// Adds a socket, and tells its path.
    pub(super) fn socket(&mut self, attributes: Attributes) -> Result<(UnixListener, PathBuf), OpError> {
        let name = self.name();
        let make = || -> io::Result<UnixListener> {
            let listener = UnixListener::bind(format!("/proc/self/fd/{}/{name}", self.tree.as_raw_fd()))?;
            self.set(&name, attributes)?;
            Ok(listener)
        };
        let listener = make().map_err(failed("make a socket in memory"))?;
        Ok((listener, PathBuf::from("/").join(name)))
    }

    fn name(&mut self) -> String {
        self.count += 1;
        self.count.to_string()
    }

    fn set(&self, name: &str, attributes: Attributes) -> io::Result<()> {
        let Attributes { mode, uid, gid } = attributes;
        // To the kernel the largest number is no id: it leaves the owner as it is.
        let owner = ((uid != u32::MAX).then(|| Uid::from_raw(uid)), (gid != u32::MAX).then(|| Gid::from_raw(gid)));
        rustix::fs::chownat(&self.tree, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(rustix::fs::chmodat(&self.tree, name, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())?)
    }
}

impl AsFd for Memory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tree.as_fd()
    }
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> OpError {
    move |source| OpError::Mount { what: what.to_owned(), source }
}

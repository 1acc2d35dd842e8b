//! Detached overlay mounts.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen, open_tree,
};

use super::{Error, Result};
use crate::sys::{self, MountAttr};

/// The kernel's limit of lower directories in one overlay (`OVL_MAX_STACK`).
pub(super) const MAX_LOWER: usize = 500;

/// Mounts `lower` (topmost first), and over it `upper` where changes go, without attaching it anywhere.
///
/// Devices can't be opened through it. Set-user-id programs work, as `su` and `sudo` in a RUN must. Changes are
/// not synced when the mount goes away (`volatile`): the store syncs once at the end of a build. Everything that
/// would write more than plain files, whiteouts and opaque directories into the upper directory is off.
pub(super) fn mount(lower: &[PathBuf], upper: Option<(&Path, &Path)>) -> Result<OwnedFd> {
    if lower.len() > MAX_LOWER {
        return Err(Error::TooManyLayers { count: lower.len(), limit: MAX_LOWER });
    }
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed("open the file system overlay"))?;
    for directory in lower {
        set_path(&context, "lowerdir+", directory)?;
    }
    if let Some((upper, work)) = upper {
        set_path(&context, "upperdir", upper)?;
        set_path(&context, "workdir", work)?;
        fsconfig_set_flag(&context, "volatile").map_err(|error| explain(&context, "set volatile", error))?;
    }
    for (key, value) in [("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off"), ("xino", "off")] {
        fsconfig_set_string(&context, key, value)
            .map_err(|error| explain(&context, &format!("set {key}={value}"), error))?;
    }
    fsconfig_create(&context).map_err(|error| explain(&context, "create the overlay", error))?;
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NODEV;
    if upper.is_none() {
        attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(|error| explain(&context, "mount the overlay", error))
}

/// A detached view of one directory.
pub(super) fn bind(directory: &Path, read_only: bool) -> Result<OwnedFd> {
    let wrap =
        |what: &str, error: io::Error| Error::Mount { what: format!("{what} {}", directory.display()), source: error };
    let fd = open_tree(rustix::fs::CWD, directory, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
        .map_err(|error| wrap("bind", error.into()))?;
    let mut attr = MountAttr { set: libc::MOUNT_ATTR_NODEV, propagation: libc::MS_PRIVATE, ..MountAttr::default() };
    if read_only {
        attr.set |= libc::MOUNT_ATTR_RDONLY;
    }
    sys::mount_setattr(&fd, false, attr).map_err(|error| wrap("set the attributes of the mount of", error))?;
    Ok(fd)
}

/// Sets a path option. Short plain paths go as they are; what the kernel would cut off (256 bytes) or read as an
/// escape goes through a descriptor.
fn set_path(context: &OwnedFd, key: &str, path: &Path) -> Result<()> {
    let what = || format!("add {key} {}", path.display());
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
    let result = if path.as_os_str().len() < 200 && path.as_os_str().as_bytes().iter().all(plain) {
        fsconfig_set_string(context, key, path)
    } else {
        let directory = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| Error::Mount { what: what(), source: error.into() })?;
        fsconfig_set_string(context, key, format!("/proc/self/fd/{}", directory.as_raw_fd()))
    };
    result.map_err(|error| explain(context, &what(), error))
}

fn failed(what: &str) -> impl FnOnce(rustix::io::Errno) -> Error {
    move |error| Error::Mount { what: what.to_owned(), source: error.into() }
}

/// Adds what the kernel wrote into the log of the mount context.
fn explain(context: &OwnedFd, what: &str, error: rustix::io::Errno) -> Error {
    let mut what = what.to_owned();
    let mut buffer = [0u8; 512];
    if let Ok(copy) = context.as_fd().try_clone_to_owned() {
        let mut log = std::fs::File::from(copy);
        while let Ok(length @ 1..) = log.read(&mut buffer) {
            let message = String::from_utf8_lossy(&buffer[..length]);
            let message = message.trim().trim_start_matches("e ").trim_start_matches("w ").trim_start_matches("i ");
            what.push_str(" (");
            what.push_str(message);
            what.push(')');
        }
    }
    Error::Mount { what, source: error.into() }
}

//! Detached overlay mounts.

use std::collections::HashSet;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen, open_tree,
};
use rustix::thread::UnshareFlags;

use super::{Error, Result};
use crate::sys::{self, MountAttr};

/// The kernel's limit of lower directories in one overlay (`OVL_MAX_STACK`).
pub(super) const MAX_LOWER: usize = 500;

/// How the kernel is told the lower directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    /// One after the other (Linux 6.7).
    Appended,
    /// In one string. It may have 255 bytes, so the directories are opened and named by their numbers, relative to
    /// `/proc/self/fd`: enough for 60 to 85 of them.
    Joined,
}

/// Mounts `lower` (topmost first), and over it `upper` where changes go, without attaching it anywhere.
///
/// Devices can't be opened through it. Set-user-id programs work, as `su` and `sudo` in a RUN must. Changes are
/// not synced when the mount goes away (`volatile`): the store syncs once at the end of a build. Everything that
/// would write more than plain files, whiteouts and opaque directories into the upper directory is off.
///
/// The kernel takes each directory once. A layer that lies upon itself, others between or not, hides all of itself that
/// is further down, so only the topmost is needed.
pub(super) fn mount(lower: &[PathBuf], upper: Option<(&Path, &Path)>, syntax: Syntax) -> Result<OwnedFd> {
    let mut seen = HashSet::new();
    let lower: Vec<PathBuf> = lower.iter().filter(|directory| seen.insert(directory.as_path())).cloned().collect();
    let lower = lower.as_slice();
    if lower.len() > MAX_LOWER {
        return Err(Error::TooManyLayers { count: lower.len(), limit: MAX_LOWER });
    }
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed("open the file system overlay"))?;
    match syntax {
        Syntax::Appended => {
            for directory in lower {
                set_path(&context, "lowerdir+", directory)?;
            }
        }
        // The kernel only looks at the directories when the file system is created.
        Syntax::Joined => {}
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
    match syntax {
        Syntax::Appended => {
            fsconfig_create(&context).map_err(|error| explain(&context, "create the overlay", error))?;
        }
        Syntax::Joined => create_joined(&context, lower)?,
    }
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

/// Sets all lower directories in one string and creates the file system, from a thread with a working directory of
/// its own.
fn create_joined(context: &OwnedFd, lower: &[PathBuf]) -> Result<()> {
    const LONGEST: usize = 255;
    let mut open = Vec::with_capacity(lower.len());
    let mut names = String::new();
    for path in lower {
        let what = || format!("open {}", path.display());
        let fd = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| Error::Mount { what: what(), source: error.into() })?;
        if !names.is_empty() {
            names.push(':');
        }
        names.push_str(&fd.as_raw_fd().to_string());
        if names.len() > LONGEST {
            return Err(Error::TooManyLayers { count: lower.len(), limit: open.len() });
        }
        open.push(fd);
    }
    let create = || -> io::Result<()> {
        sys::unshare(UnshareFlags::FS)?;
        rustix::process::chdir("/proc/self/fd")?;
        fsconfig_set_string(context, "lowerdir", names.as_str())?;
        Ok(fsconfig_create(context)?)
    };
    let result = std::thread::scope(|scope| scope.spawn(create).join());
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            let errno = rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO);
            Err(explain(context, "create the overlay", errno))
        }
        Err(panic) => std::panic::resume_unwind(panic),
    }
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Both ways give the same, with and without changes.
    #[test]
    fn syntaxes_are_equal() {
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        for syntax in [Syntax::Appended, Syntax::Joined] {
            let path = |name: &str| directory.path().join(format!("{syntax:?}")).join(name);
            let lower: Vec<PathBuf> = (0..40).map(|number| path(&format!("lower,{number}:x"))).collect();
            for (number, lower) in lower.iter().enumerate() {
                fs::create_dir_all(lower).unwrap();
                fs::write(lower.join("who"), number.to_string()).unwrap();
                fs::write(lower.join(number.to_string()), "").unwrap();
            }
            let (upper, work) = (path("upper"), path("work"));
            fs::create_dir(&upper).unwrap();
            fs::create_dir(&work).unwrap();
            for upper in [None, Some((upper.as_path(), work.as_path()))] {
                let mount = mount(&lower, upper, syntax).unwrap();
                let root = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
                assert_eq!(fs::read_to_string(root.join("who")).unwrap(), "0");
                assert_eq!(fs::read_dir(root.join(".")).unwrap().count(), 41);
                assert_eq!(fs::write(root.join("new"), "").is_ok(), upper.is_some());
            }
            assert!(upper.join("new").is_file());
        }
        // A layer that is there twice: of what lies between, only what it does not have itself shows.
        let [one, other] = ["one", "other"].map(|name| directory.path().join(name));
        for (path, files) in [(&one, ["who", "one"]), (&other, ["who", "other"])] {
            fs::create_dir(path).unwrap();
            for file in files {
                fs::write(path.join(file), path.as_os_str().as_encoded_bytes()).unwrap();
            }
        }
        for syntax in [Syntax::Appended, Syntax::Joined] {
            let mount = mount(&[one.clone(), other.clone(), one.clone()], None, syntax).unwrap();
            let root = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
            assert_eq!(fs::read(root.join("who")).unwrap(), one.as_os_str().as_encoded_bytes());
            assert_eq!(fs::read_dir(root.join(".")).unwrap().count(), 3);
        }
        let many: Vec<PathBuf> = (0..200).map(|number| directory.path().join(number.to_string())).collect();
        for path in &many {
            fs::create_dir(path).unwrap();
        }
        assert!(matches!(mount(&many, None, Syntax::Joined), Err(Error::TooManyLayers { count: 200, limit: 30..=99 })));
    }
}

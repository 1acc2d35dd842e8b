//! The kernel's file systems in a sandbox: `/proc`, `/sys` and `/dev`.
//!
//! They are put together in the sandbox's own mount name space before the image's root is there, so nothing of an
//! image is in reach while it is done, and then moved into the root as whole trees. What hides a path is a mount of
//! something made here: an empty directory, or the sandbox's own `/dev/null` (CVE-2025-31133).
//!
//! `/dev` is mounted such that devices in it can't be opened, like every other file system in a sandbox. The six
//! harmless ones are mounted over themselves without that restriction. So what a process makes with mknod(2) is of
//! no use to it, and no device control group is needed. A privileged sandbox has none of these restrictions, and
//! more devices.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};

use super::super::error::{Attempt, Failure};
use super::super::spec;
use super::{Step, attach, kind_of, new_file_system, open_directory};
use crate::sys::{self, MountAttr};

/// Name, major and minor number of the devices.
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// What privileged processes get beside them, where `BuildKit` gives it: kernel messages, FUSE, character devices in
/// user space, virtual machines, tunnels, and what makes loop devices.
const PRIVILEGED_DEVICES: [(&str, u32, u32); 6] = [
    ("kmsg", 1, 11),
    ("fuse", 10, 229),
    ("cuse", 10, 203),
    ("kvm", 10, 232),
    ("net/tun", 10, 200),
    ("loop-control", 10, 237),
];

/// How many loop devices they get, of those that the machine has or will have.
const LOOP_DEVICES: u32 = 64;

const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
    ("core", "/proc/kcore"),
];

const QUIET: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV).union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// The trees, attached in the sandbox's first root, ready to be moved.
pub(super) struct Trees {
    pub(super) proc: OwnedFd,
    pub(super) sys: OwnedFd,
    pub(super) dev: OwnedFd,
    masked: Vec<String>,
    readonly: Vec<String>,
}

/// What all sandboxes of a spawner have in common: an empty directory to hide others with, and `/sys`.
pub(super) fn prepare_base(masked: &[String]) -> Step<()> {
    let empty = clone("/empty", false)?;
    let attr = MountAttr { set: u64::from((QUIET | MountAttrFlags::MOUNT_ATTR_RDONLY).bits()), ..MountAttr::default() };
    sys::mount_setattr(&empty, false, attr).attempt("make an empty directory read-only")?;
    attach(&empty, open_directory("/empty")?).attempt("attach an empty directory")?;
    attach_sys(masked, false).map(drop)
}

/// A sysfs that shows the network name space of the caller.
fn attach_sys(masked: &[String], privileged: bool) -> Step<OwnedFd> {
    let attributes = if privileged { QUIET } else { QUIET | MountAttrFlags::MOUNT_ATTR_RDONLY };
    let sys = new_file_system("sysfs", &[], attributes)?;
    attach(&sys, open_directory("/sys")?).attempt("attach /sys")?;
    mask(&sys, "/sys/", masked, None)?;
    Ok(sys)
}

impl Trees {
    /// Builds them with the default lists of hidden and read-only paths.
    pub(super) fn prepare() -> Step<Self> {
        let (masked, readonly) = (spec::masked_paths().to_vec(), spec::readonly_paths());
        let dev = attach_dev(false)?;
        let proc = attach_proc(&dev, &masked, &readonly)?;
        Ok(Self { proc, sys: open_directory("/sys")?, dev, masked, readonly })
    }

    /// Builds again what was built for other lists, another network name space or less privilege than it will be used
    /// with.
    pub(super) fn adjust(
        &mut self,
        masked: &[String],
        readonly: &[String],
        own_network: bool,
        privileged: bool,
    ) -> Step<()> {
        let same_masks = self.masked == masked;
        if privileged {
            self.dev = attach_dev(true)?;
        }
        if !same_masks || self.readonly != readonly {
            self.proc = attach_proc(&self.dev, masked, readonly)?;
        }
        if !same_masks || own_network || privileged {
            self.sys = attach_sys(masked, privileged)?;
        }
        let known = |path: &&String| !path.starts_with("/proc/") && !path.starts_with("/sys/");
        match masked.iter().chain(readonly).find(known) {
            Some(path) => Err(Failure::Unsupported(format!("hiding or protecting {path}, outside of /proc and /sys"))),
            None => Ok(()),
        }
    }
}

fn attach_proc(dev: &OwnedFd, masked: &[String], readonly: &[String]) -> Step<OwnedFd> {
    let proc = new_file_system("proc", &[], QUIET)?;
    attach(&proc, open_directory("/proc")?).attempt("attach /proc")?;
    mask(&proc, "/proc/", masked, Some(dev))?;
    for path in readonly.iter().filter_map(|path| path.strip_prefix("/proc/")) {
        let Some(target) = open_in(&proc, path)? else { continue };
        let what = || format!("make /proc/{path} read-only");
        let view = clone_fd(&target, true).attempt_with(what)?;
        let attr = MountAttr { set: libc::MOUNT_ATTR_RDONLY, ..MountAttr::default() };
        sys::mount_setattr(&view, true, attr).attempt_with(what)?;
        attach(&view, &target).attempt_with(what)?;
    }
    Ok(proc)
}

/// Hides those of `paths` that begin with `prefix` and exist in `tree`.
fn mask(tree: &OwnedFd, prefix: &str, paths: &[String], dev: Option<&OwnedFd>) -> Step<()> {
    for path in paths {
        let Some(below) = path.strip_prefix(prefix) else { continue };
        let Some(target) = open_in(tree, below)? else { continue };
        let cover = if kind_of(&target)? == FileType::Directory {
            clone("/empty", false)?
        } else if let Some(dev) = dev {
            let null =
                rustix::fs::openat(dev, "null", OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
                    .attempt("open /dev/null")?;
            clone_fd(&null, false).attempt("clone /dev/null")?
        } else {
            return Err(Failure::Unsupported(format!("hiding the file {path}")));
        };
        attach(&cover, &target).attempt_with(|| format!("hide {path}"))?;
    }
    Ok(())
}

fn attach_dev(privileged: bool) -> Step<OwnedFd> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_STRICTATIME;
    let dev = new_file_system("tmpfs", &[("mode", "755"), ("size", "65536k")], attributes)?;
    attach(&dev, open_directory("/dev")?).attempt("attach /dev")?;
    let mut usable = Vec::with_capacity(DEVICES.len());
    for (name, major, minor) in DEVICES {
        make_device(&dev, name, FileType::CharacterDevice, (major, minor), 0o666)?;
        let node = rustix::fs::openat(&dev, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .attempt("open a device")?;
        let view = clone_fd(&node, false).attempt("clone a device")?;
        usable.push((view, node));
    }
    if privileged {
        rustix::fs::mkdirat(&dev, "net", Mode::from_raw_mode(0o755)).attempt("make a directory in /dev")?;
        for (name, major, minor) in PRIVILEGED_DEVICES {
            make_device(&dev, name, FileType::CharacterDevice, (major, minor), 0o600)?;
        }
        for number in 0..LOOP_DEVICES {
            make_device(&dev, &format!("loop{number}"), FileType::BlockDevice, (7, number), 0o660)?;
        }
    } else {
        let attr = MountAttr { set: libc::MOUNT_ATTR_NODEV, ..MountAttr::default() };
        sys::mount_setattr(&dev, false, attr).attempt("forbid devices in /dev")?;
        for (view, node) in &usable {
            attach(view, node).attempt("attach a device")?;
        }
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(target, &dev, name).attempt("make a link in /dev")?;
    }
    let terminals = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let options = [("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
    for (name, tree) in [
        ("pts", new_file_system("devpts", &options, terminals)?),
        ("shm", new_file_system("tmpfs", &[("mode", "1777"), ("size", "65536k")], QUIET)?),
        ("mqueue", new_file_system("mqueue", &[], QUIET)?),
    ] {
        rustix::fs::mkdirat(&dev, name, Mode::from_raw_mode(0o755)).attempt("make a directory in /dev")?;
        let target = rustix::fs::openat(&dev, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .attempt("open a directory in /dev")?;
        attach(&tree, &target).attempt_with(|| format!("attach /dev/{name}"))?;
    }
    Ok(dev)
}

fn make_device(dev: &OwnedFd, name: &str, kind: FileType, (major, minor): (u32, u32), mode: u32) -> Step<()> {
    rustix::fs::mknodat(dev, name, kind, Mode::from_raw_mode(mode), rustix::fs::makedev(major, minor))
        .attempt_with(|| format!("make the device /dev/{name}"))
}

/// Opens what is at `path` in a tree of the kernel; `None` when this kernel has no such thing.
fn open_in(tree: &OwnedFd, path: &str) -> Step<Option<OwnedFd>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(tree, Path::new(path), flags, Mode::empty(), resolve) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(Failure::setup(format!("open {path} of the kernel"), error)),
    }
}

/// A detached second mount of what is at `path` of this process's own root.
fn clone(path: &str, recursive: bool) -> Step<OwnedFd> {
    clone_fd(open_directory(path)?, recursive).attempt_with(|| format!("clone {path}"))
}

/// A detached second mount of what `fd` refers to.
pub(super) fn clone_fd(fd: impl AsFd, recursive: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(fd, "", flags)
}

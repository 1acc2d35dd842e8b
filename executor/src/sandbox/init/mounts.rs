//! Everything that is mounted in an image's root, at places that the image may have prepared.
//!
//! Every mount point is looked up inside the root, its last component without following it, and the mount goes onto
//! that very descriptor. A file is mounted on a symbolic link itself, so nothing is created or changed behind it.

use std::os::fd::OwnedFd;
use std::path::Path;

use oci_spec::runtime::{Mount, Spec};
use rustix::fs::{FileType, Mode, OFlags, PROC_SUPER_MAGIC};
use rustix::mount::MountAttrFlags;

use super::super::error::{Attempt, Failure};
use super::super::mount_options::MountOptions;
use super::super::spec::standard_mounts;
use super::handed::{Handed, refused};
use super::trees::Trees;
use super::{Step, attach, kind_of, new_file_system, open_directory};
use crate::rootfs::in_root;
use crate::sys::{self, MountAttr};

/// What a sandbox sees of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cgroups {
    /// The host has version 2: it sees its own group.
    Unified,
    /// The host has version 1 and the sandbox has limits: it sees the controllers that hold them.
    Limited,
    /// The host has version 1, where each controller would be a mount, and there are no limits to be seen.
    Hidden,
}

/// Attaches `root` and fills it.
pub(super) fn fill(
    root: &OwnedFd,
    trees: &Trees,
    spec: &Spec,
    cgroups: Cgroups,
    privileged: bool,
    mut handed: Handed<'_>,
) -> Step<()> {
    attach(root, open_directory("/root")?).attempt("attach the root file system")?;
    if privileged {
        let attr = MountAttr { clear: libc::MOUNT_ATTR_NODEV, ..MountAttr::default() };
        sys::mount_setattr(root, false, attr).attempt("allow devices in the root file system")?;
    }
    let standard = standard_mounts();
    let mut has_dev = false;
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        let destination = mount.destination().as_path();
        if let Some(tree) = handed.take(index, mount)? {
            let is_directory = kind_of(&tree)? == FileType::Directory;
            let target = mount_point(root, destination, is_directory)?;
            attach(&tree, &target).attempt_with(|| format!("mount {}", destination.display()))?;
            continue;
        }
        let is_standard = standard.contains(mount);
        match (mount.typ().as_deref().unwrap_or_default(), destination.to_str().unwrap_or_default()) {
            ("proc", "/proc") if is_standard => place(root, "/proc", &trees.proc)?,
            ("sysfs", "/sys") if is_standard => place(root, "/sys", &trees.sys)?,
            ("tmpfs", "/dev") if is_standard => {
                place(root, "/dev", &trees.dev)?;
                has_dev = true;
            }
            // Part of the tree that was put at /dev.
            ("devpts", "/dev/pts") | ("mqueue", "/dev/mqueue") | ("tmpfs", "/dev/shm") if is_standard && has_dev => {}
            ("cgroup", "/sys/fs/cgroup") if is_standard => control_groups(root, cgroups, privileged)?,
            ("tmpfs", _) => temporary(root, mount)?,
            (kind, at) => {
                return Err(Failure::Unsupported(format!("a mount of type {kind:?} at {at} with these options")));
            }
        }
    }
    if !has_dev {
        return Err(Failure::Unsupported("a specification without its usual /dev".to_owned()));
    }
    if spec.root().as_ref().and_then(oci_spec::runtime::Root::readonly).unwrap_or(false) {
        let attr = MountAttr { set: libc::MOUNT_ATTR_RDONLY, ..MountAttr::default() };
        sys::mount_setattr(root, false, attr).attempt("make the root file system read-only")?;
    }
    Ok(())
}

/// Moves a tree of the kernel's to a place that must be a plain directory of the image.
fn place(root: &OwnedFd, path: &str, tree: &OwnedFd) -> Step<()> {
    let target = open_or_make(root, Path::new(path), true)?;
    let kind = kind_of(&target)?;
    if kind != FileType::Directory {
        return Err(Failure::Refused(format!("{path} of the image is {}: it must be a directory", word(kind))));
    }
    attach(tree, &target).attempt_with(|| format!("mount {path}"))
}

/// What a mount goes onto: for a directory a directory (links are followed inside the root), for a file whatever is
/// there and is no directory.
fn mount_point(root: &OwnedFd, path: &Path, is_directory: bool) -> Step<OwnedFd> {
    let target = open_or_make(root, path, is_directory)?;
    if rustix::fs::fstatfs(&target).attempt("look at a mount point")?.f_type == PROC_SUPER_MAGIC {
        // Something else in place of the kernel's answers misleads every program that asks (CVE-2019-19921).
        return Err(Failure::Refused(format!("{} is in /proc: nothing can be mounted there", path.display())));
    }
    let refuse = |kind: FileType, what: &str| {
        Err(Failure::Refused(format!(
            "{} is {} in the image: {what} can't be mounted there",
            path.display(),
            word(kind)
        )))
    };
    match (kind_of(&target)?, is_directory) {
        (FileType::Directory, true) => Ok(target),
        (FileType::Symlink, true) => in_root::open_directory(root, path).map_err(|error| {
            Failure::Refused(format!("{} is a link in the image that leads to no directory: {error}", path.display()))
        }),
        (kind, true) => refuse(kind, "a directory"),
        (FileType::Directory, false) => refuse(FileType::Directory, "a file"),
        (_, false) => Ok(target),
    }
}

/// Opens the last component of `path` without following it. What is missing is made; that happens only inside of
/// other mounts, since the builder made sure of the rest.
fn open_or_make(root: &OwnedFd, path: &Path, is_directory: bool) -> Step<OwnedFd> {
    let what = || format!("open the mount point {}", path.display());
    let Some((parent, name)) = (match in_root::open_parent(root, path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let clean = in_root::clean(path);
            let parent = clean.parent().unwrap_or(Path::new(""));
            Some((
                in_root::make_directories(root, parent).attempt_with(what)?,
                clean.file_name().unwrap_or_default().to_owned(),
            ))
        }
        other => other.attempt_with(what)?,
    }) else {
        return Err(Failure::Refused("nothing can be mounted over / of the image".to_owned()));
    };
    let open = || rustix::fs::openat(&parent, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    match open() {
        Err(rustix::io::Errno::NOENT) => {
            if is_directory {
                rustix::fs::mkdirat(&parent, &name, Mode::from_raw_mode(0o755)).attempt_with(what)?;
            } else {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
                rustix::fs::openat(&parent, &name, flags, Mode::from_raw_mode(0o644)).attempt_with(what)?;
            }
            open().attempt_with(what)
        }
        other => other.attempt_with(what),
    }
}

fn temporary(root: &OwnedFd, mount: &Mount) -> Step<()> {
    let options = MountOptions::parse(mount.options().as_deref().unwrap_or_default()).map_err(refused)?;
    let mut data = vec![("source", "tmpfs")];
    data.extend(options.data.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    let tree = new_file_system("tmpfs", &data, MountAttrFlags::from_bits_retain(options.set as u32))?;
    let target = mount_point(root, mount.destination(), true)?;
    attach(&tree, &target).attempt_with(|| format!("mount {}", mount.destination().display()))
}

/// Shows the sandbox its own control group, read-only unless it is privileged. What this kernel lacks is left out.
fn control_groups(root: &OwnedFd, cgroups: Cgroups, privileged: bool) -> Step<()> {
    const QUIET: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
        .union(MountAttrFlags::MOUNT_ATTR_NODEV)
        .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);
    let protected = if privileged { QUIET } else { QUIET | MountAttrFlags::MOUNT_ATTR_RDONLY };
    if cgroups == Cgroups::Hidden {
        return Ok(());
    }
    let Ok(target) = in_root::open_directory(root, Path::new("/sys/fs/cgroup")) else { return Ok(()) };
    if cgroups == Cgroups::Unified {
        return match new_file_system("cgroup2", &[], protected) {
            Ok(tree) => attach(&tree, &target).attempt("mount /sys/fs/cgroup"),
            Err(_) => Ok(()),
        };
    }
    let holder = new_file_system("tmpfs", &[("mode", "755"), ("size", "64k")], QUIET)?;
    attach(&holder, &target).attempt("mount /sys/fs/cgroup")?;
    for controller in ["memory", "pids", "cpu", "cpuacct", "cpuset"] {
        // Controllers that are mounted together on the host can't be mounted alone.
        let Ok(tree) = new_file_system("cgroup", &[(controller, "")], protected) else { continue };
        rustix::fs::mkdirat(&holder, controller, Mode::from_raw_mode(0o755))
            .attempt("make a directory for a controller")?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let place = rustix::fs::openat(&holder, controller, flags, Mode::empty()).attempt("open a directory")?;
        attach(&tree, &place).attempt("mount a controller")?;
    }
    let attr = MountAttr { set: libc::MOUNT_ATTR_RDONLY, ..MountAttr::default() };
    sys::mount_setattr(&holder, false, attr).attempt("make /sys/fs/cgroup read-only")
}

fn word(kind: FileType) -> &'static str {
    match kind {
        FileType::Symlink => "a symbolic link",
        FileType::RegularFile => "a file",
        FileType::Fifo => "a fifo",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Directory => "a directory",
        FileType::Unknown => "of an unknown kind",
    }
}

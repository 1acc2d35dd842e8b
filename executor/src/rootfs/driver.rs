//! Which way to build a root file system, and doing it.

use std::fmt;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use builder_cache::{Snapshot, Store};

use super::copied_up::CopiedUp;
use super::overlay::Syntax;
use super::temporary::Temporary;
use super::{Error, Result, RootMount, overlay, vfs};

/// The ways to build a root file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriverKind {
    /// The kernel's overlay file system: nothing is copied.
    Overlay,
    /// A plain copy of the whole tree for each step: works everywhere, slowly.
    Vfs,
}

impl DriverKind {
    /// Its name for people and for `--storage-driver`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::Vfs => "vfs",
        }
    }
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DriverKind {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        match name {
            "overlay" | "overlay2" | "overlayfs" => Ok(Self::Overlay),
            "vfs" | "native" => Ok(Self::Vfs),
            _ => Err(format!("there is no driver {name:?}: use overlay or vfs")),
        }
    }
}

/// What a root file system is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A process runs in it: the places where `/proc`, `/sys`, `/dev` and the files in `/etc` that the builder
    /// provides are mounted exist even when the image lacks them, and are not part of the result.
    Sandbox,
    /// The builder reads or changes files in it: it is exactly the image.
    Files,
}

/// Builds root file systems below one store.
#[derive(Debug, Clone)]
pub struct Driver {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    wanted: Option<DriverKind>,
    chosen: OnceLock<Choice>,
    mountpoints: OnceLock<PathBuf>,
}

#[derive(Debug)]
struct Choice {
    kind: DriverKind,
    syntax: Syntax,
    reason: String,
}

impl Driver {
    /// A driver for the store at `root`. Nothing is probed before it is needed. With `wanted` that driver is used
    /// or nothing.
    pub fn new(root: &Path, wanted: Option<DriverKind>) -> Self {
        let shared = Shared { root: root.to_owned(), wanted, chosen: OnceLock::new(), mountpoints: OnceLock::new() };
        Self { shared: Arc::new(shared) }
    }

    /// The driver that is used here, and why.
    ///
    /// # Errors
    /// When one was asked for by name that does not work.
    pub fn probe(&self) -> Result<(DriverKind, &str)> {
        self.choice().map(|choice| (choice.kind, choice.reason.as_str()))
    }

    fn choice(&self) -> Result<&Choice> {
        if let Some(choice) = self.shared.chosen.get() {
            return Ok(choice);
        }
        let choose = |kind, syntax, reason: &str| Choice { kind, syntax, reason: reason.to_owned() };
        let choice = match self.shared.wanted {
            Some(DriverKind::Vfs) => choose(DriverKind::Vfs, Syntax::Appended, "asked for by name"),
            wanted => match (overlay_works(&self.shared.root), wanted) {
                (Ok(syntax), Some(_)) => choose(DriverKind::Overlay, syntax, "asked for by name, and it works"),
                (Ok(syntax), None) => {
                    choose(DriverKind::Overlay, syntax, "the kernel has overlay, and a test mount worked")
                }
                (Err(reason), None) => {
                    choose(DriverKind::Vfs, Syntax::Appended, &format!("overlay does not work here: {reason}"))
                }
                (Err(reason), Some(_)) => return Err(Error::Driver { driver: "overlay", reason }),
            },
        };
        Ok(self.shared.chosen.get_or_init(|| choice))
    }

    /// Mounts a snapshot. With `upper` (a directory for changes, and the overlay's work directory beside it on the
    /// same file system, both new and empty) it is writable.
    ///
    /// # Errors
    /// When the store lacks a layer or the kernel refuses the mount.
    pub fn mount(
        &self,
        store: &Store,
        snapshot: &Snapshot,
        upper: Option<(&Path, &Path)>,
        purpose: Purpose,
    ) -> Result<RootMount> {
        self.mount_directories(store.lower_dirs(snapshot)?, upper, purpose)
    }

    /// The same for directories in overlay form, topmost first.
    ///
    /// # Errors
    /// When the kernel refuses the mount.
    pub fn mount_directories(
        &self,
        mut lower: Vec<PathBuf>,
        upper: Option<(&Path, &Path)>,
        purpose: Purpose,
    ) -> Result<RootMount> {
        let &Choice { kind, syntax, .. } = self.choice()?;
        let writable = upper.is_some();
        if let Some((upper, _)) = upper {
            Self::inherit_root(lower.first(), upper)?;
        }
        if kind == DriverKind::Vfs {
            return self.copy(&lower, upper);
        }
        // One place is left for the mount points unless the image uses all that the kernel has.
        if purpose == Purpose::Sandbox && lower.len() < overlay::MAX_LOWER {
            lower.push(self.mountpoints()?);
        }
        let fd = match (lower.as_slice(), upper) {
            ([], Some((upper, _))) => overlay::bind(upper, false)?,
            ([], None) => overlay::bind(&self.empty()?, true)?,
            ([only], None) => overlay::bind(only, true)?,
            (lower, upper) => overlay::mount(lower, upper, syntax)?,
        };
        let copied_up = upper.map(|(upper, _)| CopiedUp::new(lower, upper));
        Ok(RootMount { fd, writable, copy: None, copied_up })
    }

    /// Mounts a snapshot under changes that were made on it before, to make more of them. The work directory is new and
    /// empty.
    ///
    /// # Errors
    /// When the driver is vfs, which has no such thing, or the kernel refuses the mount.
    pub fn resume(&self, store: &Store, snapshot: &Snapshot, upper: &Path, work: &Path) -> Result<RootMount> {
        let &Choice { kind, syntax, .. } = self.choice()?;
        if kind == DriverKind::Vfs {
            let reason = "it can't change files of a container that ended: use overlay".to_owned();
            return Err(Error::Driver { driver: kind.name(), reason });
        }
        let lower = store.lower_dirs(snapshot)?;
        let fd = if lower.is_empty() {
            overlay::bind(upper, false)?
        } else {
            overlay::mount(&lower, Some((upper, work)), syntax)?
        };
        Ok(RootMount { fd, writable: true, copy: None, copied_up: None })
    }

    fn copy(&self, lower: &[PathBuf], upper: Option<(&Path, &Path)>) -> Result<RootMount> {
        let copy = match upper {
            Some((upper, work)) => vfs::WorkingCopy::beside(lower, upper, work)?,
            None => vfs::WorkingCopy::temporary(lower, Temporary::below(&self.shared.root)?)?,
        };
        let fd = overlay::bind(copy.tree(), upper.is_none())?;
        Ok(RootMount { fd, writable: upper.is_some(), copy: Some(copy), copied_up: None })
    }

    /// In an overlay the topmost directory decides what `/` looks like: a new layer starts out like the one below.
    fn inherit_root(below: Option<&PathBuf>, upper: &Path) -> Result<()> {
        let file = |what, path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { what, path, source }
        };
        let Some(below) = below else { return Ok(()) };
        let wanted = fs::metadata(below).map_err(file("look at", below))?;
        let is = fs::metadata(upper).map_err(file("look at", upper))?;
        if (wanted.uid(), wanted.gid()) != (is.uid(), is.gid()) {
            std::os::unix::fs::chown(upper, Some(wanted.uid()), Some(wanted.gid())).map_err(file("chown", upper))?;
        }
        if wanted.mode() != is.mode() {
            fs::set_permissions(upper, fs::Permissions::from_mode(wanted.mode() & 0o7777))
                .map_err(file("chmod", upper))?;
        }
        Ok(())
    }

    /// The layer below all others in which mount points exist.
    fn mountpoints(&self) -> Result<PathBuf> {
        if let Some(path) = self.shared.mountpoints.get() {
            return Ok(path.clone());
        }
        let path = self.shared.root.join("mountpoints");
        if !path.join("etc/hostname").is_file() {
            make_mountpoints(&self.shared.root, &path)?;
        }
        Ok(self.shared.mountpoints.get_or_init(|| path).clone())
    }

    fn empty(&self) -> Result<PathBuf> {
        self.directory("empty")
    }

    fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.shared.root.join(name);
        fs::create_dir_all(&path).map_err(|source| Error::File { what: "make", path: path.clone(), source })?;
        Ok(path)
    }
}

/// Written aside and renamed, so that two builders that start at once don't see half of it.
fn make_mountpoints(root: &Path, path: &Path) -> Result<()> {
    let holder = Temporary::below(root)?;
    let aside = holder.path().join("new");
    let build = || -> std::io::Result<()> {
        fs::create_dir(&aside)?;
        fs::set_permissions(&aside, fs::Permissions::from_mode(0o755))?;
        for directory in ["dev", "etc", "proc", "sys"] {
            fs::create_dir(aside.join(directory))?;
            fs::set_permissions(aside.join(directory), fs::Permissions::from_mode(0o755))?;
        }
        for file in ["etc/hosts", "etc/resolv.conf", "etc/hostname"] {
            fs::write(aside.join(file), "")?;
            fs::set_permissions(aside.join(file), fs::Permissions::from_mode(0o644))?;
        }
        match fs::rename(&aside, path) {
            Err(_) if path.join("etc/hostname").is_file() => Ok(()),
            other => other,
        }
    };
    build().map_err(|source| Error::File { what: "make", path: path.to_owned(), source })
}

/// Mounts a small overlay below the store, since that is what matters: another file system may not be fit to hold
/// an upper directory.
fn overlay_works(root: &Path) -> std::result::Result<Syntax, String> {
    let attempt = |syntax| -> std::result::Result<Syntax, String> {
        let make = |source: std::io::Error| format!("can't make directories below {}: {source}", root.display());
        let directory = Temporary::below(root).map_err(|error| error.to_string())?;
        let path = |name: &str| directory.path().join(name);
        for name in ["lower", "lowest", "upper", "work"] {
            fs::create_dir(path(name)).map_err(make)?;
        }
        overlay::mount(&[path("lower"), path("lowest")], Some((&path("upper"), &path("work"))), syntax)
            .map(|_| syntax)
            .map_err(|error| error.to_string())
    };
    attempt(Syntax::Appended).or_else(|_| attempt(Syntax::Joined)).map_err(|reason| {
        let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        if known.lines().any(|line| line.trim_start_matches("nodev").trim() == "overlay") {
            reason
        } else {
            format!("{reason} (overlay is not in /proc/filesystems: try `modprobe overlay`)")
        }
    })
}

//! Limits: a control group for one sandbox, made only when the specification has limits, or names the group in which
//! it is to be.
//!
//! Version 1 (one hierarchy a controller) and version 2 (one for all) are both supported, even side by side. The
//! builder makes the group and opens its `cgroup.procs`; the first process of the sandbox enters through that
//! descriptor and then unshares its cgroup name space, so that its group looks like the root to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use oci_spec::runtime::{LinuxResources, Spec};

use super::error::{Error, Result};

/// How long it may take until a process that is gone is not counted any more.
const PATIENCE: Duration = Duration::from_millis(500);

/// The groups above those of sandboxes that this process made; they go with the last sandbox in them. Whoever makes or
/// removes one holds this, so that none goes while another step is about to use it.
static MADE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The group of one sandbox; removed when dropped.
#[derive(Debug)]
pub(super) struct Cgroup {
    directories: Vec<PathBuf>,
    procs: Vec<File>,
}

/// A value for a file of a controller, in both versions' words.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    controller: &'static str,
    v1: Option<(&'static str, String)>,
    v2: Option<(&'static str, String)>,
}

/// Where the groups of a hierarchy are made.
#[derive(Debug, Default, PartialEq, Eq)]
struct Hierarchies {
    v1: BTreeMap<String, Place>,
    v2: Option<Place>,
}

/// One hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    /// Its uppermost group that is seen here.
    top: PathBuf,
    /// The group in which groups of sandboxes are made when nothing else is said.
    own: PathBuf,
}

impl Place {
    /// The group `parent`: from the top when it is absolute.
    fn below(&self, parent: Option<&Path>) -> PathBuf {
        match parent {
            None => self.own.clone(),
            Some(path) => match path.strip_prefix("/") {
                Ok(path) => self.top.join(path),
                Err(_) => self.own.join(path),
            },
        }
    }
}

impl Cgroup {
    /// Makes the group if `spec` has limits, or names a group.
    pub(super) fn create(spec: &Spec) -> Result<Option<Self>> {
        let Some(linux) = spec.linux() else { return Ok(None) };
        let parent = linux.cgroups_path().as_deref();
        let settings = match linux.resources() {
            Some(resources) => settings(resources)?,
            None => Vec::new(),
        };
        if settings.is_empty() && parent.is_none() {
            return Ok(None);
        }
        if let Some(parent) = parent.filter(|path| path.components().any(|part| part == Component::ParentDir)) {
            return Err(Error::Refused(format!("the control group {} leads upwards", parent.display())));
        }
        let hierarchies = Hierarchies::of_this_process()
            .map_err(|source| Error::Setup { what: "find the control groups of this process".to_owned(), source })?;
        let mut group = Self { directories: Vec::new(), procs: Vec::new() };
        group.apply(&settings, &hierarchies, parent)?;
        Ok(Some(group))
    }

    /// The files through which a process enters.
    pub(super) fn procs_files(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.procs.iter().map(AsFd::as_fd)
    }

    /// Removes the group, waiting for what may still be counted in it.
    pub(super) async fn remove(mut self) {
        self.procs.clear();
        let end = Instant::now() + PATIENCE;
        loop {
            self.directories.retain(|directory| is_busy(directory));
            if self.directories.is_empty() || Instant::now() > end {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn apply(&mut self, settings: &[Setting], hierarchies: &Hierarchies, parent: Option<&Path>) -> Result<()> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("builder-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        if parent.is_some() {
            // Whoever asks for a place asks for it everywhere.
            for place in hierarchies.v1.values().chain(&hierarchies.v2) {
                self.make(place, parent, &name)?;
            }
        }
        for setting in settings {
            let (place, file, value) = match (hierarchies.v1.get(setting.controller), &hierarchies.v2) {
                (Some(base), _) => match &setting.v1 {
                    Some((file, value)) => (base, file, value),
                    None => continue,
                },
                (None, Some(base)) => match &setting.v2 {
                    Some((file, value)) => (base, file, value),
                    None => continue,
                },
                (None, None) => return Err(missing(setting.controller, "no such hierarchy is mounted")),
            };
            let directory = self.make(place, parent, &name)?;
            write(&directory.join(file), value).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => missing(
                    setting.controller,
                    &format!(
                        "it is not enabled below {}: run builder in a delegated group, such as \
                              `systemd-run --scope -p Delegate=yes builder …`",
                        place.below(parent).display()
                    ),
                ),
                _ => Error::Setup { what: format!("set {file} to {value}"), source: error },
            })?;
        }
        for directory in &self.directories {
            let path = directory.join("cgroup.procs");
            let file = OpenOptions::new()
                .write(true)
                .open(&path)
                .map_err(|source| Error::Setup { what: format!("open {}", path.display()), source })?;
            self.procs.push(file);
        }
        Ok(())
    }

    /// The group of this sandbox in one hierarchy, made if it is not there yet.
    fn make(&mut self, place: &Place, parent: Option<&Path>, name: &str) -> Result<PathBuf> {
        let base = place.below(parent);
        let directory = base.join(name);
        if self.directories.contains(&directory) {
            return Ok(directory);
        }
        sweep(&base);
        let mut made = made();
        let above: Vec<&Path> = base.ancestors().take_while(|path| path.starts_with(&place.top)).collect();
        for path in above.into_iter().rev() {
            if !path.exists() {
                match make_group(path) {
                    Ok(()) => drop(made.insert(path.to_owned())),
                    // Another builder was faster.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(not_made(path, error)),
                }
            }
            if parent.is_some() {
                enable_controllers(path);
            }
        }
        if parent.is_none() {
            enable_controllers(&base);
        }
        make_group(&directory).map_err(|error| not_made(&directory, error))?;
        self.directories.push(directory.clone());
        Ok(directory)
    }
}

impl Drop for Cgroup {
    /// Never waits: what is still counted in the group is left to a thread.
    fn drop(&mut self) {
        self.procs.clear();
        let mut left = std::mem::take(&mut self.directories);
        left.retain(|directory| is_busy(directory));
        if left.is_empty() {
            remove_parents();
            return;
        }
        let remove = move || {
            let end = Instant::now() + PATIENCE;
            while !left.is_empty() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(1));
                left.retain(|directory| is_busy(directory));
            }
            remove_parents();
        };
        let _ = std::thread::Builder::new().name("cgroup".to_owned()).spawn(remove);
    }
}

/// Removes a group, and tells whether somebody is still in it.
fn is_busy(directory: &Path) -> bool {
    fs::remove_dir(directory).is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy)
}

fn made() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    MADE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes what was made above sandboxes and has nothing in it any more, from below.
fn remove_parents() {
    let mut made = made();
    let all = std::mem::take(&mut *made);
    let stays =
        |directory: &PathBuf| fs::remove_dir(directory).is_err_and(|error| error.kind() != io::ErrorKind::NotFound);
    made.extend(all.into_iter().rev().filter(stays));
}

fn not_made(directory: &Path, source: io::Error) -> Error {
    Error::Setup { what: format!("make the control group {}", directory.display()), source }
}

fn make_group(directory: &Path) -> io::Result<()> {
    fs::create_dir(directory)?;
    if !directory.join("cgroup.controllers").exists() {
        // A new group of version 1 that has processors has none of them and takes nobody.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let above = directory.parent().unwrap_or(directory).join(file);
            let inherited = fs::read_to_string(above).unwrap_or_default();
            if !inherited.trim().is_empty() {
                let _ = write(&directory.join(file), inherited.trim());
            }
        }
    }
    Ok(())
}

/// In version 2 a group says which controllers those below it have. What can't be enabled shows when its file is
/// missing.
fn enable_controllers(directory: &Path) {
    if directory.join("cgroup.controllers").exists() {
        for controller in ["memory", "pids", "cpu", "cpuset"] {
            let _ = write(&directory.join("cgroup.subtree_control"), &format!("+{controller}"));
        }
    }
}

/// Removes the groups of builders that were killed.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.strip_prefix("builder-")?.split('-').next()) else {
            continue;
        };
        if pid.bytes().all(|byte| byte.is_ascii_digit()) && !Path::new("/proc").join(pid).exists() {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn missing(controller: &str, reason: &str) -> Error {
    Error::Refused(format!("a limit was asked for, but the cgroup controller {controller} can't be used: {reason}"))
}

fn write(path: &Path, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

/// The limits of the specification as values of files.
fn settings(resources: &LinuxResources) -> Result<Vec<Setting>> {
    let mut out = Vec::new();
    let mut both = |controller, v1: Option<(&'static str, String)>, v2: Option<(&'static str, String)>| {
        out.push(Setting { controller, v1, v2 });
    };
    let amount = |value: i64| if value < 0 { "max".to_owned() } else { value.to_string() };
    if let Some(memory) = resources.memory() {
        if let Some(limit) = memory.limit() {
            both("memory", Some(("memory.limit_in_bytes", limit.to_string())), Some(("memory.max", amount(limit))));
        }
        if let Some(total) = memory.swap() {
            let swap = if total < 0 { -1 } else { (total - memory.limit().unwrap_or(0)).max(0) };
            both(
                "memory",
                Some(("memory.memsw.limit_in_bytes", total.to_string())),
                Some(("memory.swap.max", amount(swap))),
            );
        }
    }
    if let Some(limit) = resources.pids().as_ref().map(oci_spec::runtime::LinuxPids::limit).filter(|limit| *limit != 0)
    {
        let value = amount(limit);
        both("pids", Some(("pids.max", value.clone())), Some(("pids.max", value)));
    }
    if let Some(cpu) = resources.cpu() {
        if let Some(shares) = cpu.shares() {
            let weight = 1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142;
            both("cpu", Some(("cpu.shares", shares.to_string())), Some(("cpu.weight", weight.to_string())));
        }
        let period = cpu.period();
        if let Some(period) = period {
            both("cpu", Some(("cpu.cfs_period_us", period.to_string())), None);
        }
        if let Some(quota) = cpu.quota() {
            let v2 = format!("{} {}", amount(quota), period.unwrap_or(100_000));
            both("cpu", Some(("cpu.cfs_quota_us", quota.to_string())), Some(("cpu.max", v2)));
        }
        for (file, value) in [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())] {
            if let Some(value) = value {
                both("cpuset", Some((file, value.clone())), Some((file, value.clone())));
            }
        }
    }
    let other = [
        (resources.block_io().is_some(), "block I/O"),
        (resources.hugepage_limits().as_ref().is_some_and(|limits| !limits.is_empty()), "huge page"),
        (resources.network().is_some(), "network class"),
        (resources.rdma().as_ref().is_some_and(|limits| !limits.is_empty()), "RDMA"),
        (resources.unified().as_ref().is_some_and(|values| !values.is_empty()), "unified cgroup"),
    ];
    match other.iter().find(|(is_set, _)| *is_set) {
        Some((_, what)) => Err(Error::Unsupported(format!("{what} limits"))),
        None => Ok(out),
    }
}

impl Hierarchies {
    fn of_this_process() -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/self/cgroup")?, &fs::read_to_string("/proc/self/mountinfo")?))
    }

    fn parse(cgroups: &str, mounts: &str) -> Self {
        let mut out = Self::default();
        // id parent device root mountpoint options... - type source super-options
        let mounts: Vec<(&str, &str, &str, &str)> = mounts
            .lines()
            .filter_map(|line| {
                let (front, back) = line.split_once(" - ")?;
                let mut front = front.split(' ');
                let (root, point) = (front.nth(3)?, front.next()?);
                let mut back = back.split(' ');
                Some((root, point, back.next()?, back.nth(1).unwrap_or_default()))
            })
            .collect();
        let place = |root: &str, point: &str, path: &str| {
            let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new("")).to_owned();
            Path::new(point).join(below)
        };
        for line in cgroups.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            if controllers.is_empty() {
                let Some((root, point, ..)) = mounts.iter().find(|(_, _, kind, _)| *kind == "cgroup2") else {
                    continue;
                };
                let own = place(root, point, path);
                // A group with processes in it may have no groups with controllers below it, except the root.
                let is_root = own == Path::new(point);
                let own = if is_root { own } else { own.parent().map_or(own.clone(), Path::to_owned) };
                out.v2 = Some(Place { top: PathBuf::from(point), own });
                continue;
            }
            for controller in controllers.split(',') {
                let found = mounts.iter().find(|(_, _, kind, options)| {
                    *kind == "cgroup" && options.split(',').any(|option| option == controller)
                });
                if let Some((root, point, ..)) = found {
                    let own = place(root, point, path);
                    out.v1.insert(controller.to_owned(), Place { top: PathBuf::from(point), own });
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{LinuxCpuBuilder, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResourcesBuilder};

    use super::*;

    #[test]
    fn hierarchies_are_found() {
        let hybrid = Hierarchies::parse(
            "4:memory:/jobs/a\n1:cpu,cpuacct:/\n0::/\n",
            "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
             35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:5 - cgroup cgroup rw,memory\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
        );
        assert_eq!(hybrid.v1["memory"].own, Path::new("/sys/fs/cgroup/memory/jobs/a"));
        assert_eq!(hybrid.v1["memory"].top, Path::new("/sys/fs/cgroup/memory"));
        assert_eq!(hybrid.v1["cpu"].own, Path::new("/sys/fs/cgroup/cpu"));
        assert_eq!(hybrid.v2.unwrap().own, Path::new("/sys/fs/cgroup/unified"));
        let unified = Hierarchies::parse(
            "0::/user.slice/session-1.scope\n",
            "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
        );
        assert_eq!(unified.v2.unwrap().own, Path::new("/sys/fs/cgroup/user.slice"));
        let inside = Hierarchies::parse(
            "3:pids:/docker/abc\n",
            "30 23 0:26 /docker/abc /sys/fs/cgroup/pids ro - cgroup cgroup rw,pids\n",
        );
        assert_eq!(inside.v1["pids"].own, Path::new("/sys/fs/cgroup/pids"));
    }

    #[test]
    fn limits_become_files() {
        let resources = LinuxResourcesBuilder::default()
            .memory(LinuxMemoryBuilder::default().limit(1000).swap(1500).build().unwrap())
            .pids(LinuxPidsBuilder::default().limit(20).build().unwrap())
            .cpu(
                LinuxCpuBuilder::default()
                    .shares(1024u64)
                    .quota(50_000)
                    .period(100_000u64)
                    .cpus("0-1")
                    .build()
                    .unwrap(),
            )
            .build()
            .unwrap();
        let settings = settings(&resources).unwrap();
        let v2: Vec<String> =
            settings.iter().filter_map(|s| s.v2.as_ref()).map(|(file, value)| format!("{file}={value}")).collect();
        assert_eq!(
            v2,
            [
                "memory.max=1000",
                "memory.swap.max=500",
                "pids.max=20",
                "cpu.weight=39",
                "cpu.max=50000 100000",
                "cpuset.cpus=0-1"
            ]
        );
        let v1: Vec<String> =
            settings.iter().filter_map(|s| s.v1.as_ref()).map(|(file, value)| format!("{file}={value}")).collect();
        assert_eq!(v1[..2], ["memory.limit_in_bytes=1000", "memory.memsw.limit_in_bytes=1500"]);
        assert!(v1.contains(&"cpu.cfs_quota_us=50000".to_owned()));
    }

    /// Version 2, in a directory that plays the hierarchy: the kernel here may have version 1 only.
    #[test]
    fn groups_are_made_below_the_parent_that_was_asked_for() {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir_all(top.path().join("own")).unwrap();
        let place = Place { top: top.path().to_owned(), own: top.path().join("own") };
        let below = |path: &str| place.below(Some(Path::new(path)));
        assert_eq!(below("/a/b"), top.path().join("a/b"));
        assert_eq!(below("a"), top.path().join("own/a"));
        assert_eq!(place.below(None), top.path().join("own"));
        let hierarchies = Hierarchies { v1: BTreeMap::new(), v2: Some(place) };
        let mut group = Cgroup { directories: Vec::new(), procs: Vec::new() };
        let made = group.apply(&[], &hierarchies, Some(Path::new("/builds/mine")));
        assert!(made.is_err(), "there is no cgroup.procs to open in a plain directory");
        assert_eq!(group.directories.len(), 1);
        assert!(group.directories[0].starts_with(top.path().join("builds/mine")) && group.directories[0].is_dir());
        // Another step in the same place, and one in a place that was there before.
        let mut other = Cgroup { directories: Vec::new(), procs: Vec::new() };
        assert!(other.apply(&[], &hierarchies, Some(Path::new("/builds/mine"))).is_err());
        let mut third = Cgroup { directories: Vec::new(), procs: Vec::new() };
        assert!(third.apply(&[], &hierarchies, Some(Path::new("/own/mine"))).is_err());
        drop((group, third));
        assert!(other.directories[0].is_dir(), "it is in use");
        assert!(!top.path().join("own/mine").exists() && top.path().join("own").is_dir());
        drop(other);
        assert!(!top.path().join("builds").exists(), "what was made for them is gone with the last of them");
    }

    #[test]
    fn a_missing_controller_is_named() {
        let resources = LinuxResourcesBuilder::default()
            .pids(LinuxPidsBuilder::default().limit(20).build().unwrap())
            .build()
            .unwrap();
        let mut group = Cgroup { directories: Vec::new(), procs: Vec::new() };
        let error = group.apply(&settings(&resources).unwrap(), &Hierarchies::default(), None).unwrap_err();
        assert!(error.to_string().contains("pids"), "{error}");
    }
}

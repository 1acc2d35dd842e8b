//! All processes of a container stand still while its files are read.
//!
//! A container has no control group of its own unless it has limits, so one is made for the moment, below the one that
//! its processes are in: of the freezer of version 1 where that is mounted, otherwise of version 2. The processes go there,
//! stand still, and go back. The group is named after the process that made it, and when that began: when it was killed,
//! whoever comes next lets the container go on.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use builder_cache::Holder;

use super::process::processes;

/// How long it may take until all processes stand still, or go on.
const PATIENCE: Duration = Duration::from_secs(10);

const PREFIX: &str = "builder-freeze-";

/// Why a container could not be made to stand still.
#[derive(Debug, thiserror::Error)]
pub enum FreezeError {
    /// There is nothing to do it with.
    #[error("no freezer control group is mounted and writable here")]
    Unsupported,
    /// Something went on.
    #[error("its processes did not stop within {} seconds", PATIENCE.as_secs())]
    Timeout,
    /// The kernel refused.
    #[error("{path}: {source}", path = path.display())]
    Group {
        /// The file of the control group.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The container is gone.
    #[error(transparent)]
    Gone(io::Error),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    fn freeze(self, group: &Path) -> Result<(), FreezeError> {
        let (file, value) = match self {
            Self::One => ("freezer.state", "FROZEN"),
            Self::Two => ("cgroup.freeze", "1"),
        };
        write(&group.join(file), value)?;
        let end = Instant::now() + PATIENCE;
        while !self.is_frozen(group) {
            if Instant::now() > end {
                return Err(FreezeError::Timeout);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn is_frozen(self, group: &Path) -> bool {
        let read = |file: &str| fs::read_to_string(group.join(file)).unwrap_or_default();
        match self {
            Self::One => read("freezer.state").trim() == "FROZEN",
            Self::Two => read("cgroup.events").lines().any(|line| line == "frozen 1"),
        }
    }

    fn thaw(self, group: &Path) {
        let (file, value) = match self {
            Self::One => ("freezer.state", "THAWED"),
            Self::Two => ("cgroup.freeze", "0"),
        };
        let _ = write(&group.join(file), value);
    }
}

/// A container that stands still until this is dropped.
#[derive(Debug)]
pub struct Frozen {
    version: Version,
    group: PathBuf,
    /// Where those belong that were not in the first one's group.
    homes: HashMap<i32, PathBuf>,
}

impl Drop for Frozen {
    fn drop(&mut self) {
        release(self.version, &self.group, &self.homes);
    }
}

/// Makes all processes of a container stand still.
///
/// # Errors
/// When there is no freezer, or the processes don't stop.
pub fn freeze(holder: Holder) -> Result<Frozen, FreezeError> {
    release_abandoned(holder);
    let first = *processes(holder).map_err(FreezeError::Gone)?.first().ok_or(FreezeError::Unsupported)?;
    for version in [Version::One, Version::Two] {
        let Some(home) = group_of(first, version) else { continue };
        sweep(version, &home);
        let own = std::process::id().to_string();
        let group = home.join(format!("{PREFIX}{own}-{}", began(&own).ok_or(FreezeError::Unsupported)?));
        match fs::create_dir(&group) {
            Ok(()) => {}
            Err(_) if version == Version::One => continue,
            Err(_) => return Err(FreezeError::Unsupported),
        }
        let mut frozen = Frozen { version, group, homes: HashMap::new() };
        frozen.gather(holder)?;
        version.freeze(&frozen.group)?;
        return Ok(frozen);
    }
    Err(FreezeError::Unsupported)
}

impl Frozen {
    /// Takes all processes in. What they start meanwhile is found in the next round, and at last nobody is outside who could
    /// start anything.
    fn gather(&mut self, holder: Holder) -> Result<(), FreezeError> {
        let end = Instant::now() + PATIENCE;
        loop {
            let mut outside = 0;
            for pid in processes(holder).map_err(FreezeError::Gone)? {
                let Some(home) = group_of(pid, self.version).filter(|home| *home != self.group) else { continue };
                outside += 1;
                match write(&self.group.join("cgroup.procs"), &pid.to_string()) {
                    Ok(()) => drop(self.homes.insert(pid, home)),
                    // It has ended.
                    Err(FreezeError::Group { source, .. }) if source.raw_os_error() == Some(libc::ESRCH) => {}
                    Err(error) => return Err(error),
                }
            }
            if outside == 0 {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(FreezeError::Timeout);
            }
        }
    }
}

/// Lets a container go on whose freezer was killed.
pub(super) fn release_abandoned(holder: Holder) {
    let Some(first) = processes(holder).ok().and_then(|all| all.first().copied()) else { return };
    for version in [Version::One, Version::Two] {
        let Some(group) = group_of(first, version) else { continue };
        if is_abandoned(&group) {
            release(version, &group, &HashMap::new());
        }
    }
}

/// Lets everything go on that stands still for a process that was killed, as far as it is in the group of this process.
pub fn release_all_abandoned() {
    for version in [Version::One, Version::Two] {
        if let Some(home) = i32::try_from(std::process::id()).ok().and_then(|pid| group_of(pid, version)) {
            sweep(version, &home);
        }
    }
}

/// The same for all that are found in a group, whatever container they were for.
fn sweep(version: Version, home: &Path) {
    for entry in fs::read_dir(home).into_iter().flatten().flatten() {
        if is_abandoned(&entry.path()) {
            release(version, &entry.path(), &HashMap::new());
        }
    }
}

/// Whether a group was made by a process that is gone.
fn is_abandoned(group: &Path) -> bool {
    let maker = group.file_name().and_then(|name| name.to_str()?.strip_prefix(PREFIX));
    maker.is_some_and(|maker| match maker.split_once('-') {
        // Another process can have the number by now.
        Some((pid, then)) => began(pid).is_none_or(|now| now != then),
        None => began(maker).is_none(),
    })
}

/// When a process began, in the kernel's ticks since it booted; `None` when there is no such process.
fn began(pid: &str) -> Option<String> {
    let stat = fs::read(Path::new("/proc").join(pid).join("stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The name, which may have anything in it, ends with the last parenthesis.
    Some(stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.to_owned())
}

fn release(version: Version, group: &Path, homes: &HashMap<i32, PathBuf>) {
    version.thaw(group);
    let Some(above) = group.parent() else { return };
    let end = Instant::now() + PATIENCE;
    loop {
        let inside = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        for pid in inside.lines() {
            let home = pid.parse().ok().and_then(|pid: i32| homes.get(&pid)).map_or(above, PathBuf::as_path);
            if write(&home.join("cgroup.procs"), pid).is_err() {
                let _ = write(&above.join("cgroup.procs"), pid);
            }
        }
        match fs::remove_dir(group) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(1));
            }
            _ => return,
        }
    }
}

/// The directory of the group that a process is in.
fn group_of(pid: i32, version: Version) -> Option<PathBuf> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    find_group(&groups, &mounts, version)
}

fn find_group(groups: &str, mounts: &str, version: Version) -> Option<PathBuf> {
    let path = groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let wanted = match version {
            Version::One => controllers.split(',').any(|controller| controller == "freezer"),
            Version::Two => controllers.is_empty(),
        };
        wanted.then_some(path)
    })?;
    mounts.lines().find_map(|line| {
        // id parent device root mountpoint options... - type source super-options
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ');
        let (root, point) = (front.nth(3)?, front.next()?);
        let mut back = back.split(' ');
        let (kind, options) = (back.next()?, back.nth(1).unwrap_or_default());
        let wanted = match version {
            Version::One => kind == "cgroup" && options.split(',').any(|option| option == "freezer"),
            Version::Two => kind == "cgroup2",
        };
        let below = Path::new(path).strip_prefix(root).ok()?;
        wanted.then(|| Path::new(point).join(below))
    })
}

fn write(path: &Path, value: &str) -> Result<(), FreezeError> {
    let write = || OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes());
    write().map_err(|source| FreezeError::Group { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_abandoned_when_its_maker_is_gone_and_its_number_is_of_no_account() {
        let own = std::process::id();
        let began = began(&own.to_string()).unwrap();
        let gone = i32::MAX;
        for (name, expected) in [
            (format!("{PREFIX}{own}-{began}"), false),
            (format!("{PREFIX}{own}-1{began}"), true),
            (format!("{PREFIX}{gone}-{began}"), true),
            // Of a builder that wrote down less.
            (format!("{PREFIX}{own}"), false),
            (format!("{PREFIX}{gone}"), true),
            ("somebody-elses".to_owned(), false),
        ] {
            assert_eq!(is_abandoned(&Path::new("/sys/fs/cgroup").join(&name)), expected, "{name}");
        }
    }

    #[test]
    fn groups_are_found_in_both_versions() {
        let groups = "9:name=systemd:/\n6:freezer:/jobs/a\n0::/user.slice\n";
        let mounts = "37 24 0:33 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer\n\
                      41 24 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let find = |version| find_group(groups, mounts, version);
        assert_eq!(find(Version::One).as_deref(), Some(Path::new("/sys/fs/cgroup/freezer/jobs/a")));
        assert_eq!(find(Version::Two).as_deref(), Some(Path::new("/sys/fs/cgroup/unified/user.slice")));
        assert_eq!(find_group("0::/x\n", mounts, Version::One), None);
        let inside = "41 24 0:38 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let found = find_group("0::/docker/abc/d\n", inside, Version::Two);
        assert_eq!(found.as_deref(), Some(Path::new("/sys/fs/cgroup/d")));
    }
}

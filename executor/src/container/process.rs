//! The processes of a container that runs, found from outside.
//!
//! Nobody writes their numbers down. The builder that runs the container is known ([`Holder`]): one of its descriptors is
//! the container's root, and the first process of the container has the same one. All the others are in the first one's
//! pid name space.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use builder_cache::Holder;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The root of a container that runs, as a path that leads there.
pub(super) fn root_of(holder: Holder) -> PathBuf {
    PathBuf::from(format!("/proc/{}/fd/{}", holder.pid, holder.root))
}

/// The processes of a container, the first one first.
pub(super) fn processes(holder: Holder) -> io::Result<Vec<i32>> {
    let root = identity(&root_of(holder))?;
    let is_first = |pid: &i32| {
        identity(&of(*pid, "root")).is_ok_and(|found| found == root) && number_inside(*pid).as_deref() == Some("1")
    };
    let all: Vec<i32> =
        fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let Some(first) = all.iter().copied().find(is_first) else {
        return Err(io::Error::new(io::ErrorKind::NotFound, "its processes are gone"));
    };
    let space = fs::read_link(of(first, "ns/pid"))?;
    let others =
        all.into_iter().filter(|pid| *pid != first && fs::read_link(of(*pid, "ns/pid")).is_ok_and(|is| is == space));
    Ok(std::iter::once(first).chain(others).collect())
}

/// Kills everything in a container: with its first process the rest goes.
///
/// # Errors
/// When it is gone already, or the kernel refuses.
pub fn kill(holder: Holder) -> io::Result<()> {
    super::freeze::release_abandoned(holder);
    let first = processes(holder)?.first().copied().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
    let process = pidfd_open(first, PidfdFlags::empty())?;
    // The number may have become another process's since it was found.
    if !processes(holder)?.contains(&first.as_raw_nonzero().get()) {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(pidfd_send_signal(process, Signal::KILL)?)
}

/// Kills the builder that runs the container with this directory.
///
/// # Errors
/// When it is gone, or can't be seen from here; when the kernel refuses.
pub fn kill_holder(holder: Holder, directory: &Path) -> io::Result<()> {
    let pid = Pid::from_raw(holder.pid).ok_or(io::ErrorKind::NotFound)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    if !holds(holder, directory) {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(pidfd_send_signal(process, Signal::KILL)?)
}

/// Whether the process with the holder's number is the holder: it has the container's directory open. A builder in
/// another pid name space has a number that means somebody else here.
pub(super) fn holds(holder: Holder, directory: &Path) -> bool {
    let Ok(wanted) = identity(directory) else { return false };
    let open = fs::read_dir(of(holder.pid, "fd")).into_iter().flatten().flatten();
    open.into_iter().any(|file| identity(&file.path()).is_ok_and(|found| found == wanted))
}

fn of(pid: i32, what: &str) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join(what)
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// What the process is called in the innermost pid name space that it is in.
fn number_inside(pid: i32) -> Option<String> {
    let status = fs::read_to_string(of(pid, "status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().last().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_means_somebody_else_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let own = Holder { pid: rustix::process::getpid().as_raw_nonzero().get(), root: 0 };
        assert!(!holds(own, directory.path()));
        assert!(kill_holder(own, directory.path()).is_err(), "this process would not see that");
        let _open = fs::File::open(directory.path()).unwrap();
        assert!(holds(own, directory.path()));
    }
}

//! The sandbox's side: what runs in the binary that was executed again.
//!
//! Everything here runs in processes with one thread. Which file is which process: `mod.rs` the spawner,
//! `keeper.rs` the keeper, the others the first process until it becomes the user's program.

mod caps;
mod exec;
mod first;
mod handed;
mod keeper;
mod mounts;
mod network;
mod terminal;
mod trees;

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create, fsconfig_set_string,
    fsmount, fsopen, move_mount, unmount,
};
use rustix::process::{DumpableBehavior, PidfdFlags, Signal, WaitOptions, pidfd_open};
use rustix::thread::{CapabilitySet, UnshareFlags};

use super::error::{Attempt, Failure};
use super::seccomp::{self, BpfInstruction};
use super::spec::{self, SpecOptions};
use super::user::User;
use crate::sys::{self, Forked, MountAttr};

/// The hidden sub-command.
pub(super) const SUBCOMMAND: &str = "sandbox-init";

type Step<T> = std::result::Result<T, Failure>;

/// Whether this process was started to be a sandbox's helper: it has the hidden sub-command and a socket that keeps
/// message boundaries as its standard input, which nobody types by accident.
pub fn is_init() -> bool {
    std::env::args_os().nth(1).is_some_and(|argument| argument == SUBCOMMAND)
        && rustix::net::sockopt::socket_type(rustix::stdio::stdin())
            .is_ok_and(|kind| kind == rustix::net::SocketType::SEQPACKET)
}

/// Runs the helper. To be called first thing in `main`, before any thread exists, when [`is_init`] says so.
pub fn init_main() -> ! {
    sys::reset_signals();
    // Nobody may trace or inspect the processes that still know the host.
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _ = rustix::thread::set_name(c"builder-sandbox");
    let _ = rustix::process::setsid();
    let _ = sys::close_on_exec_from(3);
    match rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) {
        Ok(requests) => serve(&requests),
        Err(_) => sys::exit_now(1),
    }
}

/// What the spawner prepares once and its children inherit.
struct Base {
    /// The seccomp program for Docker's capabilities.
    filter: Vec<BpfInstruction>,
    default_capabilities: CapabilitySet,
    /// Whether the host has control groups of version 2 and no others.
    unified_cgroups: bool,
    /// A specification like those that will come.
    sample: Vec<u8>,
}

/// How many sandboxes in a row may die before they were given anything to do.
const MAX_STILLBORN: usize = 5;

/// Keeps one sandbox waiting for a request until the builder is gone.
fn serve(requests: &OwnedFd) -> ! {
    let base = prepare_base();
    // Each keeper writes a byte to this pipe when its sandbox was taken.
    let Ok((taken, take)) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC) else { sys::exit_now(1) };
    let mut stillborn = 0;
    loop {
        while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
        let keeper = match sys::fork() {
            Ok(Forked::Child) => {
                drop(taken);
                keeper::run(requests, &base, take)
            }
            Ok(Forked::Parent(keeper)) => keeper,
            Err(_) => sys::exit_now(1),
        };
        let Ok(keeper) = pidfd_open(keeper, PidfdFlags::empty()) else { sys::exit_now(1) };
        match wait_until_taken(&taken, requests, &keeper) {
            Event::Taken => stillborn = 0,
            Event::Died => stillborn += 1,
            Event::BuilderGone => {
                wait_for_children();
                sys::exit_now(0)
            }
        }
        if stillborn > MAX_STILLBORN {
            sys::exit_now(1);
        }
    }
}

enum Event {
    /// The waiting sandbox got a request.
    Taken,
    /// It died without.
    Died,
    /// There will be no more requests.
    BuilderGone,
}

fn wait_until_taken(taken: &OwnedFd, requests: &OwnedFd, keeper: &OwnedFd) -> Event {
    loop {
        // No events of the socket are asked for: that it hung up is always told.
        let mut fds = [
            PollFd::new(taken, PollFlags::IN),
            PollFd::new(requests, PollFlags::empty()),
            PollFd::new(keeper, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            Err(_) => return Event::BuilderGone,
            Ok(_) => {}
        }
        if fds[0].revents().contains(PollFlags::IN) {
            let _ = rustix::io::read(taken, &mut [0]);
            return Event::Taken;
        }
        if fds[1].revents().intersects(PollFlags::HUP | PollFlags::ERR) {
            return Event::BuilderGone;
        }
        if fds[2].revents().contains(PollFlags::IN) {
            return Event::Died;
        }
    }
}

/// The sandboxes that wait see the hang-up, too, and end; those that run are ended by their keepers. Waiting for
/// them keeps them from losing their parent, which would kill them before they have reported.
fn wait_for_children() {
    while !matches!(rustix::process::wait(WaitOptions::empty()), Err(Errno::CHILD)) {}
}

/// Takes this process out of the host's file system: a mount name space whose root is a small directory tree in
/// memory. Copies of it, one for each sandbox, cost next to nothing.
fn prepare_base() -> Step<Base> {
    let unified_cgroups = std::fs::read_to_string("/proc/self/cgroup").is_ok_and(|groups| groups.lines().count() == 1);
    // Read from the host's /sys and remembered.
    let _ = spec::masked_paths();
    sys::unshare(UnshareFlags::NEWNS).attempt("make a mount name space")?;
    let old_root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .attempt("open the root directory")?;
    let private = MountAttr { propagation: libc::MS_PRIVATE, ..MountAttr::default() };
    sys::mount_setattr(&old_root, true, private).attempt("make the mounts private")?;
    drop(old_root);

    let root = new_file_system("tmpfs", &[("mode", "755"), ("size", "1m")], MountAttrFlags::empty())?;
    rustix::process::umask(Mode::empty());
    for name in ["dev", "empty", "proc", "root", "sys", "tree"] {
        rustix::fs::mkdirat(&root, name, Mode::from_raw_mode(0o755)).attempt("make a directory in memory")?;
    }
    attach_over_root(&root)?;
    trees::prepare_base(spec::masked_paths())?;
    let default_capabilities = super::capability_set(&spec::DEFAULT_CAPABILITIES.into_iter().collect());
    let filter = seccomp::default_profile(default_capabilities);
    let root = User { uid: 0, gid: 0, groups: Vec::new(), home: "/root".to_owned() };
    let sample = serde_json::to_vec(&spec::default_spec(&SpecOptions::new(["true"], root))).unwrap_or_default();
    Ok(Base { filter, default_capabilities, unified_cgroups, sample })
}

/// A new instance of a file system, attached nowhere.
fn new_file_system(kind: &str, options: &[(&str, &str)], attributes: MountAttrFlags) -> Step<OwnedFd> {
    let make = || -> rustix::io::Result<OwnedFd> {
        let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (key, value) in options {
            if value.is_empty() {
                rustix::mount::fsconfig_set_flag(&context, *key)?;
            } else {
                fsconfig_set_string(&context, *key, *value)?;
            }
        }
        fsconfig_create(&context)?;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    };
    make().attempt_with(|| format!("mount a new {kind}"))
}

/// Attaches the mount `what` on `target`, which may be a symbolic link: the mount is then on the link itself.
fn attach(what: impl AsFd, target: impl AsFd) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(what, "", target, "", flags)
}

/// Makes the detached mount `root` the root of this process's mount name space, and drops all that was there.
fn attach_over_root(root: &OwnedFd) -> Step<()> {
    move_mount(root, "", rustix::fs::CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).attempt("attach a root")?;
    enter_root(root)
}

/// Makes the attached mount `root` the root of this process's mount name space, and drops all others.
fn enter_root(root: &OwnedFd) -> Step<()> {
    rustix::process::fchdir(root).attempt("enter the root")?;
    // With the same directory for both, the old root ends up mounted over the new one, from where it is taken off.
    rustix::process::pivot_root(".", ".").map_err(|error| {
        let what = if error == Errno::INVAL {
            "make it the root (is the builder's own root file system an initramfs?)"
        } else {
            "make it the root"
        };
        Failure::setup(what, error)
    })?;
    unmount(".", UnmountFlags::DETACH).attempt("leave the old root")?;
    rustix::process::chdir("/").attempt("enter the new root")
}

/// Opens a directory of this process's own root.
fn open_directory(path: &str) -> Step<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .attempt_with(|| format!("open {path}"))
}

/// What is at a descriptor, in words.
fn kind_of(fd: impl AsFd) -> Step<FileType> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd).attempt("look at a mount point")?.st_mode))
}

/// This process dies when its parent dies.
fn die_with_parent() {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
}

//! One process in a root file system of its own.
//!
//! ```text
//!  builder ──fork+exec──▶ spawner ──fork──▶ keeper ──fork──▶ first process ──execve──▶ the user's program
//!  (threads)   once       one thread        waits, kills     pid 1 in its name spaces
//! ```
//!
//! * The **spawner** is the builder's own binary, executed once with a hidden sub-command ([`init_main`]) before
//!   the first sandbox. It has one thread and a mount name space with nothing of the host in it, so forking it is
//!   cheap and sound, and no code of ours runs between fork and exec in the threaded builder.
//! * It keeps one sandbox ready: a keeper and a first process that has its name spaces, `/proc` and `/dev` already
//!   and waits for a request on the socket that all of them share.
//! * A request carries the OCI runtime [`Spec`], the root ([`RootMount`]), the standard streams and a *channel*.
//!   Over the channel come errors, the terminal and the exit status, and go signals.
//! * When the channel closes, however the builder ended, the keeper kills the first process, and with it the kernel
//!   kills all others of the name space and takes down its mounts. `PR_SET_PDEATHSIG` along the chain is the second
//!   belt.
//!
//! A sandbox is never used twice.

mod cgroup;
mod error;
mod init;
mod limits;
mod mount_options;
mod probe;
mod running;
mod seccomp;
mod spawner;
mod spec;
mod stubs;
mod user;
mod wire;

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_spec::runtime::{Capability, LinuxNamespaceType, Spec};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::thread::CapabilitySet;

pub use error::{Error, Result};
pub use init::{init_main, is_init};
pub use limits::{CgroupPath, Limits, Ulimit};
pub use probe::check_privilege;
pub use running::Running;
pub use spec::{
    BUILD_HOSTNAME, DEFAULT_CAPABILITIES, DEFAULT_PATH, Network, SpecOptions, default_spec, mount, with_seccomp_profile,
};
pub use user::{User, resolve as resolve_user};
pub use wire::Exit;

use crate::rootfs::{RootMount, in_root};
use crate::sys;
use mount_options::MountOptions;
use spawner::Spawner;
use wire::{Plan, Stream};

/// Runs processes in sandboxes. Clones share the helper process.
#[derive(Debug, Clone, Default)]
pub struct Sandbox {
    spawner: Arc<Spawner>,
}

/// What the standard streams of a process are.
#[derive(Debug)]
pub enum Stdio {
    /// Nothing to read, and pipes to read from: [`Running::take_stdout`], [`Running::take_stderr`].
    Pipes,
    /// Pipes for all three: [`Running::take_stdin`], too.
    PipesWithStdin,
    /// The builder's own streams.
    Inherit,
    /// These descriptors: input, output, errors.
    Descriptors(OwnedFd, OwnedFd, OwnedFd),
    /// A new terminal, whose other side comes with [`Running::console`]. The specification says so, too, and how
    /// large it is.
    Terminal,
}

/// One process to run.
#[derive(Debug)]
pub struct SpawnRequest<'a> {
    /// What to run: see [`default_spec`].
    pub spec: &'a Spec,
    /// Where. A mount can be the root of one sandbox only.
    pub root: &'a RootMount,
    /// Its standard streams.
    pub stdio: Stdio,
    /// Detached mounts (from `open_tree` or `fsmount`) that some of the mounts show parts of.
    pub trees: Vec<BorrowedFd<'a>>,
    /// What the mounts with these destinations show, instead of their `source`.
    pub sources: HashMap<PathBuf, TreePath>,
    /// Whether the default seccomp profile applies.
    pub seccomp: bool,
    /// Devices can be used, and the kernel's file systems be written to.
    pub privileged: bool,
}

/// A file or directory of one of the trees of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreePath {
    /// Which of [`SpawnRequest::trees`].
    pub tree: usize,
    /// Where in it; links are followed inside of it.
    pub path: PathBuf,
}

impl<'a> SpawnRequest<'a> {
    /// Runs what `spec` says in `root`, output to pipes, everything else as safe as it gets.
    pub fn new(spec: &'a Spec, root: &'a RootMount) -> Self {
        Self {
            spec,
            root,
            stdio: Stdio::Pipes,
            trees: Vec::new(),
            sources: HashMap::new(),
            seccomp: true,
            privileged: false,
        }
    }
}

impl Sandbox {
    /// Sandboxes whose helper is this binary, executed again. Its `main` must begin with
    /// `if sandbox::is_init() { sandbox::init_main() }`.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with another binary that does so: for tests, whose `main` is not theirs.
    pub fn with_helper(program: impl Into<PathBuf>) -> Self {
        Self { spawner: Arc::new(Spawner::with_program(program.into())) }
    }

    /// Starts the helper process ahead of the first [`Sandbox::spawn`], which it makes faster.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn warm_up(&self) -> Result<()> {
        self.spawner.start()
    }

    /// Starts a process. Returns as soon as it is on its way: whether the program is there at all is told by
    /// [`Running::wait`]. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the request makes no sense or the helper can't be reached.
    pub fn spawn(&self, request: SpawnRequest<'_>) -> Result<Running> {
        let SpawnRequest { spec, root, stdio, trees, sources, seccomp, privileged } = request;
        check(spec)?;
        let mut descriptors: Vec<Handed<'_>> = Vec::new();
        let mut plan = Plan {
            streams: [Stream::Null; 3],
            own_pipes: false,
            mounts: Vec::new(),
            network: None,
            cgroups: Vec::new(),
            seccomp,
            privileged,
        };
        descriptors.extend(trees.iter().map(|tree| Handed::Borrowed(*tree)));
        for (index, mount) in spec.mounts().iter().flatten().enumerate() {
            let options = MountOptions::parse(mount.options().as_deref().unwrap_or_default())?;
            if options.bind || mount.typ().as_deref() == Some("bind") {
                let handed = if let Some(TreePath { tree, path }) = sources.get(mount.destination()) {
                    wire::Handed { mount: index, descriptor: *tree, path: Some(path.clone()) }
                } else {
                    let fd = clone_mount(mount.source().as_deref(), mount.destination(), &options)?;
                    descriptors.push(Handed::Owned(fd));
                    wire::Handed { mount: index, descriptor: descriptors.len() - 1, path: None }
                };
                plan.mounts.push(handed);
            }
        }
        if let Some(path) = network_path(spec) {
            let fd = rustix::fs::open(
                path,
                rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
                rustix::fs::Mode::empty(),
            )
            .map_err(|error| Error::Setup {
                what: format!("open the network name space {}", path.display()),
                source: error.into(),
            })?;
            plan.network = Some(descriptors.len());
            descriptors.push(Handed::Owned(fd));
        }
        let cgroup = cgroup::Cgroup::create(spec)?;
        for file in cgroup.iter().flat_map(cgroup::Cgroup::procs_files) {
            plan.cgroups.push(descriptors.len());
            descriptors.push(Handed::Borrowed(file));
        }
        let stubs = stubs::Stubs::create(root, spec, |mount| {
            let handed = plan.mounts.iter().find(|handed| handed.mount == mount);
            let mode = handed.and_then(|handed| mode_of(descriptors.get(handed.descriptor)?, handed.path.as_deref()));
            mode.is_some_and(|mode| FileType::from_raw_mode(mode) != FileType::Directory)
        })?;
        let terminal = spec.process().as_ref().and_then(oci_spec::runtime::Process::terminal).unwrap_or(false);
        let streams = running::Streams::open(stdio, terminal, &mut plan, &mut descriptors)?;
        let (ours, theirs) =
            wire::channel().map_err(|source| Error::Setup { what: "make a socket pair".to_owned(), source })?;
        let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        self.spawner.send(&plan, spec, theirs.as_fd(), root.as_fd(), &borrowed)?;
        drop(descriptors);
        Running::new(ours, streams, stubs, cgroup, Arc::clone(&self.spawner))
    }
}

/// A descriptor that goes to the sandbox.
#[derive(Debug)]
pub(crate) enum Handed<'a> {
    Owned(OwnedFd),
    Borrowed(BorrowedFd<'a>),
}

impl AsFd for Handed<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Owned(fd) => fd.as_fd(),
            Self::Borrowed(fd) => *fd,
        }
    }
}

/// What kind of file a mount, or something in it, is.
fn mode_of(tree: impl AsFd, path: Option<&Path>) -> Option<u32> {
    let Some(path) = path else { return rustix::fs::fstat(tree).ok().map(|stat| stat.st_mode) };
    let found = in_root::open(tree, path, OFlags::PATH, Mode::empty()).ok()?;
    rustix::fs::fstat(found).ok().map(|stat| stat.st_mode)
}

/// Refuses what the sandbox would have to leave out silently.
fn check(spec: &Spec) -> Result<()> {
    use LinuxNamespaceType as Type;
    let unsupported = |what: &str| Err(Error::Unsupported(what.to_owned()));
    let Some(process) = spec.process() else { return unsupported("a specification without a process") };
    if process.args().as_ref().is_none_or(Vec::is_empty) {
        return Err(Error::Refused("there is no command to run".to_owned()));
    }
    if !process.cwd().is_absolute() {
        return Err(Error::Refused(format!("the working directory {} is not absolute", process.cwd().display())));
    }
    if process.apparmor_profile().is_some() || process.selinux_label().is_some() {
        return unsupported("AppArmor profiles and SELinux labels");
    }
    if spec.hooks().is_some() {
        return unsupported("hooks");
    }
    let Some(linux) = spec.linux() else { return unsupported("a specification without a `linux` part") };
    if linux.seccomp().is_some() {
        return unsupported("seccomp profiles other than its own");
    }
    if linux.devices().as_ref().is_some_and(|devices| !devices.is_empty()) {
        return unsupported("devices");
    }
    if linux.sysctl().as_ref().is_some_and(|values| !values.is_empty()) {
        return unsupported("sysctls");
    }
    if linux.uid_mappings().is_some() || linux.gid_mappings().is_some() {
        return unsupported("user name spaces");
    }
    let namespaces = linux.namespaces().as_deref().unwrap_or_default();
    for wanted in [Type::Pid, Type::Mount, Type::Ipc, Type::Uts, Type::Cgroup] {
        if !namespaces.iter().any(|namespace| namespace.typ() == wanted && namespace.path().is_none()) {
            return Err(Error::Unsupported(format!("a process without its own {wanted} name space")));
        }
    }
    if namespaces.iter().any(|namespace| matches!(namespace.typ(), Type::User | Type::Time)) {
        return unsupported("user and time name spaces");
    }
    Ok(())
}

fn network_path(spec: &Spec) -> Option<&Path> {
    let namespaces = spec.linux().as_ref()?.namespaces().as_ref()?;
    namespaces.iter().find(|namespace| namespace.typ() == LinuxNamespaceType::Network)?.path().as_deref()
}

/// A detached copy of what is at `source` on the host, with the attributes that it will have in the sandbox.
fn clone_mount(source: Option<&Path>, destination: &Path, options: &MountOptions) -> Result<OwnedFd> {
    let Some(source) = source.filter(|path| path.is_absolute()) else {
        return Err(Error::Refused(format!("the bind mount at {} has no absolute source", destination.display())));
    };
    let setup = |what: &str, source_error: std::io::Error| Error::Setup {
        what: format!("{what} {} for {}", source.display(), destination.display()),
        source: source_error,
    };
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if options.recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let fd = open_tree(rustix::fs::CWD, source, flags).map_err(|error| setup("bind", error.into()))?;
    sys::mount_setattr(&fd, options.recursive, options.attributes())
        .map_err(|error| setup("set the mount attributes of", error))?;
    Ok(fd)
}

/// The kernel's form of the specification's list.
pub(crate) fn capability_set(capabilities: &std::collections::HashSet<Capability>) -> CapabilitySet {
    capabilities.iter().fold(CapabilitySet::empty(), |set, capability| {
        set | CapabilitySet::from_bits_retain(1 << capability_number(*capability))
    })
}

fn capability_number(capability: Capability) -> u32 {
    match capability {
        Capability::Chown => 0,
        Capability::DacOverride => 1,
        Capability::DacReadSearch => 2,
        Capability::Fowner => 3,
        Capability::Fsetid => 4,
        Capability::Kill => 5,
        Capability::Setgid => 6,
        Capability::Setuid => 7,
        Capability::Setpcap => 8,
        Capability::LinuxImmutable => 9,
        Capability::NetBindService => 10,
        Capability::NetBroadcast => 11,
        Capability::NetAdmin => 12,
        Capability::NetRaw => 13,
        Capability::IpcLock => 14,
        Capability::IpcOwner => 15,
        Capability::SysModule => 16,
        Capability::SysRawio => 17,
        Capability::SysChroot => 18,
        Capability::SysPtrace => 19,
        Capability::SysPacct => 20,
        Capability::SysAdmin => 21,
        Capability::SysBoot => 22,
        Capability::SysNice => 23,
        Capability::SysResource => 24,
        Capability::SysTime => 25,
        Capability::SysTtyConfig => 26,
        Capability::Mknod => 27,
        Capability::Lease => 28,
        Capability::AuditWrite => 29,
        Capability::AuditControl => 30,
        Capability::Setfcap => 31,
        Capability::MacOverride => 32,
        Capability::MacAdmin => 33,
        Capability::Syslog => 34,
        Capability::WakeAlarm => 35,
        Capability::BlockSuspend => 36,
        Capability::AuditRead => 37,
        Capability::Perfmon => 38,
        Capability::Bpf => 39,
        Capability::CheckpointRestore => 40,
    }
}

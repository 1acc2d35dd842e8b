//! The OCI runtime specification of a step or a run, with Docker's defaults.
//!
//! The specification is complete but for the root file system (which is a mount without a path) and the seccomp
//! profile (which the sandbox has compiled in). [`with_seccomp_profile`] adds the latter for another runtime.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use oci_spec::runtime::{
    Arch, BoxBuilder, Capability, Linux, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxNamespace, LinuxNamespaceType,
    LinuxResources, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompOperator, LinuxSyscallBuilder, Mount, PosixRlimit, Process, Root, Spec, User as SpecUser,
};

use rustix::thread::CapabilitySet;

use super::seccomp;
use super::user::User;

/// The host name of build steps: the same on every machine, since images record it.
pub const BUILD_HOSTNAME: &str = "buildkitsandbox";

/// What `PATH` is when the image does not say.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The capabilities of a process in Docker.
pub const DEFAULT_CAPABILITIES: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Kill,
    Capability::AuditWrite,
];

/// Every capability that there is.
const ALL_CAPABILITIES: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// Which network a process gets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Network {
    /// The builder's own.
    #[default]
    Host,
    /// A fresh one with nothing but the loopback interface.
    None,
    /// An existing network name space, by its path.
    Path(PathBuf),
}

/// What to run and how, for [`default_spec`].
#[derive(Debug, Clone)]
pub struct SpecOptions {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// The environment, `NAME=value`. Nothing is inherited; `HOME` is added when it is missing.
    pub env: Vec<String>,
    /// The working directory; made when it is missing.
    pub cwd: PathBuf,
    /// As whom.
    pub user: User,
    /// The host name.
    pub hostname: String,
    /// The network.
    pub network: Network,
    /// Whether the process gets a terminal of its own, and how large (columns, rows) it is.
    pub terminal: Option<(u16, u16)>,
    /// Nothing can be written to the root.
    pub read_only: bool,
    /// Files of the host to be seen, read-only, as `/etc/resolv.conf` and so on: source and destination.
    pub files: Vec<(PathBuf, PathBuf)>,
    /// Volumes and further mounts (`bind`, `tmpfs`).
    pub mounts: Vec<Mount>,
    /// All capabilities that the builder has, nothing hidden and nothing protected. The request says so, too.
    pub privileged: bool,
    /// The size of `/dev/shm` in bytes, when it is not the usual one.
    pub shm_size: Option<u64>,
    /// Limits of the process.
    pub rlimits: Vec<PosixRlimit>,
    /// Limits of it and all that it starts.
    pub resources: Option<LinuxResources>,
    /// The control group in which the sandbox's own is made.
    pub cgroup_parent: Option<PathBuf>,
}

impl SpecOptions {
    /// Runs `args` as `user` with everything else as in a build step.
    pub fn new(args: impl IntoIterator<Item = impl Into<String>>, user: User) -> Self {
        Self {
            args: args.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            cwd: PathBuf::from("/"),
            user,
            hostname: BUILD_HOSTNAME.to_owned(),
            network: Network::default(),
            terminal: None,
            read_only: false,
            files: Vec::new(),
            mounts: Vec::new(),
            privileged: false,
            shm_size: None,
            rlimits: Vec::new(),
            resources: None,
            cgroup_parent: None,
        }
    }
}

/// The specification of one process.
pub fn default_spec(options: &SpecOptions) -> Spec {
    let mut env = options.env.clone();
    if !env.iter().any(|variable| variable.starts_with("HOME=")) {
        env.push(format!("HOME={}", options.user.home));
    }
    let mut user = SpecUser::default();
    user.set_uid(options.user.uid).set_gid(options.user.gid).set_umask(Some(0o022));
    let mut groups = vec![options.user.gid];
    groups.extend(options.user.groups.iter().copied().filter(|group| *group != options.user.gid));
    user.set_additional_gids(Some(groups));

    let all: HashSet<Capability> =
        if options.privileged { own_capabilities() } else { DEFAULT_CAPABILITIES.into_iter().collect() };
    let held = if options.user.uid == 0 { all.clone() } else { HashSet::new() };
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(all)
        .effective(held.clone())
        .permitted(held)
        .inheritable(HashSet::new())
        .ambient(HashSet::new())
        .build()
        .ok();

    let mut process = Process::default();
    process
        .set_args(Some(options.args.clone()))
        .set_env(Some(env))
        .set_cwd(options.cwd.clone())
        .set_user(user)
        .set_capabilities(capabilities)
        .set_rlimits(Some(options.rlimits.clone()).filter(|limits| !limits.is_empty()))
        .set_no_new_privileges(Some(false))
        .set_terminal(Some(options.terminal.is_some()));
    if let Some((columns, rows)) = options.terminal {
        let size = BoxBuilder::default().width(u64::from(columns)).height(u64::from(rows)).build();
        process.set_console_size(size.ok());
    }

    let mut root = Root::default();
    root.set_path(PathBuf::from("rootfs")).set_readonly(Some(options.read_only));

    let mut mounts = standard_mounts();
    if let Some(size) = options.shm_size {
        let options = ["nosuid", "nodev", "noexec", "mode=1777", &format!("size={size}")];
        mounts.push(mount("tmpfs", Path::new("tmpfs"), Path::new("/dev/shm"), &options));
    }
    mounts.extend(
        options.files.iter().map(|(source, destination)| {
            mount("bind", source, destination, &["bind", "ro", "nosuid", "nodev", "noexec"])
        }),
    );
    mounts.extend(options.mounts.iter().cloned());

    let mut spec = Spec::default();
    spec.set_hostname(Some(options.hostname.clone()))
        .set_root(Some(root))
        .set_process(Some(process))
        .set_mounts(Some(mounts))
        .set_linux(Some(linux(options)));
    spec
}

fn linux(options: &SpecOptions) -> Linux {
    use LinuxNamespaceType as Type;
    let mut namespaces: Vec<LinuxNamespace> = [Type::Pid, Type::Mount, Type::Ipc, Type::Uts, Type::Cgroup]
        .into_iter()
        .map(|kind| namespace(kind, None))
        .collect();
    match &options.network {
        Network::Host => {}
        Network::None => namespaces.push(namespace(Type::Network, None)),
        Network::Path(path) => namespaces.push(namespace(Type::Network, Some(path.clone()))),
    }
    let (masked, readonly) =
        if options.privileged { (Vec::new(), Vec::new()) } else { (masked_paths().to_vec(), readonly_paths()) };
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces)
        .masked_paths(masked)
        .readonly_paths(readonly)
        .build()
        .unwrap_or_default();
    linux.set_resources(options.resources.clone()).set_cgroups_path(options.cgroup_parent.clone());
    linux
}

fn namespace(kind: LinuxNamespaceType, path: Option<PathBuf>) -> LinuxNamespace {
    let mut namespace = LinuxNamespace::default();
    namespace.set_typ(kind).set_path(path);
    namespace
}

/// A mount of the specification.
pub fn mount(kind: &str, source: &Path, destination: &Path, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(source.to_owned()))
        .set_destination(destination.to_owned())
        .set_options(Some(options.iter().map(|option| (*option).to_owned()).collect()));
    mount
}

/// The mounts that every sandbox has.
pub(crate) fn standard_mounts() -> Vec<Mount> {
    let row =
        |kind: &str, destination: &str, options: &[&str]| mount(kind, Path::new(kind), Path::new(destination), options);
    vec![
        row("proc", "/proc", &["nosuid", "nodev", "noexec"]),
        row("tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        row("devpts", "/dev/pts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        row("sysfs", "/sys", &["nosuid", "nodev", "noexec", "ro"]),
        row("mqueue", "/dev/mqueue", &["nosuid", "nodev", "noexec"]),
        row("tmpfs", "/dev/shm", &["nosuid", "nodev", "noexec", "mode=1777", "size=65536k"]),
        row("cgroup", "/sys/fs/cgroup", &["ro", "nosuid", "nodev", "noexec", "relatime"]),
    ]
}

/// What a process must not read, in Docker's order.
pub(crate) fn masked_paths() -> &'static [String] {
    static PATHS: OnceLock<Vec<String>> = OnceLock::new();
    PATHS.get_or_init(|| {
        let mut paths: Vec<String> = [
            "/proc/acpi",
            "/proc/asound",
            "/proc/interrupts",
            "/proc/kcore",
            "/proc/keys",
            "/proc/latency_stats",
            "/proc/sched_debug",
            "/proc/scsi",
            "/proc/timer_list",
            "/proc/timer_stats",
            "/sys/devices/virtual/powercap",
            "/sys/firmware",
        ]
        .map(str::to_owned)
        .to_vec();
        for cpu in 0.. {
            let directory = format!("/sys/devices/system/cpu/cpu{cpu}");
            if !Path::new(&directory).exists() {
                break;
            }
            let path = format!("{directory}/thermal_throttle");
            if Path::new(&path).exists() {
                paths.push(path);
            }
        }
        paths
    })
}

/// What a process must not write.
pub(crate) fn readonly_paths() -> Vec<String> {
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"].map(str::to_owned).to_vec()
}

/// What the builder itself may do: nobody can give more.
fn own_capabilities() -> HashSet<Capability> {
    let own = rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.permitted);
    ALL_CAPABILITIES.into_iter().filter(|one| own.contains(super::capability_set(&HashSet::from([*one])))).collect()
}

/// The specification with the seccomp profile written out, for runtimes that do not have it built in.
pub fn with_seccomp_profile(mut spec: Spec) -> Spec {
    let mut linux = spec.linux().clone().unwrap_or_default();
    linux.set_seccomp(seccomp_profile());
    spec.set_linux(Some(linux));
    spec
}

fn seccomp_profile() -> Option<LinuxSeccomp> {
    let allow = |names: Vec<String>, args: Vec<(usize, u64, Option<u64>, LinuxSeccompOperator)>| {
        let args: Vec<_> = args
            .into_iter()
            .filter_map(|(index, value, second, operator)| {
                let arg = LinuxSeccompArgBuilder::default().index(index).value(value).op(operator);
                match second {
                    Some(second) => arg.value_two(second).build().ok(),
                    None => arg.build().ok(),
                }
            })
            .collect();
        let call = LinuxSyscallBuilder::default().names(names).action(LinuxSeccompAction::ScmpActAllow);
        if args.is_empty() { call.build().ok() } else { call.args(args).build().ok() }
    };
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let capabilities = super::capability_set(&DEFAULT_CAPABILITIES.into_iter().collect());
    let mut calls = vec![allow(seccomp::names(capabilities).map(str::to_owned).collect(), vec![])];
    for value in seccomp::PERSONALITIES {
        calls.push(allow(names(&["personality"]), vec![(0, u64::from(value), None, LinuxSeccompOperator::ScmpCmpEq)]));
    }
    calls.push(allow(
        names(&["clone"]),
        vec![(0, u64::from(seccomp::NEW_NAMESPACES), Some(0), LinuxSeccompOperator::ScmpCmpMaskedEq)],
    ));
    for (value, operator) in [
        (u64::from(seccomp::REFUSED_FAMILIES[0]), LinuxSeccompOperator::ScmpCmpLt),
        (39, LinuxSeccompOperator::ScmpCmpEq),
        (u64::from(seccomp::REFUSED_FAMILIES[1]), LinuxSeccompOperator::ScmpCmpGt),
    ] {
        calls.push(allow(names(&["socket"]), vec![(0, value, None, operator)]));
    }
    calls.push(
        LinuxSyscallBuilder::default()
            .names(names(&["clone3"]))
            .action(LinuxSeccompAction::ScmpActErrno)
            .errno_ret(libc::ENOSYS as u32)
            .build()
            .ok(),
    );
    let architectures = if cfg!(target_arch = "aarch64") {
        vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm]
    } else {
        vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86]
    };
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(libc::EPERM as u32)
        .architectures(architectures)
        .syscalls(calls.into_iter().flatten().collect::<Vec<_>>())
        .build()
        .ok()
}

//! A container: an image's snapshot under a directory for changes, and one process in a sandbox on it.
//!
//! | file | what |
//! |---|---|
//! | here | starting one |
//! | [`view`] | its files, seen from outside: at rest or while it runs |
//! | [`place`] | resolving paths for `cp` |
//! | [`change`] | what it changed |
//! | [`commit`] | its changes as a layer |
//! | [`process`] | its processes |
//! | [`freeze`] | stopping all of them for a moment |

pub mod change;
mod commit;
mod freeze;
pub mod place;
mod process;
mod view;

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use builder_cache::{HeldContainer, Holder, Snapshot, Store};
use oci_spec::runtime::Mount;

pub use commit::commit;
pub use freeze::{FreezeError, Frozen, freeze, release_all_abandoned};
pub use process::{kill, kill_holder};
pub use view::View;

use crate::op::OpError;
use crate::rootfs::{Driver, Purpose, RootMount};
use crate::sandbox::{
    Exit, Network, Running, Sandbox, SpawnRequest, SpecOptions, Stdio, default_spec, mount, resolve_user,
};

/// What to run.
#[derive(Debug, Clone)]
pub struct ContainerOptions {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// The environment, `NAME=value`.
    pub env: Vec<String>,
    /// The working directory, absolute; made when it is missing.
    pub cwd: PathBuf,
    /// `user[:group]`; empty means root.
    pub user: String,
    /// The container's host name.
    pub hostname: String,
    /// The network.
    pub network: Network,
    /// The size of the terminal (columns, rows), when the process gets one.
    pub terminal: Option<(u16, u16)>,
    /// Directories and files of the host that are seen in the container.
    pub volumes: Vec<Volume>,
}

/// A directory or file of the host in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Where it is on the host, absolute.
    pub source: PathBuf,
    /// Where it is seen, absolute.
    pub target: PathBuf,
    /// The container can't change it.
    pub read_only: bool,
}

/// A container that could not be started.
#[derive(Debug)]
pub struct NotStarted {
    /// Why.
    pub error: OpError,
    /// What stays of it.
    pub held: HeldContainer,
}

/// A container that was started. Dropping it kills what runs in it.
#[derive(Debug)]
pub struct Container {
    running: Running,
    // The mount goes before the directory that it is on.
    root: RootMount,
    held: HeldContainer,
}

impl Container {
    /// Starts a container, and writes down that it runs. Must be called inside a tokio runtime. One that can't be started
    /// is given back.
    ///
    /// # Errors
    /// When the root file system or the sandbox can't be made, or the container's name is taken. Whether the program
    /// exists is told by [`Container::wait`].
    pub fn start(
        mut held: HeldContainer,
        store: &Store,
        driver: &Driver,
        sandbox: &Sandbox,
        snapshot: &Snapshot,
        options: &ContainerOptions,
        stdio: Stdio,
    ) -> Result<Self, Box<NotStarted>> {
        let (upper, work, own) = (held.upper(), held.work(), held.directory().join("etc"));
        let start = || -> Result<(Running, RootMount), OpError> {
            let root = driver.mount(store, snapshot, Some((&upper, &work)), Purpose::Sandbox)?;
            let user = resolve_user(root.as_fd(), &options.user)?;
            let mut spec = SpecOptions::new(options.args.iter().cloned(), user);
            spec.env.clone_from(&options.env);
            spec.cwd.clone_from(&options.cwd);
            spec.hostname.clone_from(&options.hostname);
            spec.network = options.network.clone();
            spec.terminal = options.terminal;
            spec.files = etc_files(&own, &options.hostname)?;
            spec.mounts = options.volumes.iter().map(bind).collect();
            let spec = default_spec(&spec);
            let mut request = SpawnRequest::new(&spec, &root);
            request.stdio = stdio;
            // Before it runs: whoever's name is taken must not.
            let pid = rustix::process::getpid().as_raw_nonzero().get();
            held.started(Holder { pid, root: root.as_fd().as_raw_fd() })?;
            Ok((sandbox.spawn(request)?, root))
        };
        match start() {
            Ok((running, root)) => Ok(Self { running, root, held }),
            Err(error) => Err(Box::new(NotStarted { error, held })),
        }
    }

    /// Ends it, with everything in it, and completes its changes.
    ///
    /// # Errors
    /// When the vfs driver can't write down what changed.
    pub fn finish(self) -> Result<HeldContainer, OpError> {
        let Self { running, root, held } = self;
        drop(running);
        // Nobody will look at what changed in one that is removed.
        if held.is_passing() {
            drop(root);
        } else {
            root.finish()?;
        }
        Ok(held)
    }

    /// The process.
    pub fn process(&mut self) -> &mut Running {
        &mut self.running
    }

    /// Waits until everything in the container is gone.
    ///
    /// # Errors
    /// When the program could not be run.
    pub async fn wait(&mut self) -> Result<Exit, OpError> {
        Ok(self.running.wait().await?)
    }
}

fn bind(volume: &Volume) -> Mount {
    let options: &[&str] = if volume.read_only { &["rbind", "ro", "nodev"] } else { &["rbind", "rw", "nodev"] };
    mount("bind", &volume.source, &volume.target, options)
}

/// The container's own `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`, beside its layer.
fn etc_files(own: &Path, hostname: &str) -> Result<Vec<(PathBuf, PathBuf)>, OpError> {
    let servers = fs::read("/etc/resolv.conf").unwrap_or_default();
    let hosts = format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t{hostname}\n");
    let files =
        [("hosts", hosts.into_bytes()), ("hostname", format!("{hostname}\n").into_bytes()), ("resolv.conf", servers)];
    let write = || -> io::Result<Vec<(PathBuf, PathBuf)>> {
        fs::create_dir(own)?;
        let mut bound = Vec::new();
        for (name, bytes) in &files {
            let path = own.join(name);
            fs::write(&path, bytes)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
            bound.push((path, Path::new("/etc").join(name)));
        }
        Ok(bound)
    };
    write().map_err(|source| OpError::Write { path: own.to_owned(), source })
}

//! `RUN`: one process in a sandbox, on a fresh layer.
//!
//! | file | what |
//! |---|---|
//! | here | the way of a step: prepare, start, watch, commit |
//! | [`mounts`] | everything that it sees beside its root |
//! | [`cache`] | which directories of the store its cache mounts are |
//! | [`memory`] | secrets and sockets, in memory only |
//! | [`files`] | files in `/etc`, and its script |
//! | [`output`] | what it prints |

mod cache;
mod files;
mod memory;
mod mounts;
mod output;

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use builder_cache::{ActiveLayer, Snapshot};
use builder_solver::{Exec, LogStream, MountKind, NetworkMode, SecurityMode, Task, TaskInput};
use tempfile::TempDir;

pub use cache::{CarriedMounts, mount_key};
pub(super) use files::provided_files;

use self::cache::Caches;
use self::mounts::{Machine, Mounted};
use self::output::{Mask, pass_on};
use super::BuildWorker;
use super::commit::{RootAttributes, commit_upper};
use super::error::OpError;
use crate::rootfs::{Purpose, RootMount};
use crate::sandbox::{self, Exit, Network, Running, SpawnRequest, SpecOptions, default_spec, mount, resolve_user};

/// Runs the process and commits what it changed.
pub(super) async fn run(worker: &BuildWorker, exec: &Exec, task: &Task<Snapshot>) -> Result<Snapshot, OpError> {
    let Some(base) = task.inputs.first().map(|input| input.output.clone()) else {
        return Err(OpError::Inputs { op: "exec", expected: 1, found: 0 });
    };
    let caches = if exec.mounts.iter().any(|mount| matches!(mount.kind, MountKind::Cache(_))) {
        cache::take(worker, exec, task).await?
    } else {
        Caches::new()
    };
    let mut prepared = {
        let (vertex, exec, inputs) = (Arc::clone(&task.vertex), exec.clone(), task.inputs.clone());
        worker
            .blocking(move |inner| {
                let grant = inner.options.grants.of(&vertex.origin.name);
                prepare(&Machine { inner, grant }, &exec, &inputs, &caches)
            })
            .await?
    };
    let command = || exec.args.join(" ");
    let exit = match start(worker, exec, &mut prepared) {
        Ok(mut running) => watch(&mut running, task, Mask::new(&prepared.mounted.hidden)).await,
        Err(error) => Err(OpError::Sandbox(error)),
    };
    let Prepared { active, root, before, mounted, .. } = prepared;
    if !matches!(exit, Ok(Exit::Code(0))) {
        // What a failed step wrote may be much to remove.
        worker
            .blocking(move |_| {
                drop((root, active, mounted));
                Ok(())
            })
            .await?;
        return Err(match exit {
            Ok(exit) => failed(command(), exit),
            Err(OpError::Sandbox(source)) => not_started(command(), exec, source),
            Err(error) => error,
        });
    }
    worker
        .blocking(move |_| {
            drop(mounted);
            root.finish()?;
            Ok(base.with(commit_upper(active, before)?))
        })
        .await
}

fn failed(command: String, exit: Exit) -> OpError {
    let ending = match exit {
        Exit::Code(code) => format!("exit code: {code}"),
        Exit::Signal(signal) => format!("exit code: {} (killed by signal {signal})", exit.code()),
    };
    OpError::Exit { command, ending, code: exit.code() }
}

fn not_started(command: String, exec: &Exec, source: sandbox::Error) -> OpError {
    match &exec.platform {
        Some(platform)
            if matches!(source, sandbox::Error::WrongFormat { .. } | sandbox::Error::NoInterpreter { .. }) =>
        {
            OpError::Foreign { command, platform: platform.clone(), source }
        }
        _ => OpError::Start { command, source },
    }
}

struct Prepared {
    active: ActiveLayer,
    root: RootMount,
    before: RootAttributes,
    spec: oci_spec::runtime::Spec,
    mounted: Mounted,
    /// The script of the step; goes away with it.
    _script: Option<TempDir>,
}

fn prepare(
    machine: &Machine<'_>,
    exec: &Exec,
    inputs: &[TaskInput<Snapshot>],
    caches: &Caches,
) -> Result<Prepared, OpError> {
    let inner = machine.inner;
    let Some(base) = inputs.first() else { return Err(OpError::Inputs { op: "exec", expected: 1, found: 0 }) };
    let active = inner.store.new_layer()?;
    let upper = Some((active.upper(), active.work()));
    let root = inner.driver.mount(&inner.store, &base.output, upper, Purpose::Sandbox)?;
    let before = RootAttributes::of(&active)?;
    let user = resolve_user(root.as_fd(), &exec.user)?;
    let mut options = SpecOptions::new(exec.args.iter().cloned(), user);
    options.env = exec.proxy_env.iter().chain(&exec.env).map(|(name, value)| format!("{name}={value}")).collect();
    options.cwd = PathBuf::from(&exec.cwd);
    options.files.clone_from(&inner.files);
    options.network = match exec.network {
        NetworkMode::None => Network::None,
        NetworkMode::Default | NetworkMode::Host => Network::Host,
    };
    options.privileged = exec.security == SecurityMode::Insecure;
    machine.grant.limits.apply(&mut options);
    let script = match &exec.script {
        None => None,
        Some(script) => {
            let dir = files::write_script(&active, &script.name, &script.data)?;
            let source = dir.path().join("pipes");
            options.mounts.push(mount("bind", &source, Path::new("/dev/pipes"), &["bind", "ro", "nosuid", "nodev"]));
            Some(dir)
        }
    };
    let mounted = if mounts::needed(exec) {
        Mounted::prepare(machine, exec, inputs, caches, &root, &mut options)?
    } else {
        Mounted::default()
    };
    let spec = default_spec(&options);
    Ok(Prepared { active, root, before, spec, mounted, _script: script })
}

fn start(worker: &BuildWorker, exec: &Exec, prepared: &mut Prepared) -> sandbox::Result<Running> {
    let sources = prepared.mounted.take_sources();
    let mut request = SpawnRequest::new(&prepared.spec, &prepared.root);
    request.sources = sources;
    request.trees = prepared.mounted.trees();
    if exec.security == SecurityMode::Insecure {
        (request.privileged, request.seccomp) = (true, false);
    }
    worker.inner.sandbox.spawn(request)
}

/// Passes output on and waits for the end; a build that is over kills the process.
async fn watch(running: &mut Running, task: &Task<Snapshot>, mask: Option<Mask>) -> Result<Exit, OpError> {
    let stdout = running.take_stdout().map_err(OpError::Output)?;
    let stderr = running.take_stderr().map_err(OpError::Output)?;
    let logs = async {
        tokio::try_join!(
            pass_on(stdout, LogStream::Stdout, &task.log, mask.clone()),
            pass_on(stderr, LogStream::Stderr, &task.log, mask)
        )
    };
    let ended = async {
        tokio::select! {
            exit = running.wait() => Ok(exit?),
            () = task.cancel.cancelled() => {
                running.kill();
                // It may be gone already; either way it is over.
                let _ = running.wait().await;
                Err(OpError::Cancelled)
            }
        }
    };
    let (logs, exit) = tokio::join!(logs, ended);
    let exit = exit?;
    logs?;
    Ok(exit)
}

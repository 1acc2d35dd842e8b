//! `RUN`: one process in a sandbox, on a fresh layer.

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use builder_cache::{ActiveLayer, Snapshot};
use builder_solver::{Exec, LogStream, NetworkMode, Task, VertexLog};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::commit::{RootAttributes, commit_upper};
use super::error::OpError;
use super::{BuildWorker, Inner};
use crate::rootfs::{Purpose, RootMount};
use crate::sandbox::{Exit, Network, Running, SpawnRequest, SpecOptions, default_spec, mount, resolve_user};

/// How much output is passed on at once.
const LOG_CHUNK: usize = 32 * 1024;

/// What `/etc/hosts` says in a step: the same on every machine.
const HOSTS: &str = "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n";

/// Where the host says which name servers there are.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The files that every step sees in `/etc`: written once to the store; the name servers are the host's.
pub(super) fn provided_files(root: &Path) -> Result<Vec<(PathBuf, PathBuf)>, OpError> {
    let provided = root.join("provided");
    let hosts = provided.join("hosts");
    if fs::read(&hosts).ok().as_deref() != Some(HOSTS.as_bytes()) {
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(&provided)?;
            for (name, text) in [("hosts", HOSTS), ("resolv.conf", "")] {
                let mut file = tempfile::NamedTempFile::new_in(&provided)?;
                file.write_all(text.as_bytes())?;
                file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
                file.persist(provided.join(name)).map_err(|error| error.error)?;
            }
            Ok(())
        };
        write().map_err(|source| OpError::Write { path: provided.clone(), source })?;
    }
    let resolv_conf = Path::new(RESOLV_CONF);
    let name_servers = if resolv_conf.is_file() { resolv_conf.to_owned() } else { provided.join("resolv.conf") };
    Ok(vec![(hosts, "/etc/hosts".into()), (name_servers, RESOLV_CONF.into())])
}

/// Runs the process and commits what it changed.
pub(super) async fn run(worker: &BuildWorker, exec: &Exec, task: &Task<Snapshot>) -> Result<Snapshot, OpError> {
    let [input] = task.inputs.as_slice() else {
        return Err(OpError::Inputs { op: "exec", expected: 1, found: task.inputs.len() });
    };
    let command = exec.args.join(" ");
    let prepared = {
        let (exec, base) = (exec.clone(), input.output.clone());
        worker.blocking(move |inner| prepare(inner, &exec, &base)).await?
    };
    let mut running = worker
        .inner
        .sandbox
        .spawn(SpawnRequest::new(&prepared.spec, &prepared.root))
        .map_err(|source| OpError::Start { command: command.clone(), source })?;
    let exit = watch(&mut running, task).await;
    drop(running);
    let Prepared { active, root, before, .. } = prepared;
    if !matches!(exit, Ok(Exit::Code(0))) {
        // What a failed step wrote may be much to remove.
        worker
            .blocking(move |_| {
                drop((root, active));
                Ok(())
            })
            .await?;
        return Err(match exit {
            Ok(exit) => failed(command, exit),
            Err(OpError::Sandbox(source)) => OpError::Start { command, source },
            Err(error) => error,
        });
    }
    let base = input.output.clone();
    worker
        .blocking(move |_| {
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

struct Prepared {
    active: ActiveLayer,
    root: RootMount,
    before: RootAttributes,
    spec: oci_spec::runtime::Spec,
    /// The script of the step; goes away with it.
    _script: Option<TempDir>,
}

fn prepare(inner: &Inner, exec: &Exec, base: &Snapshot) -> Result<Prepared, OpError> {
    let active = inner.store.new_layer()?;
    let root = inner.driver.mount(&inner.store, base, Some((active.upper(), active.work())), Purpose::Sandbox)?;
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
    let script = match &exec.script {
        None => None,
        Some(script) => {
            let dir = write_script(&active, &script.name, &script.data)?;
            let source = dir.path().join("pipes");
            options.mounts.push(mount("bind", &source, Path::new("/dev/pipes"), &["bind", "ro", "nosuid", "nodev"]));
            Some(dir)
        }
    };
    let spec = default_spec(&options);
    Ok(Prepared { active, root, before, spec, _script: script })
}

/// The name is one word of a Dockerfile: it must not lead anywhere else.
fn write_script(active: &ActiveLayer, name: &str, data: &[u8]) -> Result<TempDir, OpError> {
    let beside = active.upper().parent().unwrap_or(active.upper()).parent().unwrap_or(active.upper()).to_owned();
    let write = |beside: &Path| -> std::io::Result<TempDir> {
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, format!("`{name}` is no file name")));
        }
        let dir = tempfile::Builder::new().prefix("script-").tempdir_in(beside)?;
        let pipes = dir.path().join("pipes");
        fs::create_dir(&pipes)?;
        fs::set_permissions(&pipes, fs::Permissions::from_mode(0o755))?;
        let path = pipes.join(name);
        fs::write(&path, data)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(dir)
    };
    write(&beside).map_err(|source| OpError::Write { path: beside.clone(), source })
}

/// Passes output on and waits for the end; a build that is over kills the process.
async fn watch(running: &mut Running, task: &Task<Snapshot>) -> Result<Exit, OpError> {
    let stdout = running.take_stdout().map_err(OpError::Output)?;
    let stderr = running.take_stderr().map_err(OpError::Output)?;
    let logs = async {
        tokio::try_join!(pass_on(stdout, LogStream::Stdout, &task.log), pass_on(stderr, LogStream::Stderr, &task.log))
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

async fn pass_on(pipe: Option<pipe::Receiver>, stream: LogStream, log: &VertexLog) -> Result<(), OpError> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    let mut buffer = vec![0; LOG_CHUNK];
    loop {
        match pipe.read(&mut buffer).await {
            Ok(0) => return Ok(()),
            Ok(length) => log.write(stream, buffer[..length].to_vec()).await,
            Err(error) => return Err(OpError::Output(error)),
        }
    }
}

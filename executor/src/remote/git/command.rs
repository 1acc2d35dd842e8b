//! Running git, cut off from everything that could make it do more than it is told: no configuration but ours, no
//! hooks, no helpers, no prompts, no protocol but those of the network.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use builder_image::http::{basic, url};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, Signal, kill_process_group};

use tempfile::TempDir;

use super::name;
use crate::agent::{Agent, AgentServer};
use crate::remote::error::RemoteError;
use crate::remote::{Remotes, Stop, redact, remembered};

/// What of the environment git sees: how the network is reached.
const PASSED: [&str; 13] = [
    "PATH",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "HTTP_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
];

/// What git is configured with, always.
const SETTINGS: [(&str, &str); 18] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("core.logAllRefUpdates", "false"),
    ("core.askPass", ""),
    ("credential.helper", ""),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("submodule.recurse", "false"),
    ("init.defaultBranch", "master"),
    ("protocol.version", "2"),
    ("tar.umask", "0022"),
    ("advice.detachedHead", "false"),
    // A server that sends nothing for a minute is gone.
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "60"),
    ("core.symlinks", "true"),
];

/// The agent that repositories use.
const AGENT: &str = "default";

/// How often a process that is waited for is asked whether it should stop.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// How much git may print: a million references, or files, and more.
const PRINTED: u64 = 256 << 20;

/// How much of what git says is shown.
const SHOWN: usize = 2000;

/// Runs git for one remote.
pub(super) struct Git<'a> {
    remotes: &'a Remotes,
    remote: &'a str,
    /// The remote for git. User and password of a URL are in `secrets`: everybody sees the arguments of processes.
    address: String,
    /// More configuration: what authenticates.
    secrets: Vec<(String, String)>,
    agent: OnceLock<Served>,
    pub(super) stop: Stop<'a>,
}

impl<'a> Git<'a> {
    /// For `remote`, which is `main` or one of its submodules.
    pub(super) fn new(remotes: &'a Remotes, remote: &'a str, main: &str, stop: Stop<'a>) -> Result<Self, RemoteError> {
        let directory = remotes.directory("git");
        remembered::make_directory(&directory)
            .map_err(|source| RemoteError::Write { path: directory.clone(), source })?;
        let secrets = authorization(remotes, remote, main)?;
        let address = match name::protocol(remote) {
            Some("http" | "https") => url::without_credentials(remote),
            _ => remote.to_owned(),
        };
        Ok(Self { remotes, remote, address, secrets, agent: OnceLock::new(), stop })
    }

    /// The remote as it is shown.
    pub(super) fn shown(&self) -> String {
        redact(self.remote)
    }

    /// The remote as git gets it.
    pub(super) fn remote(&self) -> &str {
        &self.address
    }

    pub(super) fn remotes(&self) -> &'a Remotes {
        self.remotes
    }

    /// An error about this remote.
    pub(super) fn error(&self, reason: impl Into<String>) -> RemoteError {
        RemoteError::Git { remote: self.shown(), reason: reason.into() }
    }

    /// A command that talks to no server.
    pub(super) fn local(&self, git_dir: Option<&Path>) -> Command {
        self.command(git_dir, "", &[])
    }

    /// A command that fetches from another repository of the store.
    pub(super) fn between(&self, git_dir: &Path) -> Command {
        self.command(Some(git_dir), "file", &[])
    }

    /// A command that talks to the remote.
    pub(super) fn network(&self, git_dir: Option<&Path>) -> Result<Command, RemoteError> {
        let mut command = self.command(git_dir, "https:http:ssh:git", &self.secrets);
        if name::protocol(self.remote) == Some("ssh") {
            command
                .env("SSH_AUTH_SOCK", self.agent()?)
                .env("GIT_SSH_COMMAND", self.ssh())
                .env("GIT_SSH_VARIANT", "ssh");
        }
        Ok(command)
    }

    fn command(&self, git_dir: Option<&Path>, protocols: &str, more: &[(String, String)]) -> Command {
        let directory = self.remotes.directory("git");
        let mut command = Command::new("git");
        command.env_clear().current_dir(&directory).process_group(0).stdin(Stdio::null());
        for name in PASSED {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("LC_ALL", "C")
            .env("HOME", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_LITERAL_PATHSPECS", "1")
            .env("GIT_CEILING_DIRECTORIES", directory.parent().unwrap_or(&directory))
            .env("GIT_ALLOW_PROTOCOL", if protocols.is_empty() { "none" } else { protocols });
        // In the environment, and not among the arguments that everybody sees.
        let more = more.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut count = 0;
        for (name, value) in SETTINGS.into_iter().chain(more) {
            command.env(format!("GIT_CONFIG_KEY_{count}"), name).env(format!("GIT_CONFIG_VALUE_{count}"), value);
            count += 1;
        }
        command.env("GIT_CONFIG_COUNT", count.to_string());
        if let Some(git_dir) = git_dir {
            command.env("GIT_DIR", git_dir);
        }
        command
    }

    /// The socket of the agent that ssh may use.
    fn agent(&self) -> Result<&Path, RemoteError> {
        if let Some(served) = self.agent.get() {
            return Ok(&served.socket);
        }
        let Some(agent) = self.remotes.inner.access.agents.get(AGENT) else {
            return Err(self.error("it is reached by ssh, and no agent is offered: add --ssh default"));
        };
        let served =
            Served::start(agent).map_err(|error| self.error(format!("the ssh agent can't be offered: {error}")))?;
        Ok(&self.agent.get_or_init(|| served).socket)
    }

    /// ssh without the configuration and keys of the machine: what the agent holds must do. A server that the user
    /// knows must still be that one; one that nobody met before is remembered by the store.
    fn ssh(&self) -> String {
        let ours = self.remotes.directory("known_hosts");
        let mut known = vec![ours.display().to_string()];
        if let Some(home) = std::env::var_os("HOME").filter(|home| !home.is_empty()) {
            known.push(PathBuf::from(home).join(".ssh/known_hosts").display().to_string());
        }
        let known: Vec<String> = known.into_iter().map(|path| format!("\"{}\"", path.replace('"', "\\\""))).collect();
        let known = format!("UserKnownHostsFile={}", known.join(" "));
        let options = [
            "BatchMode=yes",
            "IdentityFile=none",
            "StrictHostKeyChecking=accept-new",
            "ConnectTimeout=30",
            "ServerAliveInterval=15",
            &known,
        ];
        let mut command = "ssh -F /dev/null".to_owned();
        for option in options {
            command.push_str(" -o '");
            command.push_str(&option.replace('\'', "'\\''"));
            command.push('\'');
        }
        command
    }

    /// Runs a command to its end.
    pub(super) fn run(&self, command: &mut Command) -> Result<Ran, RemoteError> {
        let mut running = self.start(command)?;
        let mut stdout = Vec::new();
        let mut output = running.output().take(PRINTED + 1);
        output.read_to_end(&mut stdout).map_err(|error| self.broken(&error))?;
        if stdout.len() as u64 > PRINTED {
            return Err(
                self.error(format!("git lists more than {PRINTED} bytes of it: that is no repository to build from"))
            );
        }
        let (success, stderr) = running.finish().map_err(|error| self.broken(&error))?;
        Ok(Ran { success, stdout, stderr })
    }

    /// Runs a command that must succeed; returns what it printed.
    pub(super) fn ok(&self, command: &mut Command) -> Result<Vec<u8>, RemoteError> {
        let ran = self.run(command)?;
        if ran.success { Ok(ran.stdout) } else { Err(self.error(self.explain(&ran.stderr))) }
    }

    /// Starts a command whose output is read while it runs.
    pub(super) fn start(&self, command: &mut Command) -> Result<Running<'a>, RemoteError> {
        let fail = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => RemoteError::NoGit(error),
            _ => self.error(format!("git can't be run: {error}")),
        };
        if (self.stop)() {
            return Err(RemoteError::Cancelled);
        }
        let stderr = rustix::fs::memfd_create("git", MemfdFlags::CLOEXEC).map_err(|error| fail(error.into()))?;
        let stderr = File::from(stderr);
        crate::sys::die_with_parent(command);
        command.stdout(Stdio::piped()).stderr(stderr.try_clone().map_err(fail)?);
        let mut child = command.spawn().map_err(fail)?;
        let stdout = child.stdout.take();
        Ok(Running { child, stdout, stderr, stop: self.stop })
    }

    /// The error of a process that was not waited for.
    pub(super) fn broken(&self, error: &io::Error) -> RemoteError {
        if (self.stop)() { RemoteError::Cancelled } else { self.error(format!("git can't be waited for: {error}")) }
    }

    /// What git said, in a sentence.
    pub(super) fn explain(&self, stderr: &str) -> String {
        let lines = stderr.lines().map(|line| line.trim_start_matches("fatal: ").trim_start_matches("error: ").trim());
        let useful = |line: &&str| !line.is_empty() && !line.starts_with("hint:") && !line.starts_with("Cloning into");
        let mut text = lines.filter(useful).map(redact_words).collect::<Vec<_>>().join("; ");
        if text.len() > SHOWN {
            let end = (0..=SHOWN).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            text.truncate(end);
        }
        let wants_login = [
            "could not read Username",
            "could not read Password",
            "Authentication failed",
            "returned error: 401",
            "returned error: 403",
        ];
        if wants_login.iter().any(|sign| stderr.contains(sign)) {
            let host = url::authority(self.remote).unwrap_or("HOST");
            text.extend(["; if it wants a token, give it with --secret id=GIT_AUTH_TOKEN.", host]);
        }
        if text.is_empty() { "git failed and did not say why".to_owned() } else { text }
    }
}

/// Passwords in the addresses that git repeats.
fn redact_words(line: &str) -> String {
    line.split(' ')
        .map(|word| {
            let (open, rest) = word.split_at(word.len() - word.trim_start_matches('\'').len());
            format!("{open}{}", redact(rest))
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// The settings that authenticate: a secret for the remote's host, or one for the main repository.
fn authorization(remotes: &Remotes, remote: &str, main: &str) -> Result<Vec<(String, String)>, RemoteError> {
    const HUB: [&str; 2] = ["https://github.com/", "https://www.github.com/"];
    if !matches!(name::protocol(remote), Some("http" | "https")) {
        return Ok(Vec::new());
    }
    let Some(host) = url::authority(remote) else { return Ok(Vec::new()) };
    let hub = |url: &str| HUB.iter().any(|prefix| url.starts_with(prefix));
    let is_own = remote == main || hub(remote) && hub(main);
    let mut ids = vec![(format!("GIT_AUTH_HEADER.{host}"), false), (format!("GIT_AUTH_TOKEN.{host}"), true)];
    if is_own {
        ids.extend([("GIT_AUTH_HEADER".to_owned(), false), ("GIT_AUTH_TOKEN".to_owned(), true)]);
    }
    for (id, token) in ids {
        let Some(value) = remotes.header(&id)? else { continue };
        let value = if token { basic("x-access-token", &value) } else { value };
        let scope = url::without_credentials(remote);
        return Ok(vec![(format!("http.{scope}.extraHeader"), format!("Authorization: {value}"))]);
    }
    let Some((user, password)) = url::credentials(remote) else { return Ok(Vec::new()) };
    let header = format!("Authorization: {}", basic(&user, &password));
    Ok(vec![(format!("http.{}.extraHeader", url::without_credentials(remote)), header)])
}

/// The agent of the person who builds, behind a socket of ours.
struct Served {
    socket: PathBuf,
    _server: AgentServer,
    _directory: TempDir,
}

impl Served {
    fn start(agent: &Agent) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("builder-ssh-").tempdir()?;
        let socket = directory.path().join("agent");
        let server = AgentServer::start(UnixListener::bind(&socket)?, agent.clone())?;
        Ok(Self { socket, _server: server, _directory: directory })
    }
}

/// What a command came to.
pub(super) struct Ran {
    pub(super) success: bool,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: String,
}

/// A command that runs. Dropped, it is killed with everything that it started.
pub(super) struct Running<'a> {
    child: Child,
    stdout: Option<ChildStdout>,
    stderr: File,
    stop: Stop<'a>,
}

impl<'a> Running<'a> {
    /// What it prints, as it comes; reading fails when the build is over.
    pub(super) fn output(&mut self) -> Output<'a> {
        Output { pipe: self.stdout.take(), stop: self.stop }
    }

    /// Waits for its end; whether it succeeded, and what it complained of.
    pub(super) fn finish(mut self) -> io::Result<(bool, String)> {
        self.stdout = None;
        let status = self.child.wait()?;
        let mut bytes = Vec::new();
        self.stderr.rewind()?;
        self.stderr.try_clone()?.take(1 << 20).read_to_end(&mut bytes)?;
        Ok((status.success(), String::from_utf8_lossy(&bytes).into_owned()))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // It leads a group of its own, with everything that it started.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// The output of a command.
pub(super) struct Output<'a> {
    pipe: Option<ChildStdout>,
    stop: Stop<'a>,
}

impl Read for Output<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(pipe) = &mut self.pipe else { return Ok(0) };
        loop {
            if (self.stop)() {
                return Err(io::Error::other("cancelled"));
            }
            match poll(&mut [PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)], Some(&TICK)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return pipe.read(buffer),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use builder_cache::Store;

    use super::*;
    use crate::remote::Access;

    #[test]
    fn passwords_are_no_arguments() {
        let dir = tempfile::tempdir().unwrap();
        let remotes = Remotes::new(Store::open(dir.path()).unwrap(), Access::default());
        for (remote, given, header) in [
            ("https://user:canary@host/a", "https://host/a", "Basic dXNlcjpjYW5hcnk="),
            ("HTTP://canary@host/a", "HTTP://host/a", "Basic Y2FuYXJ5Og=="),
            ("https://host/a", "https://host/a", ""),
            ("ssh://git@host/a", "ssh://git@host/a", ""),
            ("git@host:a", "git@host:a", ""),
        ] {
            let git = Git::new(&remotes, remote, remote, &|| false).unwrap();
            assert_eq!(git.remote(), given);
            let sent = git.secrets.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().concat();
            let scope = format!("http.{given}.extraHeader=Authorization: {header}");
            assert_eq!(sent, if header.is_empty() { String::new() } else { scope });
        }
    }
}

//! Credential helpers: programs `docker-credential-NAME` that keep logins in a key chain. They read from standard input
//! and answer on standard output, so that no secret is ever an argument.

use std::io::{self, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use builder_image::registry::{Login, Secret};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Deserialize;
use serde_json::json;

use super::entry::{TOKEN_USER, key};

/// How long a helper may take; some of them ask the user to unlock a key chain.
const PATIENCE: Duration = Duration::from_mins(1);

/// The most that is read of an answer.
const LIMIT: u64 = 1 << 20;

/// What helpers say when there is nothing.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// Whether this can follow `docker-credential-` in the name of a program.
pub(crate) fn is_helper(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// Why a helper was of no help.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HelperError {
    /// No program can have this name.
    #[error("`{0}` is not the name of a credential helper: write what follows `docker-credential-`")]
    Name(String),
    /// It could not be started.
    #[error(
        "the credential helper {program} can't be started ({source}): put it on PATH, or take `{name}` out of the configuration"
    )]
    Start {
        /// The program.
        program: String,
        /// What the configuration calls it.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// It did not end.
    #[error("the credential helper {program} did not answer within {} seconds", .after.as_secs())]
    Slow {
        /// The program.
        program: String,
        /// How long it had.
        after: Duration,
    },
    /// It failed.
    #[error("the credential helper {program} can't {action}: {said}")]
    Failed {
        /// The program.
        program: String,
        /// What it was to do.
        action: &'static str,
        /// What it said, or how it ended.
        said: String,
    },
    /// It answered something else than a login.
    #[error("the credential helper {program} answered no login: it must print a JSON object with Username and Secret")]
    Answer {
        /// The program.
        program: String,
    },
}

/// One helper.
#[derive(Debug)]
pub(super) struct Helper<'n> {
    name: &'n str,
    patience: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

impl<'n> Helper<'n> {
    pub(super) fn new(name: &'n str) -> Self {
        Self { name, patience: PATIENCE }
    }

    fn program(&self) -> String {
        format!("docker-credential-{}", self.name)
    }

    /// The login of a host.
    pub(super) fn get(&self, host: &str) -> Result<Option<Login>, HelperError> {
        let Some(text) = self.run("get", key(host).as_bytes(), None)? else { return Ok(None) };
        let answer: Answer =
            serde_json::from_slice(&text).map_err(|_| HelperError::Answer { program: self.program() })?;
        if answer.secret.is_empty() {
            return Ok(None);
        }
        let secret = Secret::new(answer.secret);
        Ok(Some(match answer.username {
            user if user == TOKEN_USER => Login::IdentityToken(secret),
            user => Login::Basic { user, password: secret },
        }))
    }

    /// Keeps the login of a host.
    pub(super) fn store(&self, host: &str, login: &Login) -> Result<(), HelperError> {
        let (user, secret) = match login {
            Login::Basic { user, password } => (user.as_str(), password),
            Login::IdentityToken(token) | Login::Bearer(token) => (TOKEN_USER, token),
        };
        let input = json!({ "ServerURL": key(host), "Username": user, "Secret": secret.expose() }).to_string();
        self.run("store", input.as_bytes(), Some(secret)).map(drop)
    }

    /// Forgets the login of a host.
    pub(super) fn erase(&self, host: &str) -> Result<(), HelperError> {
        self.run("erase", key(host).as_bytes(), None).map(drop)
    }

    /// What the helper prints; nothing when it says that there is nothing.
    fn run(&self, action: &'static str, input: &[u8], secret: Option<&Secret>) -> Result<Option<Vec<u8>>, HelperError> {
        if !is_helper(self.name) {
            return Err(HelperError::Name(self.name.chars().take(80).collect()));
        }
        let program = self.program();
        let mut child = Command::new(&program)
            .arg(action)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| HelperError::Start { program: program.clone(), name: self.name.to_owned(), source })?;
        if let Some(mut stdin) = child.stdin.take() {
            let input = input.to_vec();
            // Not every helper reads all that it is told.
            thread::spawn(move || drop(stdin.write_all(&input)));
        }
        let end = Instant::now() + self.patience;
        let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
        let status = match wait(&mut child, end) {
            Ok(Some(status)) => status,
            Ok(None) => return Err(HelperError::Slow { program, after: self.patience }),
            Err(error) => return Err(HelperError::Failed { program, action, said: error.to_string() }),
        };
        let stdout = received(&stdout, end);
        if status.success() {
            return Ok(Some(stdout));
        }
        let said =
            [stdout, received(&stderr, end)].into_iter().map(|text| first_line(&text)).find(|line| !line.is_empty());
        let mut said = said.unwrap_or_else(|| status.to_string());
        if said == NOT_FOUND {
            return Ok(None);
        }
        if let Some(secret) = secret.filter(|secret| !secret.expose().is_empty()) {
            said = said.replace(secret.expose(), "***");
        }
        Err(HelperError::Failed { program, action, said })
    }
}

/// Reads beside the wait, so that a helper with much to say does not wait for its reader.
fn collect(from: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(from) = from {
            let _ = from.take(LIMIT).read_to_end(&mut bytes);
        }
        let _ = sender.send(bytes);
    });
    receiver
}

/// What was read; nothing when something that outlives the helper keeps the pipe.
fn received(from: &Receiver<Vec<u8>>, end: Instant) -> Vec<u8> {
    from.recv_timeout(end.saturating_duration_since(Instant::now())).unwrap_or_default()
}

/// Waits for the end; one that comes too late is brought about.
fn wait(child: &mut Child, end: Instant) -> io::Result<Option<std::process::ExitStatus>> {
    let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&left)) {
            Ok(0) => {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
            Ok(_) => return child.wait().map(Some),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn first_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.chars().filter(|letter| !letter.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere_else() {
        for (name, yes) in [
            ("pass", true),
            ("ecr-login", true),
            ("a.b_c", true),
            ("", false),
            ("../x", false),
            ("a b", false),
            ("a/b", false),
        ] {
            assert_eq!(is_helper(name), yes, "{name}");
        }
        let error = Helper::new("../../bin/sh").get("r.lan").expect_err("it is no name");
        assert!(matches!(error, HelperError::Name(_)), "{error}");
    }

    #[test]
    fn a_helper_that_is_not_there_is_named() {
        let error = Helper::new("there-is-none").get("r.lan").expect_err("there is none").to_string();
        assert!(error.contains("docker-credential-there-is-none"), "{error}");
    }

    #[test]
    fn waiting_has_an_end() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().expect("cat starts");
        let begun = Instant::now();
        let ended = wait(&mut child, begun + Duration::from_millis(20)).expect("it can be waited for");
        assert!(ended.is_none() && begun.elapsed() < Duration::from_secs(10));
        let mut child = Command::new("false").spawn().expect("false starts");
        let ended = wait(&mut child, begun + Duration::from_secs(30)).expect("it can be waited for");
        assert!(ended.is_some_and(|status| !status.success()));
    }
}

//! What goes wrong in and around a sandbox.

use std::io;

use serde::{Deserialize, Serialize};

/// Why a process could not be run in a sandbox.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The builder may not create sandboxes here.
    #[error("{0}")]
    Privilege(String),
    /// The helper process did not start.
    #[error("can't start the sandbox process: {0}")]
    Start(#[source] io::Error),
    /// A step of setting up failed for a reason of the machine.
    #[error("can't {what}: {source}")]
    Setup {
        /// What was attempted.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The image or the request is one that a sandbox refuses.
    #[error("{0}")]
    Refused(String),
    /// The specification asks for something that this sandbox does not do.
    #[error("the sandbox does not support {0}")]
    Unsupported(String),
    /// The program is not there: exit code 127 by convention.
    #[error("exec: {program}: {reason}")]
    NotFound {
        /// The program as it was asked for.
        program: String,
        /// What exactly is missing.
        reason: String,
    },
    /// The program is there and can't be executed: exit code 126 by convention.
    #[error("exec: {program}: {reason}")]
    NotExecutable {
        /// The program as it was asked for.
        program: String,
        /// Why.
        reason: String,
    },
    /// The program is for another machine, and nothing is registered that runs such programs: exit code 126.
    #[error(
        "exec: {program}: exec format error: {path} is neither a program for this machine nor a script with a `#!` line"
    )]
    WrongFormat {
        /// The program as it was asked for.
        program: String,
        /// The file.
        path: String,
    },
    /// The program is there, and what it names as its interpreter is not: exit code 127.
    #[error(
        "exec: {program}: {path} is there, but the interpreter that it names (a `#!` line, or the dynamic loader) is not in the image"
    )]
    NoInterpreter {
        /// The program as it was asked for.
        program: String,
        /// The file.
        path: String,
    },
    /// The sandbox's processes are gone and said nothing (killed by hand, or by the kernel for lack of memory).
    #[error(
        "the sandbox ended without telling how: its processes were killed from outside, perhaps for lack of memory"
    )]
    Lost,
}

impl Error {
    /// The exit code that a container runtime gives for this: 127 not found, 126 can't be executed, 125 its own.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } | Self::NoInterpreter { .. } => 127,
            Self::NotExecutable { .. } | Self::WrongFormat { .. } => 126,
            _ => 125,
        }
    }
}

/// Result of this module.
pub type Result<T> = std::result::Result<T, Error>;

/// An error on its way from a process of the sandbox to the builder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Failure {
    Setup { what: String, errno: i32 },
    Refused(String),
    Unsupported(String),
    NotFound { program: String, reason: String },
    NotExecutable { program: String, reason: String },
    WrongFormat { program: String, path: String },
    NoInterpreter { program: String, path: String },
}

/// How much of a text goes into a message: a name can be as long as all arguments together.
const MAX_TEXT: usize = 600;

impl Failure {
    pub(crate) fn setup(what: impl Into<String>, error: impl Into<io::Error>) -> Self {
        let error: io::Error = error.into();
        Self::Setup { what: what.into(), errno: error.raw_os_error().unwrap_or(libc::EIO) }
    }

    /// The same, short enough for a message.
    pub(crate) fn shortened(mut self) -> Self {
        let (one, other) = match &mut self {
            Self::Setup { what, .. } => (what, None),
            Self::Refused(text) | Self::Unsupported(text) => (text, None),
            Self::NotFound { program, reason } | Self::NotExecutable { program, reason } => (program, Some(reason)),
            Self::WrongFormat { program, path } | Self::NoInterpreter { program, path } => (program, Some(path)),
        };
        for text in std::iter::once(one).chain(other) {
            if text.len() > MAX_TEXT {
                text.truncate(text.floor_char_boundary(MAX_TEXT));
                text.push('…');
            }
        }
        self
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Setup { what, errno } => Self::Setup { what, source: io::Error::from_raw_os_error(errno) },
            Failure::Refused(reason) => Self::Refused(reason),
            Failure::Unsupported(what) => Self::Unsupported(what),
            Failure::NotFound { program, reason } => Self::NotFound { program, reason },
            Failure::NotExecutable { program, reason } => Self::NotExecutable { program, reason },
            Failure::WrongFormat { program, path } => Self::WrongFormat { program, path },
            Failure::NoInterpreter { program, path } => Self::NoInterpreter { program, path },
        }
    }
}

/// Says what was attempted when a system call fails.
pub(crate) trait Attempt<T> {
    fn attempt(self, what: &str) -> std::result::Result<T, Failure>;

    /// The same for text that costs something to make.
    fn attempt_with(self, what: impl FnOnce() -> String) -> std::result::Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Attempt<T> for std::result::Result<T, E> {
    fn attempt(self, what: &str) -> std::result::Result<T, Failure> {
        self.map_err(|error| Failure::setup(what, error))
    }

    fn attempt_with(self, what: impl FnOnce() -> String) -> std::result::Result<T, Failure> {
        self.map_err(|error| Failure::setup(what(), error))
    }
}

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
            Self::NotFound { .. } => 127,
            Self::NotExecutable { .. } => 126,
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
}

impl Failure {
    pub(crate) fn setup(what: impl Into<String>, error: impl Into<io::Error>) -> Self {
        let error: io::Error = error.into();
        Self::Setup { what: what.into(), errno: error.raw_os_error().unwrap_or(libc::EIO) }
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

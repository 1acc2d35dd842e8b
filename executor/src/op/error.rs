//! Why a step failed.

use std::io;
use std::path::PathBuf;

use crate::context::SourceError;
use crate::{rootfs, sandbox};

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    /// The process ended with an exit code other than 0, or by a signal. The text is the one that scripts look for.
    #[error("process \"{command}\" did not complete successfully: {ending}")]
    Exit {
        /// The command line.
        command: String,
        /// `exit code: 1`, or the signal.
        ending: String,
        /// The exit code, 128 and more for signals.
        code: u8,
    },
    /// The process could not be started.
    #[error("process \"{command}\" could not be run: {source}")]
    Start {
        /// The command line.
        command: String,
        /// Why.
        source: sandbox::Error,
    },
    /// The sandbox is not to be had.
    #[error(transparent)]
    Sandbox(#[from] sandbox::Error),
    /// A root file system could not be put together.
    #[error(transparent)]
    Rootfs(#[from] rootfs::Error),
    /// Files could not be read or selected.
    #[error(transparent)]
    Files(#[from] SourceError),
    /// Files could not be written.
    #[error(transparent)]
    Copy(#[from] crate::copy::CopyError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] builder_cache::Error),
    /// A file of the builder itself could not be written.
    #[error("can't write {}: {source}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The output of a step could not be read.
    #[error("can't read the output of the step: {0}")]
    Output(#[source] io::Error),
    /// The build has no such context.
    #[error("there is no build context `{0}`")]
    NoContext(String),
    /// The image was removed while the build was being planned.
    #[error("the image {reference} ({id}) is not in the store any more")]
    NoImage {
        /// What it was called.
        reference: String,
        /// Its id.
        id: String,
    },
    /// The graph is wrong.
    #[error("a {op} vertex has {found} inputs instead of {expected}")]
    Inputs {
        /// The kind of op.
        op: &'static str,
        /// How many it takes.
        expected: usize,
        /// How many it has.
        found: usize,
    },
    /// The build was cancelled while the step ran.
    #[error("cancelled")]
    Cancelled,
}

impl OpError {
    /// The exit code of the step's process, when that is what failed.
    pub fn exit_code(&self) -> Option<u8> {
        match self {
            Self::Exit { code, .. } => Some(*code),
            Self::Start { source, .. } => Some(source.exit_code()),
            _ => None,
        }
    }
}

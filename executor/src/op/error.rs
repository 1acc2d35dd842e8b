//! Why a step failed.

use std::io;
use std::path::PathBuf;

use crate::context::SourceError;
use crate::remote::RemoteError;
use crate::secret::SecretError;
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
    /// The process is for another machine, and this one does not run such programs.
    #[error(
        "process \"{command}\" could not be run: {source}; this machine can't run {platform} programs: install an interpreter \
         with `apt-get install qemu-user-static binfmt-support` (or register one in binfmt_misc with the flag F), or build \
         on {platform}"
    )]
    Foreign {
        /// The command line.
        command: String,
        /// What it is for.
        platform: String,
        /// What happened.
        source: sandbox::Error,
    },
    /// A secret that the step needs is not offered.
    #[error("secret {id}: not found: offer it with `--secret id={id},src=FILE` or `--secret id={id},env=VARIABLE`")]
    NoSecret {
        /// Its id.
        id: String,
    },
    /// A secret could not be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A variable holds text.
    #[error(
        "the secret {id} has bytes that the variable {name} can't hold: mount it as a file (`target=` instead of `env=`)"
    )]
    SecretVariable {
        /// Its id.
        id: String,
        /// The variable.
        name: String,
    },
    /// An ssh agent that the step needs is not offered.
    #[error(
        "no SSH key {id:?} is forwarded: start the build with `--ssh {id}` (the agent of SSH_AUTH_SOCK) or `--ssh {id}=KEYFILE`"
    )]
    NoAgent {
        /// Its id.
        id: String,
    },
    /// What a mount should show is not there.
    #[error("{path}: not found: the mount at {target} takes it from {from}, where there is no such file")]
    NoMountSource {
        /// The path.
        path: String,
        /// Where it should be seen.
        target: String,
        /// The stage or image that it should be in.
        from: String,
    },
    /// Something for a mount could not be made.
    #[error("can't {what}: {source}")]
    Mount {
        /// What was attempted.
        what: String,
        /// What the kernel said.
        source: io::Error,
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
    /// A file of a container could not be read.
    #[error("can't read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// What a container changed can't be made a layer.
    #[error(transparent)]
    Layer(#[from] builder_image::layer::Error),
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
    /// Something could not be fetched.
    #[error(transparent)]
    Remote(RemoteError),
    /// The build was cancelled while the step ran.
    #[error("cancelled")]
    Cancelled,
}

impl From<RemoteError> for OpError {
    fn from(error: RemoteError) -> Self {
        match error {
            RemoteError::Cancelled => Self::Cancelled,
            error => Self::Remote(error),
        }
    }
}

impl OpError {
    /// The exit code of the step's process, when that is what failed.
    pub fn exit_code(&self) -> Option<u8> {
        match self {
            Self::Exit { code, .. } => Some(*code),
            Self::Start { source, .. } | Self::Foreign { source, .. } => Some(source.exit_code()),
            _ => None,
        }
    }
}

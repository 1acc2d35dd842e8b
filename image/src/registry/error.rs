//! Why a registry could not be used.

use std::io;
use std::path::PathBuf;

use builder_cache::BlobDigest;

use super::exchange::is_passing;
use super::login::CredentialsError;
use crate::http::Cause;

/// Why a registry could not be used. Texts of servers in it are cut and cleaned; secrets are never in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The registry answered that there is no such thing.
    #[error("{what} was not found{}", answer(.said.as_deref(), *.status))]
    NotFound {
        /// The reference, or the host.
        what: String,
        /// The status of the answer.
        status: u16,
        /// `MANIFEST_UNKNOWN: manifest unknown`.
        said: Option<String>,
    },
    /// The registry, or its token server, wants somebody else.
    #[error("{what} was refused{}: {hint}", answer(.said.as_deref(), *.status))]
    Unauthorized {
        /// The reference, or the host.
        what: String,
        /// The status of the answer.
        status: u16,
        /// `UNAUTHORIZED: authentication required`.
        said: Option<String>,
        /// What to do.
        hint: String,
    },
    /// The registry answered with another error.
    #[error("{what} failed{}", answer(.said.as_deref(), *.status))]
    Status {
        /// The reference, or the host.
        what: String,
        /// The status of the answer.
        status: u16,
        /// The registry's own code and message.
        said: Option<String>,
    },
    /// The server can't be reached, or the connection broke.
    #[error("{what} can't be reached: {reason}")]
    Connection {
        /// The reference, or the host.
        what: String,
        /// What happened, and what to do.
        reason: String,
        /// What kind of thing it was.
        cause: Cause,
    },
    /// The server answered something that no registry answers.
    #[error("{what}: {reason}")]
    Answer {
        /// The reference, or the host.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What came is not what was asked for.
    #[error("{what} is damaged: expected {expected} and got {found}; nothing of it was kept")]
    Digest {
        /// The reference.
        what: String,
        /// What it should be.
        expected: BlobDigest,
        /// What it is.
        found: BlobDigest,
    },
    /// What came has another size than was said.
    #[error("{what} is damaged: expected {expected} bytes and got {found}; nothing of it was kept")]
    Size {
        /// The reference.
        what: String,
        /// What it should be.
        expected: u64,
        /// What it is, or the least that it is.
        found: u64,
    },
    /// More than anybody should send.
    #[error("{what} is too big: more than {limit} bytes")]
    TooBig {
        /// The reference, or the host.
        what: String,
        /// What is taken.
        limit: u64,
    },
    /// Credentials would travel where others can read them.
    #[error("{what}: no password is sent to {realm}, {reason}")]
    UnsafeRealm {
        /// The reference, or the host.
        what: String,
        /// The server that wants it.
        realm: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// Certificates or keys that are configured can't be used.
    #[error("{}, which {origin} names, {reason}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Who names it.
        origin: String,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// A host or mirror that is configured is none.
    #[error("`{text}` is no {what}: {reason}")]
    Setting {
        /// What it should be.
        what: &'static str,
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The login can't be had.
    #[error("the login for {host} can't be had: {source}")]
    Credentials {
        /// The registry's host.
        host: String,
        /// Why.
        source: CredentialsError,
    },
    /// What is to be sent can't be read.
    #[error("{what} can't be read to send it: {source}")]
    Source {
        /// What.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// The work is over.
    #[error("cancelled")]
    Cancelled,
}

/// What a server said, to follow a sentence.
fn answer(said: Option<&str>, status: u16) -> String {
    let reason = ureq::http::StatusCode::from_u16(status).ok();
    let reason = reason.and_then(|status| status.canonical_reason()).unwrap_or("no known status");
    match said {
        Some(said) => format!(": the registry answered {status} {reason} ({said})"),
        None => format!(": the registry answered {status} {reason}"),
    }
}

impl Error {
    /// There is no such manifest, blob or repository.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Somebody else may be allowed to.
    pub fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Unauthorized { .. })
    }

    /// It may work in a moment.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Connection { cause, .. } => matches!(cause, Cause::Broken | Cause::Silence),
            Self::Status { status, .. } => is_passing(*status),
            _ => false,
        }
    }

    /// The work was ended.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }

    /// The status of the answer, if it was one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::NotFound { status, .. } | Self::Unauthorized { status, .. } | Self::Status { status, .. } => {
                Some(*status)
            }
            _ => None,
        }
    }

    /// The error that a [`BlobReader`](super::BlobReader) gave, or what else it was.
    pub fn from_io(error: io::Error) -> Result<Self, io::Error> {
        error.downcast::<Self>()
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}

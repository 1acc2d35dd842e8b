//! Why something could not be fetched.

use std::io;
use std::path::PathBuf;

use builder_cache::BlobDigest;

/// Why something could not be fetched. Addresses in it are [redacted](super::redact).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The server can't be reached, or the connection broke.
    #[error("{url} can't be fetched: {reason}")]
    Http {
        /// The address.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The server answered with an error.
    #[error("{url} can't be fetched: the server answered {status}{}", .hint.as_deref().unwrap_or_default())]
    Status {
        /// The address.
        url: String,
        /// `404 Not Found`.
        status: String,
        /// What to do, beginning with punctuation.
        hint: Option<String>,
    },
    /// The certificates that the environment names can't be used.
    #[error(
        "SSL_CERT_FILE names {}, which {reason}: name a file with certificates, or unset it to trust what this machine does",
        path.display()
    )]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What came is not what was announced.
    #[error(
        "the checksum of {url} differs: expected {expected} and got {found}; the file was changed, or the checksum is that of another one"
    )]
    Checksum {
        /// The address.
        url: String,
        /// What it should be.
        expected: BlobDigest,
        /// What it is.
        found: BlobDigest,
    },
    /// A checksum that is none.
    #[error("`{checksum}` is no checksum for {url}: give sha256: and 64 hexadecimal digits")]
    BadChecksum {
        /// The address.
        url: String,
        /// The text.
        checksum: String,
    },
    /// A file can't have this name.
    #[error(
        "{url} gives the file the name `{name}`, which no file can have: end the destination with the name that it should get"
    )]
    BadName {
        /// The address.
        url: String,
        /// The name.
        name: String,
    },
    /// A secret for a server is not text.
    #[error("the secret {id} can't be sent as a header: it is empty, or holds control characters")]
    BadSecret {
        /// Its id.
        id: String,
    },
    /// A secret for a server can't be read.
    #[error(transparent)]
    Secret(#[from] crate::secret::SecretError),
    /// There is no git on this machine.
    #[error(
        "git repositories need the program git, which can't be started ({0}): install it, for example with `apt-get install git`"
    )]
    NoGit(#[source] io::Error),
    /// git failed.
    #[error("{remote} can't be fetched: {reason}")]
    Git {
        /// The remote.
        remote: String,
        /// What git said.
        reason: String,
    },
    /// A remote, reference, commit or directory that can't be one.
    #[error("`{text}` is no {what}: {why}")]
    Invalid {
        /// What it should be.
        what: &'static str,
        /// The text.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The repository has no such branch, tag or commit.
    #[error("{remote} has no branch, tag or commit `{reference}`{hint}")]
    NoReference {
        /// The remote.
        remote: String,
        /// What was asked for.
        reference: String,
        /// What there is, beginning with punctuation.
        hint: String,
    },
    /// The reference leads to another commit than the checksum says.
    #[error("the commit of {remote} differs: expected {expected} and `{reference}` is {found}")]
    CommitDiffers {
        /// The remote.
        remote: String,
        /// What it should be, or the beginning of it.
        expected: String,
        /// What was asked for.
        reference: String,
        /// What it is.
        found: String,
    },
    /// The commit has no such directory.
    #[error("{remote} has no directory `{directory}` at {commit}{hint}")]
    NoDirectory {
        /// The remote.
        remote: String,
        /// What was asked for.
        directory: String,
        /// The commit.
        commit: String,
        /// What there is, beginning with punctuation.
        hint: String,
    },
    /// A submodule that can't be had.
    #[error("the submodule `{path}` of {remote} {reason}")]
    Submodule {
        /// Its path.
        path: String,
        /// The repository that it is in.
        remote: String,
        /// Why not.
        reason: String,
    },
    /// The files of a commit can't be written.
    #[error("the files of {remote} can't be unpacked: {source}")]
    Unpack {
        /// The remote.
        remote: String,
        /// Why.
        source: builder_image::layer::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] builder_cache::Error),
    /// A file of the store can't be written.
    #[error("can't write {}: {source}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The build is over.
    #[error("cancelled")]
    Cancelled,
}

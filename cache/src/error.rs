//! What can go wrong, named so that a person knows what to do.

use std::io;
use std::path::{Path, PathBuf};

use builder_solver::ContentDigest;

use crate::id::{BlobDigest, LayerId, ParseIdError};

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The disk (or a quota) is full.
    #[error("no space left to {action} {}: free some with `builder prune`, or put the store elsewhere with --root", .path.display())]
    NoSpace {
        /// What was to be done.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The user may not do this there.
    #[error("no permission to {action} {}: run as the user that owns the store, or name another one with --root", .path.display())]
    Permission {
        /// What was to be done.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Any other failure of the file system.
    #[error("could not {action} {}", .path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The database failed.
    #[error("the store's database failed")]
    Database(#[source] rusqlite::Error),
    /// The database holds something that no builder wrote.
    #[error("the store's database is damaged ({what}): move {} away and build again; blobs stay usable", .path.display())]
    DamagedDatabase {
        /// The database.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Another process held the database's write lock for too long.
    #[error("the store's database is locked by another process for too long: try again when it is done")]
    DatabaseBusy(#[source] rusqlite::Error),
    /// A newer builder wrote this store.
    #[error("the store {} has format {found}, and this builder knows formats up to {known}: use a newer builder, or another store with --root", .path.display())]
    NewerStore {
        /// The store.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format that this builder knows.
        known: i64,
    },
    /// The text is no digest or id.
    #[error(transparent)]
    Id(#[from] ParseIdError),
    /// The bytes that were written are not those that were announced.
    #[error("expected a blob {expected} and got {found}: the source is damaged or was tampered with")]
    DigestMismatch {
        /// What it should have been.
        expected: BlobDigest,
        /// What it is.
        found: BlobDigest,
    },
    /// A blob in the store is not what its name says.
    #[error("the blob {} is damaged (its digest is {found}): remove the image that it belongs to and load or build it again", .path.display())]
    DamagedBlob {
        /// The blob's file.
        path: PathBuf,
        /// The digest of what it holds now.
        found: BlobDigest,
    },
    /// The blob is not there.
    #[error("the store has no blob {0}")]
    NoBlob(BlobDigest),
    /// The blob is larger than the reader wants to hold in memory.
    #[error("the blob {digest} has {size} bytes, and at most {max} are accepted here")]
    BlobTooLarge {
        /// Which.
        digest: BlobDigest,
        /// Its size.
        size: u64,
        /// The limit.
        max: u64,
    },
    /// The layer is not there.
    #[error("the store has no layer {0}: it was pruned, build again")]
    NoLayer(LayerId),
    /// The layer's files are elsewhere, and nothing here can bring them.
    #[error("the files of the layer {layer} are not in the store, but at {location}, and can't be fetched from there")]
    Absent {
        /// Which.
        layer: LayerId,
        /// Where its blob is.
        location: String,
    },
    /// What is elsewhere could not be fetched.
    #[error(transparent)]
    Provider(crate::absent::ProviderError),
    /// The image is not there.
    #[error("the store has no image {0}")]
    NoImage(BlobDigest),
    /// The container is not there.
    #[error("no such container: {0}")]
    NoContainer(crate::container::ContainerId),
    /// Another container has the name.
    #[error(
        "the container name \"/{name}\" is already in use by container \"{id}\": remove that container to be able to reuse that name"
    )]
    ContainerName {
        /// The name.
        name: String,
        /// Who has it.
        id: crate::container::ContainerId,
    },
    /// A listing in the store is not what its name says.
    #[error("the listing {0} is damaged in the store")]
    DamagedTree(ContentDigest),
    /// The upper directory uses an overlay feature that layers must not use.
    #[error("{} has the attribute {attribute}, which a layer can't hold: mount layers with redirect_dir=off and metacopy=off", .path.display())]
    OverlayFeature {
        /// The file.
        path: PathBuf,
        /// The attribute.
        attribute: String,
    },
    /// Somebody uses the store, so nothing can be deleted from it.
    #[error("the store {} is in use by another builder: try again when it is done, or wait for it", .path.display())]
    InUse {
        /// The store.
        path: PathBuf,
    },
}

impl Error {
    /// Wraps an error of the file system; "no space" and "no permission" get their own variants.
    pub(crate) fn io(action: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        let path = path.as_ref().to_owned();
        let source = source.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { action, path, source },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::Permission { action, path, source }
            }
            _ => Self::Io { action, path, source },
        }
    }

    /// Says which database failed, and tells apart what a person can do something about.
    pub(crate) fn located(self, path: &Path) -> Self {
        use rusqlite::ErrorCode;
        let Self::Database(source) = self else { return self };
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::NoSpace { action: "write to", path, source: io::Error::other(source) },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
                Self::Permission { action: "open", path, source: io::Error::other(source) }
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::DamagedDatabase { path, what: source.to_string() }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::DatabaseBusy(source),
            _ => Self::Database(source),
        }
    }
}

/// Keeps the source; `Error::located` adds the rest where the path is known.
impl From<rusqlite::Error> for Error {
    fn from(source: rusqlite::Error) -> Self {
        Self::Database(source)
    }
}

/// `result.at("create", path)?`: adds what was done and where.
pub(crate) trait At<T>: Sized {
    /// The same where the path costs something to make.
    fn at_with<P: AsRef<Path>>(self, action: &'static str, path: impl FnOnce() -> P) -> Result<T>;

    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.at_with(action, || path)
    }
}

impl<T, E: Into<io::Error>> At<T> for std::result::Result<T, E> {
    fn at_with<P: AsRef<Path>>(self, action: &'static str, path: impl FnOnce() -> P) -> Result<T> {
        self.map_err(|error| Error::io(action, path(), error))
    }
}

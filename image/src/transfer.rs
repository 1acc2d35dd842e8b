//! How far blobs are on their way, for whoever shows it.

use std::fmt::Debug;

use builder_cache::{BlobDigest, BlobInfo};

/// Hears how far blobs are. Called often and on any thread: it must not wait.
pub trait Watch: Send + Sync + Debug {
    /// These blobs begin to come, each from the place that is named. [`State::Done`] or [`State::Failed`] ends each,
    /// unless the work is given up.
    fn begin(&self, _: &[(BlobInfo, String)]) {}

    /// A blob is that far.
    fn note(&self, blob: &BlobDigest, state: State);
}

/// How far a blob is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Its turn comes.
    Waiting,
    /// It comes.
    Downloading {
        /// Bytes that are there.
        done: u64,
        /// Bytes that it has.
        total: u64,
    },
    /// Its files are written.
    Extracting {
        /// Bytes that are unpacked.
        done: u64,
        /// Bytes that it has.
        total: u64,
    },
    /// It goes.
    Uploading {
        /// Bytes that are gone.
        done: u64,
        /// Bytes that it has.
        total: u64,
    },
    /// It is where it should be.
    Done,
    /// It was there.
    Exists,
    /// The registry took it over from another of its repositories.
    Mounted {
        /// The path of that.
        from: String,
    },
    /// It can't be had, or sent.
    Failed,
}

/// Nobody is told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn note(&self, _: &BlobDigest, _: State) {}
}

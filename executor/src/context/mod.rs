//! Where files are copied from: the local context, and the roots of snapshots.
//!
//! A [`FileSource`] is a directory that is held open. It is scanned in parallel, fd-relative and only as far as
//! selections need it; what was scanned is kept, so that several selections of one build share it. A scan yields
//! [`Tree`]s of entries with their digests; [`FileSource::select`] picks from them what a `COPY` names, and
//! [`FileSource::digest`] is what the solver puts into the cache key.
//!
//! # When is a file read?
//!
//! A local context has a stat index ([`index`]): device, inode, size, mtime, **ctime** and mode, with nanoseconds,
//! lead to the digest of the bytes. A file is read again unless all of them are the same. Content is never guessed
//! from size and mtime. An entry whose mtime or ctime is not older than the moment at which its scan began could
//! change once more without a change of its timestamps, so it is read again next time (git's racy rule). On file
//! systems whose inode numbers or ctimes are not to be trusted (network, FUSE, overlay) everything is read always.
//!
//! # Invariants
//!
//! * Nothing outside of the root is ever opened: links are resolved inside it, files are opened beneath it without
//!   following links.
//! * What is copied is what was hashed: the copy compares the file with the scan, and says so when it changed.
//! * Scans use rayon; they must be called from a thread that is not one of its workers.

mod digest;
mod entry;
mod error;
mod filter;
mod hash;
pub mod index;
mod local;
pub(crate) mod resolve;
pub(crate) mod root;
mod scan;
mod select;
mod source;
mod tree;

#[cfg(test)]
mod tests;

pub use digest::SelectionDigest;
pub use entry::{Entry, EntryContent, Stamp, Xattr};
pub use error::SourceError;
pub(crate) use error::show;
pub(crate) use hash::{hash_file, with_buffer};
pub use local::LocalContext;
pub(crate) use local::read_file;
pub use select::{Item, ItemContent, Selected};
pub use source::FileSource;
pub use tree::{Branch, Directory, DirectoryId, Tree};

//! The store: blobs, layers, records of finished steps, images, and the locks that let any number of builders use it
//! at once. No daemon, one directory:
//!
//! ```text
//! <root>/
//! ├── builder.db (-wal, -shm)   SQLite: what exists, what refers to what, sizes, last use      (schema)
//! ├── oci-layout, index.json    together with blobs/ an OCI image layout that other tools read (layout)
//! ├── blobs/sha256/<hex>        bytes named by their digest                                    (blob)
//! ├── snapshots/<id>/fs         one committed layer in overlay form                            (layer, absent)
//! ├── active/<session>.lock     held (flock) by a living process                               (session)
//! ├── active/<session>/         what that process is writing:
//! │   ├── <id>/fs, <id>.work      a layer: upper and work directory of its overlay
//! │   └── ingest-<id>             a blob
//! ├── mounts/<id>/fs           a directory that outlives builds, for RUN --mount=type=cache    (mount)
//! ├── containers/<id>/fs       what a container of `run` changed                              (container)
//! ├── contexts/<hex>.index      stat index of a local context                                  (context)
//! ├── remotes/                  what was fetched: answers of servers, repositories             (remotes)
//! ├── locks/<hex>               held while somebody works on that cache key                    (lock)
//! ├── gc.lock                   shared: uses the store; exclusive: deletes from it             (lock)
//! ├── reserve                   room for a prune when the disk is full                         (reserve)
//! └── trash/<id>                on its way out; removed when there is time                     (trash)
//! ```
//!
//! # What always holds
//!
//! * **Whole or not there.** Everything is written below `active/`, renamed into place, and then gets its row; what
//!   has no row does not exist. A killed process leaves only what [`Store::open`] sweeps away.
//! * **Never half after a power cut.** A new row carries the id of the boot in which it was written. [`Store::sync`]
//!   flushes the file system and clears that mark; the first open after a reboot drops what is still marked.
//!   Deletions reach the disk in the database first and among the files after it.
//! * **Nothing in use is deleted.** Builders hold the gc lock shared ([`Store::lease`]); [`Store::prune`] needs it
//!   alone, and spares what an image, a present record or the base of a delta layer refers to.
//! * **No path from outside text.** Every name below the root is a parsed digest or id, never a string of an image
//!   or a Dockerfile.
//! * Reading is free of writes: uses are collected in memory and written now and then ([`Store::flush_uses`]).
//!
//! Invariant: this crate knows no Dockerfile.

mod absent;
mod blob;
mod compare;
mod container;
pub mod content;
mod context;
mod derived;
mod durability;
mod error;
mod id;
mod image;
mod layer;
mod layout;
mod lock;
mod mount;
mod name;
mod prune;
mod record;
mod remotes;
mod reserve;
mod schema;
mod session;
mod store;
mod trash;
mod tree;
mod usage;

pub use absent::{AbsentLayer, Fill, LayerSource, Provider, ProviderError};
pub use blob::{BlobInfo, BlobWriter};
pub use compare::{Difference, FileInfo};
pub use container::{Container, ContainerId, ContainerState, HeldContainer, Holder, NewContainer};
pub use error::{Error, Result};
pub use id::{BlobDigest, DiffId, LayerId, ParseIdError, Snapshot};
pub use image::{Image, NewImage, RemovedImage};
pub use layer::{ActiveLayer, Layer, LayerMeta};
pub use lock::{KeyLock, Lease};
pub use mount::{BusyMount, CacheDirectory, TakenMount};
pub use name::Named;
pub use prune::{PruneImagesOptions, PruneOptions, Pruned};
pub use record::StoredRecord;
pub use store::{OpenOptions, Store};
pub use usage::{LayerSize, LayerUsage, MountUsage, Usage};

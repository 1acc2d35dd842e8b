//! Shared caches: what was built on one machine is found on another.
//!
//! A cache is a manifest and a config, wherever it is kept. The **config** ([`format`]) holds records of steps; the
//! **manifest** lists the config and one blob for each layer that the steps made. Layers of base images are not in it:
//! whoever builds on an image can get them from where the image is.
//!
//! ```text
//!  records of the store ──[`collect`]──▶ steps and layers ──[`send`]──▶ backend: registry, directory, …
//!  records of the store ◀──[`SharedRecords`], on a hit──  config  ◀──[`open`]── backend
//! ```
//!
//! * [`Backend`] is a place that keeps blobs by digest and one manifest; [`LocalBackend`], [`RegistryBackend`].
//! * Nothing is downloaded but the config, until somebody needs the files of a layer: a hit puts *absent* layers into
//!   the store ([`builder_cache::AbsentLayer`]).
//! * A record names its inputs by their keys, so a record is of use alone, and an export walks each record once.
//!
//! # What is believed
//!
//! Who names a cache trusts what it says a step resulted in, as with every build cache. Everything else is checked:
//! recipe keys are computed from what a record says its step was made of, never read; all sizes, counts and depths are
//! bounded; positions only point backwards, so there are no circles; blobs are what their digests say, or fail; and files
//! are what the content digest of their layer says, or the layer is thrown away as soon as it was fetched.

mod backend;
mod cache;
mod collect;
mod components;
mod error;
mod format;
mod gha;
mod hashing;
mod inline;
mod local;
mod manifest;
mod mounts;
mod open;
mod origin;
mod records;
mod registry;
mod s3;
mod send;

pub use backend::{Backend, Blob, Open};
pub use cache::{Cache, CarriedMount, Step};
pub use collect::{Bases, Collected, Mode, Target, collect};
pub use error::Error;
pub use format::CONFIG_TYPE;
pub use gha::{GHA_LOCATION, GhaBackend, GhaPlace};
pub use inline::{INLINE_KEY, inline};
pub use local::LocalBackend;
pub use mounts::{fill_mount, pack_mount};
pub use open::{Opened, open};
pub(crate) use origin::guarded_place;
pub use origin::{CacheOrigin, is_guarded};
pub use records::{Blocking, Imports, SharedRecords};
pub use registry::RegistryBackend;
pub use s3::{S3_LOCATION, S3Access, S3Backend, S3Place};
pub use send::{SendOptions, Sent, SentMount, send};

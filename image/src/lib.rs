//! Images: their names, their layers as tars, and the files in which they travel.
//!
//! ```text
//!  layer directories ──layer::write_layer──▶ tar stream ──compress──▶ blob of the store ──archive::save──▶ tar, layout
//!  (overlay form)    ◀──layer::apply_layer──            ◀──────────                     ◀──archive::load──
//!
//!  archive ──layer::unpack──▶ root that is in use (ADD)        root ──export──▶ directory, tar
//! ```
//!
//! * [`mod@reference`]: names of images, as Docker reads them.
//! * [`tar`]: the format; [`layer`]: tars ⇄ directories; [`compress`]: tars ⇄ blobs; [`estargz`]: blobs that are read file by file.
//! * [`assemble`](mod@assemble): layers and a config → an image of the store; [`assemble::import`]: a root file system → one.
//! * [`sbom`]: what packages a root file system has.
//! * [`push`](mod@push): images → registries.
//! * [`verify`]: whether what is stored is what its digests say.
//! * [`archive`]: images ⇄ docker-archives and OCI layouts; [`export`]: the files of an image alone.
//!
//! # What always holds
//!
//! * **The same files give the same bytes,** for any number of threads: tars, compressed blobs, manifests, archives.
//! * **Nothing from outside is believed.** Digests are checked where bytes enter and where they leave; a path of an
//!   archive can't lead out of the root that it is unpacked to; every size that allocates is bounded.
//! * **What came from elsewhere stays as it came.** Manifests, configs and blobs of loaded images keep their bytes,
//!   since their digests are names.
//! * **Streams, in bounded memory.** Files of any size and archives from a pipe pass in blocks of a MiB.
//!
//! Everything is synchronous. Bulk work runs on a pool of this crate's own, so callers may be rayon threads.

pub mod archive;
pub mod assemble;
mod block;
pub mod compress;
mod config;
pub mod estargz;
pub mod export;
pub mod http;
pub mod layer;
pub mod platform;
mod pool;
pub mod pull;
pub mod push;
pub mod reference;
pub mod registry;
pub mod remote_cache;
pub mod sbom;
pub mod tar;
mod text;
pub mod transfer;
pub mod verify;

pub use platform::Platform;
pub use reference::Reference;

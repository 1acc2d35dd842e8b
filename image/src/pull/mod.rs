//! Images of registries → the store.
//!
//! ```text
//! tag or digest ──resolve──▶ manifest, config ──register──▶ image of absent layers ──name──▶ names
//!
//! absent layers ──LayerProvider──▶ socket ─▶ blob of the store   several at once, each blob in one pass
//!   when somebody needs files            └─▶ decompress ─▶ layer of the store
//! ```
//!
//! A base image costs its manifest and its config: they say which layers it has, and that is what steps are looked up
//! by. Layers are fetched by the [`LayerProvider`] when somebody needs their files. It asks [`Origin`]s for the bytes:
//! a registry is one, shared caches are others.
//!
//! A layer becomes part of the store when the digest of its blob, the blob's size and the digest of its tar are right,
//! and whoever fills it holds its lock, so that processes that pull the same image share the work.

mod error;
mod fetch;
mod layer;
mod names;
mod origin;
mod register;
mod resolve;

pub use error::Error;
pub use fetch::LayerProvider;
pub use names::{name, name_known};
pub use origin::{Connect, LayoutOrigin, Origin, OriginError, OriginReader, RegistryOrigin, location};
pub use register::{Registered, register};
pub use resolve::{Resolved, offers, resolve, resolve_with};

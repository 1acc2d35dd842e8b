//! Images ⇄ files that other tools read.
//!
//! * [`save`] writes a tar that is an OCI image layout, and with [`Format::Docker`] a docker-archive as well (as
//!   `docker save` has made them since version 25). It streams: sizes and digests of everything are known before the
//!   first byte, and no blob is copied aside. [`save_layout`] writes the layout as a directory.
//! * [`load`] reads what `docker save` (old and new), `podman save`, `skopeo copy` and `buildah push` write, compressed
//!   or not, from a file or a pipe; [`load_layout`] reads a layout directory.
//! * [`Attestation`]s travel with an image in both.
//!
//! The bytes of manifests and configs that came from elsewhere are never written anew: their digests are names.

mod attest;
pub(crate) mod content;
pub(crate) mod descriptor;
mod docker;
mod error;
pub(crate) mod index;
mod load;
pub(crate) mod oci;
pub(crate) mod plan;
mod save;
pub(crate) mod source;
mod unpack;

pub use attest::{
    ARTIFACT_TYPE, ATTESTATION_MANIFEST, Attestation, PREDICATE_LIMIT, PREDICATE_TYPE, REFERENCE_DIGEST,
    REFERENCE_TYPE, STATEMENT, STATEMENT_TYPES, statement,
};
pub use descriptor::{Annotations, MediaTypes};
pub use error::Error;
pub use index::CREATED;
pub use load::{LoadOptions, LoadedImage, LoadedName, Wanted, load, load_layout};
pub use save::{Format, SaveImage, SaveOptions, SavePlatform, Saved, SavedImage, describe, save, save_layout};

pub(crate) use unpack::chain_ids;

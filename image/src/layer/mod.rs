//! Layers ⇄ tars.
//!
//! * [`write_layer`]: a layer's directory or directories in overlay form → its tar; [`diff_id`] remembers the digest.
//! * [`apply_layer`]: a layer's tar, compressed or not → a directory in overlay form.
//! * [`copy_tree`], [`write_tree`]: a file or directory of a root that is in use → another root, a tar (`cp`).
//! * [`unpack`]: any tar, compressed or not → files in a root that is in use (`ADD`).

mod apply;
mod batch;
mod blob;
mod error;
mod extract;
mod input;
mod node;
mod path;
mod tree;
mod unpack;
mod walk;
mod write;
mod xattr;

pub use apply::{Applied, ApplyOptions, apply_layer, inherit_parents};
pub use blob::{LayerBlob, diff_id, formed_tar, layer_blob, recreate, write_stored};
pub use error::{Error, StoppedError};
pub use tree::{TreeOptions, TreeSource, copy_layer, copy_tree, unpack_tree, write_tree};
pub use unpack::{UnpackOptions, Unpacked, unpack};
pub use write::{LayerTar, Rooted, WriteOptions, write_layer, write_root, write_roots};

pub(crate) use input::{StreamFailure, read_archive};
pub(crate) use node::{is_directory, look, open_directory, remove};
pub(crate) use path::clean as clean_path;
pub(crate) use unpack::unpack_stream;
pub(crate) use write::write_exact;

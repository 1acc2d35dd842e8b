//! OCI things: names of images, layers as tars, compression, archives.

mod block;
pub mod compress;
pub mod layer;
mod pool;
pub mod reference;
pub mod tar;
mod text;

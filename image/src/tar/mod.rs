//! The tar format: entries ⇄ bytes.
//!
//! The header's layout and checksum are the `tar` crate's ([`Header`](::tar::Header)). What surrounds it is our
//! own, because layers need what that crate's `Archive` and `Builder` do not give: devices, sub-second times, binary
//! extended attributes, GNU sparse files in PAX form, bounded metadata, and bytes that never vary.
//!
//! * [`write`](mod@write): one entry → ustar header, with a PAX header before it only where ustar can't say it.
//! * [`Reader`]: bytes → entries; ustar, PAX, GNU long names, all four GNU sparse forms, star, v7.
//!
//! Both know nothing of file systems; [`crate::layer`] joins them with one.

mod entry;
mod error;
mod number;
mod pax;
mod reader;
mod sparse;
pub mod write;

pub use entry::{Entry, Kind, Xattr};
pub use error::{Reason, TarError};
pub use reader::{Limits, Reader};
pub use sparse::Segment;

/// Everything in a tar is in units of this many bytes.
pub const RECORD: usize = 512;

/// How many zero bytes follow `size` bytes of data.
pub const fn padding(size: u64) -> usize {
    (size.next_multiple_of(RECORD as u64) - size) as usize
}

//! What files *are*: canonical digests of entries, directories, layers and chains of layers.
//!
//! | thing | digest | over |
//! |---|---|---|
//! | bytes of a file | [`DataDigest`] | BLAKE3 of the bytes |
//! | entry | [`EntryDigest`] | framed `entry`: kind, then what the kind has (next table), then the attributes |
//! | directory | [`ContentDigest`](builder_solver::ContentDigest) | framed `tree`: its encoded [`Listing`] |
//! | layer | the same | its root directory |
//! | chain | the same | framed `chain`: the digests of its layers, bottom first; empty layers left out |
//!
//! | kind | code | mode, uid, gid | size, bytes | link target | device | attributes |
//! |---|---|---|---|---|---|---|
//! | file | 1 | yes | yes | | | yes |
//! | directory | 2 | yes | | | | yes |
//! | opaque directory | 3 | yes | | | | yes |
//! | symbolic link | 4 | uid, gid | | yes | | yes |
//! | character device | 5 | yes | | | yes | yes |
//! | block device | 6 | yes | | | yes | yes |
//! | fifo | 7 | yes | | | | yes |
//! | socket | 8 | yes | | | | yes |
//! | whiteout | 9 | | | | | |
//!
//! Numbers are hashed as 64 bits little endian, everything is length-framed
//! ([`FramedHasher`](builder_solver::digest::FramedHasher)).
//!
//! * The mode is the low twelve bits. A column without `yes` is hashed as zero or empty, so that the layout of the
//!   hash is the same for each kind.
//! * Attributes: sorted by name; all but `trusted.overlay.*`, `user.overlay.*` and `system.*`; of `security.*` only
//!   `security.capability` (labels are the host's business).
//! * Left out on purpose: every time; the number of hard links (each name digests like the file); inode and device
//!   of the file system; the size of a directory; in a layer, sockets, which no tar can hold.
//! * A path whose parents were never named has parents without an entry of their own; that differs from parents with
//!   one. An empty directory is an entry, any other directory a listing.
//!
//! # A layer of several parts
//!
//! A delta layer lies over its base, and both are one layer. The topmost part that has a name decides.
//!
//! * A whiteout in the lowest part is an entry. In a part above, it hides the name in the parts below and vanishes: a
//!   delta takes away only what its base has and no layer beneath.
//! * A directory goes on in the parts below up to an opaque directory or to something that is no directory. It is
//!   opaque when the lowest directory that it is made of is and the parts below have no directory there, or when a
//!   whiteout stopped it.

mod builder;
mod entry;
mod layer;
mod listing;
mod place;
mod whiteout;

pub use builder::{TreeBuilder, Trees};
pub use entry::{DataDigest, EntryDigest, EntryKind, EntryMeta, Xattrs, read_xattrs, xattr_counts};
pub use layer::{LayerContent, chain_content, layer_content};
pub use listing::{Child, ChildDigest, Listing};
pub use whiteout::{is_whiteout, make_whiteout};

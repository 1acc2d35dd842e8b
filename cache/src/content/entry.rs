//! One entry of a tree, and its digest.

use std::cell::RefCell;
use std::fmt;
use std::os::fd::AsFd;

use builder_solver::digest::FramedHasher;
use rustix::io::Errno;

/// What is read of a file at once.
const BUFFER_SIZE: usize = 256 * 1024;

macro_rules! digest {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Wraps 32 bytes that are already a digest of this kind.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "("))?;
                for byte in &self.0[..6] {
                    write!(f, "{byte:02x}")?;
                }
                f.write_str("…)")
            }
        }
    };
}

digest! {
    /// BLAKE3 of the bytes of a file.
    DataDigest
}
digest! {
    /// What one entry is, without its name and without what is below it.
    EntryDigest
}

impl DataDigest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The digest of the rest of an open file, and how many bytes that were.
    pub fn of_file(file: impl AsFd) -> std::io::Result<(Self, u64)> {
        Self::of_file_up_to(file, u64::MAX)
    }

    /// The same for a file that does not change: at its known size nobody asks for more.
    pub(super) fn of_file_up_to(file: impl AsFd, known: u64) -> std::io::Result<(Self, u64)> {
        thread_local! {
            static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER_SIZE]);
        }
        BUFFER.with_borrow_mut(|buffer| {
            let mut hasher = blake3::Hasher::new();
            let mut size = 0;
            while size < known {
                match rustix::io::read(&file, buffer.as_mut_slice()) {
                    Ok(0) => break,
                    Ok(length) => {
                        hasher.update(&buffer[..length]);
                        size += length as u64;
                    }
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok((Self(*hasher.finalize().as_bytes()), size))
        })
    }
}

/// Extended attributes: names and values.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// What kind of thing an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A directory of an overlay upper directory that hides what lies below.
    OpaqueDirectory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// The mark of an overlay upper directory that a name is gone: a character device 0:0.
    Whiteout,
}

impl EntryKind {
    /// Stable: part of every digest.
    const fn code(self) -> u64 {
        match self {
            Self::File => 1,
            Self::Directory => 2,
            Self::OpaqueDirectory => 3,
            Self::Symlink => 4,
            Self::CharDevice => 5,
            Self::BlockDevice => 6,
            Self::Fifo => 7,
            Self::Socket => 8,
            Self::Whiteout => 9,
        }
    }

    /// Whether it is a directory of either sort.
    pub const fn is_directory(self) -> bool {
        matches!(self, Self::Directory | Self::OpaqueDirectory)
    }
}

/// All that counts of an entry but the bytes of a file. What a kind does not have is ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryMeta {
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, with set-id and sticky bits; the type bits are ignored.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The size of a file.
    pub size: u64,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Where a symbolic link points.
    pub target: Vec<u8>,
    /// Extended attributes in any order; those that do not count ([`xattr_counts`]) are ignored.
    pub xattrs: Xattrs,
}

impl EntryMeta {
    /// An entry of root's with nothing to it but its kind and mode.
    pub const fn new(kind: EntryKind, mode: u32) -> Self {
        Self { kind, mode, uid: 0, gid: 0, size: 0, device: (0, 0), target: Vec::new(), xattrs: Vec::new() }
    }

    /// The digest of the entry; `data` are the bytes of a file, where none stands for an empty one.
    pub fn digest(&self, data: Option<&DataDigest>) -> EntryDigest {
        use EntryKind as Kind;
        let when = |condition: bool, number: u64| if condition { number } else { 0 };
        let owned = self.kind != Kind::Whiteout;
        let is_file = self.kind == Kind::File;
        let is_device = matches!(self.kind, Kind::CharDevice | Kind::BlockDevice);
        let mut hasher = FramedHasher::new("entry");
        hasher
            .number(self.kind.code())
            .number(when(owned && self.kind != Kind::Symlink, u64::from(self.mode & 0o7777)))
            .number(when(owned, u64::from(self.uid)))
            .number(when(owned, u64::from(self.gid)))
            .number(when(is_file, self.size))
            .number(when(is_device, u64::from(self.device.0)))
            .number(when(is_device, u64::from(self.device.1)))
            .part(if self.kind == Kind::Symlink { &self.target } else { &[] })
            .part(match data {
                Some(data) if is_file && self.size > 0 => data.as_bytes(),
                _ => &[],
            });
        let mut attributes: Vec<_> =
            if owned { self.xattrs.iter().filter(|(name, _)| xattr_counts(name)).collect() } else { Vec::new() };
        attributes.sort_unstable();
        hasher.number(attributes.len() as u64);
        for (name, value) in attributes {
            hasher.part(name).part(value);
        }
        EntryDigest(hasher.finish())
    }
}

/// Whether an extended attribute is part of what a file is (and belongs into a layer's tar).
pub fn xattr_counts(name: &[u8]) -> bool {
    if name.starts_with(b"security.") {
        return name == b"security.capability";
    }
    ![b"trusted.overlay.".as_slice(), b"user.overlay.", b"system."].iter().any(|prefix| name.starts_with(prefix))
}

/// The extended attributes of an open file that count, sorted.
pub fn read_xattrs(file: impl AsFd) -> std::io::Result<Xattrs> {
    let file = file.as_fd();
    let names = list(|buffer| rustix::fs::flistxattr(file, buffer))?;
    let mut found = Vec::new();
    for name in split_names(&names).filter(|name| xattr_counts(name)) {
        found.push((name.to_vec(), list(|buffer| rustix::fs::fgetxattr(file, name, buffer))?));
    }
    found.sort_unstable();
    Ok(found)
}

/// The names in what `listxattr` returned.
pub(super) fn split_names(names: &[u8]) -> impl Iterator<Item = &[u8]> {
    names.split(|&byte| byte == 0).filter(|name| !name.is_empty())
}

/// Calls a function that fills a buffer, with a larger buffer when it does not fit.
pub(super) fn list(mut fill: impl FnMut(&mut [u8]) -> Result<usize, Errno>) -> std::io::Result<Vec<u8>> {
    let mut small = [0_u8; 512];
    match fill(&mut small) {
        Ok(length) => return Ok(small[..length].to_vec()),
        Err(Errno::RANGE) => {}
        // No attributes on this file system, or gone between listing and reading.
        Err(Errno::NOTSUP | Errno::NODATA) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    }
    // The kernel's limit for a list of names and for a value.
    let mut large = vec![0; 64 * 1024];
    let length = fill(&mut large)?;
    large.truncate(length);
    Ok(large)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> EntryMeta {
        EntryMeta { size: 3, ..EntryMeta::new(EntryKind::File, 0o644) }
    }

    #[test]
    fn what_counts_changes_the_digest() {
        let data = DataDigest::of(b"abc");
        let base = file().digest(Some(&data));
        let capability = (b"security.capability".to_vec(), b"x".to_vec());
        let cases = [
            ("kind", EntryMeta { kind: EntryKind::Fifo, ..file() }),
            ("mode", EntryMeta { mode: 0o4644, ..file() }),
            ("uid", EntryMeta { uid: 1, ..file() }),
            ("gid", EntryMeta { gid: 1, ..file() }),
            ("size", EntryMeta { size: 4, ..file() }),
            ("xattr", EntryMeta { xattrs: vec![capability], ..file() }),
        ];
        for (what, meta) in cases {
            assert_ne!(meta.digest(Some(&data)), base, "{what}");
        }
        assert_ne!(file().digest(Some(&DataDigest::of(b"abd"))), base, "bytes");
    }

    #[test]
    fn what_does_not_count_leaves_it() {
        let data = DataDigest::of(b"abc");
        let base = file().digest(Some(&data));
        let cases = [
            ("type bits", EntryMeta { mode: 0o100_644, ..file() }),
            ("device", EntryMeta { device: (1, 3), ..file() }),
            ("target", EntryMeta { target: b"x".to_vec(), ..file() }),
            ("label", EntryMeta { xattrs: vec![(b"security.selinux".to_vec(), b"x".to_vec())], ..file() }),
            ("overlay", EntryMeta { xattrs: vec![(b"trusted.overlay.origin".to_vec(), b"x".to_vec())], ..file() }),
            ("acl", EntryMeta { xattrs: vec![(b"system.posix_acl_access".to_vec(), b"x".to_vec())], ..file() }),
        ];
        for (what, meta) in cases {
            assert_eq!(meta.digest(Some(&data)), base, "{what}");
        }
        let link = |mode| EntryMeta { target: b"t".to_vec(), ..EntryMeta::new(EntryKind::Symlink, mode) }.digest(None);
        assert_eq!(link(0o777), link(0));
        let gone = |uid| EntryMeta { uid, ..EntryMeta::new(EntryKind::Whiteout, uid) }.digest(None);
        assert_eq!(gone(0), gone(7));
    }

    #[test]
    fn the_order_of_attributes_does_not_count() {
        let attribute = |name: &str| (name.as_bytes().to_vec(), b"v".to_vec());
        let one = EntryMeta { xattrs: vec![attribute("user.a"), attribute("user.b")], ..file() };
        let two = EntryMeta { xattrs: vec![attribute("user.b"), attribute("user.a")], ..file() };
        assert_eq!(one.digest(None), two.digest(None));
    }
}

//! Extended attributes: which of them belong to an image, and reading them.
//!
//! Kept are file capabilities and the user's own attributes. All else belongs to the machine (`security.selinux`,
//! `security.ima`), to the overlay that holds the layer (`trusted.overlay.*`, `user.overlay.*`), or needs the file
//! system's consent (`system.posix_acl_*`, which Docker's layers leave out, too).

use std::os::fd::BorrowedFd;

use rustix::fs::{fgetxattr, flistxattr};
use rustix::io::Errno;

use super::error::Error;
use crate::tar::Xattr;

/// The overlay's own attributes, as root and in a user namespace.
const OVERLAY: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// What a file's attributes say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    /// Those that belong to the image, sorted by name.
    pub(super) kept: Vec<Xattr>,
    /// A directory that hides what lies below it.
    pub(super) opaque: bool,
}

/// Whether an attribute belongs to an image.
pub(crate) fn is_kept(name: &[u8]) -> bool {
    name == b"security.capability" || (name.starts_with(b"user.") && overlay_part(name).is_none())
}

fn overlay_part(name: &[u8]) -> Option<&[u8]> {
    OVERLAY.iter().find_map(|prefix| name.strip_prefix(*prefix))
}

/// Reads the attributes of an open file; `path` is for errors.
pub(super) fn read(fd: BorrowedFd<'_>, path: &[u8]) -> Result<Attributes, Error> {
    let fail = |error: Errno| Error::io("read the attributes of", path, error);
    let mut found = Attributes::default();
    let mut small = [0_u8; 1024];
    let mut large = Vec::new();
    let names: &[u8] = match flistxattr(fd, &mut small[..]) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(found),
        Ok(length) => &small[..length],
        Err(Errno::RANGE) => {
            large.resize(64 << 10, 0);
            let length = flistxattr(fd, &mut large[..]).map_err(fail)?;
            &large[..length]
        }
        Err(error) => return Err(fail(error)),
    };
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        match overlay_part(name) {
            Some(b"opaque") => found.opaque |= value(fd, name).map_err(fail)? == b"y",
            Some(b"redirect" | b"metacopy") => {
                return Err(Error::OverlayFeature {
                    path: crate::text::show(path),
                    attribute: crate::text::show(name),
                });
            }
            None if is_kept(name) => found.kept.push((name.to_vec(), value(fd, name).map_err(fail)?)),
            Some(_) | None => {}
        }
    }
    found.kept.sort();
    Ok(found)
}

fn value(fd: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0; 256];
    match fgetxattr(fd, name, &mut value[..]) {
        Ok(length) => value.truncate(length),
        Err(Errno::RANGE) => {
            value.resize(64 << 10, 0);
            let length = fgetxattr(fd, name, &mut value[..])?;
            value.truncate(length);
        }
        Err(error) => return Err(error),
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::is_kept;

    #[test]
    fn what_belongs_to_an_image() {
        for name in ["security.capability", "user.x", "user.overlay", "user.overlayfs.x"] {
            assert!(is_kept(name.as_bytes()), "{name}");
        }
        for name in ["trusted.overlay.opaque", "user.overlay.opaque", "security.selinux", "trusted.x", "system.x", ""] {
            assert!(!is_kept(name.as_bytes()), "{name}");
        }
    }
}

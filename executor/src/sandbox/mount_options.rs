//! The options of a mount in the specification: a closed list, everything else is refused.

use super::error::{Error, Result};
use crate::sys::MountAttr;

/// Options taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MountOptions {
    /// `bind` or `rbind` was there.
    pub(crate) bind: bool,
    /// The mounts below the source come along.
    pub(crate) recursive: bool,
    /// `MOUNT_ATTR_*`.
    pub(crate) set: u64,
    /// What the file system itself gets: `size=64m`.
    pub(crate) data: Vec<(String, String)>,
}

impl MountOptions {
    /// Takes `options` apart. Devices are never usable, and no mount is shared with the host.
    pub(crate) fn parse(options: &[String]) -> Result<Self> {
        let mut out = Self { set: libc::MOUNT_ATTR_NODEV, ..Self::default() };
        for option in options {
            match option.as_str() {
                "bind" => out.bind = true,
                "rbind" => (out.bind, out.recursive) = (true, true),
                "ro" | "readonly" | "rro" => out.set |= libc::MOUNT_ATTR_RDONLY,
                "rw" => out.set &= !libc::MOUNT_ATTR_RDONLY,
                "nosuid" => out.set |= libc::MOUNT_ATTR_NOSUID,
                "suid" => out.set &= !libc::MOUNT_ATTR_NOSUID,
                "noexec" => out.set |= libc::MOUNT_ATTR_NOEXEC,
                "exec" => out.set &= !libc::MOUNT_ATTR_NOEXEC,
                "noatime" => out.set |= libc::MOUNT_ATTR_NOATIME,
                "strictatime" => out.set |= libc::MOUNT_ATTR_STRICTATIME,
                "nodiratime" => out.set |= libc::MOUNT_ATTR_NODIRATIME,
                "nodev" | "relatime" | "private" | "rprivate" | "defaults" | "" => {}
                other => match other.split_once('=') {
                    Some((key @ ("size" | "mode" | "nr_inodes" | "uid" | "gid"), value))
                        if value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'%') =>
                    {
                        out.data.push((key.to_owned(), value.to_owned()));
                    }
                    Some((key @ ("newinstance" | "ptmxmode"), value)) => {
                        out.data.push((key.to_owned(), value.to_owned()));
                    }
                    None if other == "newinstance" => {}
                    _ => return Err(Error::Refused(format!("the mount option {option:?} is not allowed"))),
                },
            }
        }
        Ok(out)
    }

    /// What to set on a mount that was cloned from the host.
    pub(crate) fn attributes(&self) -> MountAttr {
        let mut attr = MountAttr { set: self.set, propagation: libc::MS_PRIVATE, ..MountAttr::default() };
        if self.set & (libc::MOUNT_ATTR_NOATIME | libc::MOUNT_ATTR_STRICTATIME) != 0 {
            attr.clear = libc::MOUNT_ATTR__ATIME;
        }
        attr
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<MountOptions> {
        MountOptions::parse(&text.split(',').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_a_closed_list() {
        for text in
            ["rshared", "rslave", "shared", "unbindable", "dev", "upperdir=/x", "size=1,size=/..", "mode=$(id)", "x"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn known_options_are_understood() {
        let options = parse("rbind,ro,nosuid,rprivate").unwrap();
        assert!(options.bind && options.recursive);
        assert_eq!(options.set, libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID);
        assert_eq!(
            parse("size=64m,mode=1777").unwrap().data,
            [("size".into(), "64m".into()), ("mode".into(), "1777".into())]
        );
    }
}

//! What a path means, for `cp`: on the host as for every program, in a container inside its root and nowhere else.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use builder_image::layer::TreeSource;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstatfs, openat, readlinkat, statat};
use rustix::io::Errno;

use crate::rootfs::in_root;

/// How many links lead from one to the next at most, as in the kernel.
const LINKS: usize = 40;

/// File systems of the kernel, which hold nothing to copy: proc, sysfs, cgroup, cgroup2, devpts, mqueue.
const KERNEL: [i64; 6] = [0x9fa0, 0x6265_6572, 0x0027_e0eb, 0x6367_7270, 0x1cd1, 0x1980_0202];

/// Where paths are looked up.
#[derive(Debug, Clone, Copy)]
pub enum Lookup<'a> {
    /// On this machine.
    Host,
    /// Inside an open root.
    Inside(BorrowedFd<'a>),
}

/// What is at a path.
#[derive(Debug)]
pub enum Place {
    /// A directory, open for reading.
    Directory(OwnedFd),
    /// Something else, by its name in an open directory.
    Other {
        /// The directory that it is in.
        parent: OwnedFd,
        /// Its name there.
        name: OsString,
    },
    /// Nothing; it could be made.
    Missing {
        /// The directory that it would be in.
        parent: OwnedFd,
        /// Its name there.
        name: OsString,
    },
}

impl Place {
    /// What is at `path`. A link at its end is followed with `follow`, or when a slash behind it says so.
    ///
    /// # Errors
    /// When a directory on the way is missing or can't be read; when what should be a directory is none.
    pub fn find(lookup: Lookup<'_>, path: &Path, follow: bool) -> io::Result<Self> {
        let directory_wanted = asserts_directory(path);
        let mut path = match lookup {
            Lookup::Host => std::path::absolute(path)?,
            Lookup::Inside(_) => in_root::clean(path),
        };
        for _ in 0..LINKS {
            let Some((above, name)) = split(&path) else {
                return Ok(Self::Directory(lookup.directory(&path)?));
            };
            let parent = lookup.directory(&above)?;
            let stat = match statat(&parent, name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => return Ok(Self::Missing { parent, name }),
                Err(error) => return Err(error.into()),
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    return Ok(Self::Directory(openat(&parent, name.as_os_str(), flags, Mode::empty())?));
                }
                FileType::Symlink if follow || directory_wanted => {
                    let target = readlinkat(&parent, name.as_os_str(), Vec::new())?.into_bytes();
                    // Not put in order: what `..` means depends on the links before it.
                    path = above.join(OsString::from_vec(target));
                }
                _ if directory_wanted => return Err(Errno::NOTDIR.into()),
                _ => return Ok(Self::Other { parent, name }),
            }
        }
        Err(Errno::LOOP.into())
    }

    /// It for copying from.
    pub fn into_source(self) -> Option<TreeSource> {
        match self {
            Self::Directory(fd) => Some(TreeSource::Directory(fd)),
            Self::Other { parent, name } => Some(TreeSource::File { parent, name: name.into_vec() }),
            Self::Missing { .. } => None,
        }
    }

    /// Whether it is in a file system that the kernel makes up.
    pub fn is_kernels(&self) -> bool {
        let (Self::Directory(fd) | Self::Other { parent: fd, .. } | Self::Missing { parent: fd, .. }) = self;
        fstatfs(fd).is_ok_and(|found| KERNEL.contains(&found.f_type))
    }
}

impl Lookup<'_> {
    fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match self {
            Self::Host => Ok(openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty())?),
            Self::Inside(root) => in_root::open(root.as_fd(), path, flags, Mode::empty()),
        }
    }
}

/// The directory and the last name of a path; `None` when it does not end in a name.
fn split(path: &Path) -> Option<(PathBuf, OsString)> {
    let bytes = path.as_os_str().as_bytes();
    let ends_in_name = !bytes.ends_with(b"/.") && bytes != b".";
    match path.components().next_back() {
        Some(Component::Normal(name)) if ends_in_name => {
            Some((path.parent().unwrap_or(Path::new("")).to_owned(), name.to_owned()))
        }
        _ => None,
    }
}

/// Whether a path says that there is a directory: `dir/`, `dir/.`.
pub fn asserts_directory(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes.ends_with(b"/") || is_contents(path)
}

/// Whether a path means what is in a directory: `dir/.`.
pub fn is_contents(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes == b"." || bytes.ends_with(b"/.")
}

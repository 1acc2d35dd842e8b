//! Opening paths of an image inside its root, and nowhere else.
//!
//! Symbolic links are followed as a process inside the root would see them; magic links of `/proc` never are.
//! Everything that touches a file of an image by name goes through here.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// How often a lookup is repeated that collided with a rename elsewhere on the machine.
const ATTEMPTS: usize = 128;

/// Opens `path` inside `root`. `O_CLOEXEC` is added.
pub fn open(root: impl AsFd, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..ATTEMPTS {
        match rustix::fs::openat2(root.as_fd(), path, flags | OFlags::CLOEXEC, mode, resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(fd) => return Ok(fd),
        }
    }
    Err(Errno::AGAIN.into())
}

/// The path without `.` and with every `..` removed together with what precedes it, as `filepath.Clean("/" + path)`
/// does it: relative to the root, empty for the root itself.
pub fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    out
}

/// Opens the directory that holds `path`'s last component, and gives that component. `None` for the root itself.
pub fn open_parent(root: impl AsFd, path: &Path) -> io::Result<Option<(OwnedFd, OsString)>> {
    let path = clean(path);
    let Some(name) = path.file_name() else { return Ok(None) };
    let parent = path.parent().unwrap_or(Path::new(""));
    let directory = open_directory(root, parent)?;
    Ok(Some((directory, name.to_owned())))
}

/// Opens a directory as a place to look things up in.
pub fn open_directory(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    open(root, path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
}

/// Makes the directory `path` and its missing parents (0755, owned by the caller) and opens it.
pub fn make_directories(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let path = clean(path);
    match open_directory(root.as_fd(), &path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let mut directory = open_directory(root.as_fd(), Path::new("."))?;
    let mut so_far = PathBuf::new();
    for name in path.components() {
        so_far.push(name);
        directory = match open_directory(root.as_fd(), &so_far) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mode = Mode::from_raw_mode(0o755);
                match rustix::fs::mkdirat(&directory, name.as_os_str(), mode) {
                    // Whatever the umask is.
                    Ok(()) => rustix::fs::chmodat(&directory, name.as_os_str(), mode, AtFlags::empty())?,
                    Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                open_directory(root.as_fd(), &so_far)?
            }
            other => other?,
        };
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_works_like_gos() {
        for (path, expected) in
            [("/", ""), ("", ""), ("/a/b", "a/b"), ("a/./b/", "a/b"), ("/../../a", "a"), ("/a/../b/..", ""), ("..", "")]
        {
            assert_eq!(clean(Path::new(path)), Path::new(expected), "{path}");
        }
    }

    #[test]
    fn links_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        let root_path = dir.path().join("root");
        std::fs::create_dir_all(root_path.join("real")).unwrap();
        std::fs::write(dir.path().join("secret"), "x").unwrap();
        std::os::unix::fs::symlink("/real", root_path.join("absolute")).unwrap();
        std::os::unix::fs::symlink("../../secret", root_path.join("out")).unwrap();
        std::os::unix::fs::symlink("/proc/self/root", root_path.join("magic")).unwrap();
        let root = rustix::fs::open(&root_path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        make_directories(&root, Path::new("/absolute/new/deep")).unwrap();
        assert!(root_path.join("real/new/deep").is_dir());
        assert!(open(&root, Path::new("out"), OFlags::RDONLY, Mode::empty()).is_err());
        assert!(make_directories(&root, Path::new("/magic/etc")).is_err());
        make_directories(&root, Path::new("/../../up")).unwrap();
        assert!(root_path.join("up").is_dir());
    }
}

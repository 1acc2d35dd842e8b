//! Removing directory trees that may be large, deep, hostile, or unreadable for their owner.
//!
//! A tree is taken apart level by level: a directory that is not empty moves to the trash under a fresh name before
//! it is opened. So no path and no stack grows with the depth of the tree, and because each directory is opened
//! without following a symbolic link and its names are removed relative to it, nothing outside can be hit.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use rustix::fs::{AtFlags, CWD, Dir, FileType, IFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::error::{At, Error, Result};
use crate::store::random_number;

/// Moves something out of sight; it is removed later. Something that is gone already is fine.
pub(crate) fn discard(root: &Path, path: &Path) -> Result<()> {
    let target = fresh(root)?;
    gone(insist(CWD, path, || rustix::fs::rename(path, &target))).at("remove", path)
}

/// Removes a tree now.
pub(crate) fn remove(root: &Path, path: &Path) -> Result<()> {
    let mut waiting = vec![path.to_owned()];
    while let Some(directory) = waiting.pop() {
        remove_level(root, &directory, &mut waiting)?;
    }
    Ok(())
}

/// Removes everything in the trash.
pub(crate) fn empty(root: &Path) -> Result<()> {
    content(root)?.into_par_iter().try_for_each(|path| remove(root, &path))
}

/// Removes what is in the trash without keeping anybody waiting. What a process that ends leaves over, the next one
/// removes.
pub(crate) fn empty_later(root: &Path) -> Result<()> {
    if content(root)?.is_empty() {
        return Ok(());
    }
    let owned = root.to_owned();
    // It is only tidying: a failure shows again, and to a person, at the next prune.
    let work = move || drop(empty(&owned));
    std::thread::Builder::new().name("trash".to_owned()).spawn(work).map(drop).at("empty", root.join("trash"))
}

fn content(root: &Path) -> Result<Vec<PathBuf>> {
    let trash = root.join("trash");
    let list = || -> io::Result<Vec<PathBuf>> { std::fs::read_dir(&trash)?.map(|entry| Ok(entry?.path())).collect() };
    list().at("list", &trash)
}

fn fresh(root: &Path) -> Result<PathBuf> {
    Ok(root.join("trash").join(format!("{:016x}", random_number()?)))
}

/// Removes a directory after moving what is below its first level into the trash and onto `waiting`. The same for
/// what is no directory at all.
fn remove_level(root: &Path, path: &Path, waiting: &mut Vec<PathBuf>) -> Result<()> {
    let directory = match open(path) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => {
            return gone(insist(CWD, path, || rustix::fs::unlink(path))).at("remove", path);
        }
        Err(error) => return Err(Error::io("remove", path, error)),
    };
    let mut retried = false;
    loop {
        for entry in Dir::read_from(&directory).at("list", path)? {
            let entry = entry.at("list", path)?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if entry.file_type() != FileType::Directory {
                match insist(&directory, name, || rustix::fs::unlinkat(&directory, name, AtFlags::empty())) {
                    // The file system does not tell types, so it may be a directory after all.
                    Err(Errno::ISDIR | Errno::PERM) if entry.file_type() == FileType::Unknown => {}
                    result => {
                        gone(result).at("remove", path)?;
                        continue;
                    }
                }
            }
            match insist(&directory, name, || rustix::fs::unlinkat(&directory, name, AtFlags::REMOVEDIR)) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(error) => return Err(Error::io("remove", path, error)),
            }
            let target = fresh(root)?;
            let mut moved = insist(&directory, name, || rustix::fs::renameat(&directory, name, CWD, &target));
            if moved == Err(Errno::ACCESS) {
                // A directory that its owner may not write can't be moved: its `..` changes.
                rustix::fs::chmodat(&directory, name, Mode::RWXU, AtFlags::empty()).ok();
                moved = rustix::fs::renameat(&directory, name, CWD, &target);
            }
            match moved {
                Ok(()) => waiting.push(target),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(Error::io("remove", path, error)),
            }
        }
        match insist(CWD, path, || rustix::fs::unlinkat(CWD, path, AtFlags::REMOVEDIR)) {
            // Removing while listing may skip names on some file systems: list once more.
            Err(Errno::NOTEMPTY | Errno::EXIST) if !retried => retried = true,
            result => return gone(result).at("remove", path),
        }
    }
}

fn open(path: &Path) -> Result<std::os::fd::OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            // The work directory of an overlay has no permission bits at all.
            rustix::fs::chmod(path, Mode::RWXU)?;
            rustix::fs::open(path, flags, Mode::empty())
        }
        result => result,
    }
}

/// Tries once more without the marks that keep files from being changed: a step with all rights can set them.
fn insist<P: Arg + Copy>(directory: impl AsFd, name: P, work: impl Fn() -> Result<(), Errno>) -> Result<(), Errno> {
    match work() {
        Err(Errno::PERM) => {
            // What is marked is the file, or the directory that it is in.
            let (file, parent) = (unmark(&directory, name), unmark_directory(&directory));
            if file.is_ok() || parent.is_ok() { work() } else { Err(Errno::PERM) }
        }
        result => result,
    }
}

/// The directory itself; never the one that the process works in.
fn unmark_directory(directory: impl AsFd) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    if directory.as_fd().as_raw_fd() == CWD.as_raw_fd() { Err(Errno::PERM) } else { unmark(directory, ".") }
}

/// Takes these marks away; fails when there are none.
fn unmark(directory: impl AsFd, name: impl Arg + Copy) -> Result<(), Errno> {
    let stat = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    // Opening anything else may do something.
    if !matches!(FileType::from_raw_mode(stat.st_mode), FileType::RegularFile | FileType::Directory) {
        return Err(Errno::PERM);
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&directory, name, flags, Mode::empty())?;
    let (marks, found) = (IFlags::IMMUTABLE | IFlags::APPEND, rustix::fs::ioctl_getflags(&file)?);
    if !found.intersects(marks) {
        return Err(Errno::PERM);
    }
    rustix::fs::ioctl_setflags(&file, found - marks)
}

fn gone(result: Result<(), Errno>) -> Result<(), Errno> {
    if result == Err(Errno::NOENT) { Ok(()) } else { result }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn store() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("trash")).unwrap();
        root
    }

    #[test]
    fn a_tree_goes_and_what_its_links_point_at_stays() {
        let root = store();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("keep"), "x").unwrap();
        let tree = root.path().join("tree");
        fs::create_dir_all(tree.join("a/b/c")).unwrap();
        fs::write(tree.join("a/b/file"), "x").unwrap();
        symlink(outside.path(), tree.join("a/link")).unwrap();
        symlink(outside.path(), tree.join("link")).unwrap();
        remove(root.path(), &tree).unwrap();
        assert!(!tree.exists());
        assert!(outside.path().join("keep").exists());
        assert_eq!(content(root.path()).unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_link_in_the_trash_is_not_followed() {
        let root = store();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("keep"), "x").unwrap();
        symlink(outside.path(), root.path().join("trash/link")).unwrap();
        empty(root.path()).unwrap();
        assert!(outside.path().join("keep").exists());
        assert!(content(root.path()).unwrap().is_empty());
    }

    #[test]
    fn files_that_are_marked_unchangeable_go_too() {
        let root = store();
        let tree = root.path().join("tree");
        fs::create_dir_all(tree.join("fixed/below")).unwrap();
        fs::create_dir_all(tree.join("growing")).unwrap();
        for (file, mark) in [
            ("fixed/file", IFlags::IMMUTABLE),
            ("fixed/below/file", IFlags::APPEND),
            ("growing/file", IFlags::empty()),
            ("growing", IFlags::APPEND),
            ("fixed/below", IFlags::IMMUTABLE),
            ("fixed", IFlags::IMMUTABLE),
            ("", IFlags::IMMUTABLE),
        ] {
            let path = tree.join(file);
            if !path.exists() {
                fs::write(&path, "x").unwrap();
            }
            let file = fs::File::open(&path).unwrap();
            // Not every file system has them, nor may everybody set them.
            let set = |flags| rustix::fs::ioctl_setflags(&file, flags | mark);
            let _ = rustix::fs::ioctl_getflags(&file).and_then(set);
        }
        discard(root.path(), &tree).unwrap();
        empty(root.path()).unwrap();
        assert!(!tree.exists());
        assert!(content(root.path()).unwrap().is_empty());
    }

    #[test]
    fn depth_does_not_matter() {
        let root = store();
        let tree = root.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let mut directory = rustix::fs::open(&tree, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap();
        // Deeper than a path can name, and than files may be open.
        for _ in 0..1500 {
            rustix::fs::mkdirat(&directory, "directory", Mode::RWXU).unwrap();
            directory =
                rustix::fs::openat(&directory, "directory", OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap();
        }
        remove(root.path(), &tree).unwrap();
        assert!(!tree.exists());
        assert!(content(root.path()).unwrap().is_empty());
    }
}

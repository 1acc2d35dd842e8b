//! A root file system → a directory or a tar of the user's; several of them, one for each platform, into directories
//! of their own or into one. The roots are open directories; mounting is not done here.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use builder_cache::BlobDigest;
use rustix::fs::{FileType, Mode, OFlags, RawDir, ResolveFlags, open, openat, openat2};
use rustix::io::{Errno, read};
use sha2::{Digest, Sha256};

use crate::block::{Pulled, pull};
use crate::layer::{Error, Unpacked, is_directory, look, open_directory, remove, unpack_stream, write_exact};
use crate::tar::{Reason, TarError};

pub use crate::layer::Rooted;
pub use crate::layer::write_root as tar;
pub use crate::layer::write_roots as tars;

/// Copies everything below `root` into `directory`, which is made if it is missing: files with their holes, links, hard
/// links, devices, pipes, owners, modes, times and attributes. What is in `directory` already stays, unless something
/// of the same name replaces it; links in it are followed inside of it only. Who is not root gets files of his own.
///
/// `time`: every file has this one, in seconds since the epoch.
pub fn directory(root: &OwnedFd, directory: &Path, time: Option<i64>) -> Result<Unpacked, Error> {
    directories(&[Rooted::whole(root)], directory, time)
}

/// The same with several roots, each in its own directory or all together. What two of them have and is no directory
/// is an error; then `directory` holds a part of the files.
pub fn directories(roots: &[Rooted<'_>], directory: &Path, time: Option<i64>) -> Result<Unpacked, Error> {
    std::fs::create_dir_all(directory).map_err(|error| Error::at("create", directory, error))?;
    let target = open_target(directory)?;
    let Pulled { consumed, produced, .. } =
        pull(false, |out| write_exact(roots, time, out), |input| unpack_stream(input, target.as_fd()));
    match (produced, consumed) {
        (Err(Error::Stopped(_)) | Ok(()), consumed) => consumed.map_err(Error::from),
        // The reader only saw the stream end.
        (Err(error), Ok(_) | Err(TarError { reason: Reason::Truncated, .. })) => Err(error),
        (Err(_), Err(error)) => Err(error.into()),
    }
}

/// Removes everything in `directory` that none of the roots has. To be called when they are in it.
pub fn remove_others(roots: &[Rooted<'_>], directory: &Path) -> Result<(), Error> {
    let target = open_target(directory)?;
    let shared: Vec<BorrowedFd<'_>> =
        roots.iter().filter(|part| part.directory.is_empty()).map(|part| part.root.as_fd()).collect();
    let own = |name: &[u8]| -> Vec<BorrowedFd<'_>> {
        roots.iter().filter(|part| part.directory.as_bytes() == name).map(|part| part.root.as_fd()).collect()
    };
    let fail = |error: Errno| Error::at("remove what is not exported from", directory, error);
    compare(target.as_fd(), &shared, &own).map_err(fail)
}

/// The digests of all regular files below a root, by their paths.
pub fn digests(root: &OwnedFd) -> Result<Vec<(String, BlobDigest)>, Error> {
    let mut found = Vec::new();
    let mut waiting: Vec<Vec<u8>> = vec![Vec::new()];
    while let Some(directory) = waiting.pop() {
        let fail = |error: Errno| Error::at("read", show(&directory), error);
        let open = below(root, if directory.is_empty() { b"." } else { &directory }).map_err(fail)?;
        for name in list(open.as_fd()).map_err(fail)? {
            let path = if directory.is_empty() { name.clone() } else { [&directory[..], b"/", &name].concat() };
            let fail = |error: Errno| Error::at("read", show(&path), error);
            let Some(stat) = look(open.as_fd(), &name).map_err(fail)? else { continue };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => waiting.push(path),
                FileType::RegularFile => {
                    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
                    let file = openat(&open, name.as_slice(), flags, Mode::empty()).map_err(fail)?;
                    let digest = sha256(&file).map_err(fail)?;
                    found.push((show(&path).display().to_string(), digest));
                }
                _ => {}
            }
        }
    }
    found.sort();
    Ok(found)
}

fn sha256(file: &OwnedFd) -> Result<BlobDigest, Errno> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match read(file, buffer.as_mut_slice()) {
            Ok(0) => return Ok(BlobDigest::from_bytes(hasher.finalize().into())),
            Ok(length) => hasher.update(&buffer[..length]),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Opens a directory by its path, on which there are no links.
fn below(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(root, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}

fn show(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}

fn open_target(directory: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(directory, flags, Mode::empty()).map_err(|error| Error::at("open", directory, error))
}

/// Compares a directory with what `roots` have at its place, and with what `more` has by name.
fn compare<'a>(
    target: BorrowedFd<'_>,
    roots: &[BorrowedFd<'_>],
    more: &dyn Fn(&[u8]) -> Vec<BorrowedFd<'a>>,
) -> Result<(), Errno> {
    for name in list(target)? {
        let Some(stat) = look(target, &name)? else { continue };
        let more = more(&name);
        let mut wanted = !more.is_empty();
        let mut below = Vec::new();
        for root in roots {
            let Some(stat) = look(*root, &name)? else { continue };
            // Sockets are not exported.
            wanted |= FileType::from_raw_mode(stat.st_mode) != FileType::Socket;
            if is_directory(&stat) {
                below.push(open_directory(*root, &name)?);
            }
        }
        if !wanted {
            remove(target, &name)?;
        } else if is_directory(&stat) {
            let inner = open_directory(target, &name)?;
            let all: Vec<BorrowedFd<'_>> = below.iter().map(AsFd::as_fd).chain(more).collect();
            compare(inner.as_fd(), &all, &|_| Vec::new())?;
        }
    }
    Ok(())
}

fn list(directory: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    let mut buffer = Vec::with_capacity(16 << 10);
    let mut names = Vec::new();
    let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn found(root: &Path) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut waiting = vec![root.to_owned()];
        while let Some(dir) = waiting.pop() {
            for entry in fs::read_dir(dir).unwrap().flatten() {
                let path = entry.path();
                if entry.file_type().unwrap().is_dir() {
                    waiting.push(path.clone());
                }
                found.insert(path.strip_prefix(root).unwrap().display().to_string());
            }
        }
        found
    }

    fn names(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn roots_go_side_by_side_or_into_one() {
        let (one, two) = (tree(&[("d/a", "1"), ("same/x", "1")]), tree(&[("d/b", "2"), ("same/x", "2")]));
        let [one, two] = [one.path(), two.path()].map(|path| open_target(path).unwrap());
        let part = |root, name, directory| Rooted { root, name, directory };
        let out = tempfile::tempdir().unwrap();
        let split = [part(&one, "linux/amd64", "linux_amd64"), part(&two, "linux/arm64", "linux_arm64")];
        directories(&split, out.path(), Some(7)).unwrap();
        assert_eq!(fs::read_to_string(out.path().join("linux_arm64/same/x")).unwrap(), "2");
        assert_eq!(found(out.path()).len(), 10);
        let time = fs::metadata(out.path().join("linux_amd64")).unwrap().modified().unwrap();
        assert_eq!(time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(), 7);

        let together = [part(&one, "linux/amd64", ""), part(&two, "linux/arm64", "")];
        let error = directories(&together, tempfile::tempdir().unwrap().path(), None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`same/x` of linux/arm64 can't be written over that of linux/amd64: export with platform-split=true, or apart"
        );
        let three = tree(&[("d/c", "3")]);
        let three = open_target(three.path()).unwrap();
        let out = tempfile::tempdir().unwrap();
        directories(&[part(&one, "a", ""), part(&three, "b", "")], out.path(), None).unwrap();
        assert_eq!(found(out.path()), names(&["d", "d/a", "d/c", "same", "same/x"]));
    }

    #[test]
    fn what_no_root_has_is_removed() {
        let (one, two) = (tree(&[("d/a", ""), ("file", "")]), tree(&[("d/b", "")]));
        let [one, two] = [one.path(), two.path()].map(|path| open_target(path).unwrap());
        let outside = tree(&[("kept", "")]);
        let fill = || {
            let out = tree(&[
                ("d/a", ""),
                ("d/b", ""),
                ("d/old/x", ""),
                ("old", ""),
                ("file", ""),
                ("p/d/a", ""),
                ("p/y", ""),
            ]);
            std::os::unix::fs::symlink(outside.path(), out.path().join("link")).unwrap();
            out
        };
        let out = fill();
        remove_others(&[Rooted::whole(&one)], out.path()).unwrap();
        assert_eq!(found(out.path()), names(&["d", "d/a", "file"]));
        let out = fill();
        let both = [Rooted::whole(&one), Rooted { root: &two, name: "b", directory: "" }];
        remove_others(&both, out.path()).unwrap();
        assert_eq!(found(out.path()), names(&["d", "d/a", "d/b", "file"]));
        let out = fill();
        remove_others(&[Rooted { root: &one, name: "a", directory: "p" }], out.path()).unwrap();
        assert_eq!(found(out.path()), names(&["p", "p/d", "p/d/a"]));
        assert_eq!(found(outside.path()), names(&["kept"]), "links are removed and not followed");
    }
}

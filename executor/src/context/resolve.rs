//! Follows symbolic links inside a root, as the kernel does for a process whose root directory it is.

use std::collections::VecDeque;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::root::{self, components};

/// As many links as Go's `EvalSymlinks` follows.
const MAX_LINKS: usize = 255;

/// What is at a path whose parents are no links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Missing,
    Directory,
    Link(Vec<u8>),
    Other,
}

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// Relative to the root, clean, without links; what is missing is taken by its letters.
    pub(crate) path: Vec<u8>,
    /// What is there; never a link.
    pub(crate) found: Found,
}

/// Why a path leads nowhere.
#[derive(Debug)]
pub(crate) enum ResolveError<E> {
    TooManyLinks,
    Probe(E),
}

/// Follows all links of `path`, asking `probe` what is where.
pub(crate) fn resolve_with<E>(
    path: &[u8],
    mut probe: impl FnMut(&[u8]) -> Result<Found, E>,
) -> Result<Resolved, ResolveError<E>> {
    let mut open: VecDeque<Vec<u8>> = components(path).map(<[u8]>::to_vec).collect();
    let mut here: Vec<Vec<u8>> = Vec::new();
    let mut found = Found::Directory;
    let mut links = 0;
    while let Some(name) = open.pop_front() {
        match name.as_slice() {
            b"." => continue,
            b".." => {
                here.pop();
                // What is left is a directory that was passed, or missing like what it is below of.
                if found != Found::Missing {
                    found = Found::Directory;
                }
                continue;
            }
            _ => here.push(name),
        }
        found = match found {
            Found::Directory => probe(&here.join(&b'/')).map_err(ResolveError::Probe)?,
            // Below something that is not there, or that is no directory.
            _ => Found::Missing,
        };
        if let Found::Link(target) = &found {
            links += 1;
            if links > MAX_LINKS {
                return Err(ResolveError::TooManyLinks);
            }
            here.pop();
            if target.starts_with(b"/") {
                here.clear();
            }
            for name in components(target).collect::<Vec<_>>().into_iter().rev() {
                open.push_front(name.to_vec());
            }
            found = Found::Directory;
        }
    }
    Ok(Resolved { path: here.join(&b'/'), found })
}

/// Asks the file system. The parents of `path` must be no links.
pub(crate) fn probe(root: impl std::os::fd::AsFd, path: &[u8]) -> Result<Found, Errno> {
    let Some(stat) = root::stat(root.as_fd(), path)? else { return Ok(Found::Missing) };
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Found::Directory,
        FileType::Symlink => match rustix::fs::readlinkat(root, path, Vec::new()) {
            Ok(target) => Found::Link(target.into_bytes()),
            Err(Errno::NOENT | Errno::INVAL) => Found::Missing,
            Err(error) => return Err(error),
        },
        _ => Found::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Directories end in `/`; `from -> to` are links.
    fn resolve(entries: &[&str], path: &str) -> Option<(String, Found)> {
        let mut tree = BTreeMap::new();
        for entry in entries {
            if let Some((name, target)) = entry.split_once(" -> ") {
                tree.insert(name.to_owned(), Found::Link(target.into()));
            } else if let Some(name) = entry.strip_suffix('/') {
                tree.insert(name.to_owned(), Found::Directory);
            } else {
                tree.insert((*entry).to_owned(), Found::Other);
            }
        }
        let probe = |path: &[u8]| -> Result<Found, ()> {
            let path = std::str::from_utf8(path).unwrap();
            Ok(tree.get(path).cloned().unwrap_or(Found::Missing))
        };
        let resolved = resolve_with(path.as_bytes(), probe).ok()?;
        Some((String::from_utf8(resolved.path).unwrap(), resolved.found))
    }

    #[test]
    fn stays_inside_and_follows() {
        let tree =
            ["a/", "a/f", "up -> ../../etc", "etc/", "abs -> /a", "a/rel -> f", "loop -> loop", "dead -> gone/x", "f"];
        for (path, expected, found) in [
            ("", "", Found::Directory),
            ("a/f", "a/f", Found::Other),
            ("../../a/f", "a/f", Found::Other),
            ("up", "etc", Found::Directory),
            ("abs/rel", "a/f", Found::Other),
            ("abs/../f", "f", Found::Other),
            ("dead", "gone/x", Found::Missing),
            ("new/dir", "new/dir", Found::Missing),
            ("f/x", "f/x", Found::Missing),
            ("new/../a", "a", Found::Missing),
            ("a/.", "a", Found::Directory),
        ] {
            assert_eq!(resolve(&tree, path), Some((expected.to_owned(), found)), "{path}");
        }
        assert_eq!(resolve(&tree, "loop"), None);
    }
}

//! Where paths lead before anything is written there.

use std::path::{Component, Path, PathBuf};

/// Where a path leads: links resolved as far as there is something.
pub(crate) fn resolved(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut there = PathBuf::from("/");
    let mut parts = absolute.components().skip(1);
    for part in parts.by_ref() {
        if part == Component::ParentDir {
            there.pop();
            continue;
        }
        let next = there.join(part);
        if let Ok(found) = next.canonicalize() {
            there = found;
        } else {
            there = next;
            break;
        }
    }
    for part in parts {
        match part {
            Component::ParentDir => drop(there.pop()),
            part => there.push(part),
        }
    }
    there
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_as_far_as_they_lead() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = dir.path().canonicalize().expect("it is there");
        std::fs::create_dir_all(root.join("a/b")).expect("it is writable");
        for (to, link) in [("a/b", "link"), ("nowhere", "dangling")] {
            std::os::unix::fs::symlink(to, root.join(link)).expect("a fresh name");
        }
        for (path, leads) in [
            ("a", "a"),
            ("link", "a/b"),
            ("link/new/x", "a/b/new/x"),
            ("link/../new", "a/new"),
            ("new/../link/x", "link/x"),
            ("new/../a/x", "a/x"),
            ("a/./b/", "a/b"),
            ("dangling", "dangling"),
        ] {
            assert_eq!(resolved(&root.join(path)), root.join(leads), "{path}");
        }
        assert_eq!(resolved(Path::new("/../..")), Path::new("/"));
    }
}

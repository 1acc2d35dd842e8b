//! The owners of `--chown`: names through the destination's own files, or numbers.
//!
//! `/etc/passwd` and `/etc/group` belong to whoever made the image: they are looked up inside the root, must be
//! regular files and short, and a line that is not what it should be names nobody.

use std::os::fd::{AsFd, BorrowedFd};

use builder_solver::Owner;

use super::error::CopyError;
use crate::context::{SourceError, read_file, root};

/// How large an account file may be.
const MAX_ACCOUNTS: u64 = 1 << 20;
/// The largest id, as in Docker: what fits a signed 32-bit integer everywhere.
const MAX_ID: u32 = i32::MAX as u32;

/// Whom an owner turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Resolved {
    uid: u32,
    gid: u32,
    /// What is to be told of names that the image does not know.
    unknown: Vec<String>,
}

/// Finds the user and group that own what is copied.
///
/// As in BuildKit a name that the image does not know is root (a group: that of the user), and no user at all is root,
/// too; [`unknown_names`] tells of it.
pub fn resolve_owner(root: impl AsFd, owner: &Owner) -> Result<(u32, u32), CopyError> {
    let Owner::Named(text) = owner else { return Ok((0, 0)) };
    resolve(root.as_fd(), text).map(|resolved| (resolved.uid, resolved.gid))
}

/// What is to be told of an owner's names that the image does not know, a sentence each.
pub fn unknown_names(root: impl AsFd, owner: &Owner) -> Vec<String> {
    let Owner::Named(text) = owner else { return Vec::new() };
    resolve(root.as_fd(), text).map(|resolved| resolved.unknown).unwrap_or_default()
}

fn resolve(root: BorrowedFd<'_>, text: &str) -> Result<Resolved, CopyError> {
    let bad = |reason: String| CopyError::Owner { owner: text.to_owned(), reason };
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let mut unknown = Vec::new();
    let (uid, own_group) = match number(user).map_err(&bad)? {
        Some(uid) => (uid, uid),
        None => match find(root, "etc/passwd", user, 4).map_err(&bad)? {
            Some(fields) => fields
                .get(2)
                .and_then(|uid| Some((id(uid)?, id(fields.get(3)?)?)))
                .ok_or_else(|| bad(format!("/etc/passwd of the image has no number for the user `{user}`")))?,
            None if is_empty(root) => return Err(bad(format!("an empty image has no user `{user}`: give a number"))),
            None => {
                unknown.push(format!("/etc/passwd of the image has no user `{user}`: the files belong to root"));
                (0, 0)
            }
        },
    };
    let Some(group) = group else { return Ok(Resolved { uid, gid: own_group, unknown }) };
    let gid = match number(group).map_err(&bad)? {
        Some(gid) => gid,
        None => match find(root, "etc/group", group, 3).map_err(&bad)? {
            Some(fields) => fields
                .get(2)
                .and_then(|gid| id(gid))
                .ok_or_else(|| bad(format!("/etc/group of the image has no number for the group `{group}`")))?,
            None if is_empty(root) => return Err(bad(format!("an empty image has no group `{group}`: give a number"))),
            None => {
                unknown.push(format!(
                    "/etc/group of the image has no group `{group}`: the files belong to the group {own_group}"
                ));
                own_group
            }
        },
    };
    Ok(Resolved { uid, gid, unknown })
}

/// Whether there is nothing at all below the root.
fn is_empty(root: BorrowedFd<'_>) -> bool {
    let list = || root::list(root::open_directory(root, b"")?);
    list().is_ok_and(|names| names.is_empty())
}

/// The number that a text is, if it is one.
fn number(text: &str) -> Result<Option<u32>, String> {
    // Root needs no accounts, and neither does nobody in particular.
    if matches!(text, "root" | "") {
        return Ok(Some(0));
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    id(text).map(Some).ok_or_else(|| format!("{text} is larger than {MAX_ID}"))
}

fn id(text: &str) -> Option<u32> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|&id| id <= MAX_ID)
}

/// The fields of the first line whose first field is `name`.
fn find(root: BorrowedFd<'_>, file: &str, name: &str, fields: usize) -> Result<Option<Vec<String>>, String> {
    let bytes = match read_file(root, file, MAX_ACCOUNTS) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(None),
        Err(SourceError::TooLarge { limit, .. }) => {
            return Err(format!("/{file} of the image is larger than {limit} bytes"));
        }
        Err(error) => return Err(format!("/{file} of the image: {error}")),
    };
    for line in bytes.split(|&byte| byte == b'\n') {
        let Ok(line) = std::str::from_utf8(line) else { continue };
        let found: Vec<&str> = line.trim_end_matches('\r').split(':').collect();
        if found[0] == name && found.len() >= fields {
            return Ok(Some(found.into_iter().map(str::to_owned).collect()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(
            root.path().join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\n# c\nbad:x:-1:0::/:\nnode:x:1000:1001::/home/node:/bin/sh\nhuge:x:4294967295:0::/:\n",
        )
        .unwrap();
        fs::write(root.path().join("etc/group"), "root:x:0:\nstaff:x:50:a,b\nbad:x:x:\n").unwrap();
        root
    }

    fn resolve(root: &tempfile::TempDir, owner: &str) -> Result<(u32, u32), String> {
        let directory = File::open(root.path()).unwrap();
        resolve_owner(&directory, &Owner::Named(owner.to_owned())).map_err(|error| error.to_string())
    }

    #[test]
    fn names_and_numbers() {
        let root = root();
        for (owner, expected) in [
            ("node", (1000, 1001)),
            ("node:staff", (1000, 50)),
            ("node:7", (1000, 7)),
            ("55", (55, 55)),
            ("55:staff", (55, 50)),
            ("10:11", (10, 11)),
            ("0", (0, 0)),
            ("node:", (1000, 1001)),
            ("root", (0, 0)),
            (":staff", (0, 50)),
            (":", (0, 0)),
            ("", (0, 0)),
            ("7:root", (7, 0)),
            ("nobody", (0, 0)),
            ("node:nogroup", (1000, 1001)),
            ("nobody:staff", (0, 50)),
            ("nobody:9", (0, 9)),
            ("-1", (0, 0)),
        ] {
            assert_eq!(resolve(&root, owner), Ok(expected), "{owner}");
        }
    }

    #[test]
    fn names_that_nobody_knows_are_told() {
        let root = root();
        let directory = File::open(root.path()).unwrap();
        let told = |owner: &str| unknown_names(&directory, &Owner::Named(owner.to_owned()));
        assert_eq!(told("nobody:nogroup").len(), 2);
        assert_eq!(told("nobody"), ["/etc/passwd of the image has no user `nobody`: the files belong to root"]);
        assert_eq!(
            told("node:nogroup"),
            ["/etc/group of the image has no group `nogroup`: the files belong to the group 1001"]
        );
        assert!(told("node:staff").is_empty() && told("root:root").is_empty() && told("7").is_empty());
    }

    #[test]
    fn numbers_that_are_none() {
        let root = root();
        for owner in ["bad", "huge", "0:bad", "4294967296", "2147483648"] {
            assert!(resolve(&root, owner).is_err(), "{owner:?}");
        }
        // On nothing at all there are no names.
        let empty = tempfile::tempdir().unwrap();
        assert!(resolve(&empty, "node").unwrap_err().contains("an empty image has no user `node`"));
        assert!(resolve(&empty, "0:staff").unwrap_err().contains("an empty image has no group `staff`"));
        assert_eq!(resolve(&empty, "root:root"), Ok((0, 0)));
    }

    #[test]
    fn hostile_account_files() {
        for target in ["/dev/zero", "/proc/kcore", "../../../../../../etc/shadow", "passwd"] {
            let root = root();
            fs::remove_file(root.path().join("etc/passwd")).unwrap();
            symlink(target, root.path().join("etc/passwd")).unwrap();
            // Inside the root nothing is there, or a loop.
            let found = resolve(&root, "daemon");
            assert!(found.is_err() || found == Ok((0, 0)), "{target}: {found:?}");
        }
        let root = root();
        File::create(root.path().join("etc/passwd")).unwrap().set_len(10 << 30).unwrap();
        assert!(resolve(&root, "node").unwrap_err().contains("larger than"));
        fs::remove_file(root.path().join("etc/passwd")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, root.path().join("etc/passwd"), rustix::fs::Mode::from(0o644)).unwrap();
        assert!(resolve(&root, "node").unwrap_err().contains("not a regular file"));
    }
}

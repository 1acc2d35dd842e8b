//! The owners of `--chown`: names through the destination's own files, or numbers.
//!
//! `/etc/passwd` and `/etc/group` belong to whoever made the image: they are looked up inside the root, must be
//! regular files and short, and a line that is not what it should be names nobody.

use std::os::fd::{AsFd, BorrowedFd};

use builder_solver::Owner;

use super::error::CopyError;
use crate::context::{SourceError, read_file};

/// How large an account file may be.
const MAX_ACCOUNTS: u64 = 1 << 20;
/// The largest id, as in Docker: what fits a signed 32-bit integer everywhere.
const MAX_ID: u32 = i32::MAX as u32;

/// Finds the user and group that own what is copied.
pub fn resolve_owner(root: impl AsFd, owner: &Owner) -> Result<(u32, u32), CopyError> {
    let Owner::Named(text) = owner else { return Ok((0, 0)) };
    let root = root.as_fd();
    let bad = |reason: String| CopyError::Owner { owner: text.clone(), reason };
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text.as_str(), None),
    };
    if user.is_empty() {
        return Err(bad("no user is named".to_owned()));
    }
    let (uid, own_group) = match number(user).map_err(&bad)? {
        Some(uid) => (uid, uid),
        None => find(root, "etc/passwd", user, 4)
            .map_err(&bad)?
            .and_then(|fields| Some((id(fields.get(2)?)?, id(fields.get(3)?)?)))
            .ok_or_else(|| bad(format!("/etc/passwd of the image has no user `{user}`")))?,
    };
    let Some(group) = group else { return Ok((uid, own_group)) };
    let gid = match number(group).map_err(&bad)? {
        Some(gid) => gid,
        None => find(root, "etc/group", group, 3)
            .map_err(&bad)?
            .and_then(|fields| id(fields.get(2)?))
            .ok_or_else(|| bad(format!("/etc/group of the image has no group `{group}`")))?,
    };
    Ok((uid, gid))
}

/// The number that a text is, if it is one.
fn number(text: &str) -> Result<Option<u32>, String> {
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
        ] {
            assert_eq!(resolve(&root, owner), Ok(expected), "{owner}");
        }
    }

    #[test]
    fn nobody() {
        let root = root();
        for owner in [
            "",
            ":staff",
            "nobody",
            "node:nogroup",
            "bad",
            "huge",
            "0:bad",
            "4294967296",
            "2147483648",
            "-1",
            "0x0",
            "+0",
            "0\n",
        ] {
            assert!(resolve(&root, owner).is_err(), "{owner:?}");
        }
    }

    #[test]
    fn hostile_account_files() {
        for target in ["/dev/zero", "/proc/kcore", "../../../../../../etc/passwd", "passwd"] {
            let root = root();
            fs::remove_file(root.path().join("etc/passwd")).unwrap();
            symlink(target, root.path().join("etc/passwd")).unwrap();
            assert!(resolve(&root, "node").is_err(), "{target}");
        }
        let root = root();
        File::create(root.path().join("etc/passwd")).unwrap().set_len(10 << 30).unwrap();
        assert!(resolve(&root, "node").unwrap_err().contains("larger than"));
        fs::remove_file(root.path().join("etc/passwd")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, root.path().join("etc/passwd"), rustix::fs::Mode::from(0o644)).unwrap();
        assert!(resolve(&root, "node").unwrap_err().contains("not a regular file"));
    }
}

//! Paths of tar entries: made relative, plain, and kept inside of the root.

use crate::tar::Reason;

/// What removes a lower layer's entry.
pub(super) const WHITEOUT: &[u8] = b".wh.";
/// What hides all of a lower layer's directory.
pub(super) const OPAQUE: &[u8] = b".wh..wh..opq";
/// Other marks of the file system that layers were once made of; nothing needs them.
pub(super) const META: &[u8] = b".wh..wh.";

/// The longest path that a system call takes, and the longest name.
const PATH_MAX: usize = 4095;
const NAME_MAX: usize = 255;

/// Cleans a path lexically as Docker does: absolute ones are taken from the root, `a/../b` is `b`, and one that
/// leads out of the root is refused. The result has no empty part, no `.` and no `..`; empty is the root.
pub(crate) fn clean(raw: &[u8]) -> Result<Vec<u8>, Reason> {
    if raw.contains(&0) {
        return Err(Reason::ZeroByte);
    }
    let mut clean: Vec<u8> = Vec::with_capacity(raw.len().min(PATH_MAX));
    for part in raw.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                if clean.is_empty() {
                    return Err(Reason::Escapes);
                }
                let parent = clean.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
                clean.truncate(parent);
            }
            _ => {
                // A removal is called after what it removes, whose name may be as long as any.
                let name = part.strip_prefix(b".wh.").unwrap_or(part);
                if name.len() > NAME_MAX || clean.len() + 1 + part.len() > PATH_MAX {
                    return Err(Reason::PathTooLong);
                }
                if !clean.is_empty() {
                    clean.push(b'/');
                }
                clean.extend_from_slice(part);
            }
        }
    }
    Ok(clean)
}

/// A clean path's directory (empty for the root) and its last name.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// Joins two clean paths, either of which may be empty.
pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match (directory, name) {
        ([], _) => name.to_vec(),
        (_, []) => directory.to_vec(),
        _ => [directory, b"/", name].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        let table: &[(&[u8], Option<&[u8]>)] = &[
            (b"a/b", Some(b"a/b")),
            (b"./a//b/./", Some(b"a/b")),
            (b"/etc/passwd", Some(b"etc/passwd")),
            (b"", Some(b"")),
            (b"./", Some(b"")),
            (b"/", Some(b"")),
            (b"a/../b", Some(b"b")),
            (b"a/b/../../c", Some(b"c")),
            (b"a/..", Some(b"")),
            (b"..", None),
            (b"../a", None),
            (b"a/../../b", None),
            (b"/../a", None),
            (b"a\0b", None),
            (b"...", Some(b"...")),
        ];
        for (raw, expected) in table {
            assert_eq!(clean(raw).ok().as_deref(), *expected, "{}", raw.escape_ascii());
        }
        assert!(clean(&[b'a'; 255]).is_ok());
        assert!(clean(&[b".wh.".as_slice(), &[b'a'; 255]].concat()).is_ok());
        assert!(clean(&[b".wh.".as_slice(), &[b'a'; 256]].concat()).is_err());
        assert!(clean(&[b'a'; 256]).is_err());
        assert!(clean(&b"a/".repeat(3000)).is_err());
    }
}

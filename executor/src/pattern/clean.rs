//! Go's `filepath.Clean`, over bytes.

/// The shortest path that means the same by the letters alone: no `//`, no `.`, and `..` taken together with the
/// component before it. The empty path is `.`.
pub fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.first() == Some(&b'/');
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => match parts.last() {
                Some(&last) if last != b".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(part),
            },
            _ => parts.push(part),
        }
    }
    let joined = parts.join(&b'/');
    match (rooted, joined.is_empty()) {
        (true, _) => [b"/", joined.as_slice()].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

/// A path as seen from a root that it can't leave: cleaned, without `..` and without a leading `/`. The root itself
/// is the empty path.
pub fn clean_rooted(path: &[u8]) -> Vec<u8> {
    let mut cleaned = clean(&[b"/", path].concat());
    cleaned.remove(0);
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans_like_go() {
        for (path, cleaned) in [
            ("", "."),
            (".", "."),
            ("./a", "a"),
            ("a/", "a"),
            ("a//b", "a/b"),
            ("a/./b", "a/b"),
            ("a/../b", "b"),
            ("../a", "../a"),
            ("a/../../b", "../b"),
            ("/..", "/"),
            ("/../a", "/a"),
            ("/", "/"),
            ("//", "/"),
            ("a/b/../..", "."),
            ("!a/../b", "b"),
        ] {
            assert_eq!(clean(path.as_bytes()), cleaned.as_bytes(), "{path}");
        }
    }

    #[test]
    fn stays_in_the_root() {
        for (path, cleaned) in [("../../etc", "etc"), ("/a/../../b/", "b"), ("/", ""), (".", ""), ("a/b", "a/b")] {
            assert_eq!(clean_rooted(path.as_bytes()), cleaned.as_bytes(), "{path}");
        }
    }
}

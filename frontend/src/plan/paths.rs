//! Paths of `WORKDIR`, `COPY` and `ADD`, by text alone: whoever uses them resolves them inside a root.

/// `path` without `.`, `..` and doubled slashes, absolute; `..` stops at the root.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// `path` without `.`, `..` and doubled slashes, absolute or not as it was; nothing is `.`.
pub(crate) fn cleaned(path: &str) -> String {
    if path.starts_with('/') {
        return clean(path);
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

/// `WORKDIR path` when the directory is `current` (empty: the root).
pub(crate) fn working_directory(current: &str, path: &str) -> String {
    if path.starts_with('/') { clean(path) } else { clean(&format!("{current}/{path}")) }
}

/// The destination of a copy, absolute. A trailing slash stays; `.` and nothing mean the working directory itself.
pub(crate) fn destination(current: &str, path: &str) -> String {
    let mut result = working_directory(current, path);
    let directory = path.ends_with('/') || path.ends_with("/.") || path.is_empty() || path == "." || path == "..";
    if directory && !result.ends_with('/') {
        result.push('/');
    }
    result
}

/// A source of a copy, relative to the root of where it comes from; the root itself is `.`. With `--parents` the pivot
/// `/./` stays.
pub(crate) fn source(path: &str, parents: bool) -> String {
    let relative = |path: &str| {
        let path = clean(path);
        if path == "/" { ".".to_owned() } else { path[1..].to_owned() }
    };
    match path.split_once("/./") {
        Some((before, after)) if parents => match (relative(before).as_str(), relative(after).as_str()) {
            (".", after) => after.to_owned(),
            (before, ".") => format!("{before}/./"),
            (before, after) => format!("{before}/./{after}"),
        },
        _ => relative(path),
    }
}

/// A path as a pattern that matches nothing else.
pub(crate) fn literal(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn working_directories_join() {
        let table = [
            ("", "a", "/a"),
            ("", "", "/"),
            ("/", "a/b/", "/a/b"),
            ("/x", "y", "/x/y"),
            ("/x", "/y", "/y"),
            ("/x", "../../..", "/"),
            ("/x", "./y//z/.", "/x/y/z"),
            ("/x", "", "/x"),
        ];
        for (current, path, expected) in table {
            assert_eq!(working_directory(current, path), expected, "{current} {path}");
        }
    }

    #[test]
    fn cache_ids_are_cleaned() {
        let table =
            [("", "."), ("a/", "a"), ("./a//b/../c", "a/c"), ("../../a", "../../a"), ("/a/../../b/", "/b"), ("/", "/")];
        for (path, expected) in table {
            assert_eq!(cleaned(path), expected, "{path}");
        }
    }

    #[test]
    fn destinations_keep_their_slash() {
        let table = [
            ("/x", "/a", "/a"),
            ("/x", "/a/", "/a/"),
            ("/x", "a", "/x/a"),
            ("/x", ".", "/x/"),
            ("/x", "./", "/x/"),
            ("/x", "", "/x/"),
            ("/x", "a/.", "/x/a/"),
            ("", ".", "/"),
            ("/", "/", "/"),
            ("/x", "..", "/"),
        ];
        for (current, path, expected) in table {
            assert_eq!(destination(current, path), expected, "{current} {path}");
        }
    }

    #[test]
    fn sources_stay_below_the_root() {
        let table = [
            ("a", false, "a"),
            ("/a/", false, "a"),
            ("./a/./b", false, "a/b"),
            ("../../etc", false, "etc"),
            (".", false, "."),
            ("/", false, "."),
            ("", false, "."),
            ("a/*.txt", false, "a/*.txt"),
            ("./a/./b/c", true, "a/./b/c"),
            ("./a", true, "a"),
            ("/./a", true, "a"),
            ("a/./", true, "a/./"),
            ("a/../b/./c", true, "b/./c"),
        ];
        for (path, parents, expected) in table {
            assert_eq!(source(path, parents), expected, "{path}");
        }
    }
}

//! One walk over the whole tree, for what may lie anywhere.

use rustix::fs::FileType;

use super::root::Root;

/// How many directories are looked into, and how deep.
const DIRECTORIES: usize = 2_000_000;
const DEPTH: usize = 128;

/// How many places of each kind are kept.
const PLACES: usize = 200_000;

/// Where there is something to read.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// `*.dist-info/METADATA`, `*.egg-info/PKG-INFO`, `*.egg-info`.
    pub(super) python: Vec<String>,
    /// `node_modules/*/package.json`, `node_modules/@*/*/package.json`.
    pub(super) npm: Vec<String>,
    /// `.crates2.json`.
    pub(super) cargo: Vec<String>,
}

impl Places {
    /// Looks everywhere. Links are not followed: what they lead to is met elsewhere, or is not of this root.
    pub(super) fn find(root: &Root<'_>) -> Self {
        let mut found = Self::default();
        let mut waiting = vec![(String::new(), 0)];
        let mut seen = 0;
        while let Some((directory, depth)) = waiting.pop() {
            seen += 1;
            if seen > DIRECTORIES || depth > DEPTH {
                root.warn("the tree is too large to be looked through to its end".to_owned());
                if seen > DIRECTORIES {
                    break;
                }
                continue;
            }
            for (name, kind) in root.names(&directory, false).into_iter().rev() {
                let path = if directory.is_empty() { name.clone() } else { format!("{directory}/{name}") };
                match kind {
                    FileType::Directory if depth == 0 && matches!(name.as_str(), "proc" | "sys" | "dev") => {}
                    FileType::Directory => {
                        found.directory(&path, &name);
                        waiting.push((path, depth + 1));
                    }
                    FileType::RegularFile => found.file(path, &name, &directory),
                    _ => {}
                }
            }
        }
        for list in [&mut found.python, &mut found.npm, &mut found.cargo] {
            list.sort();
            list.truncate(PLACES);
        }
        found
    }

    fn directory(&mut self, path: &str, name: &str) {
        if name.ends_with(".dist-info") {
            self.python.push(format!("{path}/METADATA"));
        } else if name.ends_with(".egg-info") || name == "EGG-INFO" {
            self.python.push(format!("{path}/PKG-INFO"));
        }
    }

    fn file(&mut self, path: String, name: &str, directory: &str) {
        match name {
            "package.json" if is_module(directory) => self.npm.push(path),
            ".crates2.json" => self.cargo.push(path),
            name if name.ends_with(".egg-info") => self.python.push(path),
            _ => {}
        }
    }
}

/// Whether a directory is one of a module: `node_modules/name`, `node_modules/@scope/name`.
fn is_module(directory: &str) -> bool {
    let mut parts = directory.rsplit('/');
    let (name, above) = (parts.next(), parts.next());
    match (name, above) {
        (Some(name), Some("node_modules")) => !name.starts_with(['@', '.']),
        (Some(_), Some(scope)) if scope.starts_with('@') => parts.next() == Some("node_modules"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_told_from_what_is_in_them() {
        for (directory, expected) in [
            ("app/node_modules/left-pad", true),
            ("node_modules/@types/node", true),
            ("a/node_modules/b/node_modules/c", true),
            ("node_modules/@types", false),
            ("node_modules/.bin", false),
            ("node_modules/left-pad/test", false),
            ("app", false),
            ("@types/node", false),
            ("", false),
        ] {
            assert_eq!(is_module(directory), expected, "{directory}");
        }
    }
}

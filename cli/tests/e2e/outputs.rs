//! Where results go: every type of `-o` and what can be said of it.

mod files;
mod images;
mod platforms;
mod times;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::kit::{Lab, Ran};
use crate::layout::{Layout, digest, filter, fresh, skopeo, text};

/// Builds with these arguments; it must succeed.
#[track_caller]
fn build(lab: &Lab, context: &Path, args: &[&str]) -> Ran {
    lab.ok(&[&["build", "--progress=plain"], args, &[text(context)]].concat())
}

/// Builds with these arguments; it must fail with this code, and say that.
#[track_caller]
fn refused(lab: &Lab, context: &Path, args: &[&str], code: i32, part: &str) {
    let ran = lab.run(&[&["build", "--progress=plain"], args, &[text(context)]].concat());
    assert_eq!(ran.code, code, "{args:?}\n{}", ran.stderr);
    ran.assert_stderr(part);
}

impl Layout {
    /// Builds to one.
    #[track_caller]
    fn build(lab: &Lab, context: &Path, output: &str, args: &[&str]) -> Self {
        let archive = fresh(lab, "image.tar");
        let output = format!("{output},dest={}", text(&archive));
        build(lab, context, &[&["-o", &output], args].concat());
        Self::of(lab, &archive)
    }
}

/// Every path below a directory, with the seconds of its time.
fn times(root: &Path) -> BTreeMap<String, i64> {
    use std::os::unix::fs::MetadataExt;
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).expect("it is there").flatten() {
            let metadata = entry.path().symlink_metadata().expect("it is there");
            if metadata.is_dir() {
                waiting.push(entry.path());
            }
            let path = entry.path().strip_prefix(root).expect("below it").display().to_string();
            found.insert(path, metadata.mtime());
        }
    }
    found
}

fn paths(root: &Path) -> Vec<String> {
    times(root).into_keys().collect()
}

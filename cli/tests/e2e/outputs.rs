//! Where results go: every type of `-o` and what can be said of it.

mod files;
mod images;
mod platforms;
mod times;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::kit::{Lab, Ran, tool};

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A path at which nothing is.
fn fresh(lab: &Lab, name: &str) -> PathBuf {
    lab.context(&[]).join(name)
}

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

/// The files of an OCI layout, in a tarball or in a directory.
struct Layout(PathBuf);

impl Layout {
    fn of(lab: &Lab, archive: &Path) -> Self {
        let dir = lab.context(&[]);
        tool("tar", &["-C".as_ref(), dir.as_ref(), "-xf".as_ref(), archive.as_ref()]);
        Self(dir)
    }

    /// Builds to one.
    #[track_caller]
    fn build(lab: &Lab, context: &Path, output: &str, args: &[&str]) -> Self {
        let archive = fresh(lab, "image.tar");
        let output = format!("{output},dest={}", text(&archive));
        build(lab, context, &[&["-o", &output], args].concat());
        Self::of(lab, &archive)
    }

    fn json(&self, path: &str) -> Value {
        let bytes = fs::read(self.0.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn blob(&self, descriptor: &Value) -> Vec<u8> {
        let digest = descriptor["digest"].as_str().unwrap_or_else(|| panic!("no digest in {descriptor}"));
        fs::read(self.0.join("blobs").join(digest.replace(':', "/"))).expect("it is there")
    }

    fn follow(&self, descriptor: &Value) -> Value {
        serde_json::from_slice(&self.blob(descriptor)).expect("JSON")
    }

    /// What `index.json` says of the only image.
    fn root(&self) -> Value {
        let index = self.json("index.json");
        assert_eq!(index["manifests"].as_array().map(Vec::len), Some(1), "{index}");
        index["manifests"][0].clone()
    }

    fn manifest(&self) -> Value {
        self.follow(&self.root())
    }

    fn config(&self) -> Value {
        self.follow(&self.manifest()["config"])
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

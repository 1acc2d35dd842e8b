//! The files of image archives, and who else looks at them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::kit::{Lab, tool};

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A path at which nothing is.
pub(crate) fn fresh(lab: &Lab, name: &str) -> PathBuf {
    lab.context(&[]).join(name)
}

/// Runs a command of the machine with this file as its input, and returns all it prints.
#[track_caller]
pub(crate) fn filter(program: &str, args: &[&str], input: &Path) -> Vec<u8> {
    let input = File::open(input).expect("it is there");
    let output =
        Command::new(program).args(args).stdin(input).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Runs skopeo.
pub(crate) fn skopeo(args: &[&str]) -> String {
    let mut all = vec!["--insecure-policy".as_ref()];
    all.extend(args.iter().map(OsStr::new));
    tool("skopeo", &all)
}

/// The files of an archive, to look into and to change.
pub(crate) struct Layout(pub(crate) PathBuf);

impl Layout {
    pub(crate) fn of(lab: &Lab, archive: &Path) -> Self {
        let dir = lab.context(&[]);
        tool("tar", &["-C".as_ref(), dir.as_ref(), "-xf".as_ref(), archive.as_ref()]);
        Self(dir)
    }

    pub(crate) fn json(&self, path: &str) -> Value {
        let bytes = fs::read(self.0.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub(crate) fn write(&self, path: &str, value: &Value) {
        fs::write(self.0.join(path), value.to_string()).expect("ours");
    }

    /// Where the blob is that a descriptor names.
    pub(crate) fn blob_path(&self, descriptor: &Value) -> PathBuf {
        let digest = descriptor["digest"].as_str().unwrap_or_else(|| panic!("no digest in {descriptor}"));
        self.0.join("blobs").join(digest.replace(':', "/"))
    }

    pub(crate) fn blob(&self, descriptor: &Value) -> Vec<u8> {
        fs::read(self.blob_path(descriptor)).expect("it is there")
    }

    /// What a descriptor names.
    pub(crate) fn follow(&self, descriptor: &Value) -> Value {
        serde_json::from_slice(&self.blob(descriptor)).expect("JSON")
    }

    /// What `index.json` says of the only image.
    pub(crate) fn root(&self) -> Value {
        let index = self.json("index.json");
        assert_eq!(index["manifests"].as_array().map(Vec::len), Some(1), "{index}");
        index["manifests"][0].clone()
    }

    pub(crate) fn manifest(&self) -> Value {
        self.follow(&self.root())
    }

    pub(crate) fn config(&self) -> Value {
        self.follow(&self.manifest()["config"])
    }

    /// Adds a blob, and makes a descriptor name it.
    pub(crate) fn put(&self, descriptor: &mut Value, bytes: &[u8]) {
        descriptor["digest"] = digest(bytes).into();
        descriptor["size"] = bytes.len().into();
        fs::write(self.blob_path(descriptor), bytes).expect("ours");
    }

    /// Changes the only image's config and manifest, and all digests with them.
    pub(crate) fn edit(&self, change: impl FnOnce(&mut Value, &mut Value)) {
        let mut index = self.json("index.json");
        let mut manifest = self.manifest();
        let mut config = self.follow(&manifest["config"]);
        change(&mut config, &mut manifest);
        self.put(&mut manifest["config"], config.to_string().as_bytes());
        self.put(&mut index["manifests"][0], manifest.to_string().as_bytes());
        self.write("index.json", &index);
    }

    /// A tarball of it, made by somebody else.
    pub(crate) fn pack(&self, lab: &Lab) -> PathBuf {
        let file = fresh(lab, "packed.tar");
        tool("tar", &["-C".as_ref(), self.0.as_ref(), "-cf".as_ref(), file.as_ref(), ".".as_ref()]);
        file
    }
}

//! Small answers that outlive a build: one file each, written aside and renamed.

use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use builder_solver::ContentDigest;
use builder_solver::digest::FramedHasher;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::RemoteError;

/// The file for an answer, or a directory; nothing of the question's text is part of the path.
pub(super) fn place(directory: &Path, question: &[&str]) -> PathBuf {
    let mut hasher = FramedHasher::new("remote");
    for part in question {
        hasher.part(part.as_bytes());
    }
    directory.join(ContentDigest::from_bytes(hasher.finish()).to_string())
}

/// The answer of that file. One that is damaged is none.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = fs::read(path.with_extension("json")).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Replaces the answer.
pub(super) fn write(path: &Path, answer: &impl Serialize) -> Result<(), RemoteError> {
    let path = path.with_extension("json");
    let directory = path.parent().unwrap_or(Path::new("."));
    let save = || -> std::io::Result<()> {
        make_directory(directory)?;
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(&serde_json::to_vec(answer)?)?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(())
    };
    save().map_err(|source| RemoteError::Write { path: path.clone(), source })
}

/// A directory of the store; only its owner looks into it.
pub(super) fn make_directory(path: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

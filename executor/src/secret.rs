//! Secrets that the person who builds offers to steps, by id.
//!
//! They are read when a step needs them, live in memory as long as it runs, and are overwritten afterwards. Nothing
//! here shows their bytes, not even for debugging.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::hint::black_box;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// The most bytes that a secret may have (500 KiB), as in `BuildKit`.
pub const MAX_SECRET: u64 = 500 * 1024;

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// The bytes of a file.
    File(PathBuf),
    /// A variable of the builder's own environment; one that is not set is empty.
    Variable(String),
}

/// What is offered.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    sources: BTreeMap<String, SecretSource>,
}

/// The bytes of a secret, overwritten when they are dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// Why a secret could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Its file is not to be had.
    #[error("the secret `{id}` can't be read from {}: {source}", path.display())]
    Read {
        /// Which secret.
        id: String,
        /// Its file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It has too many bytes.
    #[error("the secret `{id}` is too big: secrets have at most 500 kB, mount larger files from a named context")]
    TooBig {
        /// Which secret.
        id: String,
    },
}

impl Secrets {
    /// Offers a secret. One that was offered under the same id before is replaced.
    pub fn insert(&mut self, id: impl Into<String>, source: SecretSource) {
        self.sources.insert(id.into(), source);
    }

    /// Where the secret `id` comes from, when it is offered.
    pub fn source(&self, id: &str) -> Option<&SecretSource> {
        self.sources.get(id)
    }

    /// Ids and sources, in the order of the ids.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &SecretSource)> {
        self.sources.iter().map(|(id, source)| (id.as_str(), source))
    }

    /// Reads the secret `id`; `None` when it is not offered.
    ///
    /// # Errors
    /// When it is offered and can't be read, or is larger than [`MAX_SECRET`].
    pub fn get(&self, id: &str) -> Result<Option<Secret>, SecretError> {
        let Some(source) = self.sources.get(id) else { return Ok(None) };
        let secret = match source {
            SecretSource::File(path) => {
                let failed = |source| SecretError::Read { id: id.to_owned(), path: path.clone(), source };
                let mut bytes = Vec::new();
                File::open(path).and_then(|file| file.take(MAX_SECRET + 1).read_to_end(&mut bytes)).map_err(failed)?;
                Secret(bytes)
            }
            SecretSource::Variable(name) => Secret(std::env::var_os(name).unwrap_or_default().into_vec()),
        };
        if secret.0.len() as u64 > MAX_SECRET {
            return Err(SecretError::TooBig { id: id.to_owned() });
        }
        Ok(Some(secret))
    }
}

impl Secret {
    /// A secret of these bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Its bytes. Take care where they go.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        // Otherwise nobody would read what was just written, and it could be left out.
        black_box(&self.0);
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(****)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_variables_are_read_when_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let mut secrets = Secrets::default();
        secrets.insert("file", SecretSource::File(path.clone()));
        secrets.insert("path", SecretSource::Variable("PATH".to_owned()));
        secrets.insert("unset", SecretSource::Variable("BUILDER_TEST_NO_SUCH_VARIABLE".to_owned()));
        let get = |id: &str| secrets.get(id).map(|secret| secret.map(|secret| secret.bytes().to_vec()));
        assert!(matches!(get("file"), Err(SecretError::Read { .. })));
        std::fs::write(&path, b"value\n").unwrap();
        assert_eq!(get("file").unwrap().unwrap(), b"value\n");
        assert_eq!(get("path").unwrap().unwrap(), std::env::var_os("PATH").unwrap().into_vec());
        assert_eq!(get("unset").unwrap().unwrap(), b"");
        assert_eq!(get("other").unwrap(), None);
        std::fs::write(&path, vec![b'x'; MAX_SECRET as usize]).unwrap();
        assert_eq!(get("file").unwrap().unwrap().len(), MAX_SECRET as usize);
        std::fs::write(&path, vec![b'x'; MAX_SECRET as usize + 1]).unwrap();
        assert!(get("file").unwrap_err().to_string().contains("500 kB"));
    }

    #[test]
    fn nothing_shows_the_bytes() {
        assert_eq!(format!("{:?}", Secret::new(b"canary".to_vec())), "Secret(****)");
    }
}

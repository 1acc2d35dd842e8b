//! A cache in a registry: an OCI artifact under a tag.

use std::collections::HashSet;
use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};

use builder_cache::{BlobDigest, BlobInfo, LayerSource};

use super::backend::{Backend, Blob, Open};
use super::error::Error;
use super::manifest;
use crate::reference::Reference;
use crate::registry::{Registry, Repository, Which};

/// What locations in registries begin with: `registry:HOST/REPOSITORY`.
pub(super) const LOCATION: &str = "registry:";

/// A tag (or a digest, to read only) of a repository.
#[derive(Debug)]
pub struct RegistryBackend {
    repository: Repository,
    which: Which,
    /// What a manifest of the repository lists: the registry must have it.
    there: Mutex<HashSet<BlobDigest>>,
}

impl RegistryBackend {
    /// The cache that a reference names.
    pub fn new(registry: &Registry, reference: &Reference) -> Self {
        let repository = registry.repository(reference);
        Self { repository, which: Which::of(reference), there: Mutex::default() }
    }

    fn there(&self) -> MutexGuard<'_, HashSet<BlobDigest>> {
        self.there.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for RegistryBackend {
    fn name(&self) -> String {
        format!("registry {}{}", self.repository.name(), self.which)
    }

    fn location(&self) -> String {
        format!("{LOCATION}{}", self.repository.name())
    }

    fn manifest(&self, digest: Option<&BlobDigest>) -> Result<Option<Vec<u8>>, Error> {
        let which = digest.map_or_else(|| self.which.clone(), |digest| Which::Digest(*digest));
        match self.repository.manifest(&which) {
            Ok(found) => {
                if let Ok(manifest::Read { config, layers, .. }) = serde_json::from_slice(&found.bytes) {
                    self.there().extend(layers.iter().chain(&config).map(|blob| blob.digest));
                }
                Ok(Some(found.bytes))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn put_manifest(&self, media_type: &str, bytes: &[u8], _: &[Blob]) -> Result<(), Error> {
        self.repository.push_manifest(&self.which, media_type, bytes)?;
        Ok(())
    }

    fn blob(&self, blob: &BlobInfo) -> Result<Box<dyn Read + Send>, Error> {
        Ok(Box::new(self.repository.blob(&blob.digest, blob.size)?))
    }

    fn has_blob(&self, blob: &BlobInfo) -> Result<bool, Error> {
        Ok(self.there().contains(&blob.digest) || self.repository.has_blob(&blob.digest)?)
    }

    fn put_blob(&self, blob: &BlobInfo, open: Open<'_>, advance: &(dyn Fn(u64) + Sync)) -> Result<(), Error> {
        self.repository.push_blob(&blob.digest, blob.size, &open, &advance)?;
        Ok(())
    }

    fn take_over(&self, blob: &BlobInfo, from: &LayerSource) -> Result<bool, Error> {
        let there = from.location.strip_prefix(LOCATION).and_then(|name| name.split_once('/'));
        match there {
            Some((host, path)) if host == self.repository.host() && path != self.repository.path() => {
                Ok(self.repository.mount_blob(&blob.digest, path)?)
            }
            _ => Ok(false),
        }
    }
}

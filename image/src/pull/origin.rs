//! Where bytes of layers come from.

use std::error::Error as StdError;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::OnceLock;

use builder_cache::LayerSource;

use crate::reference::Reference;
use crate::registry::{Registry, Repository};

/// Why a blob can't be had.
pub type OriginError = Box<dyn StdError + Send + Sync>;

/// A blob as it comes. What it fails with may hold a [`crate::registry::Error`].
pub type OriginReader = Box<dyn Read + Send>;

/// A kind of place that has blobs.
pub trait Origin: fmt::Debug + Send + Sync {
    /// Opens a blob; `None` when its location is of another kind. The bytes are verified by whoever reads them.
    fn open(&self, source: &LayerSource) -> Option<Result<OriginReader, OriginError>>;
}

/// The location of what a repository has.
pub fn location(repository: &Repository) -> String {
    format!("{REGISTRY}{}", repository.name())
}

const REGISTRY: &str = "registry:";
const LAYOUT: &str = "layout:";

/// Makes the client of registries when it is first needed.
pub type Connect = Box<dyn Fn() -> Result<Registry, OriginError> + Send + Sync>;

/// Registries.
pub struct RegistryOrigin {
    connect: Connect,
    registry: OnceLock<Registry>,
}

impl RegistryOrigin {
    /// Nothing is made before a blob is asked for.
    pub fn new(connect: Connect) -> Self {
        Self { connect, registry: OnceLock::new() }
    }

    /// The client.
    pub fn registry(&self) -> Result<&Registry, OriginError> {
        if let Some(registry) = self.registry.get() {
            return Ok(registry);
        }
        let registry = (self.connect)()?;
        Ok(self.registry.get_or_init(|| registry))
    }

    fn read(&self, repository: &str, source: &LayerSource) -> Result<OriginReader, OriginError> {
        let reference: Reference = repository.parse()?;
        let repository = self.registry()?.repository(&reference);
        // Whoever keeps a blob hashes it.
        Ok(Box::new(repository.blob(&source.blob.digest, source.blob.size)?.digest_is_checked_by_caller()))
    }
}

impl Origin for RegistryOrigin {
    fn open(&self, source: &LayerSource) -> Option<Result<OriginReader, OriginError>> {
        Some(self.read(source.location.strip_prefix(REGISTRY)?, source))
    }
}

impl fmt::Debug for RegistryOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RegistryOrigin")
    }
}

/// OCI layouts on this machine: `layout:/directory`.
#[derive(Debug, Clone, Copy, Default)]
pub struct LayoutOrigin;

impl Origin for LayoutOrigin {
    fn open(&self, source: &LayerSource) -> Option<Result<OriginReader, OriginError>> {
        let directory = PathBuf::from(source.location.strip_prefix(LAYOUT)?);
        let path = directory.join("blobs/sha256").join(source.blob.digest.hex());
        let opened = File::open(&path).map(|file| Box::new(file) as OriginReader);
        Some(opened.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())).into()))
    }
}

//! Caches as origins of layers.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use builder_cache::LayerSource;

use super::backend::Backend;
use super::gha::{GHA_LOCATION, GhaBackend};
use super::s3::{S3_LOCATION, S3Backend, S3Place};
use crate::http::Stop;
use crate::pull::{Origin, OriginError, OriginReader};

/// Whether nobody gets a layer from a location without keys of their own, which may be there for one build only.
pub fn is_guarded(location: &str) -> bool {
    location.starts_with(S3_LOCATION) || location.starts_with(GHA_LOCATION)
}

/// Such a location as people know it.
pub(crate) fn guarded_place(location: &str) -> Option<String> {
    if location.starts_with(GHA_LOCATION) {
        return Some("the cache of GitHub Actions".to_owned());
    }
    let place: S3Place = serde_json::from_str(location.strip_prefix(S3_LOCATION)?).ok()?;
    Some(format!("s3 {}/{}", place.bucket, place.prefix))
}

/// Buckets and the cache of GitHub Actions. Those that a command names are known with what it says of access; others,
/// where layers of an earlier build are, with what the environment says.
pub struct CacheOrigin {
    stop: Stop,
    backends: Mutex<HashMap<String, Arc<dyn Backend>>>,
}

impl CacheOrigin {
    /// Knows none yet.
    pub fn new(stop: Stop) -> Self {
        Self { stop, backends: Mutex::default() }
    }

    /// Gets to know one.
    pub fn add(&self, backend: Arc<dyn Backend>) {
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        backends.insert(backend.location(), backend);
    }

    fn backend(&self, location: &str) -> Option<Result<Arc<dyn Backend>, OriginError>> {
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = backends.get(location) {
            return Some(Ok(Arc::clone(known)));
        }
        let bucket = S3Backend::of_location(location).map(|made| made.map(|made| Arc::new(made) as Arc<dyn Backend>));
        let made = bucket.or_else(|| {
            let actions = GhaBackend::of_location(location, self.stop.clone())?;
            Some(actions.map(|made| Arc::new(made) as Arc<dyn Backend>))
        })?;
        if let Ok(made) = &made {
            backends.insert(location.to_owned(), Arc::clone(made));
        }
        Some(made.map_err(Into::into))
    }
}

impl fmt::Debug for CacheOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CacheOrigin")
    }
}

impl Origin for CacheOrigin {
    fn open(&self, source: &LayerSource) -> Option<Result<OriginReader, OriginError>> {
        let backend = self.backend(&source.location)?;
        Some(backend.and_then(|backend| Ok(backend.blob(&source.blob)?)))
    }
}

//! A cache in the cache of GitHub Actions (and of servers that speak like it).
//!
//! Its entries have a key and never change; a look-up by the beginning of a key finds the newest. So a blob is the
//! entry `builder-blob-1-sha256:<hex>`, and the manifests of a cache are `builder-index-1-<scope>#<milliseconds>`, of
//! which the newest counts. Which entries a job sees, and how long they live, is up to the service: branches do not see
//! each other's, and what is not used for a week goes.
//!
//! * [`service`]: keys ⇄ addresses; [`upload`], [`download`]: the blob storage behind them.

mod download;
mod service;
mod upload;

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use builder_cache::{BlobDigest, BlobInfo};

use self::download::{Download, Entry};
use self::service::{Created, Service};
use super::backend::{Backend, Blob, Open};
use super::error::Error;
use super::hashing::Hashing;
use super::manifest::MANIFEST_LIMIT;
use crate::http::{Agents, Patience, Stop, Unsent, header};
use crate::registry::Secret;

/// The location of blobs in the service that the job's environment names.
pub const GHA_LOCATION: &str = "gha:";

/// What a service is told about entries of this kind: others with the same key are others.
const VERSION: &str = "builder-1";

/// Where the service is and who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GhaPlace {
    /// `ACTIONS_RESULTS_URL`, or `ACTIONS_CACHE_URL` for version 1.
    pub url: String,
    /// `ACTIONS_RUNTIME_TOKEN`.
    pub token: Secret,
    /// The service speaks version 2 (`ACTIONS_CACHE_SERVICE_V2`).
    pub v2: bool,
}

impl GhaPlace {
    /// What the environment of a job says; the reason when that is not enough. `variable` reads one of it.
    ///
    /// # Errors
    /// Names the variable that is missing.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let hint = "outside of GitHub Actions give url= and token=; in a `run:` step the variables are there only when \
                    an action exports them";
        let token = set("ACTIONS_RUNTIME_TOKEN").ok_or_else(|| format!("ACTIONS_RUNTIME_TOKEN is not set: {hint}"))?;
        let v2 = set("ACTIONS_CACHE_SERVICE_V2").is_some_and(|value| !matches!(value.as_str(), "0" | "false"));
        let names = if v2 {
            ["ACTIONS_RESULTS_URL", "ACTIONS_CACHE_URL"]
        } else {
            ["ACTIONS_CACHE_URL", "ACTIONS_RESULTS_URL"]
        };
        let (name, url) = names
            .into_iter()
            .find_map(|name| Some((name, set(name)?)))
            .ok_or_else(|| format!("{} is not set: {hint}", names[0]))?;
        Ok(Self { url, token: Secret::new(token), v2: v2 || name == "ACTIONS_RESULTS_URL" })
    }
}

/// A cache of this service.
#[derive(Debug)]
pub struct GhaBackend(Arc<Shared>);

/// What downloads that are under way need, too.
#[derive(Debug)]
struct Shared {
    scope: String,
    service: Service,
    agents: Agents,
    stop: Stop,
    /// Where blobs can be had; addresses live for some minutes.
    addresses: Mutex<HashMap<BlobDigest, String>>,
}

impl GhaBackend {
    /// The cache of a scope; nothing is asked yet.
    pub fn new(place: &GhaPlace, scope: &str, stop: Stop) -> Self {
        Self(Arc::new(Shared {
            scope: scope.to_owned(),
            service: Service::new(place),
            agents: Agents::new(3, Patience::default()),
            stop,
            addresses: Mutex::default(),
        }))
    }

    /// The backend of a location, to read blobs from, with what the environment says; `None` when it is elsewhere.
    pub fn of_location(location: &str, stop: Stop) -> Option<Result<Self, Error>> {
        (location == GHA_LOCATION).then(|| {
            let place = GhaPlace::from_environment(|name| std::env::var(name).ok());
            let failed = |reason: String| Error::Other { place: "gha".to_owned(), reason: reason.into() };
            Ok(Self::new(&place.map_err(failed)?, "", stop))
        })
    }
}

impl Shared {
    fn name(&self) -> String {
        format!("gha {}", self.scope)
    }

    fn failed(&self, reason: impl Into<String>) -> Error {
        Error::Other { place: self.name(), reason: reason.into().into() }
    }

    fn index_prefix(&self) -> String {
        // What ends a scope is not in one: `a#1` would be found as a cache of `a`.
        format!("builder-index-1-{}#", self.scope.replace('%', "%25").replace('#', "%23"))
    }

    fn call(&self, service: &str, request: &serde_json::Value) -> Result<Option<serde_json::Value>, Error> {
        self.service.call(&self.agents, &self.stop, service, request).map_err(|reason| self.failed(reason))
    }

    /// The address of a blob is too old. Tells whether one was known.
    fn forget(&self, digest: &BlobDigest) -> bool {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).remove(digest).is_some()
    }

    /// Where a blob can be had, if it is there.
    fn address(&self, digest: &BlobDigest) -> Result<Option<String>, Error> {
        if let Some(known) = self.addresses.lock().unwrap_or_else(PoisonError::into_inner).get(digest) {
            return Ok(Some(known.clone()));
        }
        let key = blob_key(digest);
        let found = self.service.find(&key, &[], &|path, request| self.call(path, request))?;
        // The service may answer with an entry whose key only begins so.
        let Some(found) = found.filter(|found| found.key == key) else { return Ok(None) };
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.insert(*digest, found.url.clone());
        Ok(Some(found.url))
    }

    /// Makes an entry; one that is there already, or that somebody else is making, is as good. Nobody sees it when its
    /// bytes are not those of `blob`.
    fn put(&self, key: &str, blob: &BlobInfo, open: Open<'_>, advance: &(dyn Fn(u64) + Sync)) -> Result<bool, Error> {
        let call = |path: &str, request: &serde_json::Value| self.call(path, request);
        let Created::New(target) = self.service.create(key, blob.size, &call)? else { return Ok(false) };
        let source = open(0).map_err(|error| Error::io(&self.name(), "sent", error))?;
        let mut source = Hashing::new(source);
        upload::send(&self.agents, &self.stop, &self.service, &target, blob.size, &mut source, advance)
            .map_err(|reason| self.failed(reason))?;
        source.check(&self.name(), &blob.digest)?;
        if !service::finish(key, blob.size, &target, &call)? {
            return Err(self.failed("the service did not keep what was sent to it"));
        }
        Ok(true)
    }
}

fn blob_key(digest: &BlobDigest) -> String {
    format!("builder-blob-1-{digest}")
}

fn unsent_reason(unsent: Unsent) -> String {
    match unsent {
        // An address that makes no sense would be told as it is, and it may be signed.
        Unsent::Failed(failure) if failure.reason.contains("://") => "its address can't be used".to_owned(),
        Unsent::Failed(failure) => failure.reason,
        Unsent::Certificates(error) => error.to_string(),
    }
}

impl Backend for GhaBackend {
    fn name(&self) -> String {
        self.0.name()
    }

    fn location(&self) -> String {
        GHA_LOCATION.to_owned()
    }

    fn manifest(&self, digest: Option<&BlobDigest>) -> Result<Option<Vec<u8>>, Error> {
        let entry = if let Some(digest) = digest {
            self.0.address(digest)?.map(|_| Entry::Blob(*digest))
        } else {
            let prefix = self.0.index_prefix();
            let found = self.0.service.find(&prefix, &[&prefix], &|path, request| self.0.call(path, request))?;
            found.filter(|found| found.key.starts_with(&prefix)).map(|found| Entry::At(found.url))
        };
        let Some(entry) = entry else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = Download::open(&self.0, entry, None)?.take(MANIFEST_LIMIT + 1).read_to_end(&mut bytes);
        read.map_err(|error| Error::io(&self.name(), "read", error))?;
        Ok(Some(bytes))
    }

    fn put_manifest(&self, _: &str, bytes: &[u8], _: &[Blob]) -> Result<(), Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let owned = bytes.to_vec();
        let open = move |from: u64| -> std::io::Result<Box<dyn Read + Send>> {
            Ok(Box::new(std::io::Cursor::new(owned.get(from as usize..).unwrap_or_default().to_vec())))
        };
        let blob = BlobInfo { digest: BlobDigest::of(bytes), size: bytes.len() as u64 };
        // Another job may have had the same thought in the same millisecond.
        for turn in 0..8_u128 {
            let key = format!("{}{}", self.0.index_prefix(), now + turn);
            if self.0.put(&key, &blob, &open, &|_| ())? {
                return Ok(());
            }
        }
        Err(self.0.failed("the service takes no new index"))
    }

    fn blob(&self, blob: &BlobInfo) -> Result<Box<dyn Read + Send>, Error> {
        Ok(Box::new(Download::open(&self.0, Entry::Blob(blob.digest), Some(blob.size))?))
    }

    fn has_blob(&self, blob: &BlobInfo) -> Result<bool, Error> {
        Ok(self.0.address(&blob.digest)?.is_some())
    }

    fn put_blob(&self, blob: &BlobInfo, open: Open<'_>, advance: &(dyn Fn(u64) + Sync)) -> Result<(), Error> {
        self.0.put(&blob_key(&blob.digest), blob, open, advance).map(drop)
    }
}

/// The headers of a JSON request.
fn json_headers(token: &Secret, accept: &str) -> Vec<(header::HeaderName, String)> {
    vec![
        (header::AUTHORIZATION, format!("Bearer {}", token.expose())),
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::ACCEPT, accept.to_owned()),
    ]
}

//! A cache in a bucket: S3, and everything that speaks like it.
//!
//! ```text
//! <prefix>blobs/sha256:<hex>             blobs
//! <prefix>manifests/<name>.builder.json  the manifest of each cache
//! ```
//!
//! Blobs have the names that `BuildKit` gives them, manifests have not: neither disturbs the other in one bucket.
//! Nothing is ever removed: buckets have rules for that.

mod http;

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use builder_cache::{BlobDigest, BlobInfo};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload, RetryConfig};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use super::backend::{Backend, Blob, Open};
use super::error::Error;
use super::hashing::Hashing;
use super::manifest::MANIFEST_LIMIT;
use crate::registry::Secret;

/// What locations in buckets begin with: `s3:` and the place as JSON.
pub const S3_LOCATION: &str = "s3:";

/// Blobs are sent in parts of this size; smaller ones at once.
const PART: usize = 16 << 20;

/// What to do when nobody said who asks.
const NO_KEYS: &str = ": no access keys are known: give access_key_id= and secret_access_key=, or set \
                       AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";

/// How much of what a server says is told.
const LONGEST: usize = 600;

/// How long a request is tried again, and how often.
const RETRIES: usize = 4;
const PATIENCE: Duration = Duration::from_mins(1);

/// Where in a bucket. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct S3Place {
    /// The bucket.
    pub bucket: String,
    /// Its region; `AWS_REGION` when it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The server, when it is not Amazon's: `http://127.0.0.1:9000`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The bucket is a part of the path, and not of the host's name.
    #[serde(default)]
    pub path_style: bool,
    /// What all names begin with.
    #[serde(default)]
    pub prefix: String,
    /// What names of blobs begin with, after that: `blobs/`.
    #[serde(default = "blobs")]
    pub blobs_prefix: String,
    /// What names of manifests begin with, after that: `manifests/`.
    #[serde(default = "manifests")]
    pub manifests_prefix: String,
}

fn blobs() -> String {
    "blobs/".to_owned()
}

fn manifests() -> String {
    "manifests/".to_owned()
}

impl S3Place {
    /// A bucket where nothing else is said.
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            region: None,
            endpoint: None,
            path_style: false,
            prefix: String::new(),
            blobs_prefix: blobs(),
            manifests_prefix: manifests(),
        }
    }
}

/// Who asks; where nothing is said, what the environment and the cloud's machine say (`AWS_ACCESS_KEY_ID`, …, roles).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct S3Access {
    /// `access_key_id`.
    pub key_id: Option<String>,
    /// `secret_access_key`.
    pub key: Option<Secret>,
    /// `session_token`.
    pub token: Option<Secret>,
}

/// A cache in a bucket.
#[derive(Debug)]
pub struct S3Backend {
    place: S3Place,
    name: String,
    parallel: usize,
    store: AmazonS3,
    clock: Arc<Clock>,
}

/// What requests wait with between two attempts.
#[derive(Debug)]
struct Clock(Option<Runtime>);

impl Clock {
    fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build()?;
        Ok(Self(Some(runtime)))
    }

    fn wait<F: Future>(&self, future: F) -> io::Result<F::Output> {
        let runtime = self.0.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        Ok(runtime.block_on(future))
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        // Waiting for its thread is not allowed on every thread that may drop this.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl S3Backend {
    /// The cache of this name, or of these: `main;v1` is written under both and read under the first. Nothing is asked
    /// yet.
    ///
    /// # Errors
    /// When the place or the environment makes no sense.
    pub fn new(place: S3Place, name: &str, access: &S3Access) -> Result<Self, Error> {
        let label = format!("s3 {}/{}{name}", place.bucket, place.prefix);
        let other = |reason: Box<dyn std::error::Error + Send + Sync>| Error::Other { place: label.clone(), reason };
        let retry = RetryConfig { max_retries: RETRIES, retry_timeout: PATIENCE, ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::from_env()
            .with_http_connector(http::Connector)
            .with_retry(retry)
            .with_bucket_name(&place.bucket)
            .with_virtual_hosted_style_request(!place.path_style);
        if let Some(region) = &place.region {
            builder = builder.with_region(region);
        }
        if let Some(endpoint) = &place.endpoint {
            // Behind an endpoint the bucket's own host name would be the caller's to say.
            let endpoint = endpoint.trim_end_matches('/');
            let host = match (place.path_style, endpoint.split_once("://")) {
                (false, Some((scheme, host))) => format!("{scheme}://{}.{host}", place.bucket),
                _ => endpoint.to_owned(),
            };
            builder = builder.with_endpoint(host).with_allow_http(endpoint.starts_with("http://"));
        }
        if let (Some(id), Some(key)) = (&access.key_id, &access.key) {
            builder = builder.with_access_key_id(id).with_secret_access_key(key.expose());
        }
        if let Some(token) = &access.token {
            builder = builder.with_token(token.expose());
        }
        let store = builder.build().map_err(|error| other(error.into()))?;
        let clock = Arc::new(Clock::new().map_err(|error| other(error.into()))?);
        Ok(Self { place, name: name.to_owned(), parallel: 4, store, clock })
    }

    /// The backend of a location, to read blobs from, with what the environment says of access; `None` when it is in
    /// no bucket.
    pub fn of_location(location: &str) -> Option<Result<Self, Error>> {
        let place = location.strip_prefix(S3_LOCATION)?;
        let damaged = |error: serde_json::Error| Error::damaged(location, error.to_string());
        Some(serde_json::from_str(place).map_err(damaged).and_then(|place| Self::new(place, "", &S3Access::default())))
    }

    /// How many blobs are sent at once.
    #[must_use]
    pub fn in_parallel(self, parallel: usize) -> Self {
        Self { parallel: parallel.max(1), ..self }
    }

    fn wait<T>(&self, future: impl Future<Output = object_store::Result<T>>) -> Result<T, Error> {
        let done = self.clock.wait(future).map_err(|error| Error::io(&self.name(), "reached", error))?;
        done.map_err(|error| self.failed(&error))
    }

    /// The same for what may not be there.
    fn wait_for<T>(&self, future: impl Future<Output = object_store::Result<T>>) -> Result<Option<T>, Error> {
        let found = async {
            match future.await {
                Ok(found) => Ok(Some(found)),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        self.wait(found)
    }

    fn failed(&self, error: &object_store::Error) -> Error {
        let reason = said(&error.to_string());
        // Without keys the machine itself is asked for some, which only those of a cloud answer.
        let hint = if reason.contains("/latest/api/token") { NO_KEYS } else { "" };
        Error::Other { place: self.name(), reason: format!("{reason}{hint}").into() }
    }

    fn path(&self, prefix: &str, name: &str) -> Result<Path, Error> {
        let path = Path::parse(format!("{}{prefix}{name}", self.place.prefix));
        path.map_err(|error| self.failed(&error.into()))
    }

    fn blob_path(&self, digest: &BlobDigest) -> Result<Path, Error> {
        self.path(&self.place.blobs_prefix, &digest.to_string())
    }

    /// The names of the cache. As in `BuildKit` it may have several: `main;v1`.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.name.split(';').map(str::trim).filter(|name| !name.is_empty())
    }

    fn manifest_path(&self, name: &str) -> Result<Path, Error> {
        self.path(&self.place.manifests_prefix, &format!("{name}.builder.json"))
    }

    /// Sends a large blob in parts. An upload that fails is taken back: its parts would cost money for ever.
    fn put_parts(
        &self,
        path: &Path,
        blob: &BlobInfo,
        source: &mut Hashing<Box<dyn Read + Send>>,
        first: Vec<u8>,
        advance: &(dyn Fn(u64) + Sync),
    ) -> Result<(), Error> {
        let mut upload = self.wait(self.store.put_multipart(path))?;
        let sent = self.send_parts(upload.as_mut(), blob, source, first, advance);
        if sent.is_err() {
            // What it failed with is what is to be told.
            let _ = self.wait(upload.abort());
        }
        sent
    }

    fn send_parts(
        &self,
        upload: &mut dyn MultipartUpload,
        blob: &BlobInfo,
        source: &mut Hashing<Box<dyn Read + Send>>,
        first: Vec<u8>,
        advance: &(dyn Fn(u64) + Sync),
    ) -> Result<(), Error> {
        let (mut part, mut done) = (first, 0);
        while !part.is_empty() {
            done += part.len() as u64;
            self.wait(upload.put_part(PutPayload::from(part)))?;
            advance(done);
            part = self.read_part(source)?;
        }
        // A bucket keeps whatever it is given, for everybody.
        source.check(&self.name(), &blob.digest)?;
        self.wait(upload.complete()).map(drop)
    }

    fn read_part(&self, source: &mut dyn Read) -> Result<Vec<u8>, Error> {
        let mut part = Vec::with_capacity(PART);
        let read = source.take(PART as u64).read_to_end(&mut part);
        read.map_err(|error| Error::io(&self.name(), "sent", error))?;
        Ok(part)
    }
}

impl Backend for S3Backend {
    fn name(&self) -> String {
        format!("s3 {}/{}{}", self.place.bucket, self.place.prefix, self.name)
    }

    fn location(&self) -> String {
        // A struct of strings is always JSON.
        let place = serde_json::to_string(&self.place).unwrap_or_default();
        format!("{S3_LOCATION}{place}")
    }

    fn manifest(&self, digest: Option<&BlobDigest>) -> Result<Option<Vec<u8>>, Error> {
        let first = || self.manifest_path(self.names().next().unwrap_or_default());
        let path = digest.map_or_else(first, |digest| self.blob_path(digest))?;
        let Some(found) = self.wait_for(self.store.get(&path))? else { return Ok(None) };
        if found.meta.size > MANIFEST_LIMIT {
            return Err(Error::damaged(&self.name(), format!("its manifest has more than {MANIFEST_LIMIT} bytes")));
        }
        self.wait(found.bytes()).map(|bytes| Some(bytes.into()))
    }

    fn put_manifest(&self, _: &str, bytes: &[u8], _: &[Blob]) -> Result<(), Error> {
        for name in self.names() {
            let path = self.manifest_path(name)?;
            self.wait(self.store.put(&path, PutPayload::from(bytes.to_vec())))?;
        }
        Ok(())
    }

    fn blob(&self, blob: &BlobInfo) -> Result<Box<dyn Read + Send>, Error> {
        let found = self.wait_for(self.store.get(&self.blob_path(&blob.digest)?))?;
        let found = found.ok_or_else(|| Error::NoBlob { place: self.name(), digest: blob.digest })?;
        Ok(Box::new(Pieces { clock: Arc::clone(&self.clock), stream: found.into_stream(), rest: Bytes::new() }))
    }

    fn has_blob(&self, blob: &BlobInfo) -> Result<bool, Error> {
        let path = self.blob_path(&blob.digest)?;
        Ok(self.wait_for(self.store.head(&path))?.is_some_and(|found| found.size == blob.size))
    }

    fn put_blob(&self, blob: &BlobInfo, open: Open<'_>, advance: &(dyn Fn(u64) + Sync)) -> Result<(), Error> {
        let path = self.blob_path(&blob.digest)?;
        let mut source = Hashing::new(open(0).map_err(|error| Error::io(&self.name(), "sent", error))?);
        let first = self.read_part(&mut source)?;
        if first.len() == PART {
            return self.put_parts(&path, blob, &mut source, first, advance);
        }
        source.check(&self.name(), &blob.digest)?;
        let size = first.len() as u64;
        self.wait(self.store.put(&path, PutPayload::from(first)))?;
        advance(size);
        Ok(())
    }

    fn parallel(&self) -> usize {
        self.parallel
    }
}

/// What a server says of a failure, for people. Its whole answer may repeat what it was asked with: signatures, and the
/// token of a session.
fn said(text: &str) -> String {
    let element = |name: &str| -> Option<&str> {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once('<').map(|(text, _)| text)
    };
    let head = text.find('<').map_or(text, |at| &text[..at]);
    let words = [element("Code"), element("Message")];
    let words = words.into_iter().flatten().collect::<Vec<_>>().join(": ");
    let shown = format!("{head}{words}");
    shown.chars().filter(|letter| !letter.is_control()).take(LONGEST).collect()
}

/// A body, piece by piece; `object_store` goes on where a connection broke.
struct Pieces {
    clock: Arc<Clock>,
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    rest: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.clock.wait(self.stream.next())? {
                Some(piece) => self.rest = piece.map_err(|error| io::Error::other(said(&error.to_string())))?,
                None => return Ok(0),
            }
        }
        let count = self.rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.rest.split_to(count));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_repeats_of_a_request_is_not_told() {
        let text = "Generic S3 error: Error performing GET http://h/b in 1ms - Server returned non-2xx status code: 403 \
                    Forbidden: <?xml version=\"1.0\"?>\n<Error><Code>SignatureDoesNotMatch</Code><Message>The request \
                    signature is \u{1b}[2Jwrong</Message><CanonicalRequest>GET\n/b\nx-amz-security-token:hidden\n\
                    </CanonicalRequest><Token-0>hidden</Token-0></Error>";
        let shown = said(text);
        assert!(shown.ends_with("Forbidden: SignatureDoesNotMatch: The request signature is [2Jwrong"), "{shown}");
        assert!(!shown.contains("hidden"));
        assert_eq!(said("no connection"), "no connection");
    }
}

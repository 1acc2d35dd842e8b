//! One repository of a registry.

use std::io::{self, Read};
use std::sync::Arc;

use builder_cache::BlobDigest;
use oci_spec::image::Descriptor;
use serde::Deserialize;

use super::auth::Scopes;
use super::exchange::{Answer, Call};
use super::host::Endpoint;
use super::{BlobReader, Error, Fetched, Head, Inner, Registry, Which};
use crate::http::Method;
use crate::http::header::{ACCEPT, CONTENT_TYPE, HeaderName};

/// The biggest manifest that is taken; registries take no bigger ones.
pub(super) const MANIFEST_LIMIT: u64 = 4 << 20;

/// Manifests that can be read.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.docker.distribution.manifest.v2+json";

pub(super) const DIGEST: &str = "docker-content-digest";

/// A repository of a registry. Clones share connections and tokens.
#[derive(Debug, Clone)]
pub struct Repository {
    registry: Registry,
    pub(super) host: String,
    pub(super) path: String,
}

/// A server that has the repository, and the repository's path there.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) path: String,
}

impl Repository {
    pub(super) fn new(registry: Registry, host: String, path: String) -> Self {
        Self { registry, host, path }
    }

    /// Host and path: `docker.io/library/debian`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.host, self.path)
    }

    /// The registry's host, as references have it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path below it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The client that this belongs to.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A manifest or index; its digest was checked. Mirrors are asked first.
    pub fn manifest(&self, which: &Which) -> Result<Fetched, Error> {
        let what = format!("{}{which}", self.name());
        self.any_of_them(|source| self.manifest_of(source, which, &what))
    }

    /// What a manifest is, without it; nothing when it is not there. Mirrors are asked first.
    pub fn head(&self, which: &Which) -> Result<Option<Head>, Error> {
        let what = format!("{}{which}", self.name());
        let found = self.any_of_them(|source| {
            let mut answer = self.ask_manifest(source, Method::HEAD, which, &what)?;
            if answer.status() != 200 {
                return Err(self.client().refused(&mut answer, &what, &source.endpoint));
            }
            let digest = answer.response.header(DIGEST).and_then(|digest| digest.parse().ok());
            let (Some(digest), Some(size)) = (digest, answer.response.length()) else {
                // Not every server says it without the manifest.
                let fetched = self.manifest_of(source, which, &what)?;
                let size = fetched.bytes.len() as u64;
                return Ok(Head { digest: fetched.digest, media_type: fetched.media_type, size });
            };
            if let Which::Digest(expected) = which
                && *expected != digest
            {
                return Err(Error::Digest { what: what.clone(), expected: *expected, found: digest });
            }
            let media_type = media_type(answer.response.header(CONTENT_TYPE), &[]);
            Ok(Head { digest, media_type, size })
        });
        match found {
            Ok(head) => Ok(Some(head)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A blob that is kept in memory (a config); its digest was checked.
    pub fn small_blob(&self, digest: &BlobDigest, limit: u64) -> Result<Vec<u8>, Error> {
        let what = format!("{}@{digest}", self.name());
        self.any_of_them(|source| {
            let target = format!("{}/blobs/{digest}", source.path);
            let scopes = Scopes::pull(&source.path);
            let mut answer = self.call(source, Method::GET, &target, &[], &[], &scopes, &what)?;
            if answer.status() != 200 {
                return Err(self.client().refused(&mut answer, &what, &source.endpoint));
            }
            let bytes = self.client().bytes(&mut answer, limit, &what)?;
            check(&bytes, digest, &what)?;
            Ok(bytes)
        })
    }

    /// A blob as it comes. Mirrors are asked first.
    pub fn blob(&self, digest: &BlobDigest, size: u64) -> Result<BlobReader, Error> {
        BlobReader::open(self, *digest, size)
    }

    /// The registry has a blob in this repository.
    pub fn has_blob(&self, digest: &BlobDigest) -> Result<bool, Error> {
        let what = format!("{}@{digest}", self.name());
        let source = self.home()?;
        let target = format!("{}/blobs/{digest}", source.path);
        let scopes = Scopes::push(&source.path);
        let (method, scopes) = (Method::HEAD, &scopes);
        let call = Call { method, target: &target, headers: &[], body: &[], scopes, follow: false, what: &what };
        let mut answer = self.client().call(&source.endpoint, &call)?;
        match answer.status() {
            // One that the registry sends somebody elsewhere for is there; elsewhere may know only how to give it.
            200 | 301..=303 | 307 | 308 => Ok(true),
            404 => Ok(false),
            _ => Err(self.client().refused(&mut answer, &what, &source.endpoint)),
        }
    }

    /// Takes a blob over from another repository (its path) of this registry; `false` when it has to be sent.
    pub fn mount_blob(&self, digest: &BlobDigest, from: &str) -> Result<bool, Error> {
        super::upload::mount(self, digest, from)
    }

    /// Sends a blob. `open` gives its bytes from an offset on, and is called again when the connection broke;
    /// `advance` hears how many bytes of it are gone, which can become fewer.
    pub fn push_blob(
        &self,
        digest: &BlobDigest,
        size: u64,
        open: &dyn Fn(u64) -> io::Result<Box<dyn Read + Send>>,
        advance: &dyn Fn(u64),
    ) -> Result<(), Error> {
        super::upload::push(self, digest, size, open, advance)
    }

    /// Sends a manifest or index, and gives its digest.
    pub fn push_manifest(&self, which: &Which, media_type: &str, bytes: &[u8]) -> Result<BlobDigest, Error> {
        let what = format!("{}{which}", self.name());
        let digest = BlobDigest::of(bytes);
        if let Which::Digest(expected) = which
            && *expected != digest
        {
            return Err(Error::Digest { what, expected: *expected, found: digest });
        }
        let source = self.home()?;
        let headers = [(CONTENT_TYPE, media_type.to_owned())];
        let scopes = Scopes::push(&source.path);
        let target = format!("{}/manifests/{}", source.path, at(which));
        let mut answer = self.call(&source, Method::PUT, &target, &headers, bytes, &scopes, &what)?;
        if !matches!(answer.status(), 200..=202 | 204) {
            return Err(self.client().refused(&mut answer, &what, &source.endpoint));
        }
        if let Some(found) = answer.response.header(DIGEST).and_then(|digest| digest.parse().ok())
            && found != digest
        {
            return Err(Error::Digest { what, expected: digest, found });
        }
        let knows_subjects = answer.response.header("oci-subject").is_some();
        drop(answer);
        if !knows_subjects {
            super::referrers::note(self, media_type, bytes, &digest)?;
        }
        Ok(digest)
    }

    /// All tags, sorted. Mirrors are asked first.
    pub fn tags(&self) -> Result<Vec<String>, Error> {
        let name = self.name();
        self.any_of_them(|source| super::list::tags(self.client(), source, &name))
    }

    /// The manifests that say they belong to another one.
    pub fn referrers(&self, digest: &BlobDigest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>, Error> {
        super::referrers::list(self, digest, artifact_type)
    }

    /// Removes a manifest, or a tag.
    pub fn delete_manifest(&self, which: &Which) -> Result<(), Error> {
        let what = format!("{}{which}", self.name());
        let source = self.home()?;
        let target = format!("{}/manifests/{}", source.path, at(which));
        let scopes = Scopes::delete(&source.path);
        let mut answer = self.call(&source, Method::DELETE, &target, &[], &[], &scopes, &what)?;
        match answer.status() {
            200 | 202 | 204 => Ok(()),
            _ => Err(self.client().refused(&mut answer, &what, &source.endpoint)),
        }
    }

    /// The bytes of a manifest of the registry itself.
    pub(super) fn home_manifest(&self, which: &Which) -> Result<Vec<u8>, Error> {
        let what = format!("{}{which}", self.name());
        Ok(self.manifest_of(&self.home()?, which, &what)?.bytes)
    }

    pub(super) fn client(&self) -> &Inner {
        &self.registry.0
    }

    /// The registry itself.
    pub(super) fn home(&self) -> Result<Source, Error> {
        Ok(Source { endpoint: self.client().endpoint(&self.host)?, path: self.path.clone() })
    }

    /// Who may have what is in the repository, in the order in which they are asked.
    pub(super) fn sources(&self) -> Result<Vec<Source>, Error> {
        let mut sources = Vec::new();
        for endpoint in self.client().mirrors(&self.host)? {
            if !endpoint.is_ill() {
                let path = format!("{}{}", endpoint.prefix, self.path);
                sources.push(Source { endpoint, path });
            }
        }
        sources.push(self.home()?);
        Ok(sources)
    }

    /// The answer of the first who has one; the registry's own error if nobody does.
    fn any_of_them<T>(&self, mut ask: impl FnMut(&Source) -> Result<T, Error>) -> Result<T, Error> {
        let mut sources = self.sources()?;
        let home = sources.pop();
        for mirror in &sources {
            match ask(mirror) {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_cancelled() => return Err(error),
                Err(Error::Connection { .. }) => mirror.endpoint.mark_ill(),
                Err(_) => {}
            }
        }
        home.as_ref().map_or(Err(Error::Cancelled), ask)
    }

    fn manifest_of(&self, source: &Source, which: &Which, what: &str) -> Result<Fetched, Error> {
        let mut answer = self.ask_manifest(source, Method::GET, which, what)?;
        if answer.status() != 200 {
            return Err(self.client().refused(&mut answer, what, &source.endpoint));
        }
        let bytes = self.client().bytes(&mut answer, MANIFEST_LIMIT, what)?;
        let digest = BlobDigest::of(&bytes);
        let announced = answer.response.header(DIGEST).and_then(|digest| digest.parse().ok());
        let expected = match which {
            Which::Digest(expected) => Some(*expected),
            Which::Tag(_) => announced,
        };
        if let Some(expected) = expected
            && expected != digest
        {
            return Err(Error::Digest { what: what.to_owned(), expected, found: digest });
        }
        let media_type = media_type(answer.response.header(CONTENT_TYPE), &bytes);
        Ok(Fetched { digest, media_type, bytes })
    }

    fn ask_manifest(&self, source: &Source, method: Method, which: &Which, what: &str) -> Result<Answer, Error> {
        let target = format!("{}/manifests/{}", source.path, at(which));
        let headers = [(ACCEPT, MANIFESTS.to_owned())];
        self.call(source, method, &target, &headers, &[], &Scopes::pull(&source.path), what)
    }

    #[expect(clippy::too_many_arguments, reason = "they are the parts of one request")]
    pub(super) fn call(
        &self,
        source: &Source,
        method: Method,
        target: &str,
        headers: &[(HeaderName, String)],
        body: &[u8],
        scopes: &Scopes,
        what: &str,
    ) -> Result<Answer, Error> {
        let follow = matches!(method, Method::GET | Method::HEAD);
        self.client().call(&source.endpoint, &Call { method, target, headers, body, scopes, follow, what })
    }
}

/// As the last part of a path.
fn at(which: &Which) -> String {
    match which {
        Which::Tag(tag) => tag.to_string(),
        Which::Digest(digest) => digest.to_string(),
    }
}

pub(super) fn check(bytes: &[u8], expected: &BlobDigest, what: &str) -> Result<(), Error> {
    let found = BlobDigest::of(bytes);
    if found == *expected { Ok(()) } else { Err(Error::Digest { what: what.to_owned(), expected: *expected, found }) }
}

/// What a manifest is: as it says itself, or as the server says.
fn media_type(announced: Option<&str>, bytes: &[u8]) -> String {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Itself {
        media_type: Option<String>,
    }
    let itself = serde_json::from_slice::<Itself>(bytes).ok().and_then(|document| document.media_type);
    let announced = announced.map(|kind| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    let whole = itself.filter(|kind| !kind.is_empty()).or(announced).unwrap_or_default();
    super::said::clean(&whole).unwrap_or_default()
}

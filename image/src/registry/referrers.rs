//! Manifests that belong to another one: signatures, attestations, lists of contents.

use builder_cache::BlobDigest;
use oci_spec::image::{Descriptor, ImageIndex};
use serde_json::{Map, Value, json};

use super::auth::Scopes;
use super::list::following;
use super::repository::{MANIFEST_LIMIT, Repository};
use super::{Error, Which};
use crate::http::Method;
use crate::http::header::ACCEPT;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// How many pages of a list are read.
const PAGES: usize = 100;

/// The manifests that name this one as their subject.
pub(super) fn list(
    repository: &Repository,
    digest: &BlobDigest,
    artifact_type: Option<&str>,
) -> Result<Vec<Descriptor>, Error> {
    let what = format!("{}@{digest}", repository.name());
    let (client, source) = (repository.client(), repository.home()?);
    let scopes = Scopes::pull(&source.path);
    let headers = [(ACCEPT, INDEX.to_owned())];
    let mut target = format!("{}/referrers/{digest}", source.path);
    if let Some(kind) = artifact_type {
        target = crate::http::url::with_query(&target, "artifactType", kind);
    }
    let mut all = Vec::new();
    for page in 0..PAGES {
        let mut answer = repository.call(&source, Method::GET, &target, &headers, &[], &scopes, &what)?;
        match answer.status() {
            200 => {}
            // A registry that does not know the question: the list is kept under a tag.
            400 | 404 | 405 if page == 0 => {
                all = tagged(repository, digest)?;
                break;
            }
            _ => return Err(client.refused(&mut answer, &what, &source.endpoint)),
        }
        let following = following(&answer);
        let bytes = client.bytes(&mut answer, MANIFEST_LIMIT, &what)?;
        all.extend(read(&bytes, &what)?);
        match following {
            Some(next) if next != target => target = next,
            _ => break,
        }
    }
    if let Some(kind) = artifact_type {
        all.retain(|one| one.artifact_type().as_ref().is_some_and(|found| found.to_string() == kind));
    }
    Ok(all)
}

/// Notes a manifest with a subject under the tag of that subject, for a registry that did not.
pub(super) fn note(repository: &Repository, media_type: &str, bytes: &[u8], digest: &BlobDigest) -> Result<(), Error> {
    let Ok(manifest) = serde_json::from_slice::<Value>(bytes) else { return Ok(()) };
    let subject = manifest.get("subject").and_then(|subject| subject.get("digest")).and_then(Value::as_str);
    let Some(subject) = subject.and_then(|subject| subject.parse::<BlobDigest>().ok()) else { return Ok(()) };
    let tag = tag(repository, &subject)?;
    let mut entry = Map::new();
    entry.insert("mediaType".to_owned(), media_type.into());
    entry.insert("digest".to_owned(), digest.to_string().into());
    entry.insert("size".to_owned(), bytes.len().into());
    let config = manifest.get("config").and_then(|config| config.get("mediaType"));
    if let Some(kind) = manifest.get("artifactType").or(config) {
        entry.insert("artifactType".to_owned(), kind.clone());
    }
    if let Some(annotations) = manifest.get("annotations") {
        entry.insert("annotations".to_owned(), annotations.clone());
    }
    let mut entries = match repository.home_manifest(&tag) {
        Ok(fetched) => {
            let index = serde_json::from_slice::<Value>(&fetched).unwrap_or_default();
            index.get("manifests").and_then(Value::as_array).cloned().unwrap_or_default()
        }
        Err(error) if error.is_not_found() => Vec::new(),
        Err(error) => return Err(error),
    };
    let own = Value::from(digest.to_string());
    if entries.iter().any(|known| known.get("digest") == Some(&own)) {
        return Ok(());
    }
    entries.push(Value::Object(entry));
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
    repository.push_manifest(&tag, INDEX, index.to_string().as_bytes()).map(drop)
}

fn tagged(repository: &Repository, digest: &BlobDigest) -> Result<Vec<Descriptor>, Error> {
    let what = format!("{}@{digest}", repository.name());
    match repository.home_manifest(&tag(repository, digest)?) {
        Ok(bytes) => read(&bytes, &what),
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The tag that stands in for the question.
fn tag(repository: &Repository, digest: &BlobDigest) -> Result<Which, Error> {
    let tag = format!("sha256-{}", digest.hex()).parse();
    // A digest is always a tag when written like this.
    tag.map(Which::Tag).map_err(|_| Error::Answer { what: repository.name(), reason: "no tag for a digest".to_owned() })
}

fn read(bytes: &[u8], what: &str) -> Result<Vec<Descriptor>, Error> {
    let index: ImageIndex = serde_json::from_slice(bytes).map_err(|error| Error::Answer {
        what: what.to_owned(),
        reason: format!("the list of what belongs to it can't be read ({error})"),
    })?;
    Ok(index.manifests().clone())
}

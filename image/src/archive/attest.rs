//! What is said of an image beside it: attestations, as BuildKit stores them and others look for them.
//!
//! Each platform of an index has a second manifest, for a platform that nobody has, whose layers are in-toto statements
//! of which that platform's own manifest is the subject. By default it is an OCI artifact that refers to its subject;
//! for old registries it can be shaped like an image.
//!
//! A statement names the digest of the manifest, which is known when the image is written: so an [`Attestation`] has
//! only its predicate, a blob of the store, and the statement is made when the manifest is.

use builder_cache::{BlobDigest, BlobInfo, Store};
use oci_spec::image::{Descriptor, MediaType};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::content::{Collect, Content, add_bytes, add_manifest};
use super::descriptor::{Annotations, annotated, descriptor, digest_of};
use super::error::Error;
use crate::platform::Platform;

/// The largest predicate (80 MiB, as BuildKit has it).
pub const PREDICATE_LIMIT: u64 = 80 << 20;

/// The media type of a statement.
pub const STATEMENT: &str = "application/vnd.in-toto+json";
/// The type of the statements that are written here, and the one before it, which others still write.
pub const STATEMENT_TYPES: [&str; 2] = ["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"];
/// The annotation of a statement's descriptor that has the type of its predicate.
pub const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";
/// The annotation of a manifest's descriptor that says what it is.
pub const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
/// The annotation that has the digest of the manifest that it is about.
pub const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
/// What [`REFERENCE_TYPE`] says of a manifest with attestations.
pub const ATTESTATION_MANIFEST: &str = "attestation-manifest";
/// What kind of artifact such a manifest is.
pub const ARTIFACT_TYPE: &str = "application/vnd.docker.attestation.manifest.v1+json";

/// Something that is said of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attestation {
    /// What kind of thing: a URI.
    pub predicate_type: String,
    /// The thing itself: JSON, in the store.
    pub predicate: BlobDigest,
    /// What the image is called in it; nothing is `_`.
    pub subjects: Vec<String>,
}

/// Makes the statements and their manifest, and gives what an index is to list.
pub(super) fn plan(
    store: &Store,
    subject: &Descriptor,
    attestations: &[Attestation],
    as_image: bool,
    blobs: &mut dyn Collect,
) -> Result<Descriptor, Error> {
    let digest = digest_of(subject, "manifest")?;
    let mut layers = Vec::with_capacity(attestations.len());
    for attestation in attestations {
        let predicate = store.read_blob(&attestation.predicate, PREDICATE_LIMIT)?;
        let statement = statement(&attestation.predicate_type, &subjects(&attestation.subjects, &digest), &predicate);
        let info = BlobInfo { digest: BlobDigest::of(&statement), size: statement.len() as u64 };
        blobs.blob(info, Content::Bytes(statement), None);
        let annotations = [(PREDICATE_TYPE.to_owned(), attestation.predicate_type.clone())].into();
        layers.push(annotated(&descriptor(MediaType::Other(STATEMENT.into()), &info)?, None, &annotations)?);
    }
    let bytes = if as_image { image(&layers, blobs)? } else { artifact(subject, &layers, blobs)? };
    let manifest = add_manifest(blobs, MediaType::ImageManifest, bytes)?;
    let annotations: Annotations = [
        (REFERENCE_DIGEST.to_owned(), digest.to_string()),
        (REFERENCE_TYPE.to_owned(), ATTESTATION_MANIFEST.to_owned()),
    ]
    .into();
    let nowhere = Platform { os: "unknown".into(), architecture: "unknown".into(), variant: None };
    annotated(&manifest, Some(&nowhere), &annotations)
}

fn artifact(subject: &Descriptor, layers: &[Descriptor], blobs: &mut dyn Collect) -> Result<Vec<u8>, Error> {
    let config = add_bytes(blobs, b"{}".to_vec());
    let subject = json!({
        "mediaType": subject.media_type().to_string(), "digest": subject.digest().to_string(), "size": subject.size(),
    });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::ImageManifest.to_string(),
        "artifactType": ARTIFACT_TYPE,
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": config.digest.to_string(),
            "size": config.size,
            "data": "e30=",
        },
        "layers": list(layers)?,
        "subject": subject,
    });
    Ok(manifest.to_string().into_bytes())
}

fn image(layers: &[Descriptor], blobs: &mut dyn Collect) -> Result<Vec<u8>, Error> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| layer.digest().to_string()).collect();
    let config = json!({
        "architecture": "unknown",
        "os": "unknown",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = add_bytes(blobs, config.to_string().into_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::ImageManifest.to_string(),
        "config": {
            "mediaType": MediaType::ImageConfig.to_string(),
            "digest": config.digest.to_string(),
            "size": config.size,
        },
        "layers": list(layers)?,
    });
    Ok(manifest.to_string().into_bytes())
}

fn list(layers: &[Descriptor]) -> Result<Value, Error> {
    serde_json::to_value(layers).map_err(Error::json("manifest"))
}

/// What a statement is about: names and a digest.
fn subjects(names: &[String], digest: &BlobDigest) -> Vec<(String, BlobDigest)> {
    if names.is_empty() {
        return vec![("_".to_owned(), *digest)];
    }
    names.iter().map(|name| (name.clone(), *digest)).collect()
}

/// An in-toto statement; the predicate's bytes stay as they are.
pub fn statement(predicate_type: &str, subjects: &[(String, BlobDigest)], predicate: &[u8]) -> Vec<u8> {
    let subjects: Vec<Value> =
        subjects.iter().map(|(name, digest)| json!({ "name": name, "digest": { "sha256": digest.hex() } })).collect();
    let head = json!({ "_type": STATEMENT_TYPES[0], "predicateType": predicate_type, "subject": subjects });
    let mut bytes = head.to_string().into_bytes();
    // The object goes on.
    bytes.pop();
    bytes.extend_from_slice(b",\"predicate\":");
    bytes.extend_from_slice(predicate);
    bytes.push(b'}');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_json() {
        let digest = BlobDigest::of(b"x");
        let bytes = statement("https://t", &subjects(&["a\"b".to_owned()], &digest), br#"{"k":[1]}"#);
        let parsed: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(parsed["_type"], "https://in-toto.io/Statement/v1");
        assert_eq!(parsed["subject"], json!([{ "name": "a\"b", "digest": { "sha256": digest.hex() } }]));
        assert_eq!((&parsed["predicateType"], &parsed["predicate"]), (&json!("https://t"), &json!({ "k": [1] })));
        assert_eq!(subjects(&[], &digest), [("_".to_owned(), digest)]);
    }
}

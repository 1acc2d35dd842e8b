//! The registry client against a real registry, and against one that fails.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../kit/registry.rs"]
mod servers;

mod faults;
mod hostile;
mod lists;
mod logins;
mod self_signed;
mod tls;
mod transfer;

use std::cell::Cell;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::time::Duration;

use builder_cache::BlobDigest;
use builder_image::registry::{Error, HostSettings, Patience, Registry, Repository, Settings, Surroundings, Which};

/// As often as elsewhere, but not as long.
const PAUSES: [Duration; 4] = [Duration::from_millis(5); 4];

/// A client of nobody in particular, which waits a second for silent servers.
fn client() -> Registry {
    client_with(Settings::default())
}

fn client_with(settings: Settings) -> Registry {
    let patience = Patience { connect: Duration::from_secs(10), silence: Duration::from_secs(1), pauses: &PAUSES };
    Registry::in_surroundings(settings, Surroundings { patience, certificates: Vec::new() })
}

/// A client for which something is set for one host.
fn client_for(host: &str, set: HostSettings) -> Registry {
    let mut settings = Settings::default();
    settings.hosts.insert(host, set);
    client_with(settings)
}

fn repository(client: &Registry, name: &str) -> Repository {
    client.repository(&name.parse().unwrap())
}

fn tag(name: &str) -> Which {
    Which::Tag(name.parse().unwrap())
}

/// Bytes that differ by their seed and do not repeat.
fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2) + 1;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn push(repository: &Repository, bytes: &[u8]) -> Result<BlobDigest, Error> {
    let digest = BlobDigest::of(bytes);
    let gone = Cell::new(0);
    let open = |offset: u64| {
        let mut from = Cursor::new(bytes.to_vec());
        from.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(from) as Box<dyn Read + Send>)
    };
    repository.push_blob(&digest, bytes.len() as u64, &open, &|now| gone.set(now))?;
    assert_eq!(gone.get(), bytes.len() as u64, "all of it should be said to be gone");
    Ok(digest)
}

fn pull(repository: &Repository, digest: &BlobDigest, size: usize) -> Result<Vec<u8>, Error> {
    let mut all = Vec::new();
    match repository.blob(digest, size as u64)?.read_to_end(&mut all) {
        Ok(_) => Ok(all),
        Err(error) => Err(Error::from_io(error).unwrap()),
    }
}

/// An image without layers, under a tag.
fn push_image(repository: &Repository, name: &str, mark: &str) -> (BlobDigest, Vec<u8>) {
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","author":"{mark}","rootfs":{{"type":"layers","diff_ids":[]}}}}"#
    );
    let digest = push(repository, config.as_bytes()).unwrap();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":{}}},"layers":[]}}"#,
        config.len()
    );
    let digest = repository.push_manifest(&tag(name), MANIFEST, manifest.as_bytes()).unwrap();
    (digest, manifest.into_bytes())
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

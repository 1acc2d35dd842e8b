//! Shared caches in a bucket and in the cache of GitHub Actions.

#[path = "kit/actions.rs"]
mod actions;
#[path = "kit/moto.rs"]
mod moto;

use std::io::{Cursor, Read};
use std::sync::atomic::{AtomicU64, Ordering};

use builder_cache::{BlobDigest, BlobInfo};
use builder_image::http::Stop;
use builder_image::registry::Secret;
use builder_image::remote_cache::{Backend, GhaBackend, GhaPlace, S3Access, S3Backend, S3Place};

use crate::actions::{Actions, TOKEN};
use crate::moto::Moto;

fn info(bytes: &[u8]) -> BlobInfo {
    BlobInfo { digest: BlobDigest::of(bytes), size: bytes.len() as u64 }
}

/// Bytes that no part of is like another.
fn bytes(size: usize) -> Vec<u8> {
    (0..size / 4).flat_map(|number| (number as u32).wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn put(backend: &dyn Backend, bytes: &[u8]) -> u64 {
    let sent = AtomicU64::new(0);
    let open = |from: u64| -> std::io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(bytes[from as usize..].to_vec())))
    };
    let advance = |done| {
        assert!(sent.swap(done, Ordering::Relaxed) < done, "it only grows");
    };
    backend.put_blob(&info(bytes), &open, &advance).expect("it is taken");
    sent.into_inner()
}

fn get(backend: &dyn Backend, blob: &BlobInfo) -> Vec<u8> {
    let mut found = Vec::new();
    backend.blob(blob).expect("it is there").read_to_end(&mut found).expect("it is read");
    found
}

/// Bytes that are not those of the digest are not kept.
fn refuses_what_is_something_else(backend: &dyn Backend, size: usize) {
    let (right, mut wrong) = (bytes(size), bytes(size));
    wrong[size - 1] ^= 1;
    let open = |_: u64| -> std::io::Result<Box<dyn Read + Send>> { Ok(Box::new(Cursor::new(wrong.clone()))) };
    let error = backend.put_blob(&info(&right), &open, &|_| ()).expect_err("it is refused").to_string();
    assert!(error.contains("is damaged"), "{error}");
    assert!(!backend.has_blob(&info(&right)).expect("it works"));
}

/// Blobs small and large, manifests old and new.
fn keeps_what_it_is_given(backend: &dyn Backend, large: usize) {
    assert_eq!(backend.manifest(None).expect("it works"), None);
    for size in [4, 100_000, large] {
        let blob = bytes(size);
        assert!(!backend.has_blob(&info(&blob)).expect("it works"), "{size}");
        assert_eq!(put(backend, &blob), size as u64);
        assert!(backend.has_blob(&info(&blob)).expect("it works"), "{size}");
        assert!(get(backend, &info(&blob)) == blob, "{size}");
        // Somebody else may have had the same idea.
        put(backend, &blob);
    }
    for manifest in [&b"{\"first\":1}"[..], b"{\"second\":2}"] {
        backend.put_manifest("application/json", manifest, &[]).expect("it works");
        assert_eq!(backend.manifest(None).expect("it works").as_deref(), Some(manifest));
    }
    let nowhere = info(b"nowhere");
    assert!(!backend.has_blob(&nowhere).expect("it works"));
    let error = backend.blob(&nowhere).map(drop).expect_err("it is refused").to_string();
    assert!(error.contains(&nowhere.digest.to_string()), "{error}");
}

fn access() -> S3Access {
    S3Access { key_id: Some("id".into()), key: Some(Secret::new("the-secret-key")), token: None }
}

#[test]
fn a_bucket_keeps_a_cache() {
    let moto = Moto::start();
    moto.bucket("caches");
    let mut place = S3Place::new("caches");
    place.endpoint = Some(moto.endpoint.clone());
    place.region = Some("us-east-1".into());
    place.path_style = true;
    place.prefix = "team/".into();
    let two = S3Backend::new(place.clone(), "one; two", &access()).expect("it works");
    two.put_manifest("application/json", b"{}", &[]).expect("it works");
    let second = S3Backend::new(place.clone(), "two", &access()).expect("it works");
    assert_eq!(second.manifest(None).expect("it works"), two.manifest(None).expect("it works"));
    let backend = S3Backend::new(place, "app", &access()).expect("it works");
    // Three parts.
    keeps_what_it_is_given(&backend, 40 << 20);
    refuses_what_is_something_else(&backend, 8);
    refuses_what_is_something_else(&backend, 17 << 20);
    let keys = moto.keys("caches");
    assert!(keys.contains(&"team/manifests/app.builder.json".to_owned()), "{keys:?}");
    assert!(keys.contains(&format!("team/blobs/{}", BlobDigest::of(&bytes(4)))), "{keys:?}");
    // Whoever has the location finds the blobs; it holds no secret.
    let location = backend.location();
    assert!(!location.contains("secret") && !format!("{backend:?}").contains("the-secret-key"));
    assert!(S3Backend::of_location(&location).is_some() && S3Backend::of_location("registry:x/y").is_none());
}

#[test]
fn a_bucket_that_is_not_there_is_named() {
    let moto = Moto::start();
    let mut place = S3Place::new("absent");
    place.endpoint = Some(moto.endpoint.clone());
    place.path_style = true;
    let backend = S3Backend::new(place, "app", &access()).expect("it works");
    let error = backend.put_manifest("application/json", b"{}", &[]).expect_err("it is refused").to_string();
    assert!(error.contains("s3 absent/app") && error.contains("NoSuchBucket"), "{error}");
}

fn gha(actions: &Actions, token: &str, v2: bool) -> GhaBackend {
    let place = GhaPlace { url: actions.url.clone(), token: Secret::new(token), v2 };
    GhaBackend::new(&place, "main", Stop::default())
}

#[test]
fn jobs_of_actions_share_a_cache() {
    for v2 in [true, false] {
        let actions = Actions::start();
        let backend = gha(&actions, TOKEN, v2);
        // More than one block.
        keeps_what_it_is_given(&backend, 33 << 20);
        refuses_what_is_something_else(&gha(&actions, TOKEN, v2), 8);
        // Another job finds it; what it asks for is asked once.
        let other = gha(&actions, TOKEN, v2);
        assert_eq!(other.manifest(None).expect("it works").as_deref(), Some(&b"{\"second\":2}"[..]));
        let keys = actions.keys();
        assert!(keys.iter().filter(|key| key.starts_with("builder-index-1-main#")).count() == 2, "{keys:?}");
        let before = actions.requests().len();
        for _ in 0..2 {
            assert!(other.has_blob(&info(&bytes(4))).expect("it works"));
        }
        assert_eq!(actions.requests().len(), before + 1);
    }
}

#[test]
fn a_service_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    let actions = Actions::start();
    let backend = gha(&actions, TOKEN, true);
    put(&backend, b"some");
    actions.be_busy(2);
    assert!(gha(&actions, TOKEN, true).has_blob(&info(b"some")).expect("it works"));
    let before = actions.requests().len();
    let error = gha(&actions, "another-token", true).has_blob(&info(b"some")).expect_err("it is refused").to_string();
    assert!(error.contains("401") && error.contains("wrong token") && !error.contains("another-token"), "{error}");
    assert_eq!(actions.requests().len(), before + 1);
}

#[test]
fn downloads_go_on_where_they_broke_and_with_addresses_that_are_new() {
    for v2 in [true, false] {
        let actions = Actions::start();
        let backend = gha(&actions, TOKEN, v2);
        let blob = bytes(3 << 20);
        put(&backend, &blob);
        actions.break_off(3);
        let before = actions.requests().len();
        assert!(get(&backend, &info(&blob)) == blob);
        // One look-up, and a part more each time.
        assert_eq!(actions.requests().len(), before + 5);
        // One that is known is too old when the blob is wanted, and one in the middle of it.
        actions.expire();
        let mut reader = backend.blob(&info(&blob)).expect("it is there");
        let mut found = vec![0; 100];
        reader.read_exact(&mut found).expect("it begins");
        actions.break_off(1);
        drop(reader);
        let mut reader = backend.blob(&info(&blob)).expect("it is there");
        actions.expire();
        let mut found = Vec::new();
        reader.read_to_end(&mut found).expect("it goes on");
        assert!(found == blob);
        // A blob that is not as long as its manifest says is none.
        let longer = BlobInfo { size: 1 + (3 << 20), ..info(&blob) };
        let error = backend.blob(&longer).map(drop).expect_err("it is refused").to_string();
        assert!(error.contains("3145728 bytes instead of 3145729") && !error.contains("sig="), "{error}");
    }
}

#[test]
fn what_the_service_does_not_keep_is_not_sent() {
    let actions = Actions::start();
    let backend = gha(&actions, TOKEN, true);
    actions.lose();
    let open = |_: u64| -> std::io::Result<Box<dyn Read + Send>> { Ok(Box::new(Cursor::new(b"some"))) };
    let error = backend.put_blob(&info(b"some"), &open, &|_| ()).expect_err("it is gone").to_string();
    assert!(error.contains("did not keep"), "{error}");
}

#[test]
fn scopes_are_told_apart() {
    let actions = Actions::start();
    let scope = |scope: &str| {
        let place = GhaPlace { url: actions.url.clone(), token: Secret::new(TOKEN), v2: true };
        GhaBackend::new(&place, scope, Stop::default())
    };
    scope("a#1").put_manifest("application/json", b"{}", &[]).expect("it works");
    assert_eq!(scope("a").manifest(None).expect("it works"), None);
    assert!(scope("a#1").manifest(None).expect("it works").is_some());
}

#[test]
fn the_environment_of_a_job_says_where_the_service_is() {
    let place = |variables: &[(&str, &str)]| {
        let variables: Vec<(String, String)> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        GhaPlace::from_environment(|name| {
            variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
        })
    };
    let new = place(&[
        ("ACTIONS_RUNTIME_TOKEN", "t"),
        ("ACTIONS_RESULTS_URL", "r"),
        ("ACTIONS_CACHE_URL", "c"),
        ("ACTIONS_CACHE_SERVICE_V2", "true"),
    ]);
    assert_eq!(new.map(|place| (place.url, place.v2)), Ok(("r".to_owned(), true)));
    let old = place(&[("ACTIONS_RUNTIME_TOKEN", "t"), ("ACTIONS_RESULTS_URL", "r"), ("ACTIONS_CACHE_URL", "c")]);
    assert_eq!(old.map(|place| (place.url, place.v2)), Ok(("c".to_owned(), false)));
    assert!(
        place(&[("ACTIONS_CACHE_URL", "c")]).expect_err("it is refused").contains("ACTIONS_RUNTIME_TOKEN is not set")
    );
    assert!(
        place(&[("ACTIONS_RUNTIME_TOKEN", "t")]).expect_err("it is refused").contains("ACTIONS_CACHE_URL is not set")
    );
}

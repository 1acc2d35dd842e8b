//! What goes there and comes back.

use std::io::Read;

use builder_cache::BlobDigest;
use builder_image::registry::{Error, HostSettings, Which};

use super::servers::{Fault, Faulty, RealRegistry};
use super::{MANIFEST, bytes, client, client_for, pull, push, push_image, repository, tag};

#[test]
fn blobs_and_manifests_come_back_as_they_went() {
    let registry = RealRegistry::start();
    let images = repository(&client(), &registry.reference("team/app:1"));
    assert_eq!(images.name(), registry.reference("team/app"));
    for length in [0, 1, 100, 3_000_000] {
        let content = bytes(length, 1);
        let digest = BlobDigest::of(&content);
        assert!(!images.has_blob(&digest).unwrap());
        assert_eq!(push(&images, &content).unwrap(), digest);
        assert!(images.has_blob(&digest).unwrap());
        assert_eq!(pull(&images, &digest, length).unwrap(), content);
        assert_eq!(images.small_blob(&digest, length as u64).unwrap(), content);
    }
    let (digest, manifest) = push_image(&images, "1", "me");
    for which in [tag("1"), Which::Digest(digest)] {
        let fetched = images.manifest(&which).unwrap();
        assert_eq!((fetched.digest, fetched.media_type.as_str(), &fetched.bytes), (digest, MANIFEST, &manifest));
        let head = images.head(&which).unwrap().unwrap();
        assert_eq!((head.digest, head.media_type.as_str(), head.size), (digest, MANIFEST, manifest.len() as u64));
    }
    images.delete_manifest(&Which::Digest(digest)).unwrap();
    assert_eq!(images.head(&tag("1")).unwrap(), None);
}

#[test]
fn a_blob_that_lies_elsewhere_is_there() {
    let registry = RealRegistry::start();
    let proxy = Faulty::before(&registry);
    let images = repository(&client(), &proxy.reference("app"));
    proxy.fault("HEAD", "/blobs/", 1, Fault::redirect("http://192.0.2.1/signed-for-get-only"));
    assert!(images.has_blob(&BlobDigest::of(b"x")).unwrap());
}

#[test]
fn what_is_missing_is_named_with_the_registrys_own_words() {
    let registry = RealRegistry::start();
    let images = repository(&client(), &registry.reference("app"));
    let error = images.manifest(&tag("none")).unwrap_err();
    assert!(error.is_not_found());
    let said = error.to_string();
    assert!(said.starts_with(&format!("{} was not found", registry.reference("app:none"))), "{said}");
    assert!(said.contains("404 Not Found (MANIFEST_UNKNOWN: manifest unknown)"), "{said}");
    assert_eq!(images.head(&tag("none")).unwrap(), None);
    let digest = BlobDigest::of(b"nowhere");
    assert!(images.blob(&digest, 7).unwrap_err().is_not_found());
    assert!(images.small_blob(&digest, 7).unwrap_err().to_string().contains("BLOB_UNKNOWN"));
}

#[test]
fn nobody_is_asked_more_than_needed() {
    let registry = RealRegistry::start();
    let proxy = Faulty::before(&registry);
    let images = repository(&client(), &proxy.reference("app:1"));
    let content = bytes(1000, 2);
    let digest = push(&images, &content).unwrap();
    let asked: Vec<_> = proxy.take().iter().map(|line| line.split(['?', '=']).next().unwrap().to_owned()).collect();
    let [open, send] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!(open, "POST /v2/app/blobs/uploads/");
    assert!(send.starts_with("PUT /v2/app/blobs/uploads/"), "{send}");
    pull(&images, &digest, 1000).unwrap();
    images.manifest(&tag("1")).unwrap_err();
    assert_eq!(proxy.take(), [format!("GET /v2/app/blobs/{digest}"), "GET /v2/app/manifests/1".to_owned()]);
}

#[test]
fn blobs_are_taken_over_from_other_repositories() {
    let registry = RealRegistry::start();
    let proxy = Faulty::before(&registry);
    let client = client();
    let (one, other) = (repository(&client, &proxy.reference("one")), repository(&client, &proxy.reference("two")));
    let digest = push(&one, &bytes(1000, 3)).unwrap();
    assert!(other.mount_blob(&digest, "one").unwrap());
    assert!(other.has_blob(&digest).unwrap());
    proxy.take();

    // What can't be mounted goes into the upload that the registry opened in its place.
    let missing = bytes(500, 4);
    assert!(!other.mount_blob(&BlobDigest::of(&missing), "one").unwrap());
    push(&other, &missing).unwrap();
    let asked: Vec<_> = proxy.take().iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(asked, ["POST", "PUT"]);
    assert_eq!(pull(&other, &BlobDigest::of(&missing), 500).unwrap(), missing);
}

#[test]
fn mirrors_are_asked_first_and_never_needed() {
    let (home, mirror) = (RealRegistry::start(), RealRegistry::start());
    let front = Faulty::before(&mirror);
    let home_images = repository(&client(), &home.reference("app"));
    push_image(&home_images, "1", "home");
    let (only_home, _) = push_image(&home_images, "2", "only at home");
    let below = repository(&client(), &mirror.reference("copies/of/app"));
    let (mirrored, _) = push_image(&below, "1", "mirror");
    let content = bytes(2000, 5);
    let digest = push(&below, &content).unwrap();

    let dead = "127.0.0.1:1".to_owned();
    let mirrors = vec![dead, format!("http://{}/copies/of", front.host())];
    let client = client_for(home.host(), HostSettings { mirrors, ..HostSettings::default() });
    let images = repository(&client, &home.reference("app"));
    assert_eq!(images.manifest(&tag("1")).unwrap().digest, mirrored);
    assert_eq!(images.manifest(&tag("2")).unwrap().digest, only_home);
    assert_eq!(pull(&images, &digest, 2000).unwrap(), content);
    assert!(images.manifest(&tag("3")).unwrap_err().to_string().contains(&home.reference("app:3")));
    // Nothing is written to a mirror, and what is there does not count for what is sent.
    front.take();
    assert!(!images.has_blob(&digest).unwrap());
    push(&images, &content).unwrap();
    assert_eq!(front.take(), Vec::<String>::new());
}

#[test]
fn referrers_are_listed_and_noted_where_the_registry_does_not() {
    let registry = RealRegistry::start();
    let images = repository(&client(), &registry.reference("app"));
    let (subject, _) = push_image(&images, "1", "signed");
    assert_eq!(images.referrers(&subject, None).unwrap(), []);
    let empty = push(&images, b"{}").unwrap();
    for kind in ["application/vnd.test.signature", "application/vnd.test.contents"] {
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","artifactType":"{kind}","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{empty}","size":2}},"layers":[],"subject":{{"mediaType":"{MANIFEST}","digest":"{subject}","size":1}}}}"#
        );
        let digest = BlobDigest::of(manifest.as_bytes());
        // Twice is once.
        images.push_manifest(&Which::Digest(digest), MANIFEST, manifest.as_bytes()).unwrap();
        images.push_manifest(&Which::Digest(digest), MANIFEST, manifest.as_bytes()).unwrap();
        let found = images.referrers(&subject, Some(kind)).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].digest().to_string(), digest.to_string());
    }
    assert_eq!(images.referrers(&subject, None).unwrap().len(), 2);
}

#[test]
fn a_manifest_under_a_digest_that_is_not_its_own_is_not_sent() {
    let registry = RealRegistry::start();
    let images = repository(&client(), &registry.reference("app"));
    let error = images.push_manifest(&Which::Digest(BlobDigest::of(b"a")), MANIFEST, b"{}").unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error}");
}

#[test]
fn readers_that_stop_early_and_read_bytewise_are_served() {
    let registry = RealRegistry::start();
    let images = repository(&client(), &registry.reference("app"));
    let content = bytes(300, 6);
    let digest = push(&images, &content).unwrap();
    let mut reader = images.blob(&digest, 300).unwrap();
    let mut some = [0; 7];
    reader.read_exact(&mut some).unwrap();
    assert_eq!(some, content[..7]);
    drop(reader);
    let mut reader = images.blob(&digest, 300).unwrap();
    for byte in content {
        let mut one = [0];
        reader.read_exact(&mut one).unwrap();
        assert_eq!(one, [byte]);
    }
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
}

//! Bad days.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use builder_cache::BlobDigest;
use builder_image::registry::{Error, HostSettings, Settings, Stop};

use super::servers::{Fault, Faulty, RealRegistry};
use super::{bytes, client, client_for, pull, push, push_image, repository, tag};

/// A registry with a blob of three million bytes, and a proxy before it.
fn lab() -> (RealRegistry, Faulty, Vec<u8>, BlobDigest) {
    let registry = RealRegistry::start();
    let proxy = Faulty::before(&registry);
    let content = bytes(3_000_000, 7);
    let digest = push(&repository(&client(), &registry.reference("app")), &content).unwrap();
    (registry, proxy, content, digest)
}

#[test]
fn a_download_goes_on_where_the_connection_broke() {
    let (_registry, proxy, content, digest) = lab();
    let images = repository(&client(), &proxy.reference("app"));
    for limit in [0, 1, 1_000_000, 2_999_999] {
        proxy.fault("GET", "/blobs/", 1, Fault::CutAnswer(limit));
    }
    assert_eq!(pull(&images, &digest, content.len()).unwrap(), content);
    let seen = proxy.seen();
    let ranges: Vec<_> = seen.iter().map(|seen| seen.header("range")).collect();
    assert_eq!(ranges, [None, None, Some("bytes=1-"), Some("bytes=1000001-")], "the fourth break never came about");
}

#[test]
fn a_small_blob_survives_as_many_breaks_as_a_large_one() {
    let (registry, proxy, _, _) = lab();
    let content = bytes(20_000, 9);
    let digest = push(&repository(&client(), &registry.reference("app")), &content).unwrap();
    proxy.fault("GET", "/blobs/", 9, Fault::CutAnswer(2_000));
    let images = repository(&client(), &proxy.reference("app"));
    assert_eq!(pull(&images, &digest, content.len()).unwrap(), content);
}

#[test]
fn a_download_that_breaks_again_and_again_fails() {
    let (_registry, proxy, content, digest) = lab();
    let images = repository(&client(), &proxy.reference("app"));
    proxy.fault("GET", "/blobs/", 1000, Fault::CutAnswer(10));
    let error = pull(&images, &digest, content.len()).unwrap_err();
    assert!(error.is_passing(), "{error}");
    assert!(
        error.to_string().contains("the connection broke (") && error.to_string().contains(", after 50 of 3000000"),
        "{error}"
    );
    assert_eq!(proxy.seen().len(), 5);
}

#[test]
fn a_server_that_can_not_begin_in_the_middle_is_read_from_the_start() {
    let (_registry, proxy, content, digest) = lab();
    let images = repository(&client(), &proxy.reference("app"));
    proxy.fault("GET", "/blobs/", 1, Fault::CutAnswer(1_500_000));
    let body = String::from_utf8(vec![b'x'; 100]).unwrap();
    proxy.fault("GET", "/blobs/", 1, Fault::Answer("200 OK", String::new(), body));
    let error = pull(&images, &digest, content.len()).unwrap_err();
    assert!(matches!(error, Error::Size { expected: 3_000_000, found: 100, .. }), "{error}");
}

#[test]
fn wrong_bytes_are_an_error_before_the_last_of_them() {
    let (_registry, proxy, content, digest) = lab();
    let images = repository(&client(), &proxy.reference("app"));
    for place in [0, 1_000_000, 2_999_999] {
        proxy.fault("GET", "/blobs/", 1, Fault::Flip(place));
        let error = pull(&images, &digest, content.len()).unwrap_err();
        assert!(matches!(&error, Error::Digest { expected, .. } if *expected == digest), "{error}");
        assert!(error.to_string().contains("is damaged: expected sha256:"), "{error}");
    }
    proxy.fault("GET", "/blobs/", 1, Fault::Flip(5));
    assert!(matches!(images.small_blob(&digest, 4_000_000), Err(Error::Digest { .. })));
    assert_eq!(pull(&images, &digest, content.len()).unwrap(), content);
}

#[test]
fn wrong_sizes_and_too_much_are_errors() {
    let (_registry, proxy, content, digest) = lab();
    let images = repository(&client(), &proxy.reference("app"));
    assert!(matches!(pull(&images, &digest, content.len() - 1), Err(Error::Size { .. })));
    assert!(matches!(pull(&images, &digest, content.len() + 1), Err(Error::Size { .. })));
    assert!(matches!(images.small_blob(&digest, 1000), Err(Error::TooBig { limit: 1000, .. })));
    let big = "x".repeat(5 << 20);
    proxy.fault("GET", "/manifests/", 1, Fault::Answer("200 OK", String::new(), big));
    assert!(matches!(images.manifest(&tag("1")), Err(Error::TooBig { .. })));
}

#[test]
fn wrong_manifests_and_wrong_digests_of_manifests_are_errors() {
    let (registry, proxy, ..) = lab();
    let (digest, _) = push_image(&repository(&client(), &registry.reference("app")), "1", "me");
    let images = repository(&client(), &proxy.reference("app"));
    proxy.fault("GET", "/manifests/", 1, Fault::Flip(30));
    assert!(matches!(images.manifest(&tag("1")), Err(Error::Digest { expected, .. }) if expected == digest));
    let other = BlobDigest::of(b"other").to_string();
    proxy.fault("GET", "/manifests/", 1, Fault::Header("docker-content-digest", other.clone()));
    assert!(matches!(images.manifest(&tag("1")), Err(Error::Digest { found, .. }) if found == digest));
    proxy.fault("HEAD", "/manifests/", 1, Fault::Header("docker-content-digest", other));
    let which = builder_image::registry::Which::Digest(digest);
    assert!(matches!(images.head(&which), Err(Error::Digest { .. })));
    // A digest that is none counts for nothing, and the manifest is hashed.
    proxy.fault("HEAD", "/manifests/", 1, Fault::Header("docker-content-digest", "md5:00".to_owned()));
    assert_eq!(images.head(&tag("1")).unwrap().unwrap().digest, digest);
}

#[test]
fn busy_servers_are_asked_again() {
    let (_registry, proxy, content, digest) = lab();
    let images = repository(&client(), &proxy.reference("app"));
    let error = |status| Fault::Answer(status, String::new(), String::new());
    proxy.fault("GET", "/blobs/", 1, Fault::busy("0"));
    proxy.fault("GET", "/blobs/", 1, error("500 Internal Server Error"));
    proxy.fault("GET", "/blobs/", 1, error("503 Service Unavailable"));
    assert_eq!(pull(&images, &digest, content.len()).unwrap(), content);
    assert_eq!(proxy.take().len(), 4);

    proxy.fault("GET", "/manifests/", 1, Fault::busy("3600"));
    let error = images.manifest(&tag("1")).unwrap_err();
    assert_eq!(error.status(), Some(429));
    assert!(
        error.to_string().contains("429 Too Many Requests (TOOMANYREQUESTS: slow down; it asks to wait 3600 seconds)"),
        "{error}"
    );
    assert_eq!(proxy.take().len(), 1, "nobody waits for an hour");

    proxy.fault(
        "GET",
        "/manifests/",
        100,
        Fault::Answer("502 Bad Gateway", String::new(), "<html>\u{1b}[31m</html>".to_owned()),
    );
    let error = images.manifest(&tag("1")).unwrap_err();
    assert!(error.to_string().ends_with("the registry answered 502 Bad Gateway"), "{error}");
    assert_eq!(proxy.take().len(), 5);
}

#[test]
fn silent_servers_are_not_waited_for_for_ever() {
    let (_registry, proxy, content, digest) = lab();
    let images = repository(&client(), &proxy.reference("app"));
    proxy.fault("GET", "/manifests/", 2, Fault::Stall);
    let error = images.manifest(&tag("1")).unwrap_err();
    assert!(error.to_string().contains("the server did not answer in time"), "{error}");
    // One silence is overcome.
    proxy.fault("GET", "/blobs/", 1, Fault::StallAfter(1_000_000));
    assert_eq!(pull(&images, &digest, content.len()).unwrap(), content);
}

#[test]
fn everything_ends_when_the_work_does() {
    let (_registry, proxy, content, digest) = lab();
    let over = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&over);
    let settings = Settings { stop: Stop::new(move || seen.load(Ordering::SeqCst)), ..Settings::default() };
    // With the patience of a real client.
    let client = builder_image::registry::Registry::new(settings);
    let images = repository(&client, &proxy.reference("app"));
    proxy.fault("GET", "/blobs/", 1, Fault::StallAfter(1000));
    proxy.fault("GET", "/manifests/stall", 1, Fault::Stall);
    proxy.fault("GET", "/manifests/busy", 1, Fault::busy("29"));
    proxy.fault("PUT", "/uploads/", 1, Fault::Stall);
    let before = Instant::now();
    std::thread::scope(|scope| {
        let waiting = [
            scope.spawn(|| pull(&images, &digest, content.len()).map(drop)),
            scope.spawn(|| images.manifest(&tag("stall")).map(drop)),
            scope.spawn(|| images.manifest(&tag("busy")).map(drop)),
            scope.spawn(|| push(&images, &bytes(2_000_000, 8)).map(drop)),
        ];
        while proxy.seen().len() < 5 {
            std::thread::yield_now();
        }
        over.store(true, Ordering::SeqCst);
        for one in waiting {
            let error = one.join().unwrap().unwrap_err();
            assert!(error.is_cancelled(), "{error}");
        }
    });
    assert!(before.elapsed() < Duration::from_secs(20));
}

#[test]
fn an_upload_goes_through_on_the_worst_of_days() {
    let registry = RealRegistry::start();
    let proxy = Faulty::before(&registry);
    let images = repository(&client(), &proxy.reference("app"));
    let faults = [
        ("POST", "/uploads/", Fault::busy("0")),
        ("POST", "/uploads/", Fault::CutAnswer(0)),
        ("PUT", "/uploads/", Fault::CutRequest(0)),
        ("PUT", "/uploads/", Fault::CutRequest(1_000_000)),
        ("PUT", "/uploads/", Fault::LoseAnswer),
        ("PUT", "/uploads/", Fault::busy("0")),
        ("PUT", "/uploads/", Fault::Answer("500 Internal Server Error", String::new(), String::new())),
        ("PUT", "/uploads/", Fault::Answer("404 Not Found", String::new(), String::new())),
    ];
    for (seed, (method, part, fault)) in faults.into_iter().enumerate() {
        let content = bytes(2_000_000, 100 + seed as u64);
        proxy.fault(method, part, 1, fault.clone());
        let digest = push(&images, &content).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(pull(&images, &digest, content.len()).unwrap(), content, "{fault:?}");
        proxy.take();
    }
}

#[test]
fn an_upload_goes_on_where_it_broke_if_the_registry_kept_it() {
    let registry = RealRegistry::start();
    let proxy = Faulty::before(&registry);
    let images = repository(&client(), &proxy.reference("app"));
    let answer = |status, headers: &str| Fault::Answer(status, headers.to_owned(), String::new());
    proxy.fault("PUT", "/uploads/", 1, Fault::CutRequest(1_000_000));
    proxy.fault("GET", "/uploads/", 1, answer("204 No Content", "Range: 0-999999\r\nLocation: /go/on/here\r\n"));
    proxy.fault("PUT", "/go/on/here?digest=", 1, Fault::busy("0"));
    // All of it has arrived by now, and only the end is missing.
    proxy.fault("GET", "/go/on/here", 1, answer("204 No Content", "Range: bytes=0-1999999\r\n"));
    proxy.fault("PUT", "/go/on/here?digest=", 1, answer("201 Created", ""));
    push(&images, &bytes(2_000_000, 20)).unwrap();
    let seen = proxy.seen();
    let sent: Vec<_> = seen.iter().filter(|seen| seen.method == "PUT").collect();
    let ranges: Vec<_> =
        sent.iter().map(|seen| (seen.header("content-range"), seen.header("content-length"))).collect();
    let expected = [(None, Some("2000000")), (Some("1000000-1999999"), Some("1000000")), (None, Some("0"))];
    assert_eq!(ranges, expected);
}

#[test]
fn an_upload_that_can_not_succeed_fails() {
    let registry = RealRegistry::start();
    let proxy = Faulty::before(&registry);
    let images = repository(&client(), &proxy.reference("app"));
    proxy.fault("PUT", "/uploads/", 100, Fault::CutRequest(10));
    let error = push(&images, &bytes(100_000, 9)).unwrap_err();
    assert!(error.is_passing(), "{error}");
    assert!(proxy.take().len() < 30);

    // What is sent is not what its digest says.
    let proxy = Faulty::before(&registry);
    let images = repository(&client(), &proxy.reference("app"));
    let wrong = BlobDigest::of(b"other");
    let open = |_| Ok(Box::new(&b"these"[..]) as Box<dyn std::io::Read + Send>);
    let error = images.push_blob(&wrong, 5, &open, &|_| ()).unwrap_err();
    assert!(error.to_string().contains("DIGEST_INVALID"), "{error}");

    // What is to be sent can't be read, or ends early.
    let open = |_| Err(std::io::Error::other("the disk is gone"));
    let error = images.push_blob(&wrong, 5, &open, &|_| ()).unwrap_err();
    assert!(matches!(&error, Error::Source { .. }) && error.to_string().contains("the disk is gone"), "{error}");
    let open = |_| Ok(Box::new(&b"the"[..]) as Box<dyn std::io::Read + Send>);
    let error = images.push_blob(&wrong, 5, &open, &|_| ()).unwrap_err();
    assert!(matches!(&error, Error::Source { .. }) && error.to_string().contains("3 of 5 bytes"), "{error}");
}

#[test]
fn a_mirror_that_breaks_is_replaced_in_the_middle() {
    let (registry, proxy, content, digest) = lab();
    let set = HostSettings { mirrors: vec![format!("http://{}", proxy.host())], ..HostSettings::default() };
    let images = repository(&client_for(registry.host(), set), &registry.reference("app"));
    proxy.fault("GET", "/blobs/", 1, Fault::CutAnswer(1_000_000));
    proxy.fault("GET", "/blobs/", 100, Fault::Answer("403 Forbidden", String::new(), String::new()));
    assert_eq!(pull(&images, &digest, content.len()).unwrap(), content);
}

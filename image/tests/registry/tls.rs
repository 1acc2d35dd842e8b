//! Certificates.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use builder_cache::BlobDigest;
use builder_image::registry::{ClientCertificate, Error, HostSettings, Patience, Registry, Settings, Surroundings};

use super::servers::{Options, RealRegistry};
use super::{bytes, client, client_for, pull, push, push_image, repository, tag};

fn tls() -> RealRegistry {
    RealRegistry::with(&Options { tls: true, ..Options::default() })
}

#[test]
fn an_unknown_authority_is_an_error_that_says_what_to_do() {
    let (registry, other) = (tls(), tls());
    let set = HostSettings { ca: vec![other.file("ca.crt")], ..HostSettings::default() };
    let error = repository(&client_for(registry.host(), set), &registry.reference("app")).tags().unwrap_err();
    let said = error.to_string();
    assert!(said.contains("signed by an authority that is not trusted here"), "{said}");
    assert!(said.contains(&format!("/etc/builder/certs.d/{}/ca.crt", registry.host())), "{said}");
    assert!(said.contains(&format!("[registry.\"{}\"]", registry.host())), "{said}");
}

#[test]
fn an_authority_can_be_named_or_put_into_a_directory_or_ignored() {
    let registry = tls();
    let named = HostSettings { ca: vec![registry.file("ca.crt")], ..HostSettings::default() };
    push_image(&repository(&client_for(registry.host(), named), &registry.reference("app")), "1", "x");

    let insecure = HostSettings { insecure: true, ..HostSettings::default() };
    push_image(&repository(&client_for(registry.host(), insecure), &registry.reference("app")), "2", "x");

    let dir = tempfile::tempdir().unwrap();
    let below = dir.path().join(registry.host());
    fs::create_dir(&below).unwrap();
    fs::copy(registry.file("ca.crt"), below.join("ca.crt")).unwrap();
    let client = in_directory(dir.path());
    assert_eq!(repository(&client, &registry.reference("app")).tags().unwrap(), ["1", "2"]);
    // By its other name it has no certificates here: it is this machine, and believed.
    let other = registry.reference("app").replace("127.0.0.1", "localhost");
    assert_eq!(repository(&client, &other).tags().unwrap(), ["1", "2"]);
    fs::write(below.join("me.cert"), "").unwrap();
    let error = repository(&in_directory(dir.path()), &registry.reference("app")).tags().unwrap_err();
    assert!(error.to_string().contains("has no key beside it"), "{error}");
}

fn in_directory(path: &std::path::Path) -> Registry {
    let patience = Patience { silence: Duration::from_secs(5), ..Patience::default() };
    let surroundings = Surroundings { patience, certificates: vec![path.to_owned()] };
    Registry::in_surroundings(Settings::default(), surroundings)
}

#[test]
fn an_expired_certificate_is_said_to_be_one() {
    let registry = RealRegistry::with(&Options { expired: true, ..Options::default() });
    let set = HostSettings { ca: vec![registry.file("ca.crt")], ..HostSettings::default() };
    let error = repository(&client_for(registry.host(), set), &registry.reference("app")).tags().unwrap_err();
    assert!(error.to_string().contains("the certificate of the server has expired"), "{error}");
}

#[test]
fn a_client_shows_its_certificate() {
    let registry = RealRegistry::with(&Options { client_certificates: true, ..Options::default() });
    let ca = vec![registry.file("ca.crt")];
    let without = HostSettings { ca: ca.clone(), ..HostSettings::default() };
    let error = repository(&client_for(registry.host(), without), &registry.reference("app")).tags().unwrap_err();
    assert!(error.to_string().contains("wants another certificate of the client"), "{error}");
    assert!(error.to_string().contains("client.cert and client.key"), "{error}");

    let client = |cert: &str, key: &str| {
        let client = ClientCertificate { cert: registry.file(cert), key: registry.file(key) };
        let set = HostSettings { ca: ca.clone(), client: Some(client), ..HostSettings::default() };
        repository(&client_for(registry.host(), set), &registry.reference("app"))
    };
    push_image(&client("client.crt", "client.key"), "1", "x");
    for (cert, key, reason) in [
        ("client.crt", "server.key", "holds another key than the one of the certificate"),
        ("client.crt", "client.crt", "holds no key without a passphrase"),
        ("client.key", "client.key", "holds no certificate"),
        ("none", "client.key", "can't be read"),
    ] {
        let error = client(cert, key).tags().unwrap_err();
        assert!(error.to_string().contains(reason), "{cert} {key}: {error}");
    }
}

#[test]
fn plain_http_is_for_this_machine_and_for_those_that_are_said_to_speak_it() {
    let registry = RealRegistry::start();
    let set = |insecure, http| HostSettings { insecure, http, ..HostSettings::default() };
    for (set, works) in [
        (set(false, None), true),
        (set(true, None), true),
        (set(false, Some(true)), true),
        (set(false, Some(false)), false),
    ] {
        let pinged = client_for(registry.host(), set.clone()).ping(registry.host());
        assert_eq!(pinged.is_ok(), works, "{set:?}: {pinged:?}");
        if let Err(error) = pinged {
            assert!(error.to_string().contains("does not speak TLS: if that is meant, set `http = true`"), "{error}");
        }
    }
    let registry = tls();
    let error = client_for(registry.host(), set(false, Some(true))).ping(registry.host()).unwrap_err();
    assert_eq!(error.status(), Some(400), "{error}");
    for text in ["ftp://host", "http://user@host", "", "host?x"] {
        let set = HostSettings { mirrors: vec![text.to_owned()], ..HostSettings::default() };
        let images = repository(&client_for(registry.host(), set), &registry.reference("app"));
        assert!(matches!(images.tags(), Err(Error::Setting { what: "mirror", .. })), "{text}");
    }
}

#[test]
fn a_registry_of_this_machine_may_speak_tls_with_any_certificate() {
    for expired in [false, true] {
        let registry = RealRegistry::with(&Options { tls: true, expired, ..Options::default() });
        let images = || repository(&client(), &registry.reference("app"));
        push_image(&images(), "1", "x");
        // Whatever is asked first: an answer to this has no text.
        assert!(images().head(&tag("1")).unwrap().is_some());
        assert!(images().head(&tag("none")).unwrap().is_none());
        assert!(!images().has_blob(&BlobDigest::of(b"none")).unwrap());
        let content = bytes(3_000_000, 5);
        let digest = push(&images(), &content).unwrap();
        assert_eq!(pull(&images(), &digest, content.len()).unwrap(), content);
        assert_eq!(client().catalog(registry.host()).unwrap(), ["app"]);
        client().ping(registry.host()).unwrap();
    }
}

/// Asks for tags where a server answers `said` to whoever connects, and tells what became of it and how many connected.
fn told(said: &'static [u8], times: usize) -> (Error, usize) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| {
            for _ in 0..times {
                let (mut socket, _) = listener.accept().unwrap();
                let _ = socket.read(&mut [0; 4096]);
                let _ = socket.write_all(said);
            }
            listener.set_nonblocking(true).unwrap();
            times + std::iter::from_fn(|| listener.accept().ok()).count()
        });
        let patience = Patience { silence: Duration::from_secs(1), pauses: &[], ..Patience::default() };
        let surroundings = Surroundings { patience, certificates: Vec::new() };
        let client = Registry::in_surroundings(Settings::default(), surroundings);
        let error = repository(&client, &format!("{host}/app")).tags().unwrap_err();
        (error, serving.join().unwrap())
    })
}

#[test]
fn what_a_server_of_this_machine_says_by_neither_is_told_of_plain_http() {
    // It closes the connection both times.
    let (error, asked) = told(b"", 2);
    assert!(error.to_string().contains("the connection broke"), "{error}");
    assert_eq!(asked, 2);
    // An answer that is one of the registry is one; that it may not like pages, is asked for by plain HTTP, too.
    let (error, asked) = told(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 3\r\n\r\nno\n", 2);
    assert_eq!((error.status(), asked), (Some(400), 2), "{error}");
}

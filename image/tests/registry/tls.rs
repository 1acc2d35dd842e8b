//! Certificates.

use std::fs;
use std::time::Duration;

use builder_image::registry::{ClientCertificate, Error, HostSettings, Patience, Registry, Settings, Surroundings};

use super::servers::{Options, RealRegistry};
use super::{client, client_for, push_image, repository};

fn tls() -> RealRegistry {
    RealRegistry::with(&Options { tls: true, ..Options::default() })
}

#[test]
fn an_unknown_authority_is_an_error_that_says_what_to_do() {
    let registry = tls();
    let error = repository(&client(), &registry.reference("app")).tags().unwrap_err();
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
    // By its other name it has no certificates here.
    let other = registry.reference("app").replace("127.0.0.1", "localhost");
    assert!(matches!(repository(&client, &other).tags(), Err(Error::Connection { .. })));
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

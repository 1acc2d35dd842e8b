//! Servers whose certificate is itself the one that is to be trusted.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use builder_image::registry::{Error, HostSettings, Patience, Registry, Settings, Surroundings};

use super::servers::{Options, RealRegistry};
use super::{bytes, client_for, pull, push, push_image, repository};

const HERE: Options<'_> =
    Options { login: None, tls: true, client_certificates: false, expired: false, self_signed: Some("IP:127.0.0.1") };

/// The tags of a registry, where a file of another, or of itself, is trusted.
fn tags(registry: &RealRegistry, trusted: &RealRegistry, file: &str) -> Result<Vec<String>, Error> {
    let set = HostSettings { ca: vec![trusted.file(file)], ..HostSettings::default() };
    repository(&client_for(registry.host(), set), &registry.reference("app")).tags()
}

fn in_directory(path: &std::path::Path) -> Registry {
    let patience = Patience { silence: Duration::from_secs(5), ..Patience::default() };
    let surroundings = Surroundings { patience, certificates: vec![path.to_owned()] };
    Registry::in_surroundings(Settings::default(), surroundings)
}

#[test]
fn it_can_be_named_or_put_into_a_directory() {
    let registry = RealRegistry::with(&HERE);
    let named = HostSettings { ca: vec![registry.file("ca.crt")], ..HostSettings::default() };
    let images = repository(&client_for(registry.host(), named), &registry.reference("app"));
    push_image(&images, "1", "x");
    let content = bytes(3_000_000, 7);
    let digest = push(&images, &content).unwrap();
    assert_eq!(pull(&images, &digest, content.len()).unwrap(), content);

    let dir = tempfile::tempdir().unwrap();
    let below = dir.path().join(registry.host());
    fs::create_dir(&below).unwrap();
    fs::copy(registry.file("ca.crt"), below.join("ca.crt")).unwrap();
    assert_eq!(repository(&in_directory(dir.path()), &registry.reference("app")).tags().unwrap(), ["1"]);
}

#[test]
fn one_of_an_authority_that_nobody_named_can_be_named() {
    let registry = RealRegistry::with(&Options { self_signed: None, ..HERE });
    let error = tags(&registry, &registry, "server.crt").unwrap_err();
    assert!(error.is_not_found(), "{error}");
    let error = tags(&registry, &registry, "client.crt").unwrap_err();
    assert!(error.to_string().contains("signed by an authority that is not trusted here"), "{error}");
}

#[test]
fn others_are_refused() {
    let registry = RealRegistry::with(&HERE);
    let unknown = tags(&registry, &RealRegistry::with(&HERE), "ca.crt").unwrap_err().to_string();
    assert!(unknown.contains("is one of an authority, and none that is trusted here"), "{unknown}");
    assert!(unknown.contains(&format!("/etc/builder/certs.d/{}/ca.crt", registry.host())), "{unknown}");
    for (options, file, reason) in [
        (Options { self_signed: Some("DNS:elsewhere.example"), ..HERE }, "ca.crt", "is for other names than 127.0.0.1"),
        (Options { expired: true, ..HERE }, "ca.crt", "has expired"),
        (Options { expired: true, self_signed: None, ..HERE }, "server.crt", "has expired"),
    ] {
        let registry = RealRegistry::with(&options);
        let error = tags(&registry, &registry, file).unwrap_err().to_string();
        assert!(error.contains(&format!("the certificate of the server {reason}")), "{options:?}: {error}");
    }
}

#[test]
fn a_server_that_never_speaks_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let registry = RealRegistry::with(&HERE);
    let mut settings = Settings::default();
    let ca = vec![registry.file("ca.crt")];
    settings.hosts.insert(host.clone(), HostSettings { ca, http: Some(false), ..HostSettings::default() });
    let patience = Patience { connect: Duration::from_millis(200), silence: Duration::from_mins(5), pauses: &[] };
    let client = Registry::in_surroundings(settings, Surroundings { patience, certificates: Vec::new() });
    let error = repository(&client, &format!("{host}/app")).tags().unwrap_err();
    assert!(error.to_string().contains("the server did not answer in time"), "{error}");
}

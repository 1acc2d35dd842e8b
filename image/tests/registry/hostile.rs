//! Servers that mean harm.

use std::io::{Read, Write};
use std::net::TcpListener;

use builder_cache::BlobDigest;
use builder_image::registry::{Credentials, CredentialsError, Error, Login, Secret, Settings};

use super::servers::{Fault, Faulty, RealRegistry};
use super::{bytes, client, client_with, pull, push, repository, tag};

/// The same login for every host.
#[derive(Debug)]
struct Always;

impl Credentials for Always {
    fn login(&self, _: &str) -> Result<Option<Login>, CredentialsError> {
        Ok(Some(Login::Basic { user: "user".to_owned(), password: Secret::new("password") }))
    }
}

fn logged_in() -> builder_image::registry::Registry {
    client_with(Settings { credentials: std::sync::Arc::new(Always), ..Settings::default() })
}

#[test]
fn redirects_end() {
    let registry = RealRegistry::start();
    let proxy = Faulty::before(&registry);
    let images = repository(&client(), &proxy.reference("app"));
    let digest = BlobDigest::of(b"x");
    proxy.fault("GET", "/manifests/circle", 100, Fault::redirect("/v2/app/manifests/circle"));
    let error = images.manifest(&tag("circle")).unwrap_err();
    assert!(error.to_string().contains("redirects in a circle"), "{error}");
    proxy.take();
    for step in 0..20 {
        proxy.fault(
            "GET",
            if step == 0 { "/blobs/" } else { "/elsewhere/" },
            1,
            Fault::redirect(&format!("/elsewhere/{step}")),
        );
    }
    let error = images.blob(&digest, 1).unwrap_err();
    assert!(error.to_string().contains("redirects more than 10 times"), "{error}");
    assert_eq!(proxy.take().len(), 11);
    for location in ["file:///etc/passwd", "gopher://host/", "", "/a b", "http://"] {
        proxy.fault("GET", "/blobs/", 1, Fault::redirect(location));
        let error = images.blob(&digest, 1).unwrap_err();
        assert!(error.to_string().contains("leads to no address"), "{location}: {error}");
    }
}

#[test]
fn secrets_do_not_follow_redirects_and_uploads() {
    let registry =
        RealRegistry::with(&super::servers::Options { login: Some(("user", "password")), ..Default::default() });
    let stranger = RealRegistry::start();
    let (other, home) = (Faulty::before(&stranger), Faulty::before(&stranger));
    let content = bytes(1000, 1);
    let digest = push(&repository(&client(), &stranger.reference("app")), &content).unwrap();
    home.want_tokens(Some("user:password"));
    let images = repository(&logged_in(), &home.reference("app"));
    home.fault("GET", "/blobs/", 0, Fault::Stall);
    assert_eq!(pull(&images, &digest, 1000).unwrap(), content);

    home.fault("GET", "/blobs/", 1, Fault::redirect(&format!("http://{}/v2/app/blobs/{digest}", other.host())));
    assert_eq!(pull(&images, &digest, 1000).unwrap(), content);
    let [seen] = &other.seen()[..] else { panic!("{:?}", other.seen()) };
    assert_eq!(seen.header("authorization"), None);
    assert!(
        home.seen()
            .iter()
            .rev()
            .find(|seen| seen.target.contains("/blobs/"))
            .unwrap()
            .header("authorization")
            .is_some()
    );
    other.take();

    // An upload that the registry moves to another server.
    let location = format!("Location: http://{}/put-it-here?token=x\r\n", other.host());
    home.fault("POST", "/uploads/", 1, Fault::Answer("202 Accepted", location, String::new()));
    other.fault("PUT", "/put-it-here", 1, Fault::Answer("201 Created", String::new(), String::new()));
    push(&images, &bytes(2000, 2)).unwrap();
    let [seen] = &other.seen()[..] else { panic!("{:?}", other.seen()) };
    assert!(seen.target.starts_with("/put-it-here?token=x&digest=sha256%3A"), "{}", seen.target);
    assert_eq!(seen.header("authorization"), None);
    drop(registry);
}

#[test]
fn whoever_a_redirect_leads_to_is_not_asked_where_the_login_goes() {
    let upstream = RealRegistry::start();
    let (home, other, thief) = (Faulty::before(&upstream), Faulty::before(&upstream), Faulty::before(&upstream));
    let content = bytes(1000, 6);
    let digest = push(&repository(&client(), &upstream.reference("app")), &content).unwrap();
    let challenge = || {
        let header = format!("WWW-Authenticate: Bearer realm=\"http://{}/token\",service=\"s\"\r\n", thief.host());
        Fault::Answer("401 Unauthorized", header, String::new())
    };
    let images = repository(&logged_in(), &home.reference("app"));
    home.fault("GET", "/blobs/", 1, Fault::redirect(&format!("http://{}/blobs/x", other.host())));
    other.fault("GET", "/blobs/x", 9, challenge());
    assert!(images.blob(&digest, 1000).unwrap_err().is_unauthorized());
    // The same for an upload that is moved, and for what `login` asks first.
    let location = format!("Location: http://{}/put-it-here\r\n", other.host());
    home.fault("POST", "/uploads/", 1, Fault::Answer("202 Accepted", location, String::new()));
    other.fault("PUT", "/put-it-here", 9, challenge());
    assert!(push(&images, &bytes(2000, 7)).unwrap_err().is_unauthorized());
    home.fault("GET", "/v2/", 1, Fault::redirect(&format!("http://{}/login", other.host())));
    other.fault("GET", "/login", 9, challenge());
    let login = Login::Basic { user: "user".to_owned(), password: Secret::new("password") };
    assert!(logged_in().check_login(home.host(), &login).unwrap_err().is_unauthorized());
    assert!(thief.seen().is_empty(), "{:?}", thief.seen());
    // The registry itself is believed as before.
    assert_eq!(pull(&images, &digest, 1000).unwrap(), content);
}

#[test]
fn a_length_that_no_number_holds_is_wrong() {
    let registry = RealRegistry::start();
    let proxy = Faulty::before(&registry);
    let content = bytes(1000, 8);
    let digest = push(&repository(&client(), &registry.reference("app")), &content).unwrap();
    proxy.fault("GET", "/blobs/", 1, Fault::CutAnswer(400));
    proxy.fault("GET", "/blobs/", 1, Fault::Header("content-length", u64::MAX.to_string()));
    let error = pull(&repository(&client(), &proxy.reference("app")), &digest, 1000).unwrap_err();
    assert!(matches!(error, Error::Size { found: u64::MAX, .. }), "{error}");
}

#[test]
fn a_token_server_elsewhere_without_tls_gets_no_password() {
    let registry = RealRegistry::start();
    let proxy = Faulty::before(&registry);
    // It is named by a registry on this machine, but lies elsewhere: an address for documentation.
    let challenge = "WWW-Authenticate: Bearer realm=\"http://192.0.2.1/token\",service=\"s\"\r\n".to_owned();
    proxy.fault("GET", "/v2/", 10, Fault::Answer("401 Unauthorized", challenge, String::new()));
    let error = repository(&logged_in(), &proxy.reference("app")).manifest(&tag("1")).unwrap_err();
    assert!(matches!(error, Error::UnsafeRealm { .. }), "{error}");
    assert!(error.to_string().contains("no password is sent to 192.0.2.1"), "{error}");
}

#[test]
fn what_servers_repeat_of_a_login_is_not_shown() {
    let registry = RealRegistry::start();
    let proxy = Faulty::before(&registry);
    let realm = format!("WWW-Authenticate: Bearer realm=\"http://{}/token\",service=\"s\"\r\n", proxy.host());
    let body = r#"{"errors":[{"code":"DENIED","message":"not Basic dXNlcjpwYXNzd29yZA==, not password"}]}"#;
    for challenge in ["WWW-Authenticate: Basic realm=\"x\"\r\n", &realm] {
        proxy.fault("GET", "/manifests/", 1, Fault::Answer("401 Unauthorized", challenge.to_owned(), String::new()));
        let place = if challenge == realm { "/token" } else { "/manifests/" };
        proxy.fault("GET", place, 1, Fault::Answer("403 Forbidden", String::new(), body.to_owned()));
        let error = repository(&logged_in(), &proxy.reference("app")).manifest(&tag("1")).unwrap_err().to_string();
        assert!(error.contains("DENIED: not Basic ***, not ***"), "{error}");
    }
}

#[test]
fn what_servers_say_is_cut_and_cleaned() {
    let registry = RealRegistry::start();
    let proxy = Faulty::before(&registry);
    let images = repository(&client(), &proxy.reference("app"));
    let body = format!(r#"{{"errors":[{{"code":"A\u001b[2J","message":"{}"}}]}}"#, "long ".repeat(10_000));
    proxy.fault("GET", "/manifests/", 1, Fault::Answer("403 Forbidden", String::new(), body));
    let said = images.manifest(&tag("1")).unwrap_err().to_string();
    assert!(!said.contains('\u{1b}') && said.len() < 800, "{said}");
    let huge = "y".repeat(100_000);
    let location = format!("Location: http://{huge}/\r\n");
    proxy.fault("GET", "/manifests/", 1, Fault::Answer("307 Temporary Redirect", location, String::new()));
    let said = images.manifest(&tag("1")).unwrap_err().to_string();
    assert!(said.len() < 800, "{said}");
}

#[test]
fn answers_that_are_no_http_and_endless_headers_are_errors() {
    for answer in ["nonsense\r\n\r\n".to_owned(), format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1 << 20))] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        let error = repository(&client(), &format!("{host}/app")).manifest(&tag("1")).unwrap_err();
        assert!(matches!(error, Error::Connection { .. }), "{error}");
        assert!(error.to_string().len() < 500, "{error}");
    }
}

#[test]
fn lists_that_never_end_do() {
    let registry = RealRegistry::start();
    let proxy = Faulty::before(&registry);
    let page = |next: &str, tag: &str| {
        Fault::Answer(
            "200 OK",
            format!("Link: <{next}>; rel=\"next\"\r\n"),
            format!(r#"{{"name":"app","tags":["{tag}","not a tag","\u001b"]}}"#),
        )
    };
    let images = repository(&client(), &proxy.reference("app"));
    // The same page again, a page of another server, and pages with nothing new.
    proxy.fault("GET", "/tags/list?n=1000", 1, page("/v2/app/tags/list?again", "a"));
    proxy.fault("GET", "/tags/list?again", 100, page("/v2/app/tags/list?again", "b"));
    assert!(images.tags().unwrap_err().to_string().contains("has no end"));
    proxy.fault("GET", "/tags/list?n=1000", 1, page("http://192.0.2.1/v2/app/tags/list", "c"));
    assert_eq!(images.tags().unwrap(), ["c"]);
    proxy.fault("GET", "/tags/list?n=1000", 1, page("?page=2", "d"));
    proxy.fault("GET", "/tags/list?page", 100, page("?page=3", "d"));
    assert_eq!(images.tags().unwrap(), ["d"]);
}

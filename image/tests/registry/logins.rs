//! Passwords and tokens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use builder_image::registry::{Credentials, CredentialsError, Error, IdentityToken, Login, Registry, Secret, Settings};

use super::servers::{Fault, Faulty, Options, RealRegistry};
use super::{bytes, client, client_with, pull, push, push_image, repository, tag};

/// Logins by host, and who was asked for.
#[derive(Debug, Default)]
struct Book(HashMap<String, Login>, Mutex<Vec<String>>);

impl Credentials for Book {
    fn login(&self, host: &str) -> Result<Option<Login>, CredentialsError> {
        self.1.lock().unwrap().push(host.to_owned());
        Ok(self.0.get(host).cloned())
    }
}

fn basic(user: &str, password: &str) -> Login {
    Login::Basic { user: user.to_owned(), password: Secret::new(password) }
}

fn logged_in(host: &str, login: Login) -> (Registry, Arc<Book>) {
    let book = Arc::new(Book(HashMap::from([(host.to_owned(), login)]), Mutex::default()));
    (client_with(Settings { credentials: book.clone(), ..Settings::default() }), book)
}

#[test]
fn a_registry_with_passwords_lets_in_who_has_one() {
    let registry = RealRegistry::with(&Options { login: Some(("user", "pass:word")), ..Options::default() });
    let (client, book) = logged_in(registry.host(), basic("user", "pass:word"));
    let images = repository(&client, &registry.reference("app"));
    push_image(&images, "1", "x");
    let content = bytes(100_000, 1);
    let digest = push(&images, &content).unwrap();
    assert_eq!(pull(&images, &digest, content.len()).unwrap(), content);
    client.ping(registry.host()).unwrap();
    assert_eq!(*book.1.lock().unwrap(), [registry.host()], "asked for once");

    let nobody = super::client();
    let error = repository(&nobody, &registry.reference("app")).manifest(&tag("1")).unwrap_err();
    assert!(error.is_unauthorized());
    assert!(error.to_string().contains("401 Unauthorized (UNAUTHORIZED: authentication required)"), "{error}");
    assert!(error.to_string().ends_with(&format!("`builder login {}`", registry.host())), "{error}");
    let (other, _) = logged_in(registry.host(), basic("user", "wrong"));
    let error = repository(&other, &registry.reference("app")).manifest(&tag("1")).unwrap_err();
    assert!(error.is_unauthorized() && !format!("{error} {error:?}").contains("wrong"), "{error}");
    assert!(!format!("{other:?}").contains("wrong"));
}

#[test]
fn logins_are_tried() {
    let registry = RealRegistry::with(&Options { login: Some(("user", "password")), ..Options::default() });
    let client = client();
    assert_eq!(client.check_login(registry.host(), &basic("user", "password")).unwrap(), None);
    let error = client.check_login(registry.host(), &basic("user", "other")).unwrap_err();
    assert!(error.is_unauthorized(), "{error}");
    assert!(client.check_login("127.0.0.1:1", &basic("a", "b")).unwrap_err().to_string().contains("refused"));

    let open = RealRegistry::start();
    assert_eq!(client.check_login(open.host(), &basic("a", "b")).unwrap(), None);

    let proxy = Faulty::before(&open);
    proxy.want_tokens(Some("user:password"));
    let identity = client.check_login(proxy.host(), &basic("user", "password")).unwrap();
    assert_eq!(identity, Some(IdentityToken(Secret::new("identity"))));
    let error = client.check_login(proxy.host(), &basic("user", "other")).unwrap_err();
    assert!(error.to_string().contains("incorrect username or password"), "{error}");
    proxy.want_tokens(Some("identity"));
    client.check_login(proxy.host(), &Login::IdentityToken(Secret::new("identity"))).unwrap();
    client.check_login(proxy.host(), &Login::IdentityToken(Secret::new("other"))).unwrap_err();
    proxy.fault("GET", "/v2/", 10, Fault::Answer("404 Not Found", String::new(), String::new()));
    assert!(client.check_login(proxy.host(), &basic("a", "b")).unwrap_err().is_not_found());
}

#[test]
fn tokens_are_fetched_once_and_renewed() {
    let registry = RealRegistry::start();
    let proxy = Faulty::before(&registry);
    proxy.want_tokens(Some("user:password"));
    let (client, _) = logged_in(proxy.host(), basic("user", "password"));
    let images = repository(&client, &proxy.reference("team/app"));
    let content = bytes(1000, 2);
    let digest = push(&images, &content).unwrap();
    let asked = proxy.take();
    assert_eq!(asked.len(), 4, "{asked:?}");
    assert_eq!(
        asked[1],
        "GET /token?account=user&service=test%2C%20%22quoted%22&scope=repository%3Ateam%2Fapp%3Apull%2Cpush"
    );
    // The token for writing is good for reading.
    assert_eq!(pull(&images, &digest, 1000).unwrap(), content);
    assert_eq!(proxy.take().len(), 1);
    proxy.forget_tokens();
    assert_eq!(pull(&images, &digest, 1000).unwrap(), content);
    push_image(&images, "1", "x");
    proxy.forget_tokens();
    push(&images, &bytes(500, 3)).unwrap();
    proxy.take();

    // While the blob is on its way the token ends.
    proxy.fault(
        "PUT",
        "/uploads/",
        1,
        Fault::Answer(
            "401 Unauthorized",
            format!(
                "WWW-Authenticate: Bearer realm=\"http://{}/token\",service=\"test, \\\"quoted\\\"\"\r\n",
                proxy.host()
            ),
            String::new(),
        ),
    );
    push(&images, &bytes(600, 4)).unwrap();
}

#[test]
fn many_at_once_fetch_one_token() {
    let registry = RealRegistry::start();
    let proxy = Faulty::before(&registry);
    proxy.want_tokens(None);
    let content = bytes(1000, 5);
    let digest = push(&repository(&client(), &registry.reference("app")), &content).unwrap();
    let images = repository(&client(), &proxy.reference("app"));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(pull(&images, &digest, 1000).unwrap(), content));
        }
    });
    let tokens = proxy.take().iter().filter(|line| line.contains("/token")).count();
    assert!(tokens <= 2, "{tokens} tokens were fetched");
}

#[test]
fn identity_tokens_become_tokens() {
    let registry = RealRegistry::start();
    let proxy = Faulty::before(&registry);
    proxy.want_tokens(Some("an-identity"));
    let (client, _) = logged_in(proxy.host(), Login::IdentityToken(Secret::new("an-identity")));
    push(&repository(&client, &proxy.reference("app")), b"content").unwrap();
    let seen = proxy.seen();
    let token = seen.iter().find(|seen| seen.target == "/token").unwrap();
    assert_eq!(token.method, "POST");
    assert!(token.body.starts_with("grant_type=refresh_token&client_id=builder&service=test"), "{}", token.body);
    assert!(token.body.contains("&scope=repository%3Aapp%3Apull%2Cpush"), "{}", token.body);
    assert_eq!(token.header("authorization"), None);
}

#[test]
fn credentials_that_can_not_be_had_are_an_error() {
    #[derive(Debug)]
    struct Broken;
    impl Credentials for Broken {
        fn login(&self, _: &str) -> Result<Option<Login>, CredentialsError> {
            Err(CredentialsError::new("the helper ended with status 1"))
        }
    }
    let registry = RealRegistry::with(&Options { login: Some(("user", "password")), ..Options::default() });
    let client = client_with(Settings { credentials: Arc::new(Broken), ..Settings::default() });
    let error = repository(&client, &registry.reference("app")).manifest(&tag("1")).unwrap_err();
    assert!(matches!(&error, Error::Credentials { host, .. } if host == registry.host()), "{error}");
    assert!(error.to_string().contains("the helper ended with status 1"), "{error}");
    // Where nobody wants a login nobody asks for one.
    let open = RealRegistry::start();
    push_image(&repository(&client, &open.reference("app")), "1", "x");
}

//! Saying who is asking: challenges, tokens, and where secrets may go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::exchange::{Answer, Asked};
use super::host::Endpoint;
use super::login::{IdentityToken, Login, Secret};
use super::{Error, Inner, said};
use crate::http::{Body, HeaderMap, Method, basic, header, url};

/// What the client calls itself to token servers.
const CLIENT: &str = "builder";

/// How long a token is good if its server does not say, and how long it is used at most.
const LIFE: u64 = 60;
const LONGEST_LIFE: u64 = 3600;

/// So long before its end a token is not used any more.
const MARGIN: Duration = Duration::from_secs(5);

/// The longest token that is taken, and the longest answer that may hold one.
const TOKEN_LIMIT: usize = 32 << 10;
const ANSWER_LIMIT: u64 = 128 << 10;

/// What a request is allowed to do: `repository:library/debian:pull`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Scopes(Vec<String>);

impl Scopes {
    /// Nothing in particular.
    pub(super) fn none() -> Self {
        Self::default()
    }

    /// To read a repository.
    pub(super) fn pull(path: &str) -> Self {
        Self(vec![format!("repository:{path}:pull")])
    }

    /// To read and write one.
    pub(super) fn push(path: &str) -> Self {
        Self(vec![format!("repository:{path}:pull,push")])
    }

    /// To remove something from one.
    pub(super) fn delete(path: &str) -> Self {
        Self(vec![format!("repository:{path}:delete,pull")])
    }

    /// To list all repositories.
    pub(super) fn catalog() -> Self {
        Self(vec!["registry:catalog:*".to_owned()])
    }

    /// Both.
    pub(super) fn and(mut self, other: Self) -> Self {
        for scope in other.0 {
            if !self.0.contains(&scope) {
                self.0.push(scope);
            }
        }
        self
    }

    /// What allows this and more, if it is usual: whoever may push may pull.
    fn wider(&self) -> Option<Self> {
        let [scope] = self.0.as_slice() else { return None };
        Some(Self(vec![format!("{},push", scope.strip_suffix(":pull").map(|_| scope)?)]))
    }
}

/// What is known about one server.
#[derive(Debug, Default)]
pub(super) struct Auth {
    /// Asked for once.
    login: Mutex<Known>,
    challenge: Mutex<Option<Challenge>>,
    tokens: Mutex<HashMap<Scopes, Arc<Mutex<Option<Token>>>>>,
}

/// What is known about the login.
#[derive(Debug, Default)]
enum Known {
    /// Nobody was asked.
    #[default]
    Unasked,
    /// Whoever knows logins was.
    Login(Option<Login>),
}

/// How a server wants to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

#[derive(Debug, Clone)]
struct Token {
    value: Secret,
    until: Instant,
}

/// What a challenge led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Learned {
    /// Asking again may help; with these scopes, which the server named.
    Again(Scopes),
    /// It wants a login, and there is none; or the one that there is, it does not take.
    Refused,
}

/// What a token server answers.
#[derive(Deserialize)]
struct Granted {
    token: Option<Secret>,
    access_token: Option<Secret>,
    refresh_token: Option<Secret>,
    expires_in: Option<f64>,
}

impl Auth {
    /// With this login, whatever else is known.
    pub(super) fn with_login(login: Login) -> Self {
        Self { login: Mutex::new(Known::Login(Some(login))), ..Self::default() }
    }

    /// The `Authorization` for a request, as far as is known what the server wants.
    pub(super) fn header(
        &self,
        client: &Inner,
        endpoint: &Endpoint,
        scopes: &Scopes,
        what: &str,
    ) -> Result<Option<Secret>, Error> {
        let Some(challenge) = lock(&self.challenge).clone() else { return Ok(None) };
        let login = self.login(client, endpoint)?;
        if let Some(Login::Bearer(token)) = &login {
            return Ok(Some(bearer(token)));
        }
        match challenge {
            Challenge::Basic => match login {
                Some(Login::Basic { user, password }) => Ok(Some(Secret::new(basic(&user, password.expose())))),
                _ => Ok(None),
            },
            Challenge::Bearer { realm, service } => {
                if let Some(token) = scopes.wider().and_then(|wider| self.known(&wider)) {
                    return Ok(Some(bearer(&token)));
                }
                let slot = Arc::clone(lock(&self.tokens).entry(scopes.clone()).or_default());
                // Who needs the same token meanwhile waits for it here.
                let mut slot = lock(&slot);
                if let Some(token) = slot.as_ref().filter(|token| Instant::now() < token.until) {
                    return Ok(Some(bearer(&token.value)));
                }
                let want =
                    Want { realm: &realm, service: service.as_deref(), scopes, login: login.as_ref(), keep: false };
                let (token, _) = want.fetch(client, endpoint, what)?;
                let value = bearer(&token.value);
                *slot = Some(token);
                Ok(Some(value))
            }
        }
    }

    /// Learns from an answer that refused, to a request that carried this authorization. Whoever learned before in the
    /// same call is let try again only for scopes that are new.
    pub(super) fn learn(
        &self,
        client: &Inner,
        endpoint: &Endpoint,
        headers: &HeaderMap,
        sent: Option<&Secret>,
        scopes: &Scopes,
        is_first: bool,
    ) -> Result<Learned, Error> {
        let Some((challenge, named)) = challenge(headers) else { return Ok(Learned::Refused) };
        *lock(&self.challenge) = Some(challenge.clone());
        if let Some(sent) = sent {
            self.forget(sent, scopes);
        }
        let is_new = named.0.iter().any(|scope| !scopes.0.contains(scope));
        let again = match (challenge, self.login(client, endpoint)?) {
            (_, Some(Login::Bearer(_))) | (Challenge::Basic, Some(Login::Basic { .. })) => sent.is_none(),
            (Challenge::Basic, _) => false,
            (Challenge::Bearer { .. }, _) => sent.is_none() || is_first || is_new,
        };
        Ok(if again { Learned::Again(named) } else { Learned::Refused })
    }

    /// Drops a token that is good for nothing any more; one that somebody else fetched meanwhile stays.
    fn forget(&self, sent: &Secret, scopes: &Scopes) {
        for scopes in [Some(scopes.clone()), scopes.wider()].into_iter().flatten() {
            let slot = lock(&self.tokens).get(&scopes).cloned();
            if let Some(slot) = slot
                && let Ok(mut slot) = slot.try_lock()
                && slot.as_ref().is_some_and(|token| bearer(&token.value) == *sent)
            {
                *slot = None;
            }
        }
    }

    /// Somebody is logged in.
    pub(super) fn has_login(&self, client: &Inner, endpoint: &Endpoint) -> bool {
        self.login(client, endpoint).is_ok_and(|login| login.is_some())
    }

    /// Tries the login that this was made with: what the token server gives to be kept, if it gives something.
    pub(super) fn identity(
        &self,
        client: &Inner,
        endpoint: &Endpoint,
        what: &str,
    ) -> Result<Option<IdentityToken>, Error> {
        let Some(Challenge::Bearer { realm, service }) = lock(&self.challenge).clone() else { return Ok(None) };
        let login = self.login(client, endpoint)?;
        let scopes = Scopes::none();
        let want =
            Want { realm: &realm, service: service.as_deref(), scopes: &scopes, login: login.as_ref(), keep: true };
        let (token, identity) = want.fetch(client, endpoint, what)?;
        lock(&self.tokens).insert(scopes, Arc::new(Mutex::new(Some(token))));
        Ok(identity.map(IdentityToken))
    }

    /// A text of a server without what it was told in confidence.
    pub(super) fn hide(&self, mut text: String) -> String {
        let mut secrets = Vec::new();
        match &*lock(&self.login) {
            Known::Login(Some(Login::Basic { user, password })) => {
                let both = basic(user, password.expose());
                secrets.push(Secret::new(both.strip_prefix("Basic ").unwrap_or(&both)));
                secrets.push(password.clone());
            }
            Known::Login(Some(Login::IdentityToken(token) | Login::Bearer(token))) => secrets.push(token.clone()),
            Known::Login(None) | Known::Unasked => {}
        }
        for slot in lock(&self.tokens).values() {
            // One that is being fetched was not told to anybody.
            if let Ok(slot) = slot.try_lock() {
                secrets.extend(slot.as_ref().map(|token| token.value.clone()));
            }
        }
        for secret in secrets.iter().map(Secret::expose).filter(|secret| !secret.is_empty()) {
            if text.contains(secret) {
                text = text.replace(secret, "***");
            }
        }
        text
    }

    fn known(&self, scopes: &Scopes) -> Option<Secret> {
        let slot = lock(&self.tokens).get(scopes).cloned()?;
        // Whoever fetches it holds the lock; there is no use in waiting.
        let slot = slot.try_lock().ok()?;
        let token = slot.as_ref().filter(|token| Instant::now() < token.until)?;
        Some(token.value.clone())
    }

    fn login(&self, client: &Inner, endpoint: &Endpoint) -> Result<Option<Login>, Error> {
        let mut login = lock(&self.login);
        if let Known::Login(known) = &*login {
            return Ok(known.clone());
        }
        let found = client.settings.credentials.login(&endpoint.name);
        let found = found.map_err(|source| Error::Credentials { host: endpoint.name.clone(), source })?;
        *login = Known::Login(found.clone());
        Ok(found)
    }
}

/// A token that is wanted.
struct Want<'a> {
    realm: &'a str,
    service: Option<&'a str>,
    scopes: &'a Scopes,
    login: Option<&'a Login>,
    /// A token to be kept in place of the password is wanted too.
    keep: bool,
}

impl Want<'_> {
    fn fetch(&self, client: &Inner, endpoint: &Endpoint, what: &str) -> Result<(Token, Option<Secret>), Error> {
        let strange = |reason: &str| Error::Answer { what: what.to_owned(), reason: reason.to_owned() };
        let registry = endpoint.base(endpoint.schemes().first().copied().unwrap_or("https"));
        let realm = url::join(&registry, self.realm)
            .ok_or_else(|| strange("the registry names a token server that has no address"))?;
        let tls = self.trust(client, endpoint, &realm, what)?;
        let mut answer = match self.login {
            Some(Login::IdentityToken(token)) => {
                let mut form = format!("grant_type=refresh_token&client_id={CLIENT}");
                for (name, value) in self.fields() {
                    form = format!("{form}&{name}={}", url::encode(&value));
                }
                // An empty scope is left out.
                form = format!("{form}&refresh_token={}", url::encode(token.expose()));
                let headers = [(header::CONTENT_TYPE, "application/x-www-form-urlencoded".to_owned())];
                client.insist(|| {
                    let asked =
                        Asked { method: Method::POST, url: &realm, headers: &headers, secret: None, follow: false };
                    client.travel(&asked, Body::Bytes(form.as_bytes()), &tls, what)
                })?
            }
            login => {
                let mut address = realm.clone();
                let secret = match login {
                    Some(Login::Basic { user, password }) => {
                        address = url::with_query(&address, "account", user);
                        Some(Secret::new(basic(user, password.expose())))
                    }
                    _ => None,
                };
                if self.keep {
                    address = url::with_query(&address, "client_id", CLIENT);
                    address = url::with_query(&address, "offline_token", "true");
                }
                for (name, value) in self.fields() {
                    // Several scopes are several parameters here.
                    let values = if name == "scope" { self.scopes.0.clone() } else { vec![value] };
                    for value in values {
                        address = url::with_query(&address, name, &value);
                    }
                }
                client.insist(|| {
                    let asked = Asked {
                        method: Method::GET,
                        url: &address,
                        headers: &[],
                        secret: secret.as_ref(),
                        follow: true,
                    };
                    client.travel(&asked, Body::None, &tls, what)
                })?
            }
        };
        self.read(client, endpoint, &mut answer, what)
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = Vec::new();
        if let Some(service) = self.service {
            fields.push(("service", service.to_owned()));
        }
        if !self.scopes.0.is_empty() {
            fields.push(("scope", self.scopes.0.join(" ")));
        }
        fields
    }

    /// Checks that a token server may be told what is secret, and says how TLS is spoken with it.
    fn trust(&self, client: &Inner, endpoint: &Endpoint, realm: &str, what: &str) -> Result<crate::http::Tls, Error> {
        let authority = url::authority(realm).unwrap_or_default();
        let host = url::host(realm).unwrap_or_default();
        let own = host.eq_ignore_ascii_case(&endpoint.hostname());
        if !url::is_secure(realm) && self.login.is_some() {
            let set = client.settings.hosts.get(authority);
            let here = url::is_loopback(host) && url::is_loopback(&endpoint.hostname());
            if !(here || own && endpoint.takes_plain() || set.insecure || set.http == Some(true)) {
                return Err(Error::UnsafeRealm {
                    what: what.to_owned(),
                    realm: super::said::clean(authority).unwrap_or_default(),
                    reason: format!(
                        "the token server that {} names without TLS: if that is meant, set `http = true` for that host",
                        endpoint.name
                    ),
                });
            }
        }
        if own {
            return Ok(endpoint.tls.clone());
        }
        client.tls(authority)
    }

    fn read(
        &self,
        client: &Inner,
        endpoint: &Endpoint,
        answer: &mut Answer,
        what: &str,
    ) -> Result<(Token, Option<Secret>), Error> {
        let status = answer.response.status().as_u16();
        // A GET or POST of a token server that is refused is the login's fault.
        if matches!(status, 400 | 401 | 403) {
            let said = said::read(&mut answer.response, |said| endpoint.auth.hide(said));
            return Err(Error::Unauthorized {
                what: what.to_owned(),
                status,
                said,
                hint: hint(&endpoint.name, self.login.is_some()),
            });
        }
        if status != 200 {
            return Err(client.refused(answer, what, endpoint));
        }
        let bytes = client.bytes(answer, ANSWER_LIMIT, what)?;
        let strange = |reason: &str| Error::Answer { what: what.to_owned(), reason: reason.to_owned() };
        let granted: Granted = serde_json::from_slice(&bytes)
            .map_err(|_| strange("the token server answered something that is no token"))?;
        let value = granted.token.filter(|token| !token.expose().is_empty()).or(granted.access_token);
        let value = value.filter(is_token).ok_or_else(|| strange("the token server gave no token"))?;
        let life = granted.expires_in.filter(|life| life.is_finite() && *life > 0.0).map_or(LIFE, |life| life as u64);
        let life = Duration::from_secs(life.clamp(LIFE, LONGEST_LIFE)).saturating_sub(MARGIN);
        let identity = granted.refresh_token.filter(is_token);
        Ok((Token { value, until: Instant::now() + life }, identity))
    }
}

/// What to do when somebody else may be allowed to.
pub(super) fn hint(host: &str, logged_in: bool) -> String {
    if logged_in {
        format!(
            "the login for {host} does not allow it; log in again with `builder login {host}` if the password changed"
        )
    } else {
        format!("it may not exist, or needs a login: `builder login {host}`")
    }
}

fn is_token(token: &Secret) -> bool {
    let text = token.expose();
    !text.is_empty() && text.len() <= TOKEN_LIMIT && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn bearer(token: &Secret) -> Secret {
    Secret::new(format!("Bearer {}", token.expose()))
}

/// The challenge of an answer that can be met, and the scopes that it names.
fn challenge(headers: &HeaderMap) -> Option<(Challenge, Scopes)> {
    let mut basic = None;
    for value in headers.get_all(header::WWW_AUTHENTICATE) {
        let Some(challenges) = value.to_str().ok().and_then(|text| http_auth::parse_challenges(text).ok()) else {
            continue;
        };
        for found in challenges {
            let parameter = |name: &str| {
                let found = found.params.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.to_unescaped())
            };
            if found.scheme.eq_ignore_ascii_case("bearer")
                && let Some(realm) = parameter("realm")
            {
                let named = parameter("scope").unwrap_or_default();
                let named = named.split_whitespace().take(16).map(str::to_owned).collect();
                return Some((Challenge::Bearer { realm, service: parameter("service") }, Scopes(named)));
            }
            if found.scheme.eq_ignore_ascii_case("basic") {
                basic = Some((Challenge::Basic, Scopes::none()));
            }
        }
    }
    basic
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

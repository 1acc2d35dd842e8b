//! Asking a server: redirects, retries, challenges, and what an answer means.

use std::io::Read;
use std::time::Duration;

use super::auth::{Learned, Scopes, hint};
use super::host::Endpoint;
use super::login::Secret;
use super::{Error, Inner, said};
use crate::http::header::{AUTHORIZATION, HeaderName, LOCATION};
use crate::http::{Backoff, Body, Cause, Failure, Method, Request, Response, Tls, Unsent, pause, retry_after, url};

/// How many redirects are followed.
const REDIRECTS: usize = 10;

/// A server that asks to wait longer than this is not waited for.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A request to the server of a registry, which can be sent again.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// A path below `/v2/`, or a URL that the server gave.
    pub(super) target: &'a str,
    pub(super) headers: &'a [(HeaderName, String)],
    pub(super) body: &'a [u8],
    pub(super) scopes: &'a Scopes,
    /// Redirects are followed, rather than answers.
    pub(super) follow: bool,
    /// What it is about, for errors.
    pub(super) what: &'a str,
}

/// One request to any server.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) method: Method,
    pub(super) url: &'a str,
    pub(super) headers: &'a [(HeaderName, String)],
    /// The `Authorization`, for this server only.
    pub(super) secret: Option<&'a Secret>,
    /// Redirects are followed.
    pub(super) follow: bool,
}

/// An answer, and where it came from.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: Response,
    pub(super) url: String,
}

impl Answer {
    pub(super) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// Where it says to go next.
    pub(super) fn location(&self) -> Option<String> {
        let location = self.response.header(LOCATION)?;
        let whole = url::join(&self.url, location)?;
        // Behind a proxy that ends TLS, servers do not know that they are reached by it.
        if url::is_secure(&self.url)
            && let Some(rest) = whole.strip_prefix("http:")
            && url::authority(&whole) == url::authority(&self.url)
        {
            return Some(format!("https:{rest}"));
        }
        Some(whole)
    }
}

impl Inner {
    /// Asks once, and goes where redirects lead. Another server than the first gets no secret.
    pub(super) fn travel(&self, asked: &Asked<'_>, body: Body<'_>, tls: &Tls, what: &str) -> Result<Answer, Error> {
        let mut here = asked.url.to_owned();
        let mut tls = tls.clone();
        let mut body = body;
        let home = url::origin(asked.url);
        let mut travelled = Vec::new();
        loop {
            self.check()?;
            let mut headers = asked.headers.to_vec();
            if let Some(secret) = asked.secret
                && url::origin(&here) == home
            {
                headers.push((AUTHORIZATION, secret.expose().to_owned()));
            }
            let sent = std::mem::replace(&mut body, Body::None);
            let request = Request { method: asked.method.clone(), url: &here, headers: &headers, body: sent };
            let response = self.agents.send(request, &tls).map_err(|unsent| self.unsent(unsent, &here, what))?;
            let answer = Answer { response, url: here };
            if !asked.follow || !matches!(answer.status(), 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let strange = |reason: String| Error::Answer { what: what.to_owned(), reason };
            let next = answer.location().ok_or_else(|| strange("a redirect leads to no address".to_owned()))?;
            if url::is_secure(&answer.url) && !url::is_secure(&next) && !tls.any_certificate {
                let host = said::clean(url::authority(&next).unwrap_or_default()).unwrap_or_default();
                return Err(strange(format!("a redirect leads from TLS to {host} without it")));
            }
            travelled.push(answer.url);
            if travelled.len() > REDIRECTS {
                return Err(strange(format!("it redirects more than {REDIRECTS} times")));
            }
            if travelled.contains(&next) {
                return Err(strange("it redirects in a circle".to_owned()));
            }
            if url::origin(&next) != url::origin(travelled.last().map_or("", String::as_str)) {
                tls = self.tls(url::authority(&next).unwrap_or_default())?;
            }
            here = next;
        }
    }

    /// Does something until it works, or was tried often enough.
    pub(super) fn insist(&self, mut ask: impl FnMut() -> Result<Answer, Error>) -> Result<Answer, Error> {
        let mut backoff = self.backoff();
        let mut silences = 0;
        loop {
            let answer = ask();
            let asked = match &answer {
                // Each takes a minute.
                Err(Error::Connection { cause: Cause::Silence, .. }) if silences == 1 => return answer,
                Err(Error::Connection { cause: Cause::Silence, .. }) => {
                    silences += 1;
                    None
                }
                Ok(answer) if is_passing(answer.status()) => retry_after(answer.response.headers()),
                Err(error) if error.is_passing() => None,
                _ => return answer,
            };
            if asked.is_some_and(|asked| asked > LONGEST_WAIT) {
                return answer;
            }
            let Some(time) = backoff.next(asked) else { return answer };
            self.wait(time)?;
        }
    }

    /// The pauses before what failed is tried again.
    pub(super) fn backoff(&self) -> Backoff {
        Backoff::new(self.surroundings.patience.pauses)
    }

    /// Waits, unless the work is over.
    pub(super) fn wait(&self, time: Duration) -> Result<(), Error> {
        if pause(time, || self.settings.stop.is_over()) { Ok(()) } else { Err(Error::Cancelled) }
    }

    /// The work goes on.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.watch();
        if self.settings.stop.is_over() { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Asks the server of a registry; the answer may be anything but a challenge that can be met.
    pub(super) fn call(&self, endpoint: &Endpoint, call: &Call<'_>) -> Result<Answer, Error> {
        let mut scopes = call.scopes.clone();
        let mut tries = 0;
        loop {
            let secret = endpoint.auth.header(self, endpoint, &scopes, call.what)?;
            let answer = self.insist(|| self.reach(endpoint, call, secret.as_ref()))?;
            // Whoever a redirect led to does not say where this server's login goes.
            if answer.status() != 401 || tries == 2 || !endpoint.answers_at(&answer.url) {
                return Ok(answer);
            }
            let headers = answer.response.headers();
            match endpoint.auth.learn(self, endpoint, headers, secret.as_ref(), &scopes, tries == 0)? {
                Learned::Refused => return Ok(answer),
                // What the server names is added when it names it again, or nothing else is known.
                Learned::Again(named) if tries > 0 || scopes == Scopes::none() => scopes = scopes.and(named),
                Learned::Again(_) => {}
            }
            tries += 1;
        }
    }

    /// Asks once, by the scheme that the server speaks.
    pub(super) fn reach(&self, endpoint: &Endpoint, call: &Call<'_>, secret: Option<&Secret>) -> Result<Answer, Error> {
        let schemes = endpoint.schemes();
        // What became of plain HTTP while TLS is tried.
        let mut plain = None;
        for (index, scheme) in schemes.iter().enumerate() {
            let base = endpoint.base(scheme);
            let (url, secret) = if call.target.contains("://") {
                let home = url::origin(call.target) == url::origin(&base);
                (call.target.to_owned(), secret.filter(|_| home))
            } else {
                (format!("{base}/v2/{}", call.target), secret)
            };
            let tls = if secret.is_some() || !call.target.contains("://") || url::origin(&url) == url::origin(&base) {
                endpoint.tls.clone()
            } else {
                self.tls(url::authority(&url).unwrap_or_default())?
            };
            let asked =
                Asked { method: call.method.clone(), url: &url, headers: call.headers, secret, follow: call.follow };
            let body = match call.method {
                Method::GET | Method::HEAD | Method::DELETE => Body::None,
                _ => Body::Bytes(call.body),
            };
            let is_guess = index + 1 < schemes.len();
            match self.travel(&asked, body, &tls, call.what) {
                Ok(mut answer) => {
                    if !(is_guess && *scheme == "http" && self.wants_tls(&mut answer, &base, call)) {
                        endpoint.settle(scheme);
                        return Ok(answer);
                    }
                }
                Err(Error::Connection { cause: Cause::NotTls | Cause::Refused | Cause::Broken, .. })
                    if *scheme == "https" && is_guess => {}
                // Some servers of TLS say nothing, or nothing that is HTTP, to somebody who does not speak it.
                Err(error @ Error::Connection { cause: Cause::Broken | Cause::Other, .. })
                    if *scheme == "http" && is_guess =>
                {
                    plain = Some(error);
                }
                Err(error @ Error::Connection { cause, .. }) => {
                    let is_plain = matches!(cause, Cause::NotTls | Cause::Refused | Cause::Broken | Cause::Silence);
                    return Err(plain.filter(|_| is_plain).unwrap_or(error));
                }
                Err(error) => return Err(error),
            }
        }
        // The last scheme always gives an answer or an error.
        Err(Error::Cancelled)
    }

    /// Whether an answer is that of a server of TLS to somebody who does not speak it.
    fn wants_tls(&self, answer: &mut Answer, base: &str, call: &Call<'_>) -> bool {
        if call.method != Method::HEAD || answer.status() != 400 {
            return wants_tls(answer);
        }
        // That one has no text.
        let url = format!("{base}/v2/");
        let asked = Asked { method: Method::GET, url: &url, headers: &[], secret: None, follow: false };
        let answer = self.travel(&asked, Body::None, &Tls::default(), call.what);
        answer.is_ok_and(|mut answer| wants_tls(&mut answer))
    }

    /// Why a request could not be sent.
    fn unsent(&self, unsent: Unsent, url: &str, what: &str) -> Error {
        match unsent {
            Unsent::Certificates(error) => Error::Certificates {
                path: error.path,
                origin: if error.from_environment {
                    "SSL_CERT_FILE".to_owned()
                } else {
                    format!("the configuration of {}", url::authority(url).unwrap_or_default())
                },
                reason: error.reason,
            },
            Unsent::Failed(failure) => self.failed(&failure, url, what),
        }
    }

    /// Why there is no answer, or no more of it.
    pub(super) fn failed(&self, failure: &Failure, url: &str, what: &str) -> Error {
        if self.settings.stop.is_over() {
            return Error::Cancelled;
        }
        let host = said::clean(url::authority(url).unwrap_or_default()).unwrap_or_default();
        let table = format!("in the table [registry.\"{host}\"] of builder.toml");
        let advice = match failure.cause {
            Cause::UnknownIssuer => {
                format!(
                    ": put the authority's certificate into /etc/builder/certs.d/{host}/ca.crt, or name it as `ca` {table}"
                )
            }
            Cause::ClientCertificate => {
                format!(": put one with its key into /etc/builder/certs.d/{host}/client.cert and client.key")
            }
            Cause::NotTls => format!(": if that is meant, set `http = true` {table}"),
            Cause::Refused => format!(" by {host}"),
            _ => String::new(),
        };
        let reason = format!("{}{advice}", failure.reason);
        Error::Connection { what: what.to_owned(), reason, cause: failure.cause }
    }

    /// The error that an answer is.
    pub(super) fn refused(&self, answer: &mut Answer, what: &str, endpoint: &Endpoint) -> Error {
        let (what, status) = (what.to_owned(), answer.status());
        let said = said::read(&mut answer.response, |said| endpoint.auth.hide(said));
        match status {
            404 => Error::NotFound { what, status, said },
            401 | 403 => {
                let hint = hint(&endpoint.name, endpoint.auth.has_login(self, endpoint));
                Error::Unauthorized { what, status, said, hint }
            }
            _ => {
                let asked = retry_after(answer.response.headers()).filter(|asked| *asked > LONGEST_WAIT);
                let asked = asked.map(|asked| format!("it asks to wait {} seconds", asked.as_secs()));
                let said = match (said, asked) {
                    (Some(said), Some(asked)) => Some(format!("{said}; {asked}")),
                    (said, asked) => said.or(asked),
                };
                Error::Status { what, status, said }
            }
        }
    }

    /// The whole body of an answer, if it is not too big.
    pub(super) fn bytes(&self, answer: &mut Answer, limit: u64, what: &str) -> Result<Vec<u8>, Error> {
        let announced = answer.response.length();
        if announced.is_some_and(|length| length > limit) {
            return Err(Error::TooBig { what: what.to_owned(), limit });
        }
        let mut bytes = Vec::with_capacity(announced.unwrap_or(0) as usize);
        if let Err(error) = (&mut answer.response).take(limit + 1).read_to_end(&mut bytes) {
            return Err(self.failed(&answer.response.failure(&error), &answer.url, what));
        }
        if bytes.len() as u64 > limit {
            return Err(Error::TooBig { what: what.to_owned(), limit });
        }
        Ok(bytes)
    }
}

/// It may work in a moment.
pub(super) fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502..=504)
}

/// The answer of a server of TLS to somebody who does not speak it.
fn wants_tls(answer: &mut Answer) -> bool {
    let is_page = answer.response.header("content-type").is_none_or(|kind| kind.starts_with("text/"));
    if answer.status() != 400 || !is_page {
        return false;
    }
    let mut text = Vec::new();
    let _ = (&mut answer.response).take(1024).read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text).to_ascii_lowercase();
    text.contains("http request") && text.contains("https")
}

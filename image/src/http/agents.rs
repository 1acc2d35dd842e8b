//! Requests over connections that are kept.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ureq::config::RedirectAuthHeaders;
use ureq::http::header::{HeaderMap, HeaderName};
use ureq::http::{Method, StatusCode};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::{Agent, ProxyProtocol, SendBody};

use super::certificates::{CertificateError, Tls, environment};
use super::failure::{Cause, Failure};
use super::{Backoff, pinned, proxy, url};

/// How many unused connections to one host are kept.
const IDLE: usize = 16;

/// How much is read and written at once.
const BUFFER: usize = 256 << 10;

/// How long is waited. There is no limit on the whole.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a name, and for a connection.
    pub connect: Duration,
    /// For a server that is silent: before it answers, and in the middle of a body.
    pub silence: Duration,
    /// Before what failed is tried again.
    pub pauses: &'static [Duration],
}

impl Default for Patience {
    fn default() -> Self {
        Self { connect: Duration::from_secs(30), silence: Duration::from_mins(1), pauses: Backoff::USUAL }
    }
}

/// Sends requests. Connections are kept, apart for each way that they were made.
#[derive(Debug)]
pub struct Agents {
    redirects: u32,
    patience: Patience,
    pool: Mutex<Pool>,
}

#[derive(Default)]
struct Pool {
    agents: HashMap<Way, Agent>,
    closed: bool,
}

impl fmt::Debug for Pool {
    /// Without the ways: the URL of a proxy may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("agents", &self.agents.len()).field("closed", &self.closed).finish()
    }
}

/// How a connection is made. `None` for TLS is plain HTTP.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Way {
    tls: Option<Tls>,
    proxy: Option<String>,
}

/// What is asked.
pub struct Request<'a, 'b> {
    /// The method.
    pub method: Method,
    /// The URL; user and password in it are not sent.
    pub url: &'a str,
    /// The headers beside those that go without saying.
    pub headers: &'a [(HeaderName, String)],
    /// What is sent.
    pub body: Body<'b>,
}

impl fmt::Debug for Request<'_, '_> {
    /// Without the headers, which may hold what is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("url", &url::without_credentials(self.url))
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// What is sent with a request.
pub enum Body<'a> {
    /// Nothing.
    None,
    /// These bytes.
    Bytes(&'a [u8]),
    /// So many bytes of a stream.
    Stream(&'a mut (dyn Read + 'a), u64),
}

impl fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Stream(_, size) => write!(f, "Stream({size})"),
        }
    }
}

/// There is no answer.
#[derive(Debug)]
pub enum Unsent {
    /// It was tried.
    Failed(Failure),
    /// It could not even be tried.
    Certificates(CertificateError),
}

impl Agents {
    /// Nothing is connected yet. So many redirects are followed before an answer is given; with none, they are answers.
    pub fn new(redirects: u32, patience: Patience) -> Self {
        Self { redirects, patience, pool: Mutex::default() }
    }

    /// Checks what the environment says about certificates, which others must not replace.
    pub fn check_environment() -> Result<(), CertificateError> {
        environment().map(drop)
    }

    /// Ends everything that is under way, and refuses what comes.
    pub fn shut_down(&self) {
        let agents = {
            let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
            pool.closed = true;
            std::mem::take(&mut pool.agents)
        };
        agents.into_values().for_each(Agent::shutdown);
    }

    /// Asks, once.
    pub fn send(&self, request: Request<'_, '_>, tls: &Tls) -> Result<Response, Unsent> {
        let host = url::host(request.url).unwrap_or_default().to_owned();
        let secure = url::is_secure(request.url);
        let way =
            Way { tls: secure.then(|| tls.clone()), proxy: proxy::of(request.url, |name| std::env::var(name).ok()) };
        let failed = |error: ureq::Error| Unsent::Failed(Failure::of(&error, &host, self.redirects));
        let agent = self.agent(&way).map_err(|error| match error {
            AgentError::Certificates(error) => Unsent::Certificates(error),
            AgentError::Proxy(error) => failed(error),
            AgentError::Socks => Unsent::Failed(Failure {
                reason: "the proxy that the environment names speaks SOCKS: name one that speaks HTTP".to_owned(),
                cause: Cause::Other,
            }),
            AgentError::Closed => {
                Unsent::Failed(Failure { reason: "the client was shut down".to_owned(), cause: Cause::Other })
            }
        })?;
        let mut builder =
            ureq::http::Request::builder().method(request.method).uri(url::without_credentials(request.url));
        for (name, value) in request.headers {
            builder = builder.header(name, value);
        }
        let wrong = |error: ureq::http::Error| failed(ureq::Error::Http(error));
        let answer = match request.body {
            Body::None => agent.run(builder.body(()).map_err(wrong)?),
            Body::Bytes(bytes) => agent.run(builder.body(bytes).map_err(wrong)?),
            Body::Stream(stream, size) => {
                let builder = builder.header(ureq::http::header::CONTENT_LENGTH, size);
                agent.run(builder.body(SendBody::from_reader(stream)).map_err(wrong)?)
            }
        };
        let (parts, body) = answer.map_err(failed)?.into_parts();
        Ok(Response { status: parts.status, headers: parts.headers, body: body.into_reader(), host })
    }

    fn agent(&self, way: &Way) -> Result<Agent, AgentError> {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.closed {
            return Err(AgentError::Closed);
        }
        if let Some(agent) = pool.agents.get(way) {
            return Ok(agent.clone());
        }
        let proxy = way.proxy.as_deref().map(ureq::Proxy::new).transpose().map_err(AgentError::Proxy)?;
        // The client would panic.
        if proxy.as_ref().is_some_and(|proxy| !matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https)) {
            return Err(AgentError::Socks);
        }
        let Patience { connect, silence, .. } = self.patience;
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(self.redirects)
            .max_redirects_will_error(self.redirects > 0)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .user_agent(concat!("builder/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(connect))
            .timeout_connect(Some(connect))
            .timeout_recv_response(Some(silence))
            .timeout_per_read(Some(silence))
            .timeout_per_write(Some(silence))
            .max_idle_connections_per_host(IDLE)
            .max_idle_connections(2 * IDLE)
            .input_buffer_size(BUFFER)
            .output_buffer_size(BUFFER)
            .proxy(proxy);
        let mut own = None;
        // With redirects, plain HTTP may lead to TLS.
        if way.tls.is_some() || self.redirects > 0 {
            let tls = way.tls.clone().unwrap_or_default();
            let (tls, pinned) = tls.config().map_err(AgentError::Certificates)?;
            config = config.tls_config(tls);
            own = pinned;
        }
        let agent = match own {
            Some(own) => Agent::with_parts(config.build(), pinned::connector(own), DefaultResolver::default()),
            None => Agent::new_with_config(config.build()),
        };
        pool.agents.insert(way.clone(), agent.clone());
        Ok(agent)
    }
}

enum AgentError {
    Certificates(CertificateError),
    Proxy(ureq::Error),
    Socks,
    Closed,
}

/// An answer; its body is read from it.
pub struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: ureq::BodyReader<'static>,
    host: String,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Response {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// All headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The text of a header.
    pub fn header(&self, name: impl ureq::http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok().map(str::trim)
    }

    /// The length that is announced for the body.
    pub fn length(&self) -> Option<u64> {
        self.header(ureq::http::header::CONTENT_LENGTH)?.parse().ok()
    }

    /// What an error while reading the body means.
    pub fn failure(&self, error: &io::Error) -> Failure {
        Failure::of_io(error, &self.host)
    }
}

impl Read for Response {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.body.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_that_speaks_something_else_is_an_error() {
        for (proxy, works) in [("http://p:1", true), ("https://p:1", true), ("p:1", true), ("socks5://p:1", false)] {
            let way = Way { tls: None, proxy: Some(proxy.to_owned()) };
            let agent = Agents::new(0, Patience::default()).agent(&way);
            assert_eq!(agent.is_ok(), works, "{proxy}");
            assert!(agent.is_ok() || matches!(agent, Err(AgentError::Socks)), "{proxy}");
        }
    }

    #[test]
    fn the_password_of_a_proxy_shows_nowhere() {
        let agents = Agents::new(0, Patience::default());
        let way = Way { tls: None, proxy: Some("http://user:hush@proxy.lan:3128".to_owned()) };
        assert!(agents.agent(&way).is_ok());
        let shown = format!("{agents:?}");
        assert!(shown.contains("agents: 1") && !shown.contains("hush"), "{shown}");
    }
}

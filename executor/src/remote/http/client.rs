//! The HTTP client of everything that downloads: proxies of the environment, the machine's certificates, and limits on
//! how long a silent server is waited for.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use ureq::Agent;
use ureq::config::RedirectAuthHeaders;
use ureq::http::header::{AUTHORIZATION, HeaderName, RETRY_AFTER};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::proxy;
use crate::remote::error::RemoteError;
use crate::remote::{Stop, pause, redact, url};

/// How long names and connections may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a server may be silent, before it answers and in the middle of a file. There is no limit on the whole.
const SILENCE: Duration = Duration::from_mins(1);

/// How many redirects are followed.
const REDIRECTS: u32 = 10;

/// Pauses before asking again when a server is busy or the connection broke before an answer.
const RETRIES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(1)];

/// Where distributions keep the certificates that they trust.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Downloads.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
}

/// An answer; its body is read from it.
pub struct Response {
    status: ureq::http::StatusCode,
    headers: ureq::http::HeaderMap,
    body: ureq::BodyReader<'static>,
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Client {
    /// A client. Nothing is connected yet.
    ///
    /// # Errors
    /// When the environment names certificates that can't be read: others must not be trusted in their place.
    pub fn new() -> Result<Self, RemoteError> {
        let named = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty());
        let roots = match named {
            Some(path) => Some(named_certificates(Path::new(&path))?),
            None => BUNDLES.iter().find_map(|path| Some(certificates(&std::fs::read(path).ok()?))),
        };
        let roots = roots.filter(|found| !found.is_empty()).map_or(RootCerts::WebPki, RootCerts::from);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(REDIRECTS)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .user_agent(concat!("builder/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(PATIENCE))
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .proxy(None)
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build();
        Ok(Self { agent: Agent::new_with_config(config) })
    }

    /// Downloads what a URL leads to; an answer that is no success is an error.
    pub fn get(&self, url: &str) -> Result<Response, RemoteError> {
        let response = self.request(url, &[], &|| false)?;
        if response.status.is_success() { Ok(response) } else { Err(response.into_error(url)) }
    }

    /// Asks for a URL with these headers; the answer may be anything.
    pub(super) fn request(
        &self,
        url: &str,
        headers: &[(HeaderName, String)],
        stop: Stop<'_>,
    ) -> Result<Response, RemoteError> {
        let mut retries = RETRIES.iter();
        loop {
            let answer = self.ask(url, headers);
            let again = match &answer {
                Ok(response) => matches!(response.status.as_u16(), 429 | 502..=504),
                Err(error) => is_passing(error),
            };
            match retries.next() {
                Some(usual) if again => {
                    let asked = answer.as_ref().ok().and_then(Response::retry_after);
                    pause(asked.unwrap_or(*usual), stop)?;
                }
                _ => return answer.map_err(|error| failed(url, &error)),
            }
        }
    }

    fn ask(&self, url: &str, headers: &[(HeaderName, String)]) -> Result<Response, ureq::Error> {
        let mut request = self.agent.get(url::without_credentials(url));
        if let Some((user, password)) = url::credentials(url)
            && !headers.iter().any(|(name, _)| name == AUTHORIZATION)
        {
            request = request.header(AUTHORIZATION, basic(&user, &password));
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let proxy = proxy::of(url, |name| std::env::var(name).ok());
        let proxy = proxy.map(|proxy| ureq::Proxy::new(&proxy)).transpose()?;
        let response = request.config().proxy(proxy).build().call()?;
        let (parts, body) = response.into_parts();
        Ok(Response { status: parts.status, headers: parts.headers, body: body.into_reader() })
    }
}

/// The value of an `Authorization` header for a user.
pub(crate) fn basic(user: &str, password: &str) -> String {
    use base64::Engine;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

impl Response {
    pub(super) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    pub(super) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A server that asks for a short pause gets it.
    fn retry_after(&self) -> Option<Duration> {
        let seconds = self.header(RETRY_AFTER)?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds)).filter(|pause| *pause <= Duration::from_secs(10))
    }

    /// The error that an answer is.
    pub(super) fn into_error(self, url: &str) -> RemoteError {
        let hint = match (self.status.as_u16(), url::host(url)) {
            (401 | 403, Some(host)) => Some(format!(
                "; if it wants a token, give it with --secret id=HTTP_AUTH_TOKEN_{host}, or a whole Authorization header with \
                 --secret id=HTTP_AUTH_HEADER_{host}"
            )),
            _ => None,
        };
        RemoteError::Status { url: redact(url), status: self.status.to_string(), hint }
    }
}

impl Read for Response {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.body.read(buffer)
    }
}

/// The connection failed in a way that may be over in a moment.
fn is_passing(error: &ureq::Error) -> bool {
    use std::io::ErrorKind;
    match error {
        ureq::Error::Io(error) => matches!(
            error.kind(),
            ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::UnexpectedEof
                | ErrorKind::BrokenPipe
        ),
        _ => false,
    }
}

pub(super) fn failed(url: &str, error: &ureq::Error) -> RemoteError {
    let reason = match error {
        ureq::Error::HostNotFound => match url::host(url) {
            Some(host) => format!("no address is known for the host {host}"),
            None => "its host has no address".to_owned(),
        },
        ureq::Error::Io(error) => match error.kind() {
            std::io::ErrorKind::ConnectionRefused => "the connection was refused".to_owned(),
            _ => error.to_string(),
        },
        ureq::Error::TooManyRedirects => format!("it redirects more than {REDIRECTS} times"),
        ureq::Error::Timeout(_) => "the server did not answer in time".to_owned(),
        ureq::Error::InvalidProxyUrl => "the proxy that the environment names is not a URL".to_owned(),
        other => other.to_string(),
    };
    RemoteError::Http { url: redact(url), reason }
}

/// The certificates of a file that the user names.
fn named_certificates(path: &Path) -> Result<Vec<Certificate<'static>>, RemoteError> {
    let failed = |reason: String| RemoteError::Certificates { path: path.to_owned(), reason };
    let bundle = std::fs::read(path).map_err(|error| failed(format!("can't be read ({error})")))?;
    let found = certificates(&bundle);
    if found.is_empty() { Err(failed("holds no certificate".to_owned())) } else { Ok(found) }
}

/// The certificates of a bundle.
fn certificates(bundle: &[u8]) -> Vec<Certificate<'static>> {
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    parse_pem(bundle).filter_map(certificate).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn nobody_waits_for_a_busy_server_when_the_build_is_over() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let over = AtomicBool::new(false);
        let asked = std::thread::scope(|scope| {
            scope.spawn(|| {
                // One answer, and then nobody listens.
                let (mut stream, _) = listener.accept().unwrap();
                drop(BufReader::new(&stream).lines().map_while(Result::ok).find(String::is_empty));
                over.store(true, Ordering::Relaxed);
                let answer = "HTTP/1.1 503 Busy\r\nRetry-After: 10\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                stream.write_all(answer.as_bytes()).unwrap();
                drop(stream);
            });
            Client::new().unwrap().request(&url, &[], &|| over.load(Ordering::Relaxed))
        });
        assert!(matches!(asked, Err(RemoteError::Cancelled)), "{asked:?}");
    }

    #[test]
    fn certificates_that_are_named_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bundle.pem");
        let said = || named_certificates(&path).unwrap_err().to_string();
        assert!(said().contains("bundle.pem, which can't be read"), "{}", said());
        std::fs::write(&path, "nothing of the kind").unwrap();
        assert!(said().contains("holds no certificate"), "{}", said());
    }
}

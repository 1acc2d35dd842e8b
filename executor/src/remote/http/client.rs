//! The HTTP client of files from URLs: retries, credentials of the URL, and errors that say what to do.

use std::io::Read;
use std::time::Duration;

use builder_image::http::header::{AUTHORIZATION, HeaderName};
use builder_image::http::{
    self, Agents, Body, Cause, CertificateError, Method, Patience, Request, Tls, Unsent, basic, retry_after, url,
};

use crate::remote::error::RemoteError;
use crate::remote::{Stop, pause, redact};

/// How many redirects are followed.
const REDIRECTS: u32 = 10;

/// Pauses before asking again when a server is busy or the connection broke before an answer.
const RETRIES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(1)];

/// A server that asks for a longer pause does not get it.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Downloads.
#[derive(Debug)]
pub struct Client {
    agents: Agents,
}

/// An answer; its body is read from it.
#[derive(Debug)]
pub struct Response(http::Response);

impl Client {
    /// A client. Nothing is connected yet.
    ///
    /// # Errors
    /// When the environment names certificates that can't be read: others must not be trusted in their place.
    pub fn new() -> Result<Self, RemoteError> {
        Agents::check_environment().map_err(certificates)?;
        Ok(Self { agents: Agents::new(REDIRECTS, Patience::default()) })
    }

    /// Downloads what a URL leads to; an answer that is no success is an error.
    pub fn get(&self, url: &str) -> Result<Response, RemoteError> {
        let response = self.request(url, &[], &|| false)?;
        if response.0.status().is_success() { Ok(response) } else { Err(response.into_error(url)) }
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
                Ok(response) => matches!(response.status().as_u16(), 429 | 502..=504),
                Err(Unsent::Failed(failure)) => failure.cause == Cause::Broken,
                Err(Unsent::Certificates(_)) => false,
            };
            match retries.next() {
                Some(usual) if again => {
                    let asked = answer.as_ref().ok().and_then(|response| retry_after(response.headers()));
                    pause(asked.filter(|asked| *asked <= LONGEST_PAUSE).unwrap_or(*usual), stop)?;
                }
                _ => return answer.map(Response).map_err(|error| failed(url, error)),
            }
        }
    }

    fn ask(&self, url: &str, headers: &[(HeaderName, String)]) -> Result<http::Response, Unsent> {
        let mut headers = headers.to_vec();
        if let Some((user, password)) = url::credentials(url)
            && !headers.iter().any(|(name, _)| name == AUTHORIZATION)
        {
            headers.push((AUTHORIZATION, basic(&user, &password)));
        }
        let request = Request { method: Method::GET, url, headers: &headers, body: Body::None };
        self.agents.send(request, &Tls::default())
    }
}

impl Response {
    pub(super) fn status(&self) -> u16 {
        self.0.status().as_u16()
    }

    pub(super) fn header(&self, name: HeaderName) -> Option<&str> {
        self.0.header(name)
    }

    /// The error that an answer is.
    pub(super) fn into_error(self, url: &str) -> RemoteError {
        let hint = match (self.status(), url::host(url)) {
            (401 | 403, Some(host)) => Some(format!(
                "; if it wants a token, give it with --secret id=HTTP_AUTH_TOKEN_{host}, or a whole Authorization header with \
                 --secret id=HTTP_AUTH_HEADER_{host}"
            )),
            _ => None,
        };
        RemoteError::Status { url: redact(url), status: self.0.status().to_string(), hint }
    }
}

impl Read for Response {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

fn failed(url: &str, error: Unsent) -> RemoteError {
    match error {
        Unsent::Failed(failure) => RemoteError::Http { url: redact(url), reason: failure.reason },
        Unsent::Certificates(error) => certificates(error),
    }
}

fn certificates(error: CertificateError) -> RemoteError {
    RemoteError::Certificates { path: error.path, reason: error.reason }
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
}

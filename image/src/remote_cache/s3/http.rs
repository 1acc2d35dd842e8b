//! The requests of `object_store` over the connections of this house, so that certificates, proxies and time limits are
//! the same everywhere.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};

use crate::http::{Agents, Body, Cause, Patience, Request, Response, Tls, Unsent, header};

/// How much of an answer is handed on at once.
const CHUNK: usize = 256 << 10;

/// How long the address is waited for at which clouds tell their machines who they are, and at which nobody answers
/// anywhere else.
const METADATA: Patience = Patience { connect: Duration::from_secs(1), silence: Duration::from_secs(2), pauses: &[] };

/// Makes clients of this kind.
#[derive(Debug)]
pub(super) struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let service = Service { usual: Agents::new(0, Patience::default()), metadata: Agents::new(0, METADATA) };
        Ok(HttpClient::new(service))
    }
}

#[derive(Debug)]
struct Service {
    usual: Agents,
    metadata: Agents,
}

#[async_trait]
impl HttpService for Service {
    /// Waits on the calling thread, which has nothing else to do: whoever uses a backend gave it a thread.
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, mut body) = request.into_parts();
        let mut chunks = Chunks::default();
        while let Some(frame) = body.frame().await {
            chunks.0.extend(frame?.into_data());
        }
        let size = chunks.0.iter().map(|chunk| chunk.len() as u64).sum();
        // The length is that of the body; the client says it.
        let said = parts.headers.iter().filter(|(name, _)| *name != header::CONTENT_LENGTH && *name != header::HOST);
        let headers: Result<Vec<_>, _> =
            said.map(|(name, value)| Ok((name.clone(), value.to_str()?.to_owned()))).collect();
        let headers = headers.map_err(|error: header::ToStrError| HttpError::new(HttpErrorKind::Unknown, error))?;
        let local = parts.uri.host().is_some_and(|host| host.starts_with("169.254."));
        let agents = if local { &self.metadata } else { &self.usual };
        let answer = agents.send(
            Request {
                method: parts.method,
                url: &parts.uri.to_string(),
                headers: &headers,
                body: if size == 0 { Body::None } else { Body::Stream(&mut chunks, size) },
            },
            &Tls::default(),
        );
        let answer = answer.map_err(|unsent| match unsent {
            Unsent::Failed(failure) => HttpError::new(kind(failure.cause), io::Error::other(failure.reason)),
            Unsent::Certificates(error) => HttpError::new(HttpErrorKind::Unknown, error),
        })?;
        let mut response = ureq::http::Response::new(());
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        Ok(response.map(|()| stream(answer)))
    }
}

fn kind(cause: Cause) -> HttpErrorKind {
    match cause {
        Cause::Broken => HttpErrorKind::Interrupted,
        Cause::Silence => HttpErrorKind::Timeout,
        _ => HttpErrorKind::Unknown,
    }
}

/// The body of an answer, read when it is asked for.
fn stream(answer: Response) -> HttpResponseBody {
    let state = Mutex::new((answer, None));
    let frames = std::iter::from_fn(move || {
        let (answer, broken) = &mut *state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut chunk = vec![0; CHUNK];
        let count = if broken.is_none() { fill(answer, &mut chunk, broken) } else { 0 };
        if count > 0 {
            chunk.truncate(count);
            return Some(Ok(Frame::data(Bytes::from(chunk))));
        }
        let error = broken.take()?;
        Some(Err(HttpError::new(kind(answer.failure(&error).cause), error)))
    });
    HttpResponseBody::new(StreamBody::new(futures_util::stream::iter(frames)))
}

/// What came before the connection broke counts: why it did is kept for the next time.
fn fill(reader: &mut impl Read, buffer: &mut [u8], broken: &mut Option<io::Error>) -> usize {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                *broken = Some(error);
                break;
            }
        }
    }
    filled
}

/// The pieces of a request's body.
#[derive(Debug, Default)]
struct Chunks(VecDeque<Bytes>);

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(first) = self.0.front_mut() {
            if first.is_empty() {
                self.0.pop_front();
                continue;
            }
            let count = first.len().min(buffer.len());
            first.copy_to_slice(&mut buffer[..count]);
            return Ok(count);
        }
        Ok(0)
    }
}

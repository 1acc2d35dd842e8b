//! Blobs as they go.

use std::cell::Cell;
use std::io::{self, Read};
use std::sync::PoisonError;

use builder_cache::BlobDigest;

use super::auth::{Learned, Scopes};
use super::exchange::{Answer, Asked, is_passing};
use super::repository::{Repository, Source};
use super::{Error, Inner, Stop};
use crate::http::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderName, RANGE};
use crate::http::{Body, Method, retry_after, url};

/// After so many more bytes have arrived all retries are there again.
const PROGRESS: u64 = 1 << 20;

/// How often an upload is begun anew when the registry lost it.
const RESTARTS: usize = 3;

/// Takes a blob over from another repository. The upload that is opened where that fails is kept for the push.
pub(super) fn mount(repository: &Repository, digest: &BlobDigest, from: &str) -> Result<bool, Error> {
    if from == repository.path {
        return repository.has_blob(digest);
    }
    let what = format!("{}@{digest}", repository.name());
    let source = repository.home()?;
    let target = format!("{}/blobs/uploads/?mount={digest}&from={}", source.path, url::encode(from));
    let scopes = Scopes::push(&source.path).and(Scopes::pull(from));
    let answer = repository.call(&source, Method::POST, &target, &[], &[], &scopes, &what);
    let mut answer = match answer {
        // The other repository may be closed to this user.
        Err(Error::Unauthorized { .. }) => return Ok(false),
        answer => answer?,
    };
    match answer.status() {
        201 => Ok(true),
        202 => {
            if let Some(location) = answer.location() {
                sessions(repository.client()).insert((repository.name(), *digest), location);
            }
            Ok(false)
        }
        400..=499 if !is_passing(answer.status()) => Ok(false),
        _ => Err(repository.client().refused(&mut answer, &what, &source.endpoint)),
    }
}

fn sessions(client: &Inner) -> std::sync::MutexGuard<'_, std::collections::HashMap<(String, BlobDigest), String>> {
    client.sessions.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A blob that is being sent.
struct Upload<'a> {
    repository: &'a Repository,
    source: Source,
    scopes: Scopes,
    digest: &'a BlobDigest,
    size: u64,
    what: String,
    open: &'a dyn Fn(u64) -> io::Result<Box<dyn Read + Send>>,
    advance: &'a dyn Fn(u64),
}

/// Where an upload stands.
struct Session {
    location: String,
    offset: u64,
}

/// What came of sending.
enum Outcome {
    Done,
    /// It may go on where it broke.
    Broke(Error, Option<std::time::Duration>),
    /// The registry knows nothing of the upload, or of this part of it.
    Lost(Error),
}

pub(super) fn push(
    repository: &Repository,
    digest: &BlobDigest,
    size: u64,
    open: &dyn Fn(u64) -> io::Result<Box<dyn Read + Send>>,
    advance: &dyn Fn(u64),
) -> Result<(), Error> {
    let source = repository.home()?;
    let upload = Upload {
        scopes: Scopes::push(&source.path),
        what: format!("{}@{digest}", repository.name()),
        repository,
        source,
        digest,
        size,
        open,
        advance,
    };
    upload.run()
}

impl Upload<'_> {
    fn run(&self) -> Result<(), Error> {
        let client = self.repository.client();
        let mut backoff = client.backoff();
        let mut restarts = 0;
        let kept = sessions(client).remove(&(self.repository.name(), *self.digest));
        let mut session = match kept {
            Some(location) => Session { location, offset: 0 },
            None => self.start()?,
        };
        loop {
            let before = session.offset;
            let lost = match self.send(&session)? {
                Outcome::Done => return Ok(()),
                Outcome::Broke(error, asked) => {
                    let Some(time) = backoff.next(asked) else { return Err(error) };
                    client.wait(time)?;
                    match self.status(&session)? {
                        Some(there) => {
                            if there.offset >= before + PROGRESS {
                                backoff.restart();
                            }
                            session = there;
                            continue;
                        }
                        None => error,
                    }
                }
                Outcome::Lost(error) => error,
            };
            if restarts == RESTARTS {
                return Err(lost);
            }
            restarts += 1;
            // The last answer may be all that was lost.
            if self.repository.has_blob(self.digest)? {
                (self.advance)(self.size);
                return Ok(());
            }
            session = self.start()?;
        }
    }

    fn start(&self) -> Result<Session, Error> {
        let target = format!("{}/blobs/uploads/", self.source.path);
        let mut answer =
            self.repository.call(&self.source, Method::POST, &target, &[], &[], &self.scopes, &self.what)?;
        if answer.status() != 202 {
            return Err(self.refused(&mut answer));
        }
        let location = answer.location().ok_or_else(|| Error::Answer {
            what: self.what.clone(),
            reason: "the registry does not say where to send it".to_owned(),
        })?;
        Ok(Session { location, offset: 0 })
    }

    /// Sends what is missing, in one piece.
    fn send(&self, session: &Session) -> Result<Outcome, Error> {
        let client = self.repository.client();
        let endpoint = &self.source.endpoint;
        let target = url::with_query(&session.location, "digest", &self.digest.to_string());
        let mut headers: Vec<(HeaderName, String)> = vec![(CONTENT_TYPE, "application/octet-stream".to_owned())];
        if session.offset > 0 && session.offset < self.size {
            headers.push((CONTENT_RANGE, format!("{}-{}", session.offset, self.size - 1)));
        }
        let home = endpoint.schemes().iter().any(|scheme| url::origin(&endpoint.base(scheme)) == url::origin(&target));
        let secret = if home { endpoint.auth.header(client, endpoint, &self.scopes, &self.what)? } else { None };
        let tls = if home { endpoint.tls.clone() } else { client.tls(url::authority(&target).unwrap_or_default())? };
        let failed = |source: io::Error| Error::Source { what: self.what.clone(), source };
        let mut stream = Counted {
            inner: (self.open)(session.offset).map_err(failed)?,
            advance: self.advance,
            stop: &client.settings.stop,
            done: session.offset,
            size: self.size,
            error: Cell::new(None),
        };
        let asked =
            Asked { method: Method::PUT, url: &target, headers: &headers, secret: secret.as_ref(), follow: false };
        let left = self.size - session.offset;
        let answer = client.travel(&asked, Body::Stream(&mut stream, left), &tls, &self.what);
        if let Some(error) = stream.error.take() {
            return Err(if client.settings.stop.is_over() { Error::Cancelled } else { failed(error) });
        }
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(error) if error.is_passing() => return Ok(Outcome::Broke(error, None)),
            Err(error) => return Err(error),
        };
        match answer.status() {
            200..=204 => {
                (self.advance)(self.size);
                Ok(Outcome::Done)
            }
            401 if home => {
                // The token may have ended while the blob was on its way.
                let headers = answer.response.headers().clone();
                let error = self.refused(&mut answer);
                match endpoint.auth.learn(client, endpoint, &headers, secret.as_ref(), &self.scopes, true)? {
                    Learned::Again(_) => Ok(Outcome::Lost(error)),
                    Learned::Refused => Err(error),
                }
            }
            status if is_passing(status) => {
                let asked = retry_after(answer.response.headers());
                let error = self.refused(&mut answer);
                if asked.is_some_and(|asked| asked > super::exchange::LONGEST_WAIT) {
                    return Err(error);
                }
                Ok(Outcome::Broke(error, asked))
            }
            // A digest that is wrong after parts were put together is tried again as a whole.
            400 if session.offset > 0 => Ok(Outcome::Lost(self.refused(&mut answer))),
            404 | 410 | 416 => Ok(Outcome::Lost(self.refused(&mut answer))),
            _ => Err(self.refused(&mut answer)),
        }
    }

    /// How much of an upload has arrived; nothing when the registry does not know it any more.
    fn status(&self, session: &Session) -> Result<Option<Session>, Error> {
        let target = session.location.as_str();
        let answer = self.repository.call(&self.source, Method::GET, target, &[], &[], &self.scopes, &self.what)?;
        if answer.status() != 204 {
            return Ok(None);
        }
        let range = answer.response.header(RANGE).unwrap_or_default();
        let end = range.strip_prefix("bytes=").unwrap_or(range).split_once('-').and_then(|(_, end)| end.parse().ok());
        // Nothing and one byte look alike: `0-0`.
        let offset = match end {
            Some(end @ 1..) => u64::saturating_add(end, 1),
            _ => return Ok(None),
        };
        if offset > self.size {
            return Ok(None);
        }
        (self.advance)(offset);
        Ok(Some(Session { location: answer.location().unwrap_or_else(|| session.location.clone()), offset }))
    }

    fn refused(&self, answer: &mut Answer) -> Error {
        self.repository.client().refused(answer, &self.what, &self.source.endpoint)
    }
}

/// Counts what is read, and keeps an error that is not the connection's.
struct Counted<'a> {
    inner: Box<dyn Read + Send>,
    advance: &'a dyn Fn(u64),
    stop: &'a Stop,
    done: u64,
    size: u64,
    error: Cell<Option<io::Error>>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let ended = |error: io::Error| {
            let kind = error.kind();
            self.error.set(Some(error));
            Err(io::Error::from(kind))
        };
        if self.stop.is_over() {
            return ended(io::Error::from(io::ErrorKind::ConnectionAborted));
        }
        let left = usize::try_from(self.size - self.done).unwrap_or(usize::MAX);
        let piece = buffer.len().min(left);
        if piece == 0 {
            return Ok(0);
        }
        match self.inner.read(&mut buffer[..piece]) {
            Ok(0) => ended(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("it ended after {} of {} bytes", self.done, self.size),
            )),
            Ok(length) => {
                self.done += length as u64;
                (self.advance)(self.done);
                Ok(length)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => ended(error),
        }
    }
}

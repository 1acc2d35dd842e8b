//! The bytes of an entry as they come: an address that is too old is asked for anew, and a connection that broke is
//! gone on from where it did.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use builder_cache::BlobDigest;

use super::{Shared, unsent_reason};
use crate::http::{
    Backoff, Body, Cause, Method, Request, Response, StatusCode, Tls, Unsent, header, pause, retry_after,
};
use crate::registry;
use crate::remote_cache::Error;

/// After so many bytes without trouble all retries are there again.
const PROGRESS: u64 = 1 << 20;

/// What is to be read.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    /// The blob with this digest, wherever the service says that it is.
    Blob(BlobDigest),
    /// What is at an address.
    At(String),
}

/// Reads an entry. Whoever keeps its bytes checks them.
pub(super) struct Download {
    shared: Arc<Shared>,
    entry: Entry,
    /// `None` until the storage says it, when the manifest did not.
    size: Option<u64>,
    done: u64,
    answer: Option<Response>,
    backoff: Backoff,
    broke_at: u64,
}

impl Download {
    /// Connects, so that what is not there is known at once.
    pub(super) fn open(shared: &Arc<Shared>, entry: Entry, size: Option<u64>) -> Result<Self, Error> {
        let backoff = Backoff::new(Backoff::USUAL);
        let mut download =
            Self { shared: Arc::clone(shared), entry, size, done: 0, answer: None, backoff, broke_at: 0 };
        download.connect()?;
        Ok(download)
    }

    fn address(&self) -> Result<String, Error> {
        match &self.entry {
            Entry::At(url) => Ok(url.clone()),
            Entry::Blob(digest) => {
                let missing = || Error::NoBlob { place: self.shared.name(), digest: *digest };
                self.shared.address(digest)?.ok_or_else(missing)
            }
        }
    }

    /// Whether another address may help: they are signed for some minutes only.
    fn forget(&self) -> bool {
        match &self.entry {
            Entry::At(_) => false,
            Entry::Blob(digest) => self.shared.forget(digest),
        }
    }

    /// Asks for what is missing, until that is answered. What is signed in an address is not told.
    fn connect(&mut self) -> Result<(), Error> {
        let mut renewed = false;
        loop {
            let (url, range) = (self.address()?, [(header::RANGE, format!("bytes={}-", self.done))]);
            let headers = if self.done > 0 { &range[..] } else { &[] };
            let request = Request { method: Method::GET, url: &url, headers, body: Body::None };
            let (reason, asked) = match self.shared.agents.send(request, &Tls::default()) {
                Ok(answer) => match answer.status() {
                    StatusCode::OK => return self.begin(answer, 0),
                    StatusCode::PARTIAL_CONTENT if self.done > 0 => return self.begin(answer, self.done),
                    StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE
                        if !renewed && self.forget() =>
                    {
                        renewed = true;
                        continue;
                    }
                    status => {
                        let reason = format!("its storage answered {status}");
                        if !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS {
                            return Err(self.shared.failed(reason));
                        }
                        (reason, retry_after(answer.headers()))
                    }
                },
                Err(Unsent::Failed(failure)) if is_passing(failure.cause) => (failure.reason, None),
                Err(unsent) => return Err(self.shared.failed(unsent_reason(unsent))),
            };
            self.wait(reason, asked)?;
        }
    }

    /// Takes an answer whose body begins at an offset.
    fn begin(&mut self, mut answer: Response, start: u64) -> Result<(), Error> {
        if start > 0 {
            let range = answer.header(header::CONTENT_RANGE).unwrap_or_default();
            let said = range.strip_prefix("bytes ").and_then(|range| range.split('-').next());
            if said.and_then(|said| said.parse().ok()) != Some(start) {
                return Err(self.shared.failed("its storage sends another part than was asked for"));
            }
        }
        if let Some(length) = answer.length() {
            let (found, expected) = (start.saturating_add(length), *self.size.get_or_insert(start + length));
            if found != expected {
                return Err(self.shared.failed(format!("its storage has {found} bytes instead of {expected}")));
            }
        }
        // A storage that can't begin in the middle begins anew.
        let skipped = io::copy(&mut (&mut answer).take(self.done - start), &mut io::sink());
        if let Err(error) = skipped {
            return Err(self.shared.failed(answer.failure(&error).reason));
        }
        self.answer = Some(answer);
        Ok(())
    }

    fn wait(&mut self, reason: String, asked: Option<Duration>) -> Result<(), Error> {
        let Some(time) = self.backoff.next(asked).filter(|time| *time <= super::service::LONGEST) else {
            return Err(self.shared.failed(reason));
        };
        if pause(time, || self.shared.stop.is_over()) { Ok(()) } else { Err(Error::Cancelled) }
    }

    fn next(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            if self.shared.stop.is_over() {
                return Err(Error::Cancelled);
            }
            let left = self.size.map_or(u64::MAX, |size| size - self.done);
            if left == 0 || buffer.is_empty() {
                return Ok(0);
            }
            let Some(answer) = &mut self.answer else {
                self.connect()?;
                continue;
            };
            let piece = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let reason = match answer.read(&mut buffer[..piece]) {
                Ok(0) if self.size.is_none() => return Ok(0),
                Ok(0) => "the connection broke".to_owned(),
                Ok(count) => {
                    self.done += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let failure = answer.failure(&error);
                    if !is_passing(failure.cause) {
                        return Err(self.shared.failed(failure.reason));
                    }
                    failure.reason
                }
            };
            self.answer = None;
            if self.done >= self.broke_at + PROGRESS {
                self.backoff.restart();
            }
            self.broke_at = self.done;
            self.wait(format!("{reason}, after {} bytes", self.done), None)?;
        }
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.next(buffer).map_err(|error| match error {
            Error::Cancelled => registry::Error::Cancelled.into(),
            error => io::Error::other(error),
        })
    }
}

/// Whether it may be over in a moment.
fn is_passing(cause: Cause) -> bool {
    matches!(cause, Cause::Broken | Cause::Silence)
}

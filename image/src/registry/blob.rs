//! Blobs as they come.

use std::fmt;
use std::io::{self, Read};

use builder_cache::BlobDigest;
use sha2::{Digest, Sha256};

use super::auth::Scopes;
use super::exchange::Answer;
use super::repository::{Repository, Source};
use super::{Error, Inner};
use crate::http::header::{CONTENT_RANGE, RANGE};
use crate::http::{Backoff, Method};

/// After so many bytes without trouble, or a part of a small blob, all retries are there again.
const PROGRESS: u64 = 1 << 20;

/// What is skipped at once of a server that can't begin in the middle.
const SKIP: usize = 64 << 10;

/// A blob as it comes. It goes on after a broken connection, with another mirror if need be. Its last bytes come only
/// when size and digest are right; what is wrong is an error with an [`Error`] in it.
pub struct BlobReader {
    repository: Repository,
    /// Those that can still be asked; the first is the one that is.
    sources: Vec<Source>,
    digest: BlobDigest,
    size: u64,
    what: String,
    done: u64,
    /// `None` when the caller checks the digest.
    hasher: Option<Sha256>,
    answer: Option<Answer>,
    backoff: Backoff,
    broke_at: u64,
    is_over: bool,
}

impl fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobReader").field("what", &self.what).field("done", &self.done).finish_non_exhaustive()
    }
}

impl BlobReader {
    pub(super) fn open(repository: &Repository, digest: BlobDigest, size: u64) -> Result<Self, Error> {
        let mut reader = Self {
            what: format!("{}@{digest}", repository.name()),
            sources: repository.sources()?,
            repository: repository.clone(),
            digest,
            size,
            done: 0,
            hasher: Some(Sha256::new()),
            answer: None,
            backoff: repository.client().backoff(),
            broke_at: 0,
            is_over: false,
        };
        reader.connect()?;
        Ok(reader)
    }

    /// For callers that hash the bytes anyway and compare: the digest is not checked here, only the size.
    #[must_use]
    pub fn digest_is_checked_by_caller(mut self) -> Self {
        self.hasher = None;
        self
    }

    /// What it is a part of, for errors: `host/repository@sha256:…`.
    pub fn what(&self) -> &str {
        &self.what
    }

    fn client(&self) -> &Inner {
        self.repository.client()
    }

    /// Asks for what is missing, one source after the other.
    fn connect(&mut self) -> Result<(), Error> {
        loop {
            let Some(source) = self.sources.first().cloned() else { return Err(Error::Cancelled) };
            match self.ask(&source) {
                Ok(answer) => {
                    self.answer = Some(answer);
                    return Ok(());
                }
                Err(error) if error.is_cancelled() || self.sources.len() == 1 => return Err(error),
                Err(error) => {
                    if matches!(error, Error::Connection { .. }) {
                        source.endpoint.mark_ill();
                    }
                    self.sources.remove(0);
                }
            }
        }
    }

    fn ask(&self, source: &Source) -> Result<Answer, Error> {
        let (repository, what) = (&self.repository, self.what.as_str());
        let target = format!("{}/blobs/{}", source.path, self.digest);
        let range = [(RANGE, format!("bytes={}-", self.done))];
        let headers = if self.done > 0 { &range[..] } else { &[] };
        let scopes = Scopes::pull(&source.path);
        let mut answer = repository.call(source, Method::GET, &target, headers, &[], &scopes, what)?;
        let strange = |reason: &str| Error::Answer { what: what.to_owned(), reason: reason.to_owned() };
        let (mut skip, mut left) = (0, self.size - self.done);
        match answer.status() {
            200 => (skip, left) = (self.done, self.size),
            206 if self.done > 0 => {
                let range = answer.response.header(CONTENT_RANGE).unwrap_or_default();
                let start = range.strip_prefix("bytes ").and_then(|range| range.split('-').next());
                if start.and_then(|start| start.parse().ok()) != Some(self.done) {
                    return Err(strange("the server sends another part than was asked for"));
                }
            }
            206 => return Err(strange("the server sends a part where the whole was asked for")),
            _ => return Err(repository.client().refused(&mut answer, what, &source.endpoint)),
        }
        if let Some(length) = answer.response.length()
            && length != left
        {
            let found = (self.size - left).saturating_add(length);
            return Err(Error::Size { what: what.to_owned(), expected: self.size, found });
        }
        let mut buffer = vec![0; SKIP.min(skip as usize)];
        while skip > 0 {
            let piece = buffer.len().min(skip as usize);
            match answer.response.read(&mut buffer[..piece]) {
                Ok(0) => {
                    let reason = "the connection broke".to_owned();
                    return Err(Error::Connection { what: what.to_owned(), reason, cause: crate::http::Cause::Broken });
                }
                Ok(length) => skip -= length as u64,
                Err(error) => {
                    return Err(repository.client().failed(&answer.response.failure(&error), &answer.url, what));
                }
            }
        }
        Ok(answer)
    }

    /// Goes on after the connection broke, unless it did so too often.
    fn resume(&mut self, error: Error) -> Result<(), Error> {
        self.answer = None;
        if !error.is_passing() {
            return Err(error);
        }
        if self.done >= self.broke_at + PROGRESS.min(self.size / 16 + 1) {
            self.backoff.restart();
        }
        self.broke_at = self.done;
        match self.backoff.next(None) {
            Some(time) => self.client().wait(time)?,
            None if self.sources.len() > 1 => {
                self.sources.remove(0);
                self.backoff.restart();
            }
            None => return Err(error),
        }
        self.connect()
    }

    fn next(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        if self.is_over || buffer.is_empty() {
            return Ok(0);
        }
        loop {
            self.client().check()?;
            if self.done == self.size {
                // Only an empty blob gets here before its last byte was given.
                self.finish()?;
                return Ok(0);
            }
            let left = self.size - self.done;
            let Some(answer) = &mut self.answer else { return Ok(0) };
            let piece = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match answer.response.read(&mut buffer[..piece]) {
                Ok(0) => {
                    let what = self.what.clone();
                    let reason = format!("the connection broke after {} of {} bytes", self.done, self.size);
                    self.resume(Error::Connection { what, reason, cause: crate::http::Cause::Broken })?;
                }
                Ok(length) => {
                    if let Some(hasher) = &mut self.hasher {
                        hasher.update(&buffer[..length]);
                    }
                    self.done += length as u64;
                    if self.done == self.size {
                        self.finish()?;
                    }
                    return Ok(length);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let (failure, url) = (answer.response.failure(&error), answer.url.clone());
                    let mut error = self.client().failed(&failure, &url, &self.what);
                    if let Error::Connection { reason, .. } = &mut error {
                        *reason = format!("{reason}, after {} of {} bytes", self.done, self.size);
                    }
                    self.resume(error)?;
                }
            }
        }
    }

    /// The bytes are all there: they are what was asked for, and nothing follows.
    fn finish(&mut self) -> Result<(), Error> {
        self.is_over = true;
        if let Some(hasher) = self.hasher.take() {
            let found = BlobDigest::from_bytes(hasher.finalize().into());
            if found != self.digest {
                return Err(Error::Digest { what: self.what.clone(), expected: self.digest, found });
            }
        }
        if let Some(mut answer) = self.answer.take() {
            // This also lets the connection be used again. What comes after right bytes is not worth an error.
            let _ = answer.response.read(&mut [0]);
        }
        Ok(())
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.next(buffer).map_err(|error| {
            self.is_over = true;
            error.into()
        })
    }
}

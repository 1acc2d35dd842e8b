//! The service that knows the entries: version 2 (JSON over Twirp) and version 1 (REST, still there on servers of
//! one's own).

use std::fmt::Write as _;
use std::io::Read;

use serde_json::{Value, json};

use super::{GhaPlace, VERSION, json_headers, unsent_reason};
use crate::http::{Agents, Backoff, Body, Cause, Method, Request, StatusCode, Stop, Tls, Unsent, pause, retry_after};
use crate::registry::Secret;
use crate::remote_cache::Error;

/// The largest answer that is read.
const ANSWER_LIMIT: u64 = 1 << 20;

/// The longest pause that the service may ask for.
pub(super) const LONGEST: std::time::Duration = std::time::Duration::from_secs(20);

/// An entry that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) key: String,
    pub(super) url: String,
}

/// What became of the wish to make an entry.
#[derive(Debug)]
pub(super) enum Created {
    New(Target),
    Exists,
}

/// Where the bytes of a new entry go.
#[derive(Debug)]
pub(super) enum Target {
    /// Into blob storage, by an address that is signed.
    Signed(String),
    /// To the service itself, by number.
    Numbered(i64),
}

/// One question; `None` is "there is none" or "there is one".
pub(super) type Call<'a> = &'a dyn Fn(&str, &Value) -> Result<Option<Value>, Error>;

#[derive(Debug)]
pub(super) struct Service {
    base: String,
    pub(super) token: Secret,
    v2: bool,
}

impl Service {
    pub(super) fn new(place: &GhaPlace) -> Self {
        let base = place.url.trim_end_matches('/').to_owned();
        Self { base, token: place.token.clone(), v2: place.v2 }
    }

    /// Finds the entry of a key, or the newest one that begins like one of `prefixes`.
    pub(super) fn find(&self, key: &str, prefixes: &[&str], call: Call<'_>) -> Result<Option<Found>, Error> {
        let text = |value: &Value, name: &str| value[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        if self.v2 {
            let request = json!({ "key": key, "restore_keys": prefixes, "version": VERSION });
            let answer = call("GetCacheEntryDownloadURL", &request)?.filter(|answer| answer["ok"] == true);
            return Ok(answer.and_then(|answer| {
                Some(Found { key: text(&answer, "matched_key")?, url: text(&answer, "signed_download_url")? })
            }));
        }
        let keys = std::iter::once(key).chain(prefixes.iter().copied().filter(|prefix| *prefix != key));
        let keys: Vec<String> = keys.map(encode).collect();
        let answer = call(&format!("cache?keys={}&version={VERSION}", keys.join(",")), &Value::Null)?;
        Ok(answer
            .and_then(|answer| Some(Found { key: text(&answer, "cacheKey")?, url: text(&answer, "archiveLocation")? })))
    }

    /// Announces a new entry.
    pub(super) fn create(&self, key: &str, size: u64, call: Call<'_>) -> Result<Created, Error> {
        if self.v2 {
            let answer = call("CreateCacheEntry", &json!({ "key": key, "version": VERSION }))?;
            let url = answer.filter(|answer| answer["ok"] == true);
            let url = url.and_then(|answer| answer["signed_upload_url"].as_str().map(str::to_owned));
            return Ok(url.map_or(Created::Exists, |url| Created::New(Target::Signed(url))));
        }
        let answer = call("caches", &json!({ "key": key, "version": VERSION, "cacheSize": size }))?;
        let number = answer.and_then(|answer| answer["cacheId"].as_i64());
        Ok(number.map_or(Created::Exists, |number| Created::New(Target::Numbered(number))))
    }

    /// The address of a method.
    pub(super) fn url(&self, path: &str) -> String {
        if self.v2 {
            format!("{}/twirp/github.actions.results.api.v1.CacheService/{path}", self.base)
        } else {
            format!("{}/_apis/artifactcache/{path}", self.base)
        }
    }

    /// Asks, again when the service is busy. `None`: the service says that there is none, or that there is one already.
    pub(super) fn call(&self, agents: &Agents, stop: &Stop, path: &str, body: &Value) -> Result<Option<Value>, String> {
        let url = self.url(path);
        let accept = if self.v2 { "application/json" } else { "application/json;api-version=6.0-preview.1" };
        let headers = json_headers(&self.token, accept);
        let text = body.to_string();
        let mut backoff = Backoff::new(Backoff::USUAL);
        loop {
            let (method, body) =
                if body.is_null() { (Method::GET, Body::None) } else { (Method::POST, Body::Bytes(text.as_bytes())) };
            let request = Request { method, url: &url, headers: &headers, body };
            let (reason, asked) = match agents.send(request, &Tls::default()) {
                Ok(mut answer) => {
                    let status = answer.status();
                    let mut bytes = Vec::new();
                    let read = (&mut answer).take(ANSWER_LIMIT).read_to_end(&mut bytes);
                    match (status, read) {
                        (StatusCode::NO_CONTENT | StatusCode::NOT_FOUND | StatusCode::CONFLICT, _) => return Ok(None),
                        (_, Err(error)) => (answer.failure(&error).reason, None),
                        (status, Ok(_)) if status.is_success() && bytes.is_empty() => return Ok(Some(Value::Null)),
                        (status, Ok(_)) if status.is_success() => {
                            let wrong = |error| format!("the service's answer can't be understood ({error})");
                            return serde_json::from_slice(&bytes).map(Some).map_err(wrong);
                        }
                        (status, Ok(_)) => {
                            let said = said(&bytes);
                            if said.contains("already_exists") || said.contains("already exists") {
                                return Ok(None);
                            }
                            let reason = format!("the service answered {status}{said}");
                            if status != StatusCode::TOO_MANY_REQUESTS && !status.is_server_error() {
                                return Err(reason);
                            }
                            (reason, retry_after(answer.headers()))
                        }
                    }
                }
                Err(Unsent::Failed(failure)) if failure.cause == Cause::Broken => (failure.reason, None),
                Err(unsent) => return Err(unsent_reason(unsent)),
            };
            let Some(time) = backoff.next(asked).filter(|time| *time <= LONGEST) else { return Err(reason) };
            if !pause(time, || stop.is_over()) {
                return Err("cancelled".to_owned());
            }
        }
    }
}

/// Says that all bytes are there. Tells whether the service thinks so, too.
pub(super) fn finish(key: &str, size: u64, target: &Target, call: Call<'_>) -> Result<bool, Error> {
    match target {
        Target::Signed(_) => {
            let request = json!({ "key": key, "size_bytes": size.to_string(), "version": VERSION });
            let answer = call("FinalizeCacheEntryUpload", &request)?;
            Ok(answer.is_some_and(|answer| answer["ok"] == true))
        }
        // It answers with nothing when it is content.
        Target::Numbered(number) => call(&format!("caches/{number}"), &json!({ "size": size })).map(|_| true),
    }
}

/// What a service says of a failure, for people: bounded, and without what a terminal would obey.
fn said(bytes: &[u8]) -> String {
    let parsed: Option<Value> = serde_json::from_slice(bytes).ok();
    let words = parsed.iter().flat_map(|value| ["code", "msg", "message"].map(|name| value[name].as_str()));
    let words: Vec<&str> = words.flatten().collect();
    let text: String = words.join(": ").chars().filter(|letter| !letter.is_control()).take(300).collect();
    if text.is_empty() { text } else { format!(" ({text})") }
}

/// A key as a part of an address.
fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            _ => {
                // Writing to a string can't fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

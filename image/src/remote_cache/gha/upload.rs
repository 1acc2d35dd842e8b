//! Sending the bytes of an entry: to the blob storage behind version 2, or in pieces to version 1.

use std::io::Read;

use super::service::{Service, Target};
use super::{json_headers, unsent_reason};
use crate::http::{Agents, Backoff, Body, Cause, Method, Request, Stop, Tls, Unsent, header, pause, retry_after};

/// Bytes that are sent with one request. They are kept to be sent again: a source may be far away itself.
const PIECE: u64 = 32 << 20;

/// Sends all bytes of an entry, which are read once; `advance` hears how many are gone.
pub(super) fn send(
    agents: &Agents,
    stop: &Stop,
    service: &Service,
    target: &Target,
    size: u64,
    source: &mut dyn Read,
    advance: &(dyn Fn(u64) + Sync),
) -> Result<(), String> {
    let plain = |name: &'static str, value: &str| (header::HeaderName::from_static(name), value.to_owned());
    let mut blocks = Vec::new();
    let mut piece = Vec::new();
    let mut start = 0;
    while start < size {
        let length = PIECE.min(size - start);
        piece.clear();
        let read = (&mut *source).take(length).read_to_end(&mut piece).map_err(|error| error.to_string())?;
        if read as u64 != length {
            return Err(format!("what is to be sent ends after {} of {size} bytes", start + read as u64));
        }
        let (method, url, headers) = match target {
            Target::Signed(url) if size <= PIECE => {
                (Method::PUT, url.clone(), vec![plain("x-ms-blob-type", "BlockBlob")])
            }
            Target::Signed(url) => {
                // All names of blocks are to be of one length.
                let block = base64(format!("{:08}", blocks.len()).as_bytes());
                let url = format!("{url}&comp=block&blockid={}", block.replace('=', "%3D"));
                blocks.push(block);
                (Method::PUT, url, Vec::new())
            }
            Target::Numbered(number) => {
                let mut headers = json_headers(&service.token, "application/json;api-version=6.0-preview.1");
                headers.retain(|(name, _)| name != header::CONTENT_TYPE);
                headers.push((header::CONTENT_TYPE, "application/octet-stream".to_owned()));
                headers.push((header::CONTENT_RANGE, format!("bytes {start}-{}/*", start + length - 1)));
                (Method::PATCH, service.url(&format!("caches/{number}")), headers)
            }
        };
        attempt(agents, stop, &method, &url, &headers, &piece)?;
        start += length;
        advance(start);
    }
    if let (Target::Signed(url), false) = (target, blocks.is_empty()) {
        let listed = blocks.join("</Latest><Latest>");
        let list =
            format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList><Latest>{listed}</Latest></BlockList>");
        attempt(agents, stop, &Method::PUT, &format!("{url}&comp=blocklist"), &[], list.as_bytes())?;
    }
    Ok(())
}

/// Sends one piece, again when that seems worth it. The address is not told: it is signed.
fn attempt(
    agents: &Agents,
    stop: &Stop,
    method: &Method,
    url: &str,
    headers: &[(header::HeaderName, String)],
    piece: &[u8],
) -> Result<(), String> {
    let mut backoff = Backoff::new(Backoff::USUAL);
    loop {
        let request = Request { method: method.clone(), url, headers, body: Body::Bytes(piece) };
        let (reason, asked) = match agents.send(request, &Tls::default()) {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => {
                let status = answer.status();
                let reason = format!("its storage answered {status}");
                if !status.is_server_error() && status.as_u16() != 429 {
                    return Err(reason);
                }
                (reason, retry_after(answer.headers()))
            }
            Err(Unsent::Failed(failure)) if failure.cause == Cause::Broken => (failure.reason, None),
            Err(unsent) => return Err(unsent_reason(unsent)),
        };
        let Some(time) = backoff.next(asked) else { return Err(reason) };
        if !pause(time, || stop.is_over()) {
            return Err("cancelled".to_owned());
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

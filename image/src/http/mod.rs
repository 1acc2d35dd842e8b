//! HTTP, as everything here that talks to servers speaks it: the machine's certificates, the environment's proxies,
//! limits on silence, and pauses that end when the work does.
//!
//! Requests are synchronous. Connections are kept and used again; an answer's body is read from its socket, never
//! collected.

mod agents;
mod certificates;
mod failure;
mod pinned;
mod proxy;
mod retry;
mod stop;
pub mod url;

pub use agents::{Agents, Body, Patience, Request, Response, Unsent};
pub use certificates::{CertificateError, Tls};
pub use failure::{Cause, Failure};
pub use retry::{Backoff, pause, retry_after};
pub use stop::Stop;
pub use ureq::http::{HeaderMap, Method, StatusCode, header};

/// The value of an `Authorization` header for a user.
pub fn basic(user: &str, password: &str) -> String {
    use base64::Engine;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

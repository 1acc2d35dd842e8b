//! Why there was no answer, in words.

use std::io::ErrorKind;

use rustls::{AlertDescription, CertificateError as Rejected, InvalidMessage};

/// There was no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What happened, to follow a colon.
    pub reason: String,
    /// What kind of thing it was.
    pub cause: Cause,
}

/// Kinds of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The connection broke in a way that may be over in a moment.
    Broken,
    /// The server was silent for too long.
    Silence,
    /// Nobody listens there, or nobody that can be reached.
    Refused,
    /// The server does not speak TLS.
    NotTls,
    /// The server's certificate comes from nobody who is trusted.
    UnknownIssuer,
    /// The server's certificate is not to be trusted for another reason.
    Certificate,
    /// The server wants a certificate of the client, or another one.
    ClientCertificate,
    /// A server sends from one place to the next without end.
    Redirects,
    /// Anything else.
    Other,
}

impl Failure {
    /// What the client says.
    pub(super) fn of(error: &ureq::Error, host: &str, redirects: u32) -> Self {
        let (cause, reason) = match error {
            ureq::Error::HostNotFound if host.is_empty() => (Cause::Other, "its host has no address".to_owned()),
            ureq::Error::HostNotFound => (Cause::Other, format!("no address is known for the host {host}")),
            ureq::Error::TooManyRedirects => (Cause::Redirects, format!("it redirects more than {redirects} times")),
            ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => {
                (Cause::Refused, "the server did not answer in time".to_owned())
            }
            ureq::Error::Timeout(_) => (Cause::Silence, "the server did not answer in time".to_owned()),
            ureq::Error::InvalidProxyUrl => {
                (Cause::Other, "the proxy that the environment names is not a URL".to_owned())
            }
            ureq::Error::Rustls(error) => tls(error, host),
            ureq::Error::Io(error) => return Self::of_io(error, host),
            other => (Cause::Other, other.to_string()),
        };
        Self { reason, cause }
    }

    /// The same for an error while a body was read or sent.
    pub(super) fn of_io(error: &std::io::Error, host: &str) -> Self {
        if let Some(inner) = error.get_ref() {
            if let Some(error) = inner.downcast_ref::<rustls::Error>() {
                let (cause, reason) = tls(error, host);
                return Self { reason, cause };
            }
            if let Some(error) = inner.downcast_ref::<ureq::Error>() {
                // An error of the client in one of the system never holds one of the system again.
                return Self::of(error, host, 0);
            }
        }
        let (cause, reason) = match error.kind() {
            ErrorKind::ConnectionRefused => (Cause::Refused, "the connection was refused".to_owned()),
            ErrorKind::TimedOut | ErrorKind::WouldBlock => {
                (Cause::Silence, "the server did not answer in time".to_owned())
            }
            ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::UnexpectedEof
            | ErrorKind::BrokenPipe => (Cause::Broken, format!("the connection broke ({error})")),
            _ => (Cause::Other, error.to_string()),
        };
        Self { reason, cause }
    }
}

fn tls(error: &rustls::Error, host: &str) -> (Cause, String) {
    match error {
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            (Cause::NotTls, "the server does not speak TLS".to_owned())
        }
        rustls::Error::InvalidCertificate(rejected) => certificate(rejected, host),
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::AccessDenied,
        ) => (Cause::ClientCertificate, format!("the server wants another certificate of the client ({error})")),
        other => (Cause::Other, format!("no connection by TLS ({other})")),
    }
}

fn certificate(rejected: &Rejected, host: &str) -> (Cause, String) {
    match rejected {
        // A bad signature is one of an authority that only has the name of one that is trusted: it was made anew.
        Rejected::UnknownIssuer | Rejected::BadSignature => (
            Cause::UnknownIssuer,
            "the certificate of the server is signed by an authority that is not trusted here".to_owned(),
        ),
        Rejected::Expired | Rejected::ExpiredContext { .. } => {
            (Cause::Certificate, "the certificate of the server has expired".to_owned())
        }
        Rejected::NotValidYet | Rejected::NotValidYetContext { .. } => {
            (Cause::Certificate, "the certificate of the server is not valid yet; is the clock right?".to_owned())
        }
        Rejected::NotValidForName | Rejected::NotValidForNameContext { .. } => {
            (Cause::Certificate, format!("the certificate of the server is for other names than {host}"))
        }
        Rejected::Revoked => (Cause::Certificate, "the certificate of the server was revoked".to_owned()),
        rejected if is_authority(rejected) => (
            Cause::UnknownIssuer,
            "the certificate of the server is one of an authority, and none that is trusted here".to_owned(),
        ),
        other => (Cause::Certificate, format!("the certificate of the server is not valid ({other})")),
    }
}

/// The certificate was rejected because it is one of an authority. There is no variant for that.
pub(super) fn is_authority(rejected: &Rejected) -> bool {
    matches!(rejected, Rejected::Other(other) if other.to_string().contains("CaUsedAsEndEntity"))
}

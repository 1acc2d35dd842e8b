//! Which certificates are trusted, and which one is shown.

use std::path::{Path, PathBuf};

use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use super::pinned::Pinned;

/// Where distributions keep the certificates that they trust.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Certificates or keys of a file can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct CertificateError {
    /// The file.
    pub path: PathBuf,
    /// The environment names it.
    pub from_environment: bool,
    /// What is wrong, to follow `which`.
    pub reason: String,
}

/// What is special about the TLS of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Tls {
    /// Whoever answers is believed to be the server.
    pub any_certificate: bool,
    /// Files with certificates that are trusted besides the machine's own.
    pub authorities: Vec<PathBuf>,
    /// Files with the client's own certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    /// For the client's configuration, and who speaks TLS in the client's place when somebody named certificates.
    pub(super) fn config(&self) -> Result<(TlsConfig, Option<Pinned>), CertificateError> {
        let environment = environment()?;
        let mut own = environment.clone().unwrap_or_default();
        for path in &self.authorities {
            own.extend(named(path, false)?);
        }
        let mut roots = if environment.is_some() { Vec::new() } else { machine() };
        roots.extend(own.iter().cloned());
        let client = self.client.as_ref().map(|(certificate, key)| client(certificate, key)).transpose()?;
        let pinned =
            if self.any_certificate || own.is_empty() { None } else { Pinned::new(&roots, &own, client.as_ref()) };
        let roots = if roots.is_empty() { RootCerts::WebPki } else { RootCerts::from(roots) };
        let config =
            TlsConfig::builder().root_certs(roots).client_cert(client).disable_verification(self.any_certificate);
        Ok((config.build(), pinned))
    }
}

/// What the machine trusts.
fn machine() -> Vec<Certificate<'static>> {
    let bundle = BUNDLES.iter().find_map(|path| std::fs::read(path).ok());
    bundle.map(|bundle| certificates(&bundle)).unwrap_or_default()
}

/// What the environment names in its place.
pub(super) fn environment() -> Result<Option<Vec<Certificate<'static>>>, CertificateError> {
    let path = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty());
    path.map(|path| named(Path::new(&path), true)).transpose()
}

/// The certificates of a file that somebody names.
fn named(path: &Path, from_environment: bool) -> Result<Vec<Certificate<'static>>, CertificateError> {
    let failed = |reason: String| CertificateError { path: path.to_owned(), from_environment, reason };
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

/// The client's certificate with its key.
fn client(certificate: &Path, key: &Path) -> Result<ClientCert, CertificateError> {
    let chain = named(certificate, false)?;
    let failed = |reason: String| CertificateError { path: key.to_owned(), from_environment: false, reason };
    let text = std::fs::read(key).map_err(|error| failed(format!("can't be read ({error})")))?;
    let of_pem = |item| match item {
        Ok(PemItem::PrivateKey(key)) => Some(key),
        _ => None,
    };
    let key: PrivateKey<'static> = parse_pem(&text)
        .find_map(of_pem)
        .ok_or_else(|| failed("holds no key without a passphrase: give one in PEM".to_owned()))?;
    // Tried here, because the client takes for granted that both are right.
    let parsed = PrivateKeyDer::try_from(key.der().to_vec())
        .map_err(|reason| failed(format!("holds a key that can't be read ({reason})")))?;
    let chain_der = chain.iter().map(|certificate| certificate.der().to_vec().into()).collect();
    let provider = rustls::crypto::ring::default_provider();
    match CertifiedKey::from_der(chain_der, parsed, &provider) {
        Ok(_) => Ok(ClientCert::new_with_certs(&chain, key)),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(failed(format!("holds another key than the one of the certificate {}", certificate.display())))
        }
        Err(error) => Err(failed(format!("can't be used ({error})"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_that_are_named_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bundle.pem");
        let said = || named(&path, true).unwrap_err().to_string();
        assert!(said().contains("bundle.pem: can't be read"), "{}", said());
        std::fs::write(&path, "nothing of the kind").unwrap();
        assert!(said().contains("holds no certificate"), "{}", said());
    }
}

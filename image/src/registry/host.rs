//! A server that is asked: where it is, how it is reached, and what was learned about that.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::auth::Auth;
use super::{Error, HostSettings, Settings};
use crate::http::{Tls, url};

/// The registry that images without one come from, and the server that has them.
pub(super) const DOCKER: &str = "docker.io";
const DOCKER_SERVER: &str = "registry-1.docker.io";

/// For how long a mirror that can't be reached is left out.
const ILL: Duration = Duration::from_mins(1);

/// Where certificates of hosts are looked for, below a directory with the host's name.
pub(super) const CERTIFICATES: [&str; 3] = ["/etc/builder/certs.d", "/etc/docker/certs.d", "/etc/containers/certs.d"];

/// A server.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// The host as references and configurations have it.
    pub(super) name: String,
    /// What all repositories are below: empty, or with a slash at its end.
    pub(super) prefix: String,
    /// How TLS is spoken with it.
    pub(super) tls: Tls,
    /// Who is asking.
    pub(super) auth: Auth,
    authority: String,
    /// `https` or `http`, in the order in which they are tried.
    schemes: Vec<&'static str>,
    learned: Mutex<Learned>,
}

#[derive(Debug, Default)]
struct Learned {
    scheme: Option<&'static str>,
    ill_until: Option<Instant>,
}

impl Endpoint {
    /// The server of a registry's host.
    pub(super) fn of(host: &str, settings: &Settings, certificates: &[PathBuf]) -> Result<Self, Error> {
        let set = settings.hosts.get(host);
        let authority = if host == DOCKER { DOCKER_SERVER } else { host };
        if url::host(&format!("https://{authority}/"))
            .is_none_or(|found| found.is_empty() || authority.contains(['/', '@', '?', '#']))
        {
            return Err(wrong("registry", host, "name a host, with a port if it has one"));
        }
        let tls = tls(host, authority, &set, certificates)?;
        let schemes = schemes(authority, &set, &tls, None);
        Ok(Self::new(host, authority, String::new(), tls, schemes))
    }

    /// A mirror: a host, or a URL with a path that all repositories are below.
    pub(super) fn mirror(text: &str, settings: &Settings, certificates: &[PathBuf]) -> Result<Self, Error> {
        let trimmed = text.trim_end_matches('/');
        let (scheme, rest) = match trimmed.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, trimmed),
        };
        let scheme = match scheme {
            None => None,
            Some("https") => Some("https"),
            Some("http") => Some("http"),
            Some(_) => return Err(wrong("mirror", text, "its address begins with neither https:// nor http://")),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.is_empty() || authority.contains('@') || rest.contains(['?', '#', ' ']) {
            return Err(wrong("mirror", text, "name a host, with a port and a path if it has them"));
        }
        let path = path.strip_prefix("v2/").unwrap_or(if path == "v2" { "" } else { path });
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let set = settings.hosts.get(authority);
        let server = if authority == DOCKER { DOCKER_SERVER } else { authority };
        let tls = tls(authority, server, &set, certificates)?;
        let schemes = schemes(server, &set, &tls, scheme);
        Ok(Self::new(authority, server, prefix, tls, schemes))
    }

    fn new(name: &str, authority: &str, prefix: String, tls: Tls, schemes: Vec<&'static str>) -> Self {
        Self {
            name: name.to_owned(),
            prefix,
            tls,
            auth: Auth::default(),
            authority: authority.to_owned(),
            schemes,
            learned: Mutex::default(),
        }
    }

    /// The schemes to try: the one that worked, or those that may.
    pub(super) fn schemes(&self) -> Vec<&'static str> {
        match self.learned().scheme {
            Some(scheme) => vec![scheme],
            None => self.schemes.clone(),
        }
    }

    /// This one worked.
    pub(super) fn settle(&self, scheme: &'static str) {
        let mut learned = self.learned();
        learned.scheme = Some(scheme);
        learned.ill_until = None;
    }

    /// The beginning of all its URLs: `https://host:5000`.
    pub(super) fn base(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.authority)
    }

    /// The URL is one of this server, by any scheme that it speaks.
    pub(super) fn answers_at(&self, url: &str) -> bool {
        let place = |url: &str| Some(url::origin(url)?.split_once("://")?.1.to_owned());
        let scheme = if url::is_secure(url) { "https" } else { "http" };
        place(url) == place(&self.base(scheme)) && (scheme == "https" || self.takes_plain())
    }

    /// The host without its port.
    pub(super) fn hostname(&self) -> String {
        url::host(&self.base("https")).unwrap_or_default().to_owned()
    }

    /// Plain HTTP is fine for what is secret too.
    pub(super) fn takes_plain(&self) -> bool {
        self.schemes.contains(&"http")
    }

    /// It can't be reached; for a while others are asked in its place.
    pub(super) fn mark_ill(&self) {
        self.learned().ill_until = Some(Instant::now() + ILL);
    }

    /// It could not be reached a moment ago.
    pub(super) fn is_ill(&self) -> bool {
        self.learned().ill_until.is_some_and(|until| Instant::now() < until)
    }

    fn learned(&self) -> std::sync::MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wrong(what: &'static str, text: &str, reason: &str) -> Error {
    Error::Setting { what, text: text.chars().take(200).collect(), reason: reason.to_owned() }
}

/// Plain HTTP is for this machine itself and for hosts that are said to speak it.
fn schemes(authority: &str, set: &HostSettings, tls: &Tls, named: Option<&'static str>) -> Vec<&'static str> {
    let host = url::host(&format!("https://{authority}/")).unwrap_or_default().to_owned();
    let has_certificates = !tls.authorities.is_empty() || tls.client.is_some();
    match (named, set.http) {
        (Some(scheme), _) => vec![scheme],
        (None, Some(true)) => vec!["http"],
        (None, None) if url::is_loopback(&host) && !has_certificates && !set.insecure => vec!["http", "https"],
        (None, None) if url::is_loopback(&host) || set.insecure => vec!["https", "http"],
        (None, Some(false) | None) => vec!["https"],
    }
}

/// What TLS needs for a host: what is configured, and what lies in the directories of certificates.
pub(super) fn tls(name: &str, authority: &str, set: &HostSettings, certificates: &[PathBuf]) -> Result<Tls, Error> {
    let mut tls = Tls {
        any_certificate: set.insecure,
        authorities: set.ca.clone(),
        client: set.client.as_ref().map(|client| (client.cert.clone(), client.key.clone())),
    };
    let mut names = vec![name];
    if authority != name {
        names.push(authority);
    }
    for directory in certificates {
        for name in &names {
            if !name.contains('/') && !name.starts_with('.') {
                add_directory(&mut tls, &directory.join(name))?;
            }
        }
    }
    // Whoever listens on this machine is believed, as by Docker, unless somebody says whom to believe.
    let host = url::host(&format!("https://{authority}/")).unwrap_or_default().to_owned();
    tls.any_certificate |= tls.authorities.is_empty() && url::is_loopback(&host);
    Ok(tls)
}

/// `*.crt` are authorities; a `*.cert` is the client's, with its key in the `.key` of the same name.
fn add_directory(tls: &mut Tls, directory: &Path) -> Result<(), Error> {
    let Ok(entries) = fs::read_dir(directory) else { return Ok(()) };
    let mut files = BTreeMap::new();
    for entry in entries.flatten() {
        files.insert(entry.file_name(), entry.path());
    }
    for path in files.into_values() {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => tls.authorities.push(path),
            Some("cert") if tls.client.is_none() => {
                let key = path.with_extension("key");
                if !key.exists() {
                    return Err(Error::Certificates {
                        path,
                        origin: "a directory of certificates".to_owned(),
                        reason: format!("has no key beside it: put it into {}", key.display()),
                    });
                }
                tls.client = Some((path, key));
            }
            _ => {}
        }
    }
    Ok(())
}

//! How hosts are to be reached.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::login::{Anonymous, Credentials};
use crate::http::Stop;

/// What a registry client works with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How hosts are reached.
    pub hosts: Hosts,
    /// Where logins come from.
    pub credentials: Arc<dyn Credentials>,
    /// Tells when to give up: between requests, in pauses, and while a body comes or goes.
    pub stop: Stop,
}

impl Default for Settings {
    /// Every host as it comes, nobody logged in, until all is done.
    fn default() -> Self {
        Self { hosts: Hosts::default(), credentials: Arc::new(Anonymous), stop: Stop::default() }
    }
}

/// What people call the registry of images without one.
const DOCKER: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

fn is_docker(host: &str) -> bool {
    DOCKER.contains(&host)
}

/// The hosts that something is set for: the tables `[registry."host"]` of a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hosts(BTreeMap<String, HostSettings>);

impl Hosts {
    /// What is set for a host; what goes without saying for one that nobody named.
    pub fn get(&self, host: &str) -> HostSettings {
        let names: &[&str] = if is_docker(host) { &DOCKER } else { &[host] };
        names.iter().find_map(|name| self.0.get(*name)).cloned().unwrap_or_default()
    }

    /// Sets it.
    pub fn insert(&mut self, host: impl Into<String>, settings: HostSettings) {
        self.0.insert(host.into(), settings);
    }

    /// The hosts that something is set for.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &HostSettings)> {
        self.0.iter().map(|(host, settings)| (host.as_str(), settings))
    }
}

/// How a host is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct HostSettings {
    /// Hosts, with a port, or URLs with a path, that are asked first when something is read. They get none of the
    /// host's credentials, only their own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<String>,
    /// Any certificate will do, and plain HTTP where TLS is not spoken.
    #[serde(skip_serializing_if = "is_default")]
    pub insecure: bool,
    /// Plain HTTP always, or never; unset means for this machine only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<bool>,
    /// Files with certificates that are trusted besides the machine's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ca: Vec<PathBuf>,
    /// Who the client says that it is in TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientCertificate>,
    /// The program `docker-credential-<this>` that knows the login; read by who provides [`Credentials`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_helper: Option<String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A certificate of the client with its key, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificate {
    /// The certificate, with those between it and its authority.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

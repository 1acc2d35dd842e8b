//! Where a login is looked for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use builder_image::registry::{Credentials, CredentialsError, Hosts, Login};

use super::file::AuthFile;
use super::helper::Helper;
use crate::config::{directory, user_config};

/// A variable with the text of a `config.json`, as CI systems set it.
const VARIABLE: &str = "DOCKER_AUTH_CONFIG";

/// The user's logins. Nothing is read before a registry asks.
#[derive(Debug)]
pub(crate) struct Logins {
    /// The helpers that `builder.toml` names, by host.
    helpers: BTreeMap<String, String>,
}

impl Logins {
    /// With the helpers of these hosts.
    pub(crate) fn new(hosts: &Hosts) -> Self {
        let helper = |settings: &builder_image::registry::HostSettings| settings.credentials_helper.clone();
        let helpers = hosts.iter().filter_map(|(host, settings)| Some((host.to_owned(), helper(settings)?)));
        Self { helpers: helpers.collect() }
    }

    /// The helper that `builder.toml` names for a host.
    pub(super) fn helper(&self, host: &str) -> Option<&str> {
        self.helpers.get(host).map(String::as_str)
    }

    /// The login of a host.
    pub(crate) fn find(&self, host: &str) -> anyhow::Result<Option<Login>> {
        if let Some(name) = self.helper(host) {
            return Ok(Helper::new(name).get(host)?);
        }
        if let Some(login) = variable()?.login(host).with_context(|| format!("{VARIABLE} can't be used"))? {
            return Ok(Some(login));
        }
        for path in docker_file().into_iter().chain(podman_file()) {
            let file = AuthFile::read(&path)?;
            if let Some(name) = file.helper(host)
                && let Some(login) = Helper::new(name).get(host)?
            {
                return Ok(Some(login));
            }
            let login = file.login(host).with_context(|| format!("{} can't be used", path.display()))?;
            if login.is_some() {
                return Ok(login);
            }
        }
        Ok(None)
    }

    /// The user's name beside a token.
    pub(crate) fn user(host: &str) -> Option<String> {
        AuthFile::read(&docker_file()?).ok()?.user(host).filter(|user| !user.is_empty())
    }
}

impl Credentials for Logins {
    fn login(&self, host: &str) -> Result<Option<Login>, CredentialsError> {
        // Causes are told in the one sentence that is shown.
        self.find(host).map_err(|error| CredentialsError::new(format!("the login of {host} can't be had: {error:#}")))
    }
}

fn variable() -> anyhow::Result<AuthFile> {
    let text = std::env::var_os(VARIABLE).unwrap_or_default();
    AuthFile::parse(&text.to_string_lossy()).with_context(|| format!("{VARIABLE} can't be used"))
}

/// Docker's file: in `DOCKER_CONFIG`, else in the user's home.
pub(crate) fn docker_file() -> Option<PathBuf> {
    let named = std::env::var_os("DOCKER_CONFIG").filter(|dir| !dir.is_empty());
    let named = named.and_then(|dir| std::path::absolute(dir).ok());
    Some(named.or_else(|| directory("HOME").map(|home| home.join(".docker")))?.join("config.json"))
}

/// podman's files, the first that is there.
fn podman_file() -> Option<PathBuf> {
    let named = std::env::var_os("REGISTRY_AUTH_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
    let run = directory("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json"));
    let kept = user_config().map(|dir| dir.join("containers/auth.json"));
    named.or_else(|| run.filter(|path| path.exists())).or(kept)
}

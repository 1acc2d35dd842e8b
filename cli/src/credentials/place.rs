//! Where `login` keeps what `logout` forgets.

use std::path::PathBuf;

use anyhow::Context as _;
use builder_image::registry::Login;
use serde_json::json;

use super::entry;
use super::file::{AuthFile, edit};
use super::helper::Helper;
use super::sources::{Logins, docker_file};

/// Where the login of one host is kept.
#[derive(Debug)]
pub(crate) struct Place<'h> {
    host: &'h str,
    /// Docker's file; also told of what a helper keeps, when it is the one that names the helper.
    path: Option<PathBuf>,
    helper: Option<String>,
}

/// How something was kept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// By a helper.
    Safely,
    /// In a file that everybody can read who can read the user's files.
    InPlainText(PathBuf),
}

impl<'h> Place<'h> {
    /// The place for a host.
    pub(crate) fn of(host: &'h str, logins: &Logins) -> anyhow::Result<Self> {
        if let Some(name) = logins.helper(host) {
            return Ok(Self { host, path: None, helper: Some(name.to_owned()) });
        }
        let path = docker_file().context("there is no place for logins: set DOCKER_CONFIG or HOME")?;
        let helper = AuthFile::read(&path)?.helper(host).map(str::to_owned);
        Ok(Self { host, path: Some(path), helper })
    }

    /// Keeps a login. `user` is kept beside a token.
    pub(crate) fn store(&self, user: &str, login: &Login) -> anyhow::Result<Kept> {
        let entry = match &self.helper {
            Some(name) => {
                Helper::new(name).store(self.host, login)?;
                json!({})
            }
            None => entry::encode(user, login),
        };
        let Some(path) = &self.path else { return Ok(Kept::Safely) };
        edit(path, |file| file.insert(self.host, entry).map(|()| true))?;
        Ok(if self.helper.is_some() { Kept::Safely } else { Kept::InPlainText(path.clone()) })
    }

    /// Forgets the login; whether there can have been one.
    pub(crate) fn erase(&self) -> anyhow::Result<bool> {
        let mut known = false;
        if let Some(path) = self.path.as_ref().filter(|path| path.exists()) {
            edit(path, |file| {
                known = file.remove(self.host);
                Ok(known)
            })?;
        }
        if let Some(name) = &self.helper {
            // Whether it knows the host is asked first: some fail to erase what they don't have.
            let helper = Helper::new(name);
            if known || helper.get(self.host)?.is_some() {
                helper.erase(self.host)?;
                known = true;
            }
        }
        Ok(known)
    }
}

//! Who somebody is to a registry, and where that is known from.

use std::error::Error as StdError;
use std::fmt;

use serde::Deserialize;

/// A password or token. Its value shows nowhere but where it is asked for by name.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that sends or stores it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// How somebody says who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// User and password.
    Basic {
        /// The name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A token that the registry's token server changes into short-lived ones.
    IdentityToken(Secret),
    /// A token that the registry itself takes.
    Bearer(Secret),
}

/// What a token server gives for user and password, to be kept in their place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityToken(pub Secret);

/// Where logins come from.
pub trait Credentials: Send + Sync + fmt::Debug {
    /// The login for a registry's host (`docker.io`, `host:5000`); asked once for each, when the server wants it.
    fn login(&self, host: &str) -> Result<Option<Login>, CredentialsError>;
}

/// Why a login that should be there can't be had. It must not hold the secret.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct CredentialsError(Box<dyn StdError + Send + Sync>);

impl CredentialsError {
    /// Wraps what went wrong.
    pub fn new(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

/// Nobody in particular.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anonymous;

impl Credentials for Anonymous {
    fn login(&self, _: &str) -> Result<Option<Login>, CredentialsError> {
        Ok(None)
    }
}

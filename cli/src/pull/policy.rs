//! When a registry is asked for an image.

use std::fmt;
use std::str::FromStr;

/// When a registry is asked for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum PullPolicy {
    /// When the store does not have it.
    #[default]
    Missing,
    /// Always; a registry that does not answer is an error.
    Always,
    /// Always; what the store has will do when the registry does not answer.
    Newer,
    /// Never.
    Never,
}

impl PullPolicy {
    /// What the registry has counts more than what the store has.
    pub(crate) fn asks_first(self) -> bool {
        matches!(self, Self::Always | Self::Newer)
    }
}

impl FromStr for PullPolicy {
    type Err = String;

    /// Besides its own words it knows those that a flag can have.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "missing" | "false" | "0" | "f" => Ok(Self::Missing),
            "always" | "true" | "1" | "t" => Ok(Self::Always),
            "newer" => Ok(Self::Newer),
            "never" => Ok(Self::Never),
            _ => Err(format!("`{text}` is none of missing, always, newer and never")),
        }
    }
}

impl fmt::Display for PullPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Always => "always",
            Self::Newer => "newer",
            Self::Never => "never",
        })
    }
}

//! Which machines an image is for.

use std::fmt;

use oci_spec::image as oci;
use serde::Deserialize;

/// Operating system, architecture and its variant, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub struct Platform {
    /// `linux`.
    #[serde(default = "default_os")]
    pub os: String,
    /// `amd64`, `arm64`, …
    #[serde(default = "default_architecture")]
    pub architecture: String,
    /// `v7`, `v8`, …
    #[serde(default)]
    pub variant: Option<String>,
}

/// What a config that does not tell is taken for, as Docker does.
fn default_os() -> String {
    Platform::host().os
}

fn default_architecture() -> String {
    Platform::host().architecture
}

impl Platform {
    /// This machine.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some("v7")),
            "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", None),
            "powerpc64" => ("ppc64", None),
            "loongarch64" => ("loong64", None),
            "mips64" if cfg!(target_endian = "little") => ("mips64le", None),
            other => (other, None),
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: variant.map(str::to_owned) }
    }

    /// How well an image for `other` runs here: not at all, or better the higher.
    fn fit(&self, other: &Self) -> Option<u8> {
        if (&self.os, &self.architecture) != (&other.os, &other.architecture) {
            return None;
        }
        Some(match (self.meant_variant(), other.meant_variant()) {
            (mine, theirs) if mine == theirs => 3,
            (_, None) => 2,
            (Some(mine), Some(theirs)) if theirs < mine => 1,
            _ => return None,
        })
    }

    /// The variant that counts: the first of an architecture needs no name, and ARM without one is the seventh, as
    /// containerd has it.
    fn meant_variant(&self) -> Option<&str> {
        match (self.architecture.as_str(), self.variant.as_deref()) {
            ("arm", None | Some("")) => Some("v7"),
            ("arm64", Some("v8")) | ("amd64", Some("v1")) | (_, Some("")) => None,
            (_, variant) => variant,
        }
    }

    /// Whether an image for `other` is just what is meant, and not only something that runs here, too.
    pub fn is(&self, other: &Self) -> bool {
        self.fit(other) == Some(3)
    }

    /// Whether an image for `other` runs here.
    pub fn accepts(&self, other: &Self) -> bool {
        self.fit(other).is_some()
    }

    /// The position of what fits best: of older variants the latest, and the first of equals.
    pub fn choose<'a>(&self, offers: impl IntoIterator<Item = &'a Self>) -> Option<usize> {
        let fit =
            |(at, offer): (usize, &'a Self)| Some((self.fit(offer)?, offer.meant_variant(), std::cmp::Reverse(at)));
        offers.into_iter().enumerate().filter_map(fit).max().map(|(.., std::cmp::Reverse(at))| at)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

impl From<&oci::Platform> for Platform {
    fn from(platform: &oci::Platform) -> Self {
        Self {
            os: platform.os().to_string(),
            architecture: platform.architecture().to_string(),
            variant: platform.variant().clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        let mut parts = text.split('/').map(str::to_owned);
        let mut next = || parts.next();
        Platform { os: next().unwrap(), architecture: next().unwrap(), variant: next() }
    }

    #[test]
    fn the_best_fit_is_chosen() {
        let table = [
            ("linux/amd64", "linux/arm64 linux/amd64 linux/386", Some(1)),
            ("linux/amd64", "windows/amd64 linux/arm64", None),
            ("linux/arm64/v8", "linux/arm64", Some(0)),
            ("linux/arm/v7", "linux/arm/v5 linux/arm/v7 linux/arm/v6", Some(1)),
            ("linux/arm/v6", "linux/arm/v7 linux/arm/v5", Some(1)),
            ("linux/arm/v6", "linux/arm", None),
            ("linux/arm/v7", "linux/arm/v5 linux/arm/v6 linux/arm/v8", Some(1)),
            ("linux/arm/v7", "linux/arm/v6 linux/arm", Some(1)),
            ("linux/amd64/v1", "linux/amd64/v2 linux/amd64", Some(1)),
            ("linux/amd64/v2", "linux/amd64/v3 linux/amd64", Some(1)),
            ("linux/amd64", "linux/amd64 linux/amd64", Some(0)),
            ("linux/amd64", "unknown/unknown linux/amd64", Some(1)),
        ];
        for (host, offers, expected) in table {
            let offers: Vec<Platform> = offers.split(' ').map(platform).collect();
            assert_eq!(platform(host).choose(&offers), expected, "{host}");
        }
    }
}

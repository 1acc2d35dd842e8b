//! Platforms: `linux/arm64/v8`.

use std::fmt;
use std::str::FromStr;

/// An operating system and a processor, as OCI names them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Platform {
    /// `linux`
    pub os: String,
    /// `amd64`
    pub architecture: String,
    /// `v7`, mostly empty.
    pub variant: String,
}

/// A text is no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a platform: write `os/architecture[/variant]`, for example `linux/amd64`")]
pub struct ParsePlatformError(pub String);

impl Platform {
    /// The platform that this program was compiled for.
    pub fn host() -> Self {
        let platform = Self {
            os: std::env::consts::OS.to_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
            variant: if std::env::consts::ARCH == "arm" { "v7".to_owned() } else { String::new() },
        };
        platform.normalize()
    }

    /// With the names that OCI uses, and without the variant that everybody means.
    #[must_use]
    pub fn normalize(mut self) -> Self {
        self.os = self.os.to_lowercase();
        self.architecture = self.architecture.to_lowercase();
        self.variant = self.variant.to_lowercase();
        if self.os == "macos" {
            "darwin".clone_into(&mut self.os);
        }
        let (architecture, variant) = match (self.architecture.as_str(), self.variant.as_str()) {
            ("i386" | "x86" | "386", _) => ("386", ""),
            ("x86_64" | "x86-64" | "amd64", "v1" | "") => ("amd64", ""),
            ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", "8" | "v8" | "") => ("arm64", ""),
            ("aarch64" | "arm64", variant) => ("arm64", variant),
            ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
            ("armel", _) | ("arm", "6") => ("arm", "v6"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "8") => ("arm", "v8"),
            ("powerpc64", variant) => ("ppc64le", variant),
            (architecture, variant) => (architecture, variant),
        };
        let (architecture, variant) = (architecture.to_owned(), variant.to_owned());
        Self { os: self.os, architecture, variant }
    }
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    /// Reads `os/architecture[/variant]`, a known architecture alone, or `linux` alone.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParsePlatformError(text.to_owned());
        let parts: Vec<&str> = text.split('/').collect();
        let valid = |part: &&str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.')
        };
        if !parts.iter().all(valid) {
            return Err(wrong());
        }
        let host = Self::host();
        let (os, architecture, variant) = match parts[..] {
            [os @ ("linux" | "windows" | "darwin" | "freebsd")] => (os, host.architecture.as_str(), ""),
            [
                architecture @ ("amd64" | "x86_64" | "arm64" | "aarch64" | "arm" | "armhf" | "armel" | "386" | "i386"
                | "riscv64" | "ppc64le" | "s390x" | "mips64le" | "loong64"),
            ] => (host.os.as_str(), architecture, ""),
            [os, architecture] => (os, architecture, ""),
            [os, architecture, variant] => (os, architecture, variant),
            _ => return Err(wrong()),
        };
        let platform = Self { os: os.to_owned(), architecture: architecture.to_owned(), variant: variant.to_owned() };
        Ok(platform.normalize())
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_normalized() {
        let table = [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("Linux/AMD64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("windows/amd64", "windows/amd64"),
            ("linux/riscv64", "linux/riscv64"),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), expected, "{text}");
        }
        assert_eq!("linux".parse::<Platform>().unwrap().architecture, Platform::host().architecture);
        for wrong in ["", "a/b/c/d", "linux/", "/amd64", "plan9box", "linux/am d64"] {
            assert!(wrong.parse::<Platform>().is_err(), "{wrong}");
        }
    }
}

//! Package URLs.

use std::fmt::Write as _;

use super::{Manager, Os, Package};

/// A part of a package URL, with everything escaped that must be.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' | b':' => out.push(byte as char),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// The package URL of a package on a distribution.
pub(super) fn of(package: &Package, os: Option<&Os>) -> String {
    let id = os.map(|os| os.id.as_str());
    let namespace = match package.manager {
        Manager::Dpkg => Some(id.unwrap_or("debian")),
        Manager::Apk => Some(id.unwrap_or("alpine")),
        Manager::Rpm => Some(id.unwrap_or("redhat")),
        Manager::Python | Manager::Npm | Manager::Cargo => None,
    };
    let mut qualifiers: Vec<(&str, String)> = package.qualifiers.clone();
    if !package.architecture.is_empty() {
        qualifiers.push(("arch", package.architecture.clone()));
    }
    if let (Some(_), Some(os)) = (namespace, os) {
        qualifiers.push(("distro", os.distro()));
    }
    qualifiers.sort();
    let mut url = format!("pkg:{}/", package.manager.name());
    if let Some(namespace) = namespace {
        let _ = write!(url, "{}/", escaped(namespace));
    }
    let name = match package.manager {
        Manager::Python => package.name.to_lowercase().replace('_', "-"),
        Manager::Dpkg | Manager::Apk => package.name.to_lowercase(),
        Manager::Rpm | Manager::Npm | Manager::Cargo => package.name.clone(),
    };
    let parts: Vec<String> = match package.manager {
        // A scope is a namespace.
        Manager::Npm => name.split('/').map(escaped).collect(),
        _ => vec![escaped(&name)],
    };
    let _ = write!(url, "{}@{}", parts.join("/"), escaped(&package.version));
    for (number, (key, value)) in qualifiers.iter().enumerate() {
        let _ = write!(url, "{}{key}={}", if number == 0 { '?' } else { '&' }, escaped(value));
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_have_urls() {
        let os = Os { id: "debian".into(), version: "12".into(), name: String::new() };
        let package = |manager, name, version, architecture: &str| Package {
            architecture: architecture.to_owned(),
            ..Package::new(manager, name, version, "").unwrap()
        };
        let mut libc = package(Manager::Dpkg, "libc6", "1:2.36-9+deb12u4", "amd64");
        libc.qualifiers.push(("upstream", "glibc".into()));
        for (package, os, expected) in [
            (libc, Some(&os), "pkg:deb/debian/libc6@1:2.36-9%2Bdeb12u4?arch=amd64&distro=debian-12&upstream=glibc"),
            (package(Manager::Dpkg, "a", "1", ""), None, "pkg:deb/debian/a@1"),
            (package(Manager::Python, "Foo_Bar", "1.0", ""), Some(&os), "pkg:pypi/foo-bar@1.0"),
            (package(Manager::Npm, "@types/node", "20.1.0", ""), None, "pkg:npm/%40types/node@20.1.0"),
            (package(Manager::Cargo, "ripgrep", "14.0.0", ""), None, "pkg:cargo/ripgrep@14.0.0"),
        ] {
            assert_eq!(of(&package, os), expected);
        }
    }
}

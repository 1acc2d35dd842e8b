//! `.gitmodules`: where submodules come from.

use std::collections::HashMap;

use super::name;
use super::repository::Repository;
use crate::remote::error::RemoteError;
use crate::remote::redact;

/// What `.gitmodules` of a commit says.
#[derive(Debug, Default)]
pub(super) struct Submodules {
    by_name: HashMap<String, Settings>,
    remote: String,
}

#[derive(Debug, Default)]
struct Settings {
    path: Option<Vec<u8>>,
    url: Option<String>,
    update: Option<String>,
}

/// A submodule to fetch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) remote: String,
}

impl Submodules {
    /// Reads the file from the commit; nothing of it becomes configuration.
    pub(super) fn read(repository: &Repository<'_, '_>, commit: &str) -> Result<Self, RemoteError> {
        let git = repository.git();
        let blob = format!("{commit}:.gitmodules");
        if repository.kind(&blob)?.as_deref() != Some("blob") {
            return Ok(Self { remote: git.shown(), ..Self::default() });
        }
        let mut command = repository.local()?;
        command.args(["config", "--no-includes", "--blob", &blob, "-z", "--list"]);
        Ok(Self { remote: git.shown(), ..Self::parse(&git.ok(&mut command)?) })
    }

    fn parse(listing: &[u8]) -> Self {
        let mut by_name: HashMap<String, Settings> = HashMap::new();
        for entry in listing.split(|byte| *byte == 0) {
            let mut parts = entry.splitn(2, |byte| *byte == b'\n');
            let (Some(key), Some(value)) = (parts.next(), parts.next()) else { continue };
            let key = String::from_utf8_lossy(key);
            let Some((name, key)) = key.strip_prefix("submodule.").and_then(|rest| rest.rsplit_once('.')) else {
                continue;
            };
            let settings = by_name.entry(name.to_owned()).or_default();
            let text = || Some(String::from_utf8_lossy(value).into_owned());
            match key {
                "path" => settings.path = Some(value.to_vec()),
                "url" => settings.url = text(),
                "update" => settings.update = text(),
                _ => {}
            }
        }
        Self { by_name, remote: String::new() }
    }

    /// Where the submodule at `path` of the repository `parent` comes from; nothing when it says that it is not to be
    /// fetched.
    pub(super) fn find(&self, path: &[u8], parent: &str) -> Result<Option<Found>, RemoteError> {
        let fail = |reason: String| RemoteError::Submodule {
            path: String::from_utf8_lossy(path).into_owned(),
            remote: self.remote.clone(),
            reason,
        };
        let without = "to build without submodules, add submodules=false to the query of the URL";
        let found = self.by_name.iter().find(|(_, settings)| settings.path.as_deref() == Some(path));
        let Some((name, settings)) = found else {
            return Err(fail(format!("has no entry in .gitmodules that says where it comes from; {without}")));
        };
        if settings.update.as_deref() == Some("none") {
            return Ok(None);
        }
        check_name(name).map_err(|()| fail(format!("has the name `{}`, which is not allowed", name.escape_debug())))?;
        let Some(url) = settings.url.as_deref().filter(|url| !url.is_empty()) else {
            return Err(fail(format!("has no URL in .gitmodules; {without}")));
        };
        let remote = absolute(parent, url).ok_or_else(|| fail(format!("has the URL `{url}`, which leads nowhere")))?;
        if name::check_remote(&remote).is_err() {
            let shown = redact(&remote).escape_debug().to_string();
            return Err(fail(format!(
                "has the URL `{shown}`: submodules come from https, http, ssh or git only; {without}"
            )));
        }
        Ok(Some(Found { name: name.clone(), remote }))
    }
}

/// A name is a path below `.git/modules` where the repository is kept.
fn check_name(name: &str) -> Result<(), ()> {
    let bad = name.is_empty()
        || name.starts_with(['-', '/'])
        || name.len() > 200
        || name.chars().any(char::is_control)
        || name.split('/').any(|part| matches!(part, "" | "." | "..") || part.eq_ignore_ascii_case(".git"));
    if bad { Err(()) } else { Ok(()) }
}

/// A URL of `.gitmodules`; one that begins with `./` or `../` is relative to the repository that it is in.
fn absolute(parent: &str, url: &str) -> Option<String> {
    if !url.starts_with("./") && !url.starts_with("../") {
        return Some(url.to_owned());
    }
    // The path must not eat the host.
    let root = match parent.split_once("://") {
        Some((scheme, rest)) => scheme.len() + 3 + rest.find('/')?,
        None => parent.find(':')? + 1,
    };
    let (root, path) = parent.split_at(root);
    let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    for part in url.trim_end_matches('/').split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    let slash = if path.starts_with('/') { "/" } else { "" };
    Some(format!("{root}{slash}{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_urls_are_resolved() {
        let table = [
            ("https://host/a/b.git", "../c.git", Some("https://host/a/c.git")),
            ("https://host/a/b.git", "./c.git", Some("https://host/a/b.git/c.git")),
            ("https://host/a/b.git/", "../../c", Some("https://host/c")),
            ("https://host/a", "../../c", None),
            ("https://host", "../c", None),
            ("git@host:a/b", "../c", Some("git@host:a/c")),
            ("git@host:a", "../c", Some("git@host:c")),
            ("ssh://git@host:22/a/b", "../c/", Some("ssh://git@host:22/a/c")),
            ("https://host/a", "https://other/c", Some("https://other/c")),
            ("https://host/a", "/etc", Some("/etc")),
        ];
        for (parent, url, expected) in table {
            assert_eq!(absolute(parent, url).as_deref(), expected, "{parent} {url}");
        }
    }

    #[test]
    fn only_what_the_network_offers_is_fetched() {
        let listing =
            b"submodule.a.path\nlib/a\0submodule.a.url\n../a.git\0submodule.b.path\nb\0submodule.b.url\nfile:///etc\0\
            submodule.x.y.path\nc\0submodule.x.y.url\n--upload-pack=x\0submodule.d.path\nd\0submodule.e.path\ne\0\
            submodule.e.update\nnone\0submodule.../../f.path\nf\0submodule.../../f.url\nhttps://host/f\0core.x\ny\0\
            submodule.g.path\ng\0submodule.g.url\next::sh -c id\0submodule.h.path\nh\r\0submodule.h.url\n/srv/h\0";
        let known = Submodules::parse(listing);
        let find = |path: &[u8]| known.find(path, "https://host/x/main.git");
        let a = Found { name: "a".into(), remote: "https://host/x/a.git".into() };
        assert_eq!(find(b"lib/a").ok().flatten(), Some(a));
        assert_eq!(find(b"e").ok(), Some(None));
        for bad in [b"b".as_slice(), b"c", b"d", b"f", b"g", b"h", b"h\r", b"unknown"] {
            assert!(find(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn names_stay_below_modules() {
        for good in ["a", "lib/a", "a.b"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "..", "a/../..", "/a", "-a", "a//b", ".git/x", "a\nb"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}

//! Addresses of git repositories as `ADD` and build contexts take them.
//!
//! ```text
//! https://host/path.git[?query][#reference[:directory]]     also http
//! ssh://user@host/path[?…][#…]   git://host/path[?…][#…]   user@host:path[?…][#…]
//! ```
//!
//! | query | means |
//! |---|---|
//! | `ref`, `tag`, `branch` | what to check out; `tag` and `branch` stand for `refs/tags/…`, `refs/heads/…` |
//! | `subdir` | the directory that becomes the root |
//! | `checksum`, `commit` | the commit, or its beginning, that it must be |
//! | `keep-git-dir`, `submodules`, `fetch-by-commit` | true, false or nothing for true |
//! | `mtime` | `checkout` or `commit`: which time files get |
//!
//! Query and fragment may say the same thing twice, and never different things.

use builder_solver::GitSource;

use crate::plan::paths;
use crate::{mount, url};

/// A repository and what to take of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GitAddress {
    /// Without query and fragment.
    pub remote: String,
    /// A branch, tag, full reference or commit.
    pub reference: Option<String>,
    /// The directory that becomes the root, relative and clean.
    pub subdir: Option<String>,
    /// The commit that it must be, or the beginning of its name.
    pub checksum: Option<String>,
    /// Keep `.git`.
    pub keep_git_dir: Option<bool>,
    /// Check out submodules.
    pub submodules: Option<bool>,
    /// Files get the time of the commit.
    pub commit_times: bool,
}

/// An address that is meant for git, and is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GitAddressError {
    /// `?refs=x`
    #[error(
        "unexpected query `{0}`: `ref`, `tag`, `branch`, `subdir`, `checksum`, `commit`, `keep-git-dir`, `submodules`, `mtime` and `fetch-by-commit` are known"
    )]
    UnknownQuery(String),
    /// `?ref`
    #[error("query `{0}` has no value")]
    NoValue(String),
    /// `?ref=a&ref=b`
    #[error("query `{0}` has multiple values")]
    Repeated(String),
    /// `?submodules=maybe`
    #[error("invalid {name} value: `{value}`")]
    Value {
        /// The query's name.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// `?ref=a#b`
    #[error("{name} conflicts: `{one}` vs `{other}`")]
    Conflict {
        /// `ref` or `subdir`.
        name: &'static str,
        /// What one place says.
        one: String,
        /// What the other says.
        other: String,
    },
    /// `?tag=a&branch=b`
    #[error("branch conflicts with tag")]
    BranchAndTag,
    /// `%zz`
    #[error("`{0}` has an escape that stands for no character")]
    Escape(String),
}

impl GitAddress {
    /// Reads an address. Nothing when it is not one of git: another protocol, an `http` address whose path does not
    /// end with `.git`, or a path.
    pub fn parse(text: &str) -> Result<Option<Self>, GitAddressError> {
        Self::parse_known(text, false)
    }

    /// Reads an address; with `known` every `http` address is one of git.
    pub fn parse_known(text: &str, known: bool) -> Result<Option<Self>, GitAddressError> {
        let parts = url::Parts::split(text);
        let is_git = match url::protocol(text) {
            Some(protocol) => match protocol.to_ascii_lowercase().as_str() {
                "http" | "https" => known || parts.path().strip_suffix(".git").is_some(),
                "ssh" | "git" => true,
                _ => false,
            },
            None => is_scp(parts.address),
        };
        if is_git { Self::read(&parts, parts.address.to_owned()).map(Some) } else { Ok(None) }
    }

    /// Reads the address of a build context: also `github.com/owner/repository`, as `docker build` always has.
    pub fn parse_context(text: &str) -> Result<Option<Self>, GitAddressError> {
        if text.starts_with("github.com/") {
            let parts = url::Parts::split(text);
            return Self::read(&parts, format!("https://{}", parts.address)).map(Some);
        }
        Self::parse(text)
    }

    fn read(parts: &url::Parts<'_>, remote: String) -> Result<Self, GitAddressError> {
        let mut address = Self { remote, ..Self::default() };
        if let Some(fragment) = parts.fragment {
            let fragment = decoded(fragment, false)?;
            let (reference, subdir) = fragment.split_once(':').unwrap_or((&fragment, ""));
            address.reference = some(reference);
            address.subdir = some(subdir);
        }
        address.query(parts.query.unwrap_or_default())?;
        address.subdir = address.subdir.as_deref().map(clean).and_then(|subdir| some(&subdir));
        Ok(address)
    }

    fn query(&mut self, query: &str) -> Result<(), GitAddressError> {
        let mut seen: Vec<String> = Vec::new();
        let (mut tag, mut branch, mut by_commit) = (None, None, false);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name, true)?, decoded(value, true)?);
            if seen.contains(&name) {
                return Err(GitAddressError::Repeated(name));
            }
            let truth = |name| match value.as_str() {
                "" => Ok(true),
                value => mount::boolean(value).ok_or_else(|| GitAddressError::Value { name, value: value.to_owned() }),
            };
            match name.as_str() {
                "keep-git-dir" => self.keep_git_dir = Some(truth("keep-git-dir")?),
                "submodules" => self.submodules = Some(truth("submodules")?),
                "fetch-by-commit" => by_commit = truth("fetch-by-commit")?,
                "ref" | "tag" | "branch" | "subdir" | "checksum" | "commit" | "mtime" if value.is_empty() => {
                    return Err(GitAddressError::NoValue(name));
                }
                "ref" => set("ref", &mut self.reference, value)?,
                "subdir" => set("subdir", &mut self.subdir, value)?,
                "checksum" | "commit" => self.checksum = Some(value),
                "tag" => tag = Some(full(value, "refs/tags/")),
                "branch" => branch = Some(full(value, "refs/heads/")),
                "mtime" => match value.as_str() {
                    "checkout" => self.commit_times = false,
                    "commit" => self.commit_times = true,
                    _ => return Err(GitAddressError::Value { name: "mtime", value }),
                },
                _ => return Err(GitAddressError::UnknownQuery(name)),
            }
            seen.push(name);
        }
        match (tag, branch) {
            (Some(_), Some(_)) => return Err(GitAddressError::BranchAndTag),
            (Some(name), None) | (None, Some(name)) => set("ref", &mut self.reference, name)?,
            (None, None) => {}
        }
        // A commit says more than the name under which it was found.
        if self.reference.is_none() || (by_commit && self.checksum.as_deref().is_some_and(is_full_commit)) {
            self.reference = self.checksum.clone().or(self.reference.take());
        }
        Ok(())
    }

    /// What to fetch.
    pub fn source(&self) -> GitSource {
        GitSource {
            remote: self.remote.clone(),
            reference: self.reference.clone(),
            subdir: self.subdir.clone(),
            checksum: self.checksum.clone(),
            keep_git_dir: self.keep_git_dir.unwrap_or(false),
            submodules: self.submodules.unwrap_or(true),
            commit_times: self.commit_times,
        }
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn decoded(text: &str, plus: bool) -> Result<String, GitAddressError> {
    url::decode(text, plus).ok_or_else(|| GitAddressError::Escape(text.to_owned()))
}

fn set(name: &'static str, place: &mut Option<String>, value: String) -> Result<(), GitAddressError> {
    match place {
        Some(known) if *known != value => Err(GitAddressError::Conflict { name, one: known.clone(), other: value }),
        _ => {
            *place = Some(value);
            Ok(())
        }
    }
}

fn full(name: String, prefix: &str) -> String {
    if name.starts_with(prefix) { name } else { format!("{prefix}{name}") }
}

fn is_full_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// A directory below the root; the root itself is empty.
fn clean(path: &str) -> String {
    paths::clean(path).trim_start_matches('/').to_owned()
}

/// `user@host:path`
fn is_scp(text: &str) -> bool {
    let Some((user, rest)) = text.split_once('@') else { return false };
    let Some((host, path)) = rest.split_once(':') else { return false };
    let word = |text: &str, more: &[u8]| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    word(user, b"-_") && word(host, b"-.") && !path.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_git_are_told_from_others() {
        for text in [
            "https://example.com/foo.git",
            "HTTPS://example.com/foo.git",
            "http://u:p@example.com:8080/a/foo.git",
            "git://example.com/foo",
            "ssh://git@example.com/foo",
            "git@github.com:moby/buildkit",
            "other-user@bitbucket.org:a/b.git",
        ] {
            let address = GitAddress::parse(text).unwrap().unwrap_or_else(|| panic!("{text}"));
            assert_eq!(address, GitAddress { remote: text.into(), ..GitAddress::default() }, "{text}");
        }
        for text in [
            "",
            "a",
            "./.git",
            ".git",
            "git@example.com",
            "git@example.com/a.git",
            "example.com:a.git",
            "a:b@example.com:c",
            "example.com/moby/buildkit.git",
            "github.com/moby/buildkit",
            "https://example.com/",
            "https://example.com.git",
            "https://example.com/foo",
            "https://example.com/foo.git/",
            "https://example.com/foo.git.bar",
            "https://example.com/foo?x=.git",
            "http://github.com/docker/docker.git:#branch",
            "ftp://example.com/foo.git",
        ] {
            assert_eq!(GitAddress::parse(text), Ok(None), "{text}");
        }
        let context = GitAddress::parse_context("github.com/moby/buildkit#v1:docs").unwrap().unwrap();
        assert_eq!(context.remote, "https://github.com/moby/buildkit");
        assert_eq!((context.reference.as_deref(), context.subdir.as_deref()), (Some("v1"), Some("docs")));
        let known = GitAddress::parse_known("https://example.com/foo#x", true).unwrap().unwrap();
        assert_eq!((known.remote.as_str(), known.reference.as_deref()), ("https://example.com/foo", Some("x")));
    }

    /// `remote reference subdir checksum flags`, `-` for nothing.
    fn shown(text: &str) -> String {
        match GitAddress::parse(text) {
            Err(error) => format!("! {error}"),
            Ok(None) => "no".to_owned(),
            Ok(Some(address)) => {
                let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
                let GitAddress { remote, reference, subdir, checksum, keep_git_dir, submodules, commit_times } =
                    address;
                let mut text = format!("{remote} {} {} {}", or(&reference), or(&subdir), or(&checksum));
                for (name, flag) in [("keep", keep_git_dir), ("sub", submodules)] {
                    text.extend(flag.map(|flag| format!(" {name}={flag}")));
                }
                text + if commit_times { " commit-times" } else { "" }
            }
        }
    }

    #[test]
    fn queries_and_fragments_are_read() {
        let commit = "0123456789012345678901234567890123456789";
        let by_commit = format!("?ref=main&commit={commit}&fetch-by-commit");
        let commit_line = format!("{commit} - {commit}");
        let table = [
            ("#deadbeef", "deadbeef - -"),
            ("#release/1.2", "release/1.2 - -"),
            ("#baz/qux:quux/quuz", "baz/qux quux/quuz -"),
            ("#:myfolder", "- myfolder -"),
            ("#a%20b:/c/../d/", "a b d -"),
            ("#:.", "- - -"),
            ("#", "- - -"),
            ("?ref=v1.0.0&subdir=/subdir", "v1.0.0 subdir -"),
            ("?ref=v1#v1", "v1 - -"),
            ("?tag=v1", "refs/tags/v1 - -"),
            ("?tag=refs/tags/v1", "refs/tags/v1 - -"),
            ("?branch=a/b", "refs/heads/a/b - -"),
            ("?checksum=abc", "abc - abc"),
            ("?commit=abc#main:x", "main x abc"),
            ("?keep-git-dir&submodules=false", "- - - keep=true sub=false"),
            ("?keep-git-dir=0&submodules", "- - - keep=false sub=true"),
            ("?mtime=commit", "- - - commit-times"),
            ("?mtime=checkout", "- - -"),
            (by_commit.as_str(), commit_line.as_str()),
            ("?ref=a+b", "a b - -"),
        ];
        for remote in ["https://example.com/a.git", "git@example.com:a.git", "ssh://git@example.com/a"] {
            for (rest, expected) in &table {
                assert_eq!(shown(&format!("{remote}{rest}")), format!("{remote} {expected}"), "{rest}");
            }
        }
    }

    #[test]
    fn wrong_queries_say_why() {
        for (rest, expected) in [
            ("?ref=v1#v2", "ref conflicts: `v2` vs `v1`"),
            ("?ref=v1&tag=v1", "ref conflicts: `v1` vs `refs/tags/v1`"),
            ("?subdir=a#:b", "subdir conflicts: `b` vs `a`"),
            ("?tag=a&branch=b", "branch conflicts with tag"),
            ("?ref=a&ref=a", "query `ref` has multiple values"),
            ("?ref", "query `ref` has no value"),
            ("?mtime=now", "invalid mtime value: `now`"),
            ("?submodules=maybe", "invalid submodules value: `maybe`"),
            ("?ref=%zz", "`%zz` has an escape that stands for no character"),
        ] {
            assert_eq!(shown(&format!("https://example.com/a.git{rest}")), format!("! {expected}"));
        }
        assert!(shown("git://example.com/a?refs=b").starts_with("! unexpected query `refs`: "));
    }
}

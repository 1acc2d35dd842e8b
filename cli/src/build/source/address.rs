//! Where the files of a context come from, as the command line says it.

use std::path::{Path, PathBuf};

use builder_frontend::git_address::GitAddress;

use crate::error::{CliError, CliResult};

/// Where files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// A tarball, or a Dockerfile, on standard input.
    Stdin,
    /// A directory of this machine.
    Directory(PathBuf),
    /// A repository.
    Git(GitAddress),
    /// A tarball, or a Dockerfile, behind a URL.
    Http(String),
    /// A file behind a URL, which is never unpacked.
    File(String),
    /// An image, by its name.
    Image(String),
    /// An image of an OCI layout: `DIRECTORY[:TAG|@DIGEST]`.
    Layout(String),
}

impl Address {
    /// Reads the main context. A directory that is there is meant before anything else.
    pub(crate) fn context(given: &Path) -> CliResult<Self> {
        let Some(text) = given.to_str() else { return Ok(Self::Directory(given.to_owned())) };
        if text == "-" {
            return Ok(Self::Stdin);
        }
        if !text.contains("://") && given.is_dir() {
            return Ok(Self::Directory(given.to_owned()));
        }
        let git = GitAddress::parse_context(text).map_err(|error| usage(text, &error.to_string()))?;
        Ok(match git {
            Some(address) => Self::Git(address),
            None if is_http(text) => Self::Http(text.to_owned()),
            None => match text.split_once("://") {
                Some((scheme, _)) => return Err(unknown(text, scheme, "a context")),
                None => Self::Directory(given.to_owned()),
            },
        })
    }

    /// Reads what a name of `--build-context` stands for.
    pub(crate) fn named(name: &str, text: &str) -> CliResult<Self> {
        if let Some(image) = text.strip_prefix("docker-image://") {
            return match image.trim_start_matches('/') {
                "" => Err(usage(text, "it names no image")),
                image => Ok(Self::Image(image.to_owned())),
            };
        }
        if let Some(layout) = text.strip_prefix("oci-layout://") {
            return match layout {
                "" => Err(usage(text, "it names no directory")),
                layout => Ok(Self::Layout(layout.to_owned())),
            };
        }
        if let Some(git) = GitAddress::parse(text).map_err(|error| usage(text, &error.to_string()))? {
            return Ok(Self::Git(git));
        }
        if is_http(text) {
            return Ok(Self::File(text.to_owned()));
        }
        match text.split_once("://") {
            Some((scheme, _)) => return Err(unknown(text, scheme, "a named context")),
            None if text.starts_with("target:") => {
                return Err(usage(text, "targets are known to `builder bake` only"));
            }
            None if text.is_empty() => return Err(usage(name, "a name, =, and where its files come from are needed")),
            None => {}
        }
        let path = Path::new(text);
        if path.is_dir() {
            return Ok(Self::Directory(path.to_owned()));
        }
        let wrong = if path.exists() { "is not a directory" } else { "is not there" };
        Err(CliError::message(format!("the directory {text} of the build context `{name}` {wrong}")))
    }

    /// Whether an ssh agent is needed to get there.
    pub(crate) fn is_ssh(&self) -> bool {
        match self {
            Self::Git(address) => address.remote.starts_with("ssh://") || !address.remote.contains("://"),
            _ => false,
        }
    }
}

/// Whether it is the URL of a file.
pub(super) fn is_http(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    matches!(scheme.as_deref(), Some("http" | "https"))
}

fn usage(text: &str, reason: &str) -> CliError {
    CliError::Usage(format!("`{}`: {reason}", builder_executor::remote::redact(text)))
}

fn unknown(text: &str, scheme: &str, what: &str) -> CliError {
    let also = if what == "a context" { "" } else { ", docker-image, oci-layout" };
    usage(text, &format!("{what} can't come from `{scheme}`: git, http, https and ssh{also} are known"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_told_apart() {
        let kind = |text: &str| match Address::context(Path::new(text)) {
            Ok(Address::Git(address)) => format!("git {}", address.remote),
            Ok(Address::Directory(_)) => "directory".to_owned(),
            Ok(Address::Stdin) => "stdin".to_owned(),
            Ok(Address::Http(url)) => format!("http {url}"),
            Ok(other) => format!("{other:?}"),
            Err(error) => format!("! {}", error.text()),
        };
        for (text, expected) in [
            (".", "directory"),
            ("no/such/directory", "directory"),
            ("-", "stdin"),
            ("https://host/a.git#main:sub", "git https://host/a.git"),
            ("https://host/a.tar.gz", "http https://host/a.tar.gz"),
            ("git@host:a/b", "git git@host:a/b"),
            ("ssh://git@host/a", "git ssh://git@host/a"),
            ("github.com/a/b", "git https://github.com/a/b"),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
        assert!(kind("ftp://host/x").contains("can't come from `ftp`"));
        assert!(kind("https://u:canary@host/a.git?x=y").starts_with("! `https://u:xxxxx@host/a.git?x=y`"));
    }

    #[test]
    fn named_contexts_are_told_apart() {
        let named = |text: &str| Address::named("n", text);
        assert_eq!(named("docker-image://alpine:3").ok(), Some(Address::Image("alpine:3".into())));
        assert_eq!(named("oci-layout://./a:b").ok(), Some(Address::Layout("./a:b".into())));
        assert_eq!(named(".").ok(), Some(Address::Directory(".".into())));
        assert!(matches!(named("https://host/a.git"), Ok(Address::Git(_))));
        assert_eq!(named("http://host/a.tar").ok(), Some(Address::File("http://host/a.tar".into())));
        assert!(named("git@host:a").is_ok_and(|address| address.is_ssh()));
        for (text, reason) in [
            ("no/such/directory", "is not there"),
            ("/dev/null", "is not a directory"),
            ("target:x", "bake"),
            ("input:x://y", "can't come from `input:x`"),
            ("docker-image://", "no image"),
            ("", "are needed"),
        ] {
            let said = named(text).expect_err(text).text();
            assert!(said.contains(reason), "{text}: {said}");
        }
    }
}

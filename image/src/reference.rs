//! Names of images, as Docker reads and shows them.
//!
//! `app` means `docker.io/library/app:latest`. The first part is a registry only if it looks like a host (`.`, `:` or
//! `localhost`); `docker.io` images without a user belong to `library`; without tag and digest the tag is `latest`.

use std::fmt;
use std::str::FromStr;

use builder_cache::BlobDigest;

const DOCKER: &str = "docker.io";
const LIBRARY: &str = "library/";
const LATEST: &str = "latest";

/// The longest repository (with its registry) and the longest tag.
const REPOSITORY_LIMIT: usize = 255;
const TAG_LIMIT: usize = 128;

/// The name of an image, in full.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: Registry,
    repository: Repository,
    tag: Option<Tag>,
    digest: Option<BlobDigest>,
}

macro_rules! part {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

part! {
    /// A registry's host, with its port if it has one.
    Registry
}
part! {
    /// A repository below its registry: `library/debian`.
    Repository
}
part! {
    /// A tag.
    Tag
}

impl Tag {
    /// The tag that is meant where none is named.
    pub fn latest() -> Self {
        Self(LATEST.to_owned())
    }
}

impl FromStr for Tag {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_tag(text).map_err(|reason| ParseReferenceError { text: text.chars().take(300).collect(), reason })
    }
}

/// The text is no name of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an image reference: {reason}")]
pub struct ParseReferenceError {
    /// What was read, cut if it is long.
    pub text: String,
    /// What is wrong with it.
    pub reason: ReferenceProblem,
}

/// What is wrong with a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceProblem {
    /// Nothing there.
    #[error("it is empty")]
    Empty,
    /// Docker takes 64 hexadecimal digits for an image id.
    #[error("64 hexadecimal digits are an image id and can't be a repository")]
    LooksLikeId,
    /// Upper case in the repository.
    #[error("the repository `{0}` must be lower case")]
    UpperCase(String),
    /// A malformed repository.
    #[error(
        "the repository `{0}` may hold lower-case letters, digits, and between them single `.`, `_`, `__` or any number of `-`"
    )]
    Repository(String),
    /// Too long a repository.
    #[error("the repository is longer than 255 characters")]
    TooLong,
    /// A malformed registry.
    #[error("`{0}` is not the host of a registry")]
    Registry(String),
    /// A malformed tag.
    #[error(
        "the tag `{0}` may hold letters, digits, `_`, `.` and `-`, at most 128, and begin with none of `.` and `-`"
    )]
    Tag(String),
    /// A malformed digest.
    #[error("the digest `{0}` is not `sha256:` and 64 lower-case hexadecimal digits")]
    Digest(String),
}

impl Reference {
    /// The registry: `docker.io`.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The repository: `library/debian`.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The tag; none only where a digest stands alone.
    pub fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// The digest.
    pub fn digest(&self) -> Option<&BlobDigest> {
        self.digest.as_ref()
    }

    /// Registry and repository: `docker.io/library/debian`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The repository as Docker lists it, without what goes without saying: `debian`.
    pub fn familiar_name(&self) -> String {
        let repository = self.repository.as_str();
        // `docker.io/a.b/c` without its registry would be the image `c` of the host `a.b`.
        if self.registry.as_str() != DOCKER || split_registry(repository).1 != repository {
            return self.name();
        }
        match repository.strip_prefix(LIBRARY) {
            // Without `library/` a further slash would make the first part a user, or a host.
            Some(short) if !short.contains('/') => short.to_owned(),
            _ => repository.to_owned(),
        }
    }

    /// The whole as Docker shows it: `debian:12`.
    pub fn familiar(&self) -> String {
        self.with_suffix(self.familiar_name())
    }

    fn with_suffix(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag.as_str());
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
        text
    }
}

impl fmt::Display for Reference {
    /// The full form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_suffix(self.name()))
    }
}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|reason| ParseReferenceError { text: text.chars().take(300).collect(), reason })
    }
}

fn parse(text: &str) -> Result<Reference, ReferenceProblem> {
    if text.is_empty() {
        return Err(ReferenceProblem::Empty);
    }
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
        return Err(ReferenceProblem::LooksLikeId);
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest.parse().map_err(|_| ReferenceProblem::Digest(digest.to_owned()))?)),
        None => (text, None),
    };
    let (registry, rest) = split_registry(rest);
    let (path, tag) = match rest.split_once(':') {
        Some((path, tag)) => (path, Some(parse_tag(tag)?)),
        None => (rest, None),
    };
    let registry = parse_registry(registry)?;
    let mut repository = parse_repository(path)?;
    if registry.as_str() == DOCKER && !repository.as_str().contains('/') {
        repository.0.insert_str(0, LIBRARY);
    }
    if registry.as_str().len() + 1 + repository.as_str().len() > REPOSITORY_LIMIT {
        return Err(ReferenceProblem::TooLong);
    }
    let tag = if tag.is_none() && digest.is_none() { Some(Tag(LATEST.to_owned())) } else { tag };
    Ok(Reference { registry, repository, tag, digest })
}

fn split_registry(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((host, rest))
            if host.contains(['.', ':'])
                || host == "localhost"
                || host.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            (if host == "index.docker.io" { DOCKER } else { host }, rest)
        }
        _ => (DOCKER, text),
    }
}

fn parse_registry(text: &str) -> Result<Registry, ReferenceProblem> {
    let wrong = || ReferenceProblem::Registry(text.to_owned());
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    if let Some(port) = port
        && (port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()))
    {
        return Err(wrong());
    }
    let host_is_right = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        }),
    };
    if host_is_right { Ok(Registry(text.to_owned())) } else { Err(wrong()) }
}

fn parse_repository(text: &str) -> Result<Repository, ReferenceProblem> {
    if text.is_empty() {
        return Err(ReferenceProblem::Empty);
    }
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(ReferenceProblem::UpperCase(text.to_owned()));
    }
    if text.split('/').all(is_component) {
        Ok(Repository(text.to_owned()))
    } else {
        Err(ReferenceProblem::Repository(text.to_owned()))
    }
}

/// Runs of letters and digits, joined by `.`, `_`, `__` or dashes.
fn is_component(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if !text.bytes().next().is_some_and(is_word) || !text.bytes().last().is_some_and(is_word) {
        return false;
    }
    text.split(|letter: char| u8::try_from(letter).is_ok_and(is_word))
        .all(|joint| matches!(joint, "" | "." | "_" | "__") || joint.bytes().all(|byte| byte == b'-'))
}

fn parse_tag(text: &str) -> Result<Tag, ReferenceProblem> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let right = text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
        && text.len() <= TAG_LIMIT;
    if right { Ok(Tag(text.to_owned())) } else { Err(ReferenceProblem::Tag(text.chars().take(150).collect())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_are_read_and_shown_like_dockers() {
        let at = |name: &str| format!("{name}@{DIGEST}");
        let table = [
            ("app", "docker.io/library/app:latest", "app:latest"),
            ("app:1", "docker.io/library/app:1", "app:1"),
            ("me/app", "docker.io/me/app:latest", "me/app:latest"),
            ("a/b/c:x", "docker.io/a/b/c:x", "a/b/c:x"),
            ("docker.io/app", "docker.io/library/app:latest", "app:latest"),
            ("index.docker.io/app", "docker.io/library/app:latest", "app:latest"),
            ("docker.io/library/app:2", "docker.io/library/app:2", "app:2"),
            ("library/app", "docker.io/library/app:latest", "app:latest"),
            ("docker.io/a.b/c", "docker.io/a.b/c:latest", "docker.io/a.b/c:latest"),
            ("docker.io/localhost/c", "docker.io/localhost/c:latest", "docker.io/localhost/c:latest"),
            ("docker.io/docker.io/c", "docker.io/docker.io/c:latest", "docker.io/docker.io/c:latest"),
            ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
            ("localhost:5000/app:v1", "localhost:5000/app:v1", "localhost:5000/app:v1"),
            ("example.com/a/b", "example.com/a/b:latest", "example.com/a/b:latest"),
            ("Example.com/app", "Example.com/app:latest", "Example.com/app:latest"),
            ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
            ("127.0.0.1:80/x/y:Z_9.-", "127.0.0.1:80/x/y:Z_9.-", "127.0.0.1:80/x/y:Z_9.-"),
            ("a.b_c__d---e", "docker.io/library/a.b_c__d---e:latest", "a.b_c__d---e:latest"),
            (&at("app"), &at("docker.io/library/app"), &at("app")),
            (&at("app:1"), &at("docker.io/library/app:1"), &at("app:1")),
            (&at("h:1/app"), &at("h:1/app"), &at("h:1/app")),
        ];
        for (text, full, familiar) in table {
            let reference: Reference = text.parse().unwrap();
            assert_eq!((reference.to_string().as_str(), reference.familiar().as_str()), (full, familiar), "{text}");
            assert_eq!(full.parse(), Ok(reference.clone()), "{text}");
            assert_eq!(familiar.parse(), Ok(reference), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        use ReferenceProblem as P;
        let long = "a".repeat(256);
        let id = "0".repeat(64);
        let tag = "t".repeat(129);
        let long_tag = format!("app:{tag}");
        let table = [
            ("", P::Empty),
            ("example.com/", P::Empty),
            (":1", P::Empty),
            (id.as_str(), P::LooksLikeId),
            ("App", P::UpperCase("App".into())),
            ("me/App:1", P::UpperCase("me/App".into())),
            ("-app", P::Repository("-app".into())),
            ("app-", P::Repository("app-".into())),
            ("a..b", P::Repository("a..b".into())),
            ("a___b", P::Repository("a___b".into())),
            ("a//b", P::Repository("a//b".into())),
            ("../../etc", P::Registry("..".into())),
            ("a/../b", P::Repository("a/../b".into())),
            ("a b", P::Repository("a b".into())),
            ("größe", P::Repository("größe".into())),
            (&long, P::TooLong),
            ("-h.com/app", P::Registry("-h.com".into())),
            ("h:x/app", P::Registry("h:x".into())),
            ("h:/app", P::Registry("h:".into())),
            ("app:", P::Tag(String::new())),
            ("app:.x", P::Tag(".x".into())),
            ("app:a/b", P::Registry("app:a".into())),
            (&long_tag, P::Tag(tag)),
            ("app@sha256:12", P::Digest("sha256:12".into())),
            ("app@sha512:12", P::Digest("sha512:12".into())),
            ("app@", P::Digest(String::new())),
        ];
        for (text, reason) in table {
            assert_eq!(text.parse::<Reference>().map_err(|error| error.reason), Err(reason), "{text}");
        }
    }
}

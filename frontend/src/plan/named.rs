//! `--build-context`: names that stand for something else than the Dockerfile says.

use std::rc::Rc;

use builder_solver::VertexId;

use crate::config::ImageConfig;
use crate::history::HistoryEntry;
use crate::plan::{BaseImage, BuildOptions, ResolvedImage};
use crate::platform::Platform;

/// Names that mean the empty tree and the build context, whatever anybody calls so.
const RESERVED: [&str; 2] = ["scratch", "context"];

/// What a name given with `--build-context` stands for. It takes the place of stages and images of that name.
#[derive(Debug, Clone)]
pub enum NamedContext {
    /// Files of the client: the name of the [`builder_solver::Source::Local`] under which it offers them.
    Files(String),
    /// An image: a reference to resolve.
    Image(String),
    /// The result of another plan in the same graph (`target:` of a bake file).
    Target(Box<TargetContext>),
}

/// What a plan came to, as the base of another one: see [`super::Plan::as_context`].
#[derive(Debug, Clone)]
pub struct TargetContext {
    /// The vertex whose result holds the files.
    pub vertex: VertexId,
    /// The config, as in [`super::Plan::config`].
    pub config: ImageConfig,
    /// The history, base image first.
    pub history: Vec<HistoryEntry>,
    /// The image at the bottom.
    pub base: Option<BaseImage>,
}

/// A named context that the build uses.
#[derive(Debug, Clone)]
pub(super) struct Context {
    /// The name by which it was found: `base`, `base::linux/arm64`.
    pub(super) name: String,
    pub(super) content: Content,
}

/// What is in a named context.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Files(String),
    Image(Rc<ResolvedImage>),
    Target(Box<TargetContext>),
}

/// A name as contexts are found by it, in lower case: `docker.io/library/alpine:latest` and `Alpine` are `alpine`. Whoever
/// fills [`BuildOptions::contexts`] passes the names that he is given through this (but for a `::platform` at the end).
pub fn context_name(name: &str) -> String {
    let name = name.to_lowercase();
    let short = ["docker.io/", "index.docker.io/"].iter().find_map(|host| name.strip_prefix(host)).unwrap_or(&name);
    let short = match short.strip_prefix("library/") {
        Some(rest) if !rest.contains('/') => rest,
        _ => short,
    };
    short.strip_suffix(":latest").unwrap_or(short).to_owned()
}

impl BuildOptions {
    /// What a name stands for on a platform, and the name by which it was found.
    pub(crate) fn named_context(&self, name: &str, platform: &Platform) -> Option<(String, &NamedContext)> {
        if self.contexts.is_empty() || RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
            return None;
        }
        let name = context_name(name);
        let for_platform = format!("{name}::{platform}");
        [for_platform, name].into_iter().find_map(|name| self.contexts.get(&name).map(|context| (name, context)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shortened() {
        for (name, expected) in [
            ("alpine", "alpine"),
            ("Alpine:LATEST", "alpine"),
            ("docker.io/library/alpine:latest", "alpine"),
            ("index.docker.io/library/alpine", "alpine"),
            ("library/alpine:3", "alpine:3"),
            ("docker.io/me/app:latest", "me/app"),
            ("library/a/b", "library/a/b"),
            ("host.example/library/alpine", "host.example/library/alpine"),
            ("alpine@sha256:abc", "alpine@sha256:abc"),
        ] {
            assert_eq!(context_name(name), expected, "{name}");
        }
    }

    #[test]
    fn platforms_come_first_and_two_names_are_taken() {
        let context = |text: &str| (text.to_owned(), NamedContext::Files(text.to_owned()));
        let contexts = ["a", "a::linux/arm64", "scratch", "context"].map(context).into();
        let options = BuildOptions { contexts, ..BuildOptions::default() };
        let found = |name: &str, platform: &str| {
            options.named_context(name, &platform.parse().unwrap()).map(|(name, _)| name).unwrap_or_default()
        };
        assert_eq!(found("A", "linux/arm64/v8"), "a::linux/arm64");
        assert_eq!(found("a:latest", "linux/amd64"), "a");
        for name in ["b", "Scratch", "context"] {
            assert_eq!(found(name, "linux/amd64"), "", "{name}");
        }
    }
}

//! `--build-context NAME=SOURCE`.

use std::collections::BTreeMap;

use builder_frontend::plan::{NamedContext, context_name};
use builder_frontend::platform::Platform;

use super::Address;
use crate::build::contexts::Contexts;
use crate::commands::build::BuildArgs;
use crate::error::{CliError, CliResult};

/// Names that always mean the empty tree and the main context.
const RESERVED: [&str; 2] = ["scratch", "context"];

/// The named contexts of a command line. Files are only fetched when a plan reads them.
pub(crate) fn named(args: &BuildArgs, contexts: &Contexts) -> CliResult<BTreeMap<String, NamedContext>> {
    let mut found = BTreeMap::new();
    for (key, address) in addresses(args)? {
        let context = match address {
            Address::Image(name) => NamedContext::Image(name),
            // Loaded when the plan asks for it.
            Address::Layout(layout) => NamedContext::Image(format!("oci-layout://{layout}")),
            address => NamedContext::Files(contexts.named(&key, &address)),
        };
        found.insert(key, context);
    }
    Ok(found)
}

/// The addresses of the named contexts; the last of a name counts.
pub(super) fn addresses(args: &BuildArgs) -> CliResult<BTreeMap<String, Address>> {
    let mut found = BTreeMap::new();
    for text in &args.build_contexts {
        let Some((name, source)) = text.split_once('=').filter(|(name, _)| !name.trim().is_empty()) else {
            return Err(CliError::Usage(format!(
                "--build-context `{text}`: give NAME=SOURCE, where SOURCE is a directory, a URL, docker-image://… or oci-layout://…"
            )));
        };
        found.insert(key(name.trim())?, Address::named(name, source)?);
    }
    Ok(found)
}

/// A name as the planner looks for it.
fn key(name: &str) -> CliResult<String> {
    let (name, platform) = match name.split_once("::") {
        None => (name, None),
        Some((name, platform)) => {
            let platform: Platform = platform
                .parse()
                .map_err(|error| CliError::Usage(format!("--build-context `{name}::{platform}`: {error}")))?;
            (name, Some(platform))
        }
    };
    if RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
        return Err(CliError::Usage(format!(
            "--build-context: the name `{name}` has a meaning of its own: take another one"
        )));
    }
    let name = context_name(name);
    Ok(match platform {
        Some(platform) => format!("{name}::{platform}"),
        None => name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_for_in_lower_case() {
        for (name, expected) in [
            ("Base", "base"),
            ("docker.io/library/alpine:latest", "alpine"),
            ("alpine:3::linux/arm64", "alpine:3::linux/arm64"),
            ("a::linux/aarch64", "a::linux/arm64"),
        ] {
            assert_eq!(key(name).ok().as_deref(), Some(expected), "{name}");
        }
        for bad in ["scratch", "Context", "a::nothing/of/the/kind"] {
            assert!(key(bad).is_err(), "{bad}");
        }
    }
}

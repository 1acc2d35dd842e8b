//! Targets → requests: each is the `builder build` command that does the same.

use std::collections::BTreeMap;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};

use super::config::Selected;
use super::entitlements::Entitlements;
use super::entry::Entry;
use super::error::{BakeError, BakeResult};
use super::remote::is_remote;
use super::target::Target;
use crate::build::BuildRequest;
use crate::commands::build::BuildArgs;

/// The flags of `builder build` by themselves.
#[derive(Debug, Parser)]
#[command(name = "target", no_binary_name = true, disable_help_flag = true)]
struct TargetCommand {
    #[command(flatten)]
    args: BuildArgs,
}

/// The requests in an order in which each comes after what it uses.
pub(crate) fn requests(selected: &Selected, granted: &Entitlements) -> BakeResult<Vec<BuildRequest>> {
    let mut order =
        Order { selected, granted, command: TargetCommand::command(), known: BTreeMap::new(), requests: Vec::new() };
    for name in selected.targets.keys() {
        order.add(name)?;
    }
    let several = order.requests.len() > 1;
    order.requests.iter_mut().for_each(|request| request.one_of_many = several);
    Ok(order.requests)
}

struct Order<'a> {
    selected: &'a Selected,
    granted: &'a Entitlements,
    command: clap::Command,
    known: BTreeMap<&'a str, usize>,
    requests: Vec<BuildRequest>,
}

impl<'a> Order<'a> {
    /// Adds a target after those that it uses; there are no circles among them any more.
    fn add(&mut self, name: &'a str) -> BakeResult<Option<usize>> {
        if let Some(&position) = self.known.get(name) {
            return Ok(Some(position));
        }
        let Some(target) = self.selected.targets.get(name) else { return Ok(None) };
        let mut links = BTreeMap::new();
        for (context, source) in &target.contexts {
            if let Some(linked) = source.strip_prefix("target:")
                && let Some(position) = self.add(linked)?
            {
                links.insert(context.clone(), position);
            }
        }
        let words = words(target, self.granted).map_err(|error| of_target(error, target))?;
        let matches = self.command.try_get_matches_from_mut(words);
        let parsed = matches.and_then(|mut matches| TargetCommand::from_arg_matches_mut(&mut matches));
        let args = parsed.map_err(|error| of_target(BakeError::new(reason(&error)), target))?.args;
        let position = self.requests.len();
        self.requests.push(BuildRequest {
            name: Some(name.to_owned()),
            args,
            dockerfile: target.dockerfile_inline.clone(),
            links,
            linked: target.linked,
            one_of_many: false,
        });
        self.known.insert(name, position);
        Ok(Some(position))
    }
}

pub(super) fn of_target(error: BakeError, target: &Target) -> BakeError {
    let error = BakeError { message: format!("target {}: {}", target.name, error.message), ..error };
    match &target.span {
        Some(span) => error.at(span),
        None => error,
    }
}

/// The first sentence of what is wrong with a command line.
fn reason(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// The command line of a target.
fn words(target: &Target, granted: &Entitlements) -> BakeResult<Vec<String>> {
    unsupported(target)?;
    let mut words = Words::default();
    let (context, file) = places(target)?;
    words.option("file", file.as_deref());
    words.option("target", target.stage.as_deref().filter(|stage| !stage.is_empty()));
    words.option("network", target.network.as_deref().filter(|mode| !mode.is_empty()));
    words.option("shm-size", target.shm_size.as_deref());
    words.option("call", target.call.as_deref());
    words.pairs("build-arg", &target.args);
    words.pairs("label", &target.labels);
    words.pairs("resource", &target.resources);
    for (name, addresses) in &target.extra_hosts {
        addresses.split(',').for_each(|address| words.push("add-host", &format!("{name}={address}")));
    }
    let directories = target.contexts.iter().filter(|(_, source)| !source.starts_with("target:"));
    directories.for_each(|(name, source)| {
        words.push("build-context", &format!("{name}={}", local(source)));
    });
    words.each("tag", target.tags.iter().flatten());
    words.each("platform", target.platforms.iter().flatten());
    words.each("annotation", &target.annotations);
    words.each("no-cache-filter", &target.no_cache_filter);
    words.each("ulimit", &target.ulimits);
    words.each("allow", granted.passed());
    words.each("secret", &target.secrets.iter().map(Entry::flag).collect::<Vec<_>>());
    words.each("ssh", &target.ssh.iter().map(Entry::flag).collect::<Vec<_>>());
    words.each("attest", &target.attest.iter().map(Entry::flag).collect::<Vec<_>>());
    words.each("cache-from", &target.cache_from.iter().map(Entry::flag).collect::<Vec<_>>());
    words.each("cache-to", &target.cache_to.iter().flatten().map(Entry::flag).collect::<Vec<_>>());
    words.each("output", &target.outputs.iter().flatten().map(output).collect::<Vec<_>>());
    if target.no_cache == Some(true) {
        words.0.push("--no-cache".to_owned());
    }
    if target.pull == Some(true) {
        words.0.push("--pull".to_owned());
    }
    words.0.extend(["--".to_owned(), context]);
    Ok(words.0)
}

/// What a definition may say and nobody can do yet.
fn unsupported(target: &Target) -> BakeResult<()> {
    if !target.policy.is_empty() {
        return Err(BakeError::new("`policy` is not supported yet").help("take it out"));
    }
    Ok(())
}

/// The context and the Dockerfile. A Dockerfile's path is relative to its context.
pub(super) fn places(target: &Target) -> BakeResult<(String, Option<String>)> {
    let context = target.context.as_deref().unwrap_or(".");
    let file = target.dockerfile.as_deref().unwrap_or("Dockerfile");
    if context == "-" || file == "-" {
        let what = if file == "-" { "the Dockerfile" } else { "the context" };
        return Err(BakeError::new(format!("{what} can't come from standard input in a bake definition")));
    }
    let context = local(context);
    let file = match file.strip_prefix("cwd://") {
        _ if target.dockerfile_inline.is_some() => None,
        Some(_) => Some(local(file).to_owned()),
        None if file == "Dockerfile" => None,
        None if is_remote(context) || is_remote(file) || file.starts_with('/') => Some(file.to_owned()),
        None => Some(format!("{}/{file}", context.trim_end_matches('/'))),
    };
    Ok((context.to_owned(), file))
}

/// A place without `cwd://`, which says that it is on this machine.
pub(super) fn local(place: &str) -> &str {
    match place.strip_prefix("cwd://") {
        Some("") => ".",
        Some(path) => path,
        None => place,
    }
}

/// `type=docker` without a file loads the image: into the store.
fn output(entry: &Entry) -> String {
    let mut entry = entry.clone();
    if entry.field("type") == Some("docker") && entry.field("dest").is_none_or(str::is_empty) {
        entry.set("type", "image");
        entry.remove("dest");
    }
    entry.flag()
}

#[derive(Default)]
struct Words(Vec<String>);

impl Words {
    fn push(&mut self, flag: &str, value: &str) {
        self.0.push(format!("--{flag}={value}"));
    }

    fn option(&mut self, flag: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.push(flag, value);
        }
    }

    fn each<'t>(&mut self, flag: &str, values: impl IntoIterator<Item = &'t String>) {
        for value in values {
            self.push(flag, value);
        }
    }

    fn pairs(&mut self, flag: &str, pairs: &BTreeMap<String, String>) {
        for (name, value) in pairs {
            self.push(flag, &format!("{name}={value}"));
        }
    }
}

use builder_image::Reference;
use builder_image::registry::{Error, Stop};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Global, login};
use crate::error::{CliError, CliResult};
use crate::output;
use crate::registry::{DOCKER_HUB, RegistryArgs, client_for};

#[derive(Debug, Subcommand)]
pub(crate) enum RegistryCommand {
    /// List the repositories of a registry, one a line
    Ls(LsArgs),
    /// List the tags of a repository, one a line
    Tags(TagsArgs),
}

#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// One JSON object, as the registry's own catalog
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    /// The registry: host or host:port
    #[arg(value_name = "HOST")]
    host: String,
}

#[derive(Debug, Args)]
pub(crate) struct TagsArgs {
    /// One JSON object, as the registry's own list
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    /// The repository: host/name, or the name of one on Docker Hub
    #[arg(value_name = "REPOSITORY")]
    repository: String,
}

pub(crate) fn run(global: &Global, command: RegistryCommand) -> CliResult<u8> {
    match command {
        RegistryCommand::Ls(args) => ls(global, &args),
        RegistryCommand::Tags(args) => tags(global, &args),
    }
}

fn ls(global: &Global, args: &LsArgs) -> CliResult<u8> {
    let host = login::host(Some(&args.host))?;
    let registry = client_for(global, &args.registry, [host.as_str()], Stop::default())?;
    let names = registry.catalog(&host).map_err(|error| no_catalog(error, &host))?;
    print(&names, args.json, &json!({ "repositories": names }))
}

fn tags(global: &Global, args: &TagsArgs) -> CliResult<u8> {
    let text = &args.repository;
    let wrong = |reason: &str| CliError::message(format!("invalid repository `{text}`: {reason}"));
    let reference: Reference = text
        .parse()
        .map_err(|error: builder_image::reference::ParseReferenceError| wrong(&error.reason.to_string()))?;
    if reference.digest().is_some() || text.rsplit('/').next().is_some_and(|last| last.contains(':')) {
        return Err(wrong("tags belong to a repository: leave out its tag and digest"));
    }
    let registry = client_for(global, &args.registry, [reference.registry().as_str()], Stop::default())?;
    let tags = registry.repository(&reference).tags()?;
    print(&tags, args.json, &json!({ "name": reference.repository().as_str(), "tags": tags }))
}

fn print(lines: &[String], as_json: bool, object: &serde_json::Value) -> CliResult<u8> {
    let text =
        if as_json { format!("{object:#}\n") } else { lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect() };
    output::result(&text)?;
    Ok(0)
}

/// Docker Hub and others don't tell what they have.
fn no_catalog(error: Error, host: &str) -> CliError {
    if error.is_not_found() || host == DOCKER_HUB {
        let word = if host == DOCKER_HUB { "WORD".to_owned() } else { format!("{host}/WORD") };
        let hint = format!("not every registry has a catalog, Docker Hub has none: try `builder search {word}`");
        return CliError::with_hint(error, hint);
    }
    error.into()
}

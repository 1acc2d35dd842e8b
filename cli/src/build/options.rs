//! The command line of a build as options of the planner.

use builder_frontend::plan::BuildOptions;
use builder_frontend::platform::Platform;
use builder_solver::NetworkMode;

use super::request::BuildRequest;
use super::run_options::{allows, hosts};
use super::source::BuildSource;
use crate::error::{CliError, CliResult};

/// Fixes the times that images show.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// The options that the platforms of a request have in common; they are for this machine.
pub(super) fn build_options(request: &BuildRequest, source: &BuildSource) -> CliResult<BuildOptions> {
    let args = &request.args;
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (text.clone(), None),
    };
    let labels = args.labels.iter().map(|label| {
        let (name, value) = pair(label);
        if name.is_empty() {
            return Err(CliError::Usage(format!("--label `{label}` has no name")));
        }
        Ok((name, value.unwrap_or_default()))
    });
    let mut build_args: Vec<(String, Option<String>)> = args.arguments.iter().map(pair).collect();
    // As in buildx, the client's own wish for fixed times is a build argument.
    if std::env::var_os(EPOCH).is_some() && !build_args.iter().any(|(name, _)| name == EPOCH) {
        build_args.push((EPOCH.to_owned(), None));
    }
    let mut project = format!("{}\0{}", source.project, source.name);
    if let Some(name) = &request.name {
        project.extend(["\0", name]);
    }
    Ok(BuildOptions {
        target: args.target.clone(),
        build_args,
        client_env: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        no_cache: args.no_cache,
        no_cache_stages: args.no_cache_filter.clone(),
        labels: labels.collect::<CliResult<_>>()?,
        platform: Platform::host(),
        build_platform: Platform::host(),
        network: match args.network.as_str() {
            "none" => NetworkMode::None,
            "host" => NetworkMode::Host,
            _ => NetworkMode::Default,
        },
        hosts: hosts(args)?,
        allow_insecure: allows(args, "security.insecure"),
        allow_host_network: allows(args, "network.host"),
        project,
        name_prefix: request.prefix().map(str::to_owned),
        ..BuildOptions::default()
    })
}

use builder_cache::{Container, ContainerState, Store};
use clap::Args;
use serde_json::{Value, json};

use crate::commands::Global;
use crate::commands::images::timestamp;
use crate::commands::inspect::{Format, tell};
use crate::containers::{self, Description};
use crate::error::CliResult;
use crate::store;

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A Go template for each container, such as `{{.State.Status}}`; json prints them in one line
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Ids, names, or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) fn run(global: &Global, args: &InspectArgs) -> CliResult<u8> {
    let format = args.format.as_deref().map(Format::parse).transpose()?;
    let store = store::open(global)?;
    let mut all = Vec::new();
    for text in &args.containers {
        all.push(described(&store, &containers::find(&store, text)?)?);
    }
    tell(all, format.as_ref())?;
    Ok(0)
}

/// What is known of a container.
pub(crate) fn described(store: &Store, container: &Container) -> CliResult<Value> {
    describe(container, &store.container_upper(&container.id).display().to_string())
}

/// The fields of `docker container inspect`, as far as there is such a thing here.
fn describe(container: &Container, upper: &str) -> CliResult<Value> {
    let description = Description::of(container)?;
    let time = |ms: Option<i64>| ms.map_or("0001-01-01T00:00:00Z".to_owned(), timestamp);
    let (program, arguments) = match description.command.split_first() {
        Some((program, arguments)) => (program.clone(), arguments.to_vec()),
        None => (String::new(), Vec::new()),
    };
    let mut config = serde_json::to_value(&description.config)?;
    config["Hostname"] = json!(description.hostname);
    config["Image"] = json!(description.image);
    let mounts: Vec<Value> = description
        .mounts
        .iter()
        .map(|mount| json!({"Type": "bind", "Source": mount.source, "Destination": mount.target, "RW": !mount.read_only}))
        .collect();
    Ok(json!({
        "Id": container.id.to_string(),
        "Created": timestamp(container.created_ms),
        "Path": program,
        "Args": arguments,
        "State": {
            "Status": containers::state(container),
            "Running": container.state() == ContainerState::Running,
            "ExitCode": container.exit_code,
            "StartedAt": time(container.started_ms),
            "FinishedAt": time(container.finished_ms),
        },
        "Image": container.image.to_string(),
        "Name": format!("/{}", container.name),
        "HostConfig": { "AutoRemove": description.remove },
        "GraphDriver": { "Data": { "UpperDir": upper } },
        "Mounts": mounts,
        "Config": config,
    }))
}

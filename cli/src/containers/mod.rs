//! Containers as people know them: how they were started, what they are called, how they are found.

mod description;
mod env_file;
mod listing;
mod name;

use builder_cache::{Container, ContainerState, Store};

pub(crate) use description::{Description, Mounted};
pub(crate) use env_file::variables;
pub(crate) use listing::{Ages, row};
pub(crate) use name::{check_name, invent_names};

use crate::error::{CliError, CliResult};

/// Finds a container by its id, its name, or the beginning of its id.
pub(crate) fn find(store: &Store, text: &str) -> CliResult<Container> {
    try_find(store, text)?.ok_or_else(|| missing(text))
}

/// What is said of a container that is not there.
pub(crate) fn missing(text: &str) -> CliError {
    CliError::with_hint(
        anyhow::anyhow!("no such container: {text}"),
        "`builder ps -a` lists the containers; those of `run --rm` are gone when they end",
    )
}

/// Fails when a container was removed while it was read: what was read is not all of it then. Rows go before files.
pub(crate) fn still_there(store: &Store, container: &Container) -> CliResult<()> {
    match store.container(&container.id)? {
        Some(_) => Ok(()),
        None => Err(CliError::message(format!("the container {} was removed meanwhile", container.name))),
    }
}

/// The same as [`find`]; nothing when there is none.
pub(crate) fn try_find(store: &Store, text: &str) -> CliResult<Option<Container>> {
    let all = store.containers()?;
    let name = text.strip_prefix('/').unwrap_or(text);
    if let Some(found) = all.iter().find(|container| container.id.to_string() == text || container.name == name) {
        return Ok(Some(found.clone()));
    }
    let mut begun = all.into_iter().filter(|container| !text.is_empty() && container.id.to_string().starts_with(text));
    match (begun.next(), begun.next()) {
        (found, None) => Ok(found),
        (_, Some(_)) => Err(CliError::message(format!("multiple IDs found with provided prefix: {text}"))),
    }
}

/// Its state in a word.
pub(crate) fn state(container: &Container) -> &'static str {
    match container.state() {
        ContainerState::Created => "created",
        ContainerState::Running => "running",
        ContainerState::Exited => "exited",
    }
}

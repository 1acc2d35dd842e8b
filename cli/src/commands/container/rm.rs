use std::time::{Duration, Instant};

use builder_cache::{Container, ContainerState, Error as StoreError, HeldContainer, Store};
use builder_executor::container::{kill, kill_holder, release_all_abandoned};
use clap::Args;

use crate::commands::Global;
use crate::containers;
use crate::error::{CliError, CliResult};
use crate::output;
use crate::store;

/// How long a container that was killed may take to end in order.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Kill it if it runs
    #[arg(short, long)]
    force: bool,
    /// Its anonymous volumes, too; accepted for scripts, since there are none
    #[arg(short, long)]
    volumes: bool,
    /// Ids, names, or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) fn run(global: &Global, args: &RmArgs) -> CliResult<u8> {
    let store = store::open(global)?;
    // What stands still does not even die.
    release_all_abandoned();
    let mut failed = false;
    for text in &args.containers {
        let found = containers::try_find(&store, text);
        // As in Docker, with --force it is no failure that there is none.
        let forgiven = args.force && matches!(found, Ok(None));
        let removed = found
            .and_then(|found| found.ok_or_else(|| containers::missing(text)))
            .and_then(|container| remove(&store, &container, args.force));
        match removed {
            Ok(()) => output::result(&format!("{text}\n"))?,
            Err(error) => {
                failed |= !forgiven;
                output::notice(&error.to_string());
            }
        }
    }
    if failed { Err(CliError::Shown) } else { Ok(0) }
}

fn remove(store: &Store, container: &Container, force: bool) -> CliResult<()> {
    let held = match store.hold_container(&container.id, false) {
        // Somebody else was faster.
        Err(StoreError::NoContainer(_)) => return Ok(()),
        other => other?,
    };
    let held = match held {
        Some(held) => held,
        None if force => match end(store, container)? {
            Some(held) => held,
            None => return Ok(()),
        },
        None if container.state() != ContainerState::Running => {
            return Err(CliError::message(format!("the container {} is in use: try again", container.name)));
        }
        None => {
            return Err(CliError::with_hint(
                anyhow::anyhow!("cannot remove container \"/{}\": container is running", container.name),
                "stop the container before removing, or remove it with --force",
            ));
        }
    };
    Ok(held.remove()?)
}

/// Kills what runs in it and waits for its builder to write that down; one that does not is killed, too.
fn end(store: &Store, container: &Container) -> CliResult<Option<HeldContainer>> {
    let start = Instant::now();
    let mut patient = true;
    loop {
        match store.hold_container(&container.id, false) {
            Ok(Some(held)) => return Ok(Some(held)),
            // One of `run --rm` removes itself.
            Err(StoreError::NoContainer(_)) => return Ok(None),
            Ok(None) => {}
            Err(error) => return Err(error.into()),
        }
        // It may be about to start, or something else may hold it.
        let Some(holder) = store.container(&container.id)?.and_then(|container| container.holder) else {
            if start.elapsed() > PATIENCE {
                return Err(CliError::message(format!("the container {} is in use: try again", container.name)));
            }
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        let _ = kill(holder);
        if patient && start.elapsed() > PATIENCE {
            patient = false;
            let _ = kill_holder(holder, &store.container_directory(&container.id));
        } else if start.elapsed() > 2 * PATIENCE {
            return Err(CliError::message(format!("the container {} does not end", container.name)));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

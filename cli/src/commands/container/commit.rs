use anyhow::Context;
use builder_cache::{Container, ContainerState, KeyLock, Store};
use builder_executor::container::{FreezeError, Frozen, commit, freeze};
use builder_frontend::changes::apply_changes;
use builder_frontend::config::{History, ImageConfig, RootFs};
use builder_image::assemble::{AssembleOptions, assemble};
use clap::{ArgAction, Args};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::build::driver;
use crate::commands::Global;
use crate::containers::{self, Description};
use crate::error::{CliError, CliResult};
use crate::store;
use crate::{output, sync};

#[derive(Debug, Args)]
pub(crate) struct CommitArgs {
    /// Who made the image
    #[arg(short, long, value_name = "TEXT")]
    author: Option<String>,
    /// What history says about the image
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Apply an instruction to the image's config (CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, USER, VOLUME,
    /// WORKDIR, …); can be given several times
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    changes: Vec<String>,
    /// Let the container stand still meanwhile
    #[arg(
        short, long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = true,
        default_missing_value = "true", value_name = "BOOL"
    )]
    pause: bool,
    /// Its id, its name, or the beginning of its id
    container: String,
    /// The image's name
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<String>,
}

pub(crate) fn run(global: &Global, args: &CommitArgs) -> CliResult<u8> {
    let name = args.name.as_deref().map(store::new_name).transpose()?;
    let durability = sync::durability()?;
    let store = store::open(global)?;
    let lease = store.lease()?;
    let container = containers::find(&store, &args.container)?;
    let config = config(&store, &container, args)?;
    let driver = driver(global, &store)?;
    // Of one that has ended nobody copies into it, or removes it, meanwhile.
    let held = match container.state() {
        ContainerState::Running => None,
        ContainerState::Created | ContainerState::Exited => store.hold_container(&container.id, true)?,
    };
    let work = {
        let (store, driver, container) = (store.clone(), driver.clone(), container.clone());
        move || Ok(commit(&store, &driver, &container)?)
    };
    let layer = interruptible(|| pause(&store, &container, args.pause), work);
    drop(held);
    containers::still_there(&store, &container)?;
    let layer = layer?;
    // As in Docker: what changes no file has a line in the history and no layer.
    let empty = store.layer(&layer)?.meta.files == 0;
    let snapshot = if empty { container.snapshot.clone() } else { container.snapshot.with(layer) };
    let config = finish(config, &container, args, empty)?;
    let image = assemble(&store, &config, &snapshot, &AssembleOptions::default())?;
    if let Some(name) = name {
        store.tag(&name, &image.id)?;
    }
    drop(lease);
    output::result(&format!("{}\n", image.id))?;
    sync::after_build(global, &store, durability)?;
    Ok(0)
}

/// A container that stands still, and the right to let it do so. The container goes on before somebody else's turn.
type Paused = (Frozen, KeyLock);

fn pause(store: &Store, container: &Container, wanted: bool) -> CliResult<Option<Paused>> {
    let Some(holder) = container.holder.filter(|_| wanted && container.state() == ContainerState::Running) else {
        return Ok(None);
    };
    let turn = store.lock_pause(&container.id)?;
    match freeze(holder) {
        Ok(frozen) => Ok(Some((frozen, turn))),
        // It has ended since.
        Err(FreezeError::Gone(_)) => Ok(None),
        Err(error) => Err(CliError::with_hint(
            anyhow::Error::from(error).context(format!("the container {} can't be paused", container.name)),
            "commit it as it runs with --pause=false",
        )),
    }
}

/// Does the work on a thread of its own while the container stands still. A signal ends this process, but never before
/// the container goes on.
fn interruptible<T: Send + 'static>(
    pause: impl FnOnce() -> CliResult<Option<Paused>>,
    work: impl FnOnce() -> CliResult<T> + Send + 'static,
) -> CliResult<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        let catch = |kind: SignalKind| signal(kind).context("signals can't be caught");
        let mut interrupt = catch(SignalKind::interrupt())?;
        let mut terminate = catch(SignalKind::terminate())?;
        let mut hangup = catch(SignalKind::hangup())?;
        // Not before signals are caught.
        let _paused = pause()?;
        tokio::select! {
            done = tokio::task::spawn_blocking(work) => match done {
                Ok(result) => result,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
            _ = interrupt.recv() => Err(CliError::Interrupted),
            _ = terminate.recv() => Err(CliError::Interrupted),
            _ = hangup.recv() => Err(CliError::Interrupted),
        }
    });
    runtime.shutdown_background();
    done
}

/// The config of the container's image with how the container runs, and the changes on top.
fn config(store: &Store, container: &Container, args: &CommitArgs) -> CliResult<ImageConfig> {
    let mut config = store::config(store, &container.image)?;
    config.config = Description::of(container)?.config;
    apply_changes(&mut config, &args.changes).map_err(|error| {
        let help = error.diagnostic().and_then(|diagnostic| diagnostic.help);
        CliError::Usage(format!("--change: {error}{}", help.map(|help| format!("\nhelp: {help}")).unwrap_or_default()))
    })?;
    Ok(config)
}

fn finish(
    mut config: ImageConfig,
    container: &Container,
    args: &CommitArgs,
    empty: bool,
) -> CliResult<serde_json::Map<String, serde_json::Value>> {
    let created = Some(jiff::Timestamp::now().to_string());
    let author = args.author.clone().unwrap_or_default();
    config.created.clone_from(&created);
    config.author.clone_from(&author);
    config.rootfs = RootFs::default();
    config.history.push(History {
        created,
        // What the container ran; not what the image will run.
        created_by: Description::of(container)?.config.cmd.join(" "),
        author,
        comment: args.message.clone().unwrap_or_default(),
        empty_layer: empty,
    });
    config.other.retain(|name, _| !["container_config", "docker_version"].contains(&name.as_str()));
    config.other.insert("container".to_owned(), json!(container.id.to_string()));
    match serde_json::to_value(&config)? {
        serde_json::Value::Object(config) => Ok(config),
        _ => Err(CliError::message("an image config is a JSON object")),
    }
}

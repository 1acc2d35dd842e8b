use builder_cache::ContainerState;
use builder_executor::container::View;
use builder_executor::container::change::changes;
use clap::Args;

use crate::build::driver;
use crate::commands::Global;
use crate::containers;
use crate::error::CliResult;
use crate::output;
use crate::store;

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// Its id, its name, or the beginning of its id
    container: String,
}

pub(crate) fn run(global: &Global, args: &DiffArgs) -> CliResult<u8> {
    let store = store::open(global)?;
    let _lease = store.lease()?;
    let container = containers::find(&store, &args.container)?;
    let driver = driver(global, &store)?;
    let image = View::image(&store, &driver, &container)?;
    if container.state() == ContainerState::Running {
        // Where that can't be told, this says so.
        drop(View::read(&store, &driver, &container)?);
    }
    let mut text = Vec::new();
    for change in changes(&store.container_upper(&container.id), image.root())? {
        text.extend([change.kind.letter() as u8, b' ']);
        text.extend(change.path);
        text.push(b'\n');
    }
    containers::still_there(&store, &container)?;
    output::bytes(&text)?;
    Ok(0)
}

use builder_cache::Named;
use clap::Args;

use super::Global;
use crate::error::CliResult;
use crate::store;

#[derive(Debug, Args)]
pub(crate) struct TagArgs {
    /// The image: name, id, or the beginning of an id
    source: String,
    /// The new name
    target: String,
}

pub(crate) fn run(global: &Global, args: &TagArgs) -> CliResult<u8> {
    let store = store::open(global)?;
    // Nobody prunes the image before it has its name.
    let _lease = store.lease()?;
    let found = store::find(&store, &args.source)?;
    // A name for several platforms gives all of them on.
    let named = match &found.name {
        Some(name) => store.name(name)?,
        None => None,
    };
    store.set_name(&store::new_name(&args.target)?, &named.unwrap_or_else(|| Named::one(found.image.id)))?;
    Ok(0)
}

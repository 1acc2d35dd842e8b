use std::fmt::Write as _;

use builder_cache::Store;
use builder_image::Reference;
use clap::Args;

use super::Global;
use crate::error::{CliError, CliResult};
use crate::{output, store};

#[derive(Debug, Args)]
pub(crate) struct RmiArgs {
    /// Remove the image and all of its names, even when it has several
    #[arg(short, long)]
    force: bool,
    /// Names, ids, or beginnings of ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

pub(crate) fn run(global: &Global, args: &RmiArgs) -> CliResult<u8> {
    let store = store::open(global)?;
    let mut failed = false;
    for name in &args.images {
        match remove(&store, name, args.force) {
            Ok(text) => output::result(&text)?,
            Err(error) => {
                failed = true;
                output::notice(&error.to_string());
            }
        }
    }
    if failed { Err(CliError::Shown) } else { Ok(0) }
}

/// A name is taken away; images go with their last one.
fn remove(store: &Store, text: &str, force: bool) -> CliResult<String> {
    let found = store::find(store, text)?;
    let mut told = String::new();
    if let Some(name) = &found.name
        && (found.image.names.len() > 1 || !found.image.platform_of.is_empty())
    {
        let platforms = store.name(name)?.map(|named| named.platforms).unwrap_or_default();
        store.untag(name)?;
        for (_, id) in platforms {
            store.remove_nameless_image(&id)?;
        }
        let _ = writeln!(told, "Untagged: {}", familiar(name));
        return Ok(told);
    }
    if found.name.is_none() && found.image.names.len() > 1 && !force {
        return Err(CliError::with_hint(
            anyhow::anyhow!(
                "image {} has several names: {}",
                found.image.id.short(),
                found.image.names.iter().map(|name| familiar(name)).collect::<Vec<_>>().join(", ")
            ),
            "remove them one by one, or all with --force",
        ));
    }
    if !found.image.platform_of.is_empty() && !force {
        return Err(CliError::with_hint(
            anyhow::anyhow!(
                "image {} is one platform of {}",
                found.image.id.short(),
                found.image.platform_of.iter().map(|name| familiar(name)).collect::<Vec<_>>().join(", ")
            ),
            "remove that name and all its platforms, or this image alone with --force",
        ));
    }
    let removed = store.remove_image(&found.image.id)?;
    for name in &removed.names {
        let _ = writeln!(told, "Untagged: {}", familiar(name));
    }
    let _ = writeln!(told, "Deleted: {}", found.image.id);
    Ok(told)
}

fn familiar(name: &str) -> String {
    name.parse::<Reference>().map_or_else(|_| name.to_owned(), |reference| reference.familiar())
}

use builder_cache::Store;
use builder_image::Reference;
use clap::Args;
use serde_json::{Value, json};

use super::Global;
use super::images::timestamp;
use crate::error::CliResult;
use crate::store::Found;
use crate::{output, store};

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Print the image's config as it is stored, byte for byte
    #[arg(long)]
    raw: bool,
    /// Names, ids, or beginnings of ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

pub(crate) fn run(global: &Global, args: &InspectArgs) -> CliResult<u8> {
    let store = store::open(global)?;
    let mut all = Vec::new();
    for name in &args.images {
        let found = store::find(&store, name)?;
        if args.raw {
            let bytes = store::config_bytes(&store, &found.image.id)?;
            output::result(&String::from_utf8_lossy(&bytes))?;
            output::result("\n")?;
            continue;
        }
        all.push(describe(&store, &found)?);
    }
    if !args.raw {
        output::result(&format!("{:#}\n", Value::Array(all)))?;
    }
    Ok(0)
}

/// The fields of `docker image inspect`, and where each layer is.
fn describe(store: &Store, found: &Found) -> CliResult<Value> {
    let image = &found.image;
    let config: Value = serde_json::from_slice(&store::config_bytes(store, &image.id)?)?;
    let names: Vec<String> = image
        .names
        .iter()
        .map(|name| name.parse::<Reference>().map_or_else(|_| name.clone(), |reference| reference.familiar()))
        .collect();
    let mut layers = Vec::new();
    for (layer, diff_id) in image.snapshot.layers.iter().zip(&image.diff_ids) {
        let meta = store.layer(layer)?.meta;
        let directories: Vec<String> = store.part_dirs(layer)?.iter().map(|path| path.display().to_string()).collect();
        layers.push(json!({
            "DiffID": diff_id.to_string(), "Size": meta.size, "Files": meta.files,
            "Created": timestamp(meta.created_ms), "Directories": directories,
        }));
    }
    let diff_ids: Vec<String> = image.diff_ids.iter().map(ToString::to_string).collect();
    let mut described = json!({
        "Id": image.id.to_string(),
        "RepoTags": names,
        "Digest": image.manifest.as_ref().map(ToString::to_string),
        "Created": config.get("created"),
        "Author": config.get("author").cloned().unwrap_or_else(|| json!("")),
        "Architecture": config.get("architecture"),
        "Variant": config.get("variant"),
        "Os": config.get("os"),
        "Size": image.size,
        "Config": config.get("config"),
        "RootFS": { "Type": "layers", "Layers": diff_ids },
        "Layers": layers,
        "CacheKey": image.target.as_ref().map(ToString::to_string),
    });
    let named = found.name.as_ref().map(|name| store.name(name)).transpose()?.flatten();
    if let Some(named) = named.filter(|named| !named.platforms.is_empty()) {
        let platforms =
            named.platforms.iter().map(|(platform, id)| json!({ "Platform": platform, "Id": id.to_string() }));
        described["Platforms"] = platforms.collect();
    }
    Ok(described)
}

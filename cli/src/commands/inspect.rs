use builder_cache::Store;
use builder_image::registry::Stop;
use builder_image::{Platform, Reference};
use clap::Args;
use serde_json::{Value, json};

use super::images::timestamp;
use super::{Global, container};
use crate::error::CliResult;
use crate::registry::{RegistryArgs, client_for};
use crate::store::Found;
use crate::template::Template;
use crate::{output, remote_image, store};

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Print the image's config as it is stored, byte for byte
    #[arg(long)]
    raw: bool,
    /// A Go template for each image, such as `{{.Config.Env}}` or `{{json .RootFS}}`; json prints them in one line
    #[arg(short, long, value_name = "FORMAT", conflicts_with = "raw")]
    format: Option<String>,
    /// Look at what the registry has; nothing is brought in
    #[arg(long, conflicts_with = "raw")]
    remote: bool,
    /// With --remote: for which platform, of an image that is for several [default: this machine's]
    #[arg(long, value_name = "OS/ARCH", requires = "remote")]
    platform: Option<String>,
    #[command(flatten)]
    registry: RegistryArgs,
    /// Names, ids, or beginnings of ids; of containers, too, when the command is `builder inspect`
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// `builder image inspect`: images only.
pub(crate) fn run(global: &Global, args: &InspectArgs) -> CliResult<u8> {
    inspect(global, args, false)
}

/// `builder inspect`: a container, or else an image, as in Docker.
pub(crate) fn run_any(global: &Global, args: &InspectArgs) -> CliResult<u8> {
    inspect(global, args, true)
}

fn inspect(global: &Global, args: &InspectArgs, containers: bool) -> CliResult<u8> {
    let format = args.format.as_deref().map(Format::parse).transpose()?;
    if args.remote {
        return run_remote(global, args, format.as_ref());
    }
    let store = store::open(global)?;
    let mut all = Vec::new();
    for name in &args.images {
        if containers
            && !args.raw
            && let Ok(Some(container)) = crate::containers::try_find(&store, name)
        {
            all.push(container::inspect::described(&store, &container)?);
            continue;
        }
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
        tell(all, format.as_ref())?;
    }
    Ok(0)
}

/// `--format`.
pub(super) enum Format {
    Json,
    Each(Template),
}

impl Format {
    pub(super) fn parse(text: &str) -> CliResult<Self> {
        if text == "json" {
            return Ok(Self::Json);
        }
        Ok(Self::Each(Template::parse(text).map_err(|error| error.drawn("--format"))?))
    }
}

pub(super) fn tell(all: Vec<Value>, format: Option<&Format>) -> CliResult<()> {
    match format {
        None => output::result(&format!("{:#}\n", Value::Array(all))),
        Some(Format::Json) => output::result(&format!("{}\n", Value::Array(all))),
        Some(Format::Each(template)) => {
            for image in all {
                let text = template.execute(&with_empty_settings(image)).map_err(|error| error.drawn("--format"))?;
                output::result(&(text + "\n"))?;
            }
            Ok(())
        }
    }
}

/// In Docker's fields what an image does not set is empty, not missing.
fn with_empty_settings(mut image: Value) -> Value {
    if image["Config"].is_null() {
        image["Config"] = json!({});
    }
    if let Some(config) = image["Config"].as_object_mut() {
        let lists = ["Env", "Cmd", "Entrypoint", "OnBuild", "Shell"].map(|name| (name, json!([])));
        let maps = ["Labels", "ExposedPorts", "Volumes"].map(|name| (name, json!({})));
        let texts = ["User", "WorkingDir", "StopSignal"].map(|name| (name, json!("")));
        for (name, empty) in lists.into_iter().chain(maps).chain(texts) {
            let value = config.entry(name).or_insert(Value::Null);
            if value.is_null() {
                *value = empty;
            }
        }
    }
    image
}

fn run_remote(global: &Global, args: &InspectArgs, format: Option<&Format>) -> CliResult<u8> {
    let platform = args.platform.as_deref().map(super::load::platform).transpose()?.unwrap_or_else(Platform::host);
    let images = args.images.iter().map(|text| remote_image::reference(text)).collect::<CliResult<Vec<_>>>()?;
    let hosts = images.iter().map(|reference| reference.registry().as_str());
    let registry = client_for(global, &args.registry, hosts, Stop::default())?;
    let describe = |image: &Reference| remote_image::describe(&registry.repository(image), image, &platform);
    let all = images.iter().map(describe).collect::<CliResult<Vec<_>>>()?;
    tell(all, format)?;
    Ok(0)
}

/// The fields of `docker image inspect`, and where each layer is.
fn describe(store: &Store, found: &Found) -> CliResult<Value> {
    let image = &found.image;
    let config: Value = serde_json::from_slice(&store::config_bytes(store, &image.id)?)?;
    let names = image.names.iter().filter_map(|name| name.parse::<Reference>().ok());
    let (digests, tags): (Vec<_>, Vec<_>) = names.partition(|name| name.tag().is_none());
    let familiar = |names: &[Reference]| names.iter().map(Reference::familiar).collect::<Vec<_>>();
    let mut layers = Vec::new();
    let (mut absent, mut known_size) = (0, 0);
    for (layer, diff_id) in image.snapshot.layers.iter().zip(&image.diff_ids) {
        let known = store.layer(layer)?;
        let meta = known.meta;
        // Looking at an image fetches nothing.
        let directories = if known.absent { Vec::new() } else { store.part_dirs(layer)? };
        let directories: Vec<String> = directories.iter().map(|path| path.display().to_string()).collect();
        if known.absent {
            absent += 1;
            known_size += store.layer_sources(layer)?.first().map_or(0, |source| source.blob.size);
        } else {
            known_size += meta.size;
        }
        layers.push(json!({
            "DiffID": diff_id.to_string(), "Size": meta.size, "Files": meta.files,
            "Created": timestamp(meta.created_ms), "Directories": directories,
        }));
    }
    // Of layers that were not fetched, what is known: their blobs.
    let size = if absent == 0 { image.size } else { known_size };
    let diff_ids: Vec<String> = image.diff_ids.iter().map(ToString::to_string).collect();
    let mut described = json!({
        "Id": image.id.to_string(),
        "RepoTags": familiar(&tags),
        "RepoDigests": familiar(&digests),
        "Digest": image.manifest.as_ref().map(ToString::to_string),
        "Created": config.get("created"),
        "Author": config.get("author").cloned().unwrap_or_else(|| json!("")),
        "Architecture": config.get("architecture"),
        "Variant": config.get("variant"),
        "Os": config.get("os"),
        "Size": size,
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
    if absent > 0 {
        described["LayersNotFetched"] = absent.into();
    }
    Ok(described)
}

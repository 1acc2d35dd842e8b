use std::time::Duration;

use builder_cache::{PruneOptions, Store};
use clap::{Args, Subcommand, ValueEnum};

use super::Global;
use super::prune::parse_age;
use crate::cache_graph::CacheGraph;
use crate::error::{CliError, CliResult};
use crate::{output, store};

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Show the steps that are cached, what each is made of and what it costs
    Graph(GraphArgs),
    /// Show what the store holds: layers and cache mounts
    #[command(alias = "du")]
    Usage(UsageArgs),
    /// Delete cached steps that no image needs, or cache mounts
    Prune(CachePruneArgs),
}

#[derive(Debug, Args)]
pub(crate) struct GraphArgs {
    /// How to print: tree for people, dot for Graphviz, json for programs
    #[arg(long, value_enum, default_value_t = Format::Tree)]
    format: Format,
    /// Only the steps that led to this image
    image: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Tree,
    Dot,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct UsageArgs {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CachePruneArgs {
    /// Steps that led to an image, and cache mounts, too; the images stay
    #[arg(short, long)]
    all: bool,
    /// Only one kind: type=exec.cachemount for cache mounts, type=regular for steps; until=AGE is --older-than
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    filters: Vec<String>,
    /// Only what was not used for this long (24h, 7d, 90m)
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    older_than: Option<Duration>,
    /// Stop when the store is down to this size (500MB, 20GB); the least recently used go first
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    keep: Option<u64>,
    /// Wait until no builder uses the store instead of failing
    #[arg(long)]
    wait: bool,
    /// Only tell what would go
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(global: &Global, command: CacheCommand) -> CliResult<u8> {
    let store = store::open(global)?;
    match command {
        CacheCommand::Graph(args) => graph(&store, &args),
        CacheCommand::Usage(args) => usage(&store, &args),
        CacheCommand::Prune(args) => prune(&store, &args),
    }
}

fn graph(store: &Store, args: &GraphArgs) -> CliResult<u8> {
    let graph = match &args.image {
        None => CacheGraph::all(store)?,
        Some(name) => {
            let found = store::find(store, name)?;
            let Some(target) = found.image.target else {
                return Err(CliError::with_hint(
                    anyhow::anyhow!("image {name} was not built here, so there are no steps to show"),
                    "`builder history` shows how it was made",
                ));
            };
            CacheGraph::of(store, target)?
        }
    };
    output::result(&match args.format {
        Format::Tree => graph.tree(),
        Format::Dot => graph.dot(),
        Format::Json => format!("{:#}\n", graph.json()),
    })?;
    Ok(0)
}

fn usage(store: &Store, args: &UsageArgs) -> CliResult<u8> {
    let usage = store.usage()?;
    if args.json {
        let layers: Vec<_> = usage
            .layers
            .iter()
            .map(|layer| {
                serde_json::json!({
                    "id": layer.id.to_string(), "size": layer.size, "files": layer.files,
                    "created": super::images::timestamp(layer.created_ms),
                    "lastUsed": layer.last_used_ms.map(super::images::timestamp),
                    "images": layer.images, "records": layer.records,
                })
            })
            .collect();
        let mounts: Vec<_> = usage
            .mounts
            .iter()
            .map(|mount| {
                serde_json::json!({
                    "id": mount.id, "name": mount.name, "type": "exec.cachemount", "size": mount.size,
                    "files": mount.files, "created": super::images::timestamp(mount.created_ms),
                    "lastUsed": super::images::timestamp(mount.last_used_ms), "uses": mount.uses,
                })
            })
            .collect();
        let whole = serde_json::json!({
            "layers": layers, "layerBytes": usage.layer_bytes, "blobs": usage.blobs, "blobBytes": usage.blob_bytes,
            "databaseBytes": usage.database_bytes, "records": usage.records, "evicted": usage.evicted,
            "images": usage.images, "reclaimableBytes": usage.reclaimable_bytes,
            "mounts": mounts, "mountBytes": usage.mount_bytes,
        });
        output::result(&format!("{whole:#}\n"))?;
        return Ok(0);
    }
    let now = jiff::Timestamp::now().as_millisecond();
    let mut rows =
        vec![["LAYER", "SIZE", "FILES", "CREATED", "LAST USED", "IMAGES", "STEPS"].map(str::to_owned).to_vec()];
    for layer in &usage.layers {
        rows.push(vec![
            layer.id.to_string(),
            output::size(layer.size),
            layer.files.to_string(),
            output::ago((now - layer.created_ms) / 1000),
            layer.last_used_ms.map_or_else(|| "-".to_owned(), |at| output::ago((now - at) / 1000)),
            layer.images.to_string(),
            layer.records.to_string(),
        ]);
    }
    let total = format!(
        "\nLayers:       {} ({})\nCache mounts: {} ({})\nBlobs:        {} ({})\nSteps:        {} ({} more are kept to explain misses)\nImages:       {}\nReclaimable:  {}\n",
        usage.layers.len(),
        output::size(usage.layer_bytes),
        usage.mounts.len(),
        output::size(usage.mount_bytes),
        usage.blobs,
        output::size(usage.blob_bytes),
        usage.records,
        usage.evicted,
        usage.images,
        output::size(usage.reclaimable_bytes)
    );
    let mut text = output::table(&rows);
    if !usage.mounts.is_empty() {
        let mut rows =
            vec![["CACHE MOUNT", "SIZE", "FILES", "CREATED", "LAST USED", "USES"].map(str::to_owned).to_vec()];
        for mount in &usage.mounts {
            rows.push(vec![
                mount.name.escape_debug().to_string(),
                output::size(mount.size),
                mount.files.to_string(),
                output::ago((now - mount.created_ms) / 1000),
                output::ago((now - mount.last_used_ms) / 1000),
                mount.uses.to_string(),
            ]);
        }
        text = format!("{text}\n{}", output::table(&rows));
    }
    output::result(&(text + &total))?;
    Ok(0)
}

fn prune(store: &Store, args: &CachePruneArgs) -> CliResult<u8> {
    let mut filters = Filters::parse(&args.filters)?;
    filters.older_than = args.older_than.or(filters.older_than);
    let pruned = store.prune(&PruneOptions {
        all: args.all,
        only_mounts: filters.mounts,
        only_records: filters.steps,
        older_than: filters.older_than,
        keep_bytes: args.keep,
        wait: args.wait,
        dry_run: args.dry_run,
    })?;
    output::result(&format!(
        "{} {} steps, {} layers, {} cache mounts, {} blobs\nTotal reclaimed space: {}\n",
        if args.dry_run { "Would delete" } else { "Deleted" },
        pruned.records,
        pruned.layers,
        pruned.mounts,
        pruned.blobs,
        output::size(pruned.freed)
    ))?;
    Ok(0)
}

/// `--filter`, as far as it means something here.
#[derive(Debug, Default)]
struct Filters {
    mounts: bool,
    steps: bool,
    older_than: Option<Duration>,
}

impl Filters {
    fn parse(given: &[String]) -> CliResult<Self> {
        let mut filters = Self::default();
        for text in given {
            match text.split_once('=') {
                Some(("type", "exec.cachemount")) => filters.mounts = true,
                Some(("type", "regular")) => filters.steps = true,
                Some(("until", age)) => {
                    let age = parse_age(age).map_err(|reason| CliError::Usage(format!("--filter {text}: {reason}")))?;
                    filters.older_than = Some(age);
                }
                _ => {
                    return Err(CliError::Usage(format!(
                        "--filter {text} is not known: use type=exec.cachemount, type=regular or until=AGE"
                    )));
                }
            }
        }
        if filters.mounts && filters.steps {
            return Err(CliError::Usage("--filter takes one type: nothing is of two".into()));
        }
        Ok(filters)
    }
}

/// A number with an optional unit, decimal (kB, MB, GB, TB) or binary (KiB, MiB, GiB, TiB).
fn parse_size(text: &str) -> Result<u64, String> {
    const WRONG: &str = "expected a size such as 500MB or 20GB";
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let count: f64 = digits.trim().parse().map_err(|_| WRONG.to_owned())?;
    let unit: f64 = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return Err(WRONG.to_owned()),
    };
    let bytes = count * unit;
    if bytes.is_finite() && bytes >= 0.0 { Ok(bytes as u64) } else { Err(WRONG.to_owned()) }
}

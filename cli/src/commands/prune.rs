use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use builder_cache::{BlobDigest, PruneImagesOptions};
use builder_image::Reference;
use clap::Args;

use super::Global;
use crate::error::{CliError, CliResult};
use crate::image_list::{Filters, OF_PRUNE};
use crate::{output, prompt, store};

#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Images with names, too; those of which a container was made stay
    #[arg(short, long)]
    all: bool,
    /// Only images with label=KEY[=VALUE], label!=KEY[=VALUE] or until=TIME|AGE; dangling=false is --all
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    filters: Vec<String>,
    /// Only images that are older than this (24h, 7d, 90m)
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    older_than: Option<Duration>,
    /// Wait until no builder uses the store instead of failing
    #[arg(long)]
    wait: bool,
    /// Only tell what would go
    #[arg(long)]
    dry_run: bool,
    /// Do not ask; without a terminal nothing is asked
    #[arg(short, long)]
    force: bool,
}

pub(crate) fn run(global: &Global, args: &PruneArgs) -> CliResult<u8> {
    let filters = Filters::parse(&args.filters, OF_PRUNE)?;
    let all = args.all || filters.dangling == Some(false);
    if !args.force && !args.dry_run && prompt::is_possible() && !confirmed(all)? {
        return Ok(0);
    }
    let store = store::open(global)?;
    let images = store.images()?;
    let names: HashMap<BlobDigest, Vec<String>> = images.iter().map(|image| (image.id, image.names.clone())).collect();
    let only = if args.filters.is_empty() {
        None
    } else {
        Some(filters.select(&store, images)?.into_iter().map(|image| image.id).collect())
    };
    let pruned = store
        .prune_images(&PruneImagesOptions {
            all,
            older_than: args.older_than,
            keep: Vec::new(),
            only,
            wait: args.wait,
            dry_run: args.dry_run,
        })
        .map_err(CliError::from)?;
    let mut text = String::new();
    if !pruned.images.is_empty() {
        text.push_str(if args.dry_run { "Images that would be deleted:\n" } else { "Deleted Images:\n" });
        for id in &pruned.images {
            for name in names.get(id).into_iter().flatten() {
                let familiar = name.parse::<Reference>().map_or_else(|_| name.clone(), |name| name.familiar());
                let _ = writeln!(text, "untagged: {familiar}");
            }
            let _ = writeln!(text, "deleted: {id}");
        }
        text.push('\n');
    }
    let _ = writeln!(text, "Total reclaimed space: {}", output::size(pruned.freed));
    output::result(&text)?;
    Ok(0)
}

fn confirmed(all: bool) -> CliResult<bool> {
    let which =
        if all { "all images without at least one container associated to them" } else { "all dangling images" };
    let answer =
        prompt::line(&format!("WARNING! This will remove {which}.\nAre you sure you want to continue? [y/N] "))?;
    Ok(matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// A number and a unit: seconds, minutes, hours, days, weeks.
pub(crate) fn parse_age(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err("expected a number with s, m, h, d or w, such as 24h".into()),
    };
    let count: u64 = digits.parse().map_err(|_| "expected a number with s, m, h, d or w, such as 24h".to_owned())?;
    count.checked_mul(unit).map(Duration::from_secs).ok_or_else(|| "that is too long ago".to_owned())
}

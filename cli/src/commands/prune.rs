use std::fmt::Write as _;
use std::time::Duration;

use builder_cache::PruneImagesOptions;
use clap::Args;

use super::Global;
use crate::error::{CliError, CliResult};
use crate::{output, store};

#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Images with names, too
    #[arg(short, long)]
    all: bool,
    /// Only images that are older than this (24h, 7d, 90m)
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    older_than: Option<Duration>,
    /// Wait until no builder uses the store instead of failing
    #[arg(long)]
    wait: bool,
    /// Only tell what would go
    #[arg(long)]
    dry_run: bool,
    /// Do not ask; accepted for scripts, since nothing is ever asked
    #[arg(short, long)]
    force: bool,
}

pub(crate) fn run(global: &Global, args: &PruneArgs) -> CliResult<u8> {
    let store = store::open(global)?;
    let pruned = store
        .prune_images(&PruneImagesOptions {
            all: args.all,
            older_than: args.older_than,
            keep: Vec::new(),
            wait: args.wait,
            dry_run: args.dry_run,
        })
        .map_err(CliError::from)?;
    let mut text = String::new();
    for id in &pruned.images {
        let _ = writeln!(text, "{}: {id}", if args.dry_run { "Would delete" } else { "Deleted" });
    }
    let _ = writeln!(text, "Total reclaimed space: {}", output::size(pruned.freed));
    output::result(&text)?;
    Ok(0)
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

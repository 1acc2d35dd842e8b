use clap::Args;

use super::Global;
use crate::error::CliResult;
use crate::image_diff::ImageDiff;
use crate::{output, store};

#[derive(Debug, Args)]
pub(crate) struct ImageDiffArgs {
    /// For programs: one JSON object with all files and settings
    #[arg(long)]
    json: bool,
    /// A line for each file in directories that were added or deleted
    #[arg(long, conflicts_with = "json")]
    no_trunc: bool,
    /// What to compare with: name, id, or the beginning of an id
    #[arg(value_name = "IMAGE")]
    before: String,
    /// What to compare
    #[arg(value_name = "OTHER")]
    after: String,
}

pub(crate) fn run(global: &Global, args: &ImageDiffArgs) -> CliResult<u8> {
    let store = store::open(global)?;
    let (before, after) = (store::find(&store, &args.before)?, store::find(&store, &args.after)?);
    let diff = ImageDiff::of(&store, &before.image, &after.image)?;
    output::result(&if args.json { format!("{:#}\n", diff.json()) } else { diff.text(args.no_trunc) })?;
    Ok(0)
}

use std::collections::{HashMap, HashSet};

use clap::Args;

use super::Global;
use crate::error::{CliError, CliResult};
use crate::image_list::{self, Filters, HEADERS, Inventory, OF_IMAGES};
use crate::template::Listing;
use crate::{output, store};

#[derive(Debug, Args)]
pub(crate) struct ImagesArgs {
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// Ids and digests in full
    #[arg(long)]
    no_trunc: bool,
    /// Also the images that names stand for on other platforms only
    #[arg(short, long)]
    all: bool,
    /// Show digests of manifests
    #[arg(long)]
    digests: bool,
    /// Show names, their platforms, the layers of each, and what is shared
    #[arg(long, conflicts_with_all = ["quiet", "format", "digests", "all"])]
    tree: bool,
    /// How to print: table, json (one object a line), a Go template, or "table TEMPLATE"
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Only images with dangling=true|false, label=KEY[=VALUE], before=IMAGE, since=IMAGE, until=TIME|AGE, or
    /// reference=PATTERN; can be given several times
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    filters: Vec<String>,
    /// Only images of this repository, or with this name and tag; * and ? stand for anything but a slash
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

const TABLE: &str =
    "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{if .CreatedSince}}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}";
const TABLE_WITH_DIGESTS: &str = "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{if .CreatedSince}}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}";

pub(crate) fn run(global: &Global, args: &ImagesArgs) -> CliResult<u8> {
    let mut filters = Filters::parse(&args.filters, OF_IMAGES)?;
    if let Some(name) = &args.name {
        filters.also_named(name)?;
    }
    let mut format = args.format.clone();
    // As Docker does: a table of one's own gets the digests as its last column.
    if let Some(own) = format.as_mut().filter(|own| args.digests && own.starts_with("table") && own.trim() != "table")
        && !own.contains(".Digest")
    {
        own.push_str("\\t{{.Digest}}");
    }
    let listing = Listing::parse(format.as_deref(), if args.digests { TABLE_WITH_DIGESTS } else { TABLE })?;
    let store = store::open(global)?;
    let inventory = Inventory::read(&store)?;
    let images = filters.select(&store, inventory.images.clone())?;
    if args.tree {
        return tell(&image_list::tree(&store, &inventory, &images, &filters, args.no_trunc)?);
    }
    let quiet = args.quiet && args.format.as_deref().is_none_or(|format| format.trim() == "table");
    let rows =
        image_list::rows(&inventory, &images, &filters, args.all, !quiet && (args.digests || needs_digests(&listing)));
    if quiet {
        let mut seen = HashSet::new();
        let ids = rows.iter().filter(|row| seen.insert(row.image.id)).map(|row| row.id(args.no_trunc) + "\n");
        return tell(&ids.collect::<String>());
    }
    let mut containers: HashMap<_, usize> = HashMap::new();
    if listing.mentions("Containers") {
        for container in store.containers()? {
            *containers.entry(container.image).or_default() += 1;
        }
    }
    let now = jiff::Timestamp::now().as_millisecond();
    let count = |row: &image_list::Row<'_>| containers.get(&row.image.id).copied().unwrap_or(0);
    let fields: Vec<_> = rows.iter().map(|row| row.fields(&inventory, args.no_trunc, now, count(row))).collect();
    tell(&listing.render(HEADERS, &fields)?)
}

/// JSON tells the digest of a row, but has no row for each.
fn needs_digests(listing: &Listing) -> bool {
    !matches!(listing, Listing::Json) && listing.mentions("Digest")
}

fn tell(text: &str) -> Result<u8, CliError> {
    output::result(text)?;
    Ok(0)
}

/// Milliseconds since the epoch in RFC 3339.
pub(crate) fn timestamp(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| "<unknown>".to_owned(), |time| time.to_string())
}

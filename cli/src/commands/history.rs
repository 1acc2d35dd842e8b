use clap::Args;
use serde_json::json;

use super::Global;
use crate::error::CliResult;
use crate::progress::visible_text;
use crate::template::Listing;
use crate::{output, store};

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Instructions and ids in full
    #[arg(long)]
    no_trunc: bool,
    /// How to print: table, json (one object a line), a Go template, or "table TEMPLATE"
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// Name, id, or the beginning of an id
    image: String,
}

const TABLE: &str = "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";

const HEADERS: &[(&str, &str)] = &[
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("SizeBytes", "SIZE"),
    ("Comment", "COMMENT"),
];

/// How much of an instruction the table shows, as in Docker.
const SHOWN: usize = 45;

pub(crate) fn run(global: &Global, args: &HistoryArgs) -> CliResult<u8> {
    let store = store::open(global)?;
    let found = store::find(&store, &args.image)?;
    let config = store::config(&store, &found.image.id)?;
    let now = jiff::Timestamp::now();
    let mut layers = found.image.snapshot.layers.iter();
    let mut rows = Vec::new();
    for entry in &config.history {
        let size = if entry.empty_layer {
            0
        } else {
            match layers.next() {
                Some(layer) => store.layer(layer)?.meta.size,
                None => 0,
            }
        };
        let created: Option<jiff::Timestamp> = entry.created.as_deref().and_then(|text| text.parse().ok());
        rows.push((created, entry.created_by.clone(), size, entry.comment.clone()));
    }
    rows.reverse();

    let listing = Listing::parse(args.format.as_deref(), TABLE)?;
    let mut ids = String::new();
    let mut fields = Vec::new();
    for (position, (created, created_by, size, comment)) in rows.iter().enumerate() {
        let id = match position {
            0 if args.no_trunc => found.image.id.to_string(),
            0 => found.image.id.short(),
            _ => "<missing>".to_owned(),
        };
        let since =
            created.map_or_else(|| "N/A".to_owned(), |created| output::ago(now.as_second() - created.as_second()));
        if args.quiet {
            ids.push_str(&id);
            ids.push('\n');
            continue;
        }
        // For programs as it is, for people in one line.
        let (created_by, comment) = if matches!(listing, Listing::Json) {
            (created_by.clone(), comment.clone())
        } else {
            let line = visible_text(&created_by.replace(['\n', '\t'], " "));
            (shorten(&line, args.no_trunc), visible_text(comment))
        };
        fields.push(json!({
            "ID": id, "CreatedAt": created.map(|time| time.to_string()), "CreatedSince": since,
            "CreatedBy": created_by, "Size": output::size(*size), "SizeBytes": size, "Comment": comment,
        }));
    }
    output::result(&if args.quiet { ids } else { listing.render(HEADERS, &fields)? })?;
    Ok(0)
}

fn shorten(line: &str, whole: bool) -> String {
    if whole || line.chars().count() <= SHOWN {
        return line.to_owned();
    }
    line.chars().take(SHOWN - 1).chain(['…']).collect()
}

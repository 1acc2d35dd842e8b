use clap::Args;
use serde_json::json;

use super::Global;
use crate::error::CliResult;
use crate::progress::visible_text;
use crate::{output, store};

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Instructions and ids in full
    #[arg(long)]
    no_trunc: bool,
    /// One JSON object a line
    #[arg(long, value_parser = ["table", "json"], default_value = "table", value_name = "FORMAT")]
    format: String,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// Name, id, or the beginning of an id
    image: String,
}

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

    let mut text = String::new();
    let mut table = vec![["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"].map(str::to_owned).to_vec()];
    for (position, (created, created_by, size, comment)) in rows.iter().enumerate() {
        let id = match position {
            0 if args.no_trunc => found.image.id.to_string(),
            0 => found.image.id.short(),
            _ => "<missing>".to_owned(),
        };
        let since =
            created.map_or_else(|| "N/A".to_owned(), |created| output::ago(now.as_second() - created.as_second()));
        let line = visible_text(&created_by.replace(['\n', '\t'], " "));
        if args.quiet {
            text.push_str(&id);
            text.push('\n');
        } else if args.format == "json" {
            let object = json!({
                "ID": id, "CreatedAt": created.map(|time| time.to_string()), "CreatedSince": since,
                "CreatedBy": created_by, "Size": output::size(*size), "SizeBytes": size, "Comment": comment,
            });
            text.push_str(&object.to_string());
            text.push('\n');
        } else {
            table.push(vec![id, since, shorten(&line, args.no_trunc), output::size(*size), visible_text(comment)]);
        }
    }
    if !args.quiet && args.format == "table" {
        text = output::table(&table);
    }
    output::result(&text)?;
    Ok(0)
}

fn shorten(line: &str, whole: bool) -> String {
    if whole || line.chars().count() <= SHOWN {
        return line.to_owned();
    }
    line.chars().take(SHOWN - 1).chain(['…']).collect()
}

use std::fmt::Write as _;

use builder_cache::Image;
use builder_image::Reference;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::Global;
use crate::error::CliResult;
use crate::{output, store};

#[derive(Debug, Args)]
pub(crate) struct ImagesArgs {
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// Ids in full
    #[arg(long)]
    no_trunc: bool,
    /// How to print: a table, or one JSON object a line
    #[arg(long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    format: Format,
    /// Only images of this repository, or with this name and tag
    #[arg(value_name = "REPOSITORY[:TAG]")]
    filter: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// One line: an image under one of its names.
struct Row<'a> {
    repository: String,
    tag: String,
    image: &'a Image,
    /// When the name stands for more than this machine's.
    platforms: Vec<String>,
}

pub(crate) fn run(global: &Global, args: &ImagesArgs) -> CliResult<u8> {
    let store = store::open(global)?;
    let images = store.images()?;
    let mut rows = Vec::new();
    for image in &images {
        // Other platforms of a name are not listed on their own: the name is.
        if image.names.is_empty() && image.platform_of.is_empty() {
            rows.push(Row { repository: "<none>".into(), tag: "<none>".into(), image, platforms: Vec::new() });
        }
        for name in &image.names {
            let (repository, tag) = split(name);
            let named = store.name(name)?.map(|named| named.platforms).unwrap_or_default();
            let platforms = named.into_iter().map(|(platform, _)| platform).collect();
            rows.push(Row { repository, tag, image, platforms });
        }
    }
    if let Some(filter) = &args.filter {
        let wanted = filter
            .parse::<Reference>()
            .map_err(|error| crate::error::CliError::message(format!("invalid reference `{filter}`: {error}")))?;
        let (repository, tag) = split(&wanted.to_string());
        let any_tag = !filter.rsplit('/').next().is_some_and(|last| last.contains(':'));
        rows.retain(|row| row.repository == repository && (any_tag || row.tag == tag));
    }
    output::result(&render(&rows, args))?;
    Ok(0)
}

fn render(rows: &[Row<'_>], args: &ImagesArgs) -> String {
    let id = |image: &Image| if args.no_trunc { image.id.to_string() } else { image.id.short() };
    let now = jiff::Timestamp::now().as_millisecond();
    if args.quiet {
        let mut seen = Vec::new();
        for row in rows {
            let line = id(row.image);
            if !seen.contains(&line) {
                seen.push(line);
            }
        }
        return seen.into_iter().map(|line| line + "\n").collect();
    }
    if args.format == Format::Json {
        let mut text = String::new();
        for row in rows {
            let mut object = json!({
                "Repository": row.repository,
                "Tag": row.tag,
                "ID": id(row.image),
                "Digest": row.image.manifest.as_ref().map_or("<none>".to_owned(), ToString::to_string),
                "CreatedAt": timestamp(row.image.created_ms),
                "CreatedSince": output::ago((now - row.image.created_ms) / 1000),
                "Size": output::size(row.image.size),
                "SizeBytes": row.image.size,
            });
            if !row.platforms.is_empty() {
                object["Platforms"] = json!(row.platforms);
            }
            let _ = writeln!(text, "{object}");
        }
        return text;
    }
    let mut table = vec![["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"].map(str::to_owned).to_vec()];
    table.extend(rows.iter().map(|row| {
        vec![
            row.repository.clone(),
            row.tag.clone(),
            id(row.image),
            output::ago((now - row.image.created_ms) / 1000),
            output::size(row.image.size),
        ]
    }));
    output::table(&table)
}

fn split(name: &str) -> (String, String) {
    let familiar = name.parse::<Reference>().map_or_else(|_| name.to_owned(), |reference| reference.familiar());
    // A digest is no tag.
    let familiar = familiar.split_once('@').map_or(familiar.clone(), |(name, _)| name.to_owned());
    match familiar.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository.to_owned(), tag.to_owned()),
        _ => (familiar, "<none>".to_owned()),
    }
}

/// Milliseconds since the epoch in RFC 3339.
pub(crate) fn timestamp(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| "<unknown>".to_owned(), |time| time.to_string())
}

use std::path::Path;

use builder_cache::{Container, ContainerState, Store};
use clap::Args;
use regex::Regex;

use crate::commands::Global;
use crate::containers::{self, Ages, Description};
use crate::error::{CliError, CliResult};
use crate::output;
use crate::store;
use crate::template::Listing;

const TABLE: &str = "{{.ID}}\\t{{.Image}}\\t{{.Command}}\\t{{.RunningFor}}\\t{{.Status}}\\t{{.Ports}}\\t{{.Names}}";

const HEADERS: [(&str, &str); 14] = [
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("State", "STATE"),
    ("Ports", "PORTS"),
    ("Names", "NAMES"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("Networks", "NETWORKS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Size", "SIZE"),
];

#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Those that have ended, too
    #[arg(short, long)]
    all: bool,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// Ids and commands in full
    #[arg(long)]
    no_trunc: bool,
    /// How much each of them wrote
    #[arg(short, long)]
    size: bool,
    /// The newest ones, whatever they do
    #[arg(short = 'n', long, value_name = "COUNT", allow_negative_numbers = true)]
    last: Option<i64>,
    /// The newest one, whatever it does
    #[arg(short, long)]
    latest: bool,
    /// Only those with this: id, name, label, status, exited, ancestor, before, since or
    /// volume; can be given several times
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    filters: Vec<String>,
    /// How to print: table, json, or a template such as '{{.ID}}: {{.Status}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

pub(crate) fn run(global: &Global, args: &PsArgs) -> CliResult<u8> {
    let table = if args.size { format!("{TABLE}\\t{{{{.Size}}}}") } else { TABLE.to_owned() };
    let listing = Listing::parse(args.format.as_deref(), &table)?;
    let filters = args.filters.iter().map(|text| Filter::parse(text)).collect::<CliResult<Vec<_>>>()?;
    let store = store::open(global)?;
    let all = store.containers()?;
    let wants_state = filters.iter().any(|filter| matches!(filter, Filter::Status(_) | Filter::Exited(_)));
    // As in Docker, -1 is no wish.
    let last = args.last.and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0);
    let every = args.all || args.latest || last.is_some() || wants_state;
    let mut shown = Vec::new();
    for container in &all {
        if (every || container.state() == ContainerState::Running) && matches(&store, container, &filters, &all)? {
            shown.push(container);
        }
    }
    shown.truncate(if args.latest { 1 } else { last.unwrap_or(usize::MAX) });
    if args.quiet {
        let id = |container: &Container| if args.no_trunc { container.id.to_string() } else { container.id.short() };
        let lines: String = shown.into_iter().map(|container| id(container) + "\n").collect();
        output::result(&lines)?;
        return Ok(0);
    }
    let size = args.size || (args.format.is_some() && listing.mentions("Size"));
    let (ages, whole) = (Ages::now(), args.no_trunc);
    let rows = shown.into_iter().map(|container| containers::row(&store, container, ages, whole, size));
    let mut rows = rows.collect::<CliResult<Vec<_>>>()?;
    if matches!(listing, Listing::Json) {
        // It is there for `{{.Label "name"}}`.
        rows.iter_mut().filter_map(serde_json::Value::as_object_mut).for_each(|row| drop(row.remove("Label")));
    }
    output::result(&listing.render(&HEADERS, &rows)?)?;
    Ok(0)
}

/// What a container has to be like.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Filter {
    Id(String),
    Name(String),
    Label(String, Option<String>),
    Status(String),
    Exited(i32),
    Ancestor(String),
    Before(String),
    Since(String),
    Volume(String),
}

impl Filter {
    pub(super) fn parse(text: &str) -> CliResult<Self> {
        let usage = |message: String| Err(CliError::Usage(message));
        let Some((key, value)) = text.split_once('=') else {
            return usage(format!("--filter `{text}` is not of the form KEY=VALUE"));
        };
        let value = value.to_owned();
        Ok(match key {
            "id" => Self::Id(value),
            "name" => Self::Name(value),
            "label" => match value.split_once('=') {
                Some((name, value)) => Self::Label(name.to_owned(), Some(value.to_owned())),
                None => Self::Label(value, None),
            },
            "status" => match value.as_str() {
                // Docker's others are known, and no container is ever like that.
                "created" | "running" | "exited" | "paused" | "restarting" | "removing" | "dead" => Self::Status(value),
                _ => return usage(format!("--filter status=`{value}`: use created, running or exited")),
            },
            "exited" => match value.parse() {
                Ok(code) => Self::Exited(code),
                Err(_) => return usage(format!("--filter exited=`{value}` is no exit code")),
            },
            "ancestor" => Self::Ancestor(value),
            "before" => Self::Before(value),
            "since" => Self::Since(value),
            "volume" => Self::Volume(value),
            _ => {
                return usage(format!(
                    "--filter `{key}` is not known: use id, name, label, status, exited, ancestor, before, since or volume"
                ));
            }
        })
    }
}

/// As in Docker: of filters with the same key one has to hold, of labels all.
fn matches(store: &Store, container: &Container, filters: &[Filter], all: &[Container]) -> CliResult<bool> {
    let description = Description::of(container)?;
    let mut met: Vec<(std::mem::Discriminant<Filter>, bool)> = Vec::new();
    let position = |container: &Container| all.iter().position(|other| other.id == container.id);
    for filter in filters {
        let holds = match filter {
            Filter::Id(id) => container.id.to_string().starts_with(id.as_str()),
            Filter::Name(name) => named(&container.name, name),
            Filter::Label(name, value) => {
                let found = description.config.labels.get(name);
                if found.is_none_or(|found| value.as_ref().is_some_and(|value| value != found)) {
                    return Ok(false);
                }
                continue;
            }
            Filter::Status(status) => containers::state(container) == status,
            Filter::Exited(code) => container.state() == ContainerState::Exited && container.exit_code == *code,
            Filter::Ancestor(image) => {
                let ancestor = store::try_find(store, image)?;
                ancestor.is_some_and(|found| container.snapshot.layers.starts_with(&found.image.snapshot.layers))
            }
            Filter::Volume(path) => {
                let path = Path::new(path);
                description.mounts.iter().any(|mount| mount.source == path || mount.target == path)
            }
            // The newest comes first.
            Filter::Before(other) => position(container) > position(&containers::find(store, other)?),
            Filter::Since(other) => position(container) < position(&containers::find(store, other)?),
        };
        let key = std::mem::discriminant(filter);
        match met.iter_mut().find(|(known, _)| *known == key) {
            Some((_, any)) => *any |= holds,
            None => met.push((key, holds)),
        }
    }
    Ok(met.iter().all(|(_, any)| *any))
}

/// A name is a regular expression, with or without the slash that Docker has before names.
fn named(name: &str, wanted: &str) -> bool {
    match Regex::new(wanted) {
        Ok(wanted) => wanted.is_match(name) || wanted.is_match(&format!("/{name}")),
        Err(_) => name.contains(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_expressions() {
        for (wanted, matches) in
            [("web", true), ("^web-1$", true), ("^/web", true), ("b-[0-9]", true), ("^eb", false), ("[", false)]
        {
            assert_eq!(named("web-1", wanted), matches, "{wanted}");
        }
    }

    #[test]
    fn filters_are_read() {
        assert_eq!(Filter::parse("exited=0").unwrap(), Filter::Exited(0));
        assert_eq!(Filter::parse("label=a=b=c").unwrap(), Filter::Label("a".into(), Some("b=c".into())));
        for text in ["x", "colour=red", "status=asleep", "exited=no"] {
            assert!(matches!(Filter::parse(text), Err(CliError::Usage(_))), "{text}");
        }
    }
}

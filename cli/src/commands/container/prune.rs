use std::fmt::Write as _;
use std::time::Duration;

use builder_cache::{ContainerState, Error as StoreError};
use clap::Args;

use crate::commands::Global;
use crate::commands::prune::parse_age;
use crate::containers::Description;
use crate::error::{CliError, CliResult};
use crate::output;
use crate::store;

#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Only those with this: until=24h, label=NAME[=VALUE], label!=NAME[=VALUE]; can be given several times
    #[arg(long = "filter", value_name = "KEY=VALUE", value_parser = Filter::parse)]
    filters: Vec<Filter>,
    /// Do not ask; accepted for scripts, since nothing is ever asked
    #[arg(short, long)]
    force: bool,
}

#[derive(Debug, Clone)]
enum Filter {
    Until(Duration),
    Label { name: String, value: Option<String>, wanted: bool },
}

impl Filter {
    fn parse(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
        match key {
            "until" => parse_age(value).map(Self::Until),
            "label" | "label!" => {
                let (name, value) = match value.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (value.to_owned(), None),
                };
                Ok(Self::Label { name, value, wanted: key == "label" })
            }
            _ => Err("the filters are until, label and label!".to_owned()),
        }
    }

    fn holds(&self, container: &builder_cache::Container, now_ms: i64) -> CliResult<bool> {
        Ok(match self {
            Self::Until(age) => {
                let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
                container.created_ms <= now_ms.saturating_sub(age)
            }
            Self::Label { name, value, wanted } => {
                let labels = Description::of(container)?.config.labels;
                let has = labels.get(name).is_some_and(|found| value.as_ref().is_none_or(|value| value == found));
                has == *wanted
            }
        })
    }
}

pub(crate) fn run(global: &Global, args: &PruneArgs) -> CliResult<u8> {
    let store = store::open(global)?;
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let (mut freed, mut text) = (0, String::new());
    for container in store.containers()? {
        let mut wanted = container.state() != ContainerState::Running;
        for filter in &args.filters {
            wanted = wanted && filter.holds(&container, now_ms)?;
        }
        if !wanted {
            continue;
        }
        let held = match store.hold_container(&container.id, false) {
            Err(StoreError::NoContainer(_)) | Ok(None) => continue,
            Ok(Some(held)) => held,
            Err(error) => return Err(CliError::from(error)),
        };
        freed += store.container_size(&container.id);
        held.remove()?;
        if text.is_empty() {
            text.push_str("Deleted Containers:\n");
        }
        let _ = writeln!(text, "{}", container.id);
    }
    if !text.is_empty() {
        text.push('\n');
    }
    let _ = writeln!(text, "Total reclaimed space: {}", output::size(freed));
    output::result(&text)?;
    Ok(0)
}

use builder_image::registry::{Hit, Stop};
use clap::Args;
use serde_json::{Value, json};

use super::{Global, login};
use crate::error::{CliError, CliResult};
use crate::output;
use crate::registry::{DOCKER_HUB, RegistryArgs, client_for};
use crate::template::Listing;

/// How many are asked for when nobody says, and the most.
const USUAL: usize = 25;
const MOST: usize = 100;

/// How much of a description stands in a table.
const DESCRIPTION: usize = 45;

const TABLE: &str = "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}";

const HEADERS: [(&str, &str); 5] = [
    ("Name", "NAME"),
    ("Description", "DESCRIPTION"),
    ("StarCount", "STARS"),
    ("IsOfficial", "OFFICIAL"),
    ("IsAutomated", "AUTOMATED"),
];

#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// Only what fits: stars=NUMBER, is-official=BOOL, is-automated=BOOL
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    filters: Vec<String>,
    /// How to print: `table`, `json`, `table TEMPLATE`, or a Go template with `.Name`, `.Description`, `.StarCount`,
    /// `.IsOfficial` and `.IsAutomated`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// At most this many, 1 to 100
    #[arg(long, default_value_t = USUAL, value_name = "NUMBER")]
    limit: usize,
    /// Descriptions in full
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    /// What to look for on Docker Hub, or in another registry with its host in front: host:port/word
    #[arg(value_name = "TERM")]
    term: String,
}

/// What a hit must be.
#[derive(Debug, Default, PartialEq, Eq)]
struct Filter {
    stars: u64,
    official: Option<bool>,
    automated: Option<bool>,
}

pub(crate) fn run(global: &Global, args: &SearchArgs) -> CliResult<u8> {
    if !(1..=MOST).contains(&args.limit) {
        return Err(CliError::Usage(format!("--limit {} is outside the range of [1, {MOST}]", args.limit)));
    }
    let filter = Filter::parse(&args.filters)?;
    let listing = Listing::parse(args.format.as_deref(), TABLE)?;
    let (host, term) = split(&args.term);
    let host = login::host(Some(host))?;
    let registry = client_for(global, &args.registry, [host.as_str()], Stop::default())?;
    let mut hits = registry.search(&host, term, args.limit)?;
    hits.retain(|hit| filter.takes(hit));
    hits.truncate(args.limit);
    let rows: Vec<Value> = hits.iter().map(|hit| row(hit, !args.no_trunc, matches!(listing, Listing::Json))).collect();
    output::result(&listing.render(&HEADERS, &rows)?)?;
    Ok(0)
}

/// The registry and the word; a host is known by its form, as in references.
fn split(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((host, term)) if host.contains(['.', ':']) || host == "localhost" => (host, term),
        _ => (DOCKER_HUB, text),
    }
}

fn row(hit: &Hit, cut: bool, as_json: bool) -> Value {
    let flag = |value: bool| match (value, as_json) {
        (value, true) => value.to_string(),
        (true, false) => "[OK]".to_owned(),
        (false, false) => String::new(),
    };
    let mut description: String = hit.description.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if cut && description.chars().count() > DESCRIPTION {
        description = description.chars().take(DESCRIPTION - 1).chain(['…']).collect();
    }
    json!({
        "Description": description,
        "IsAutomated": flag(hit.automated),
        "IsOfficial": flag(hit.official),
        "Name": hit.name.chars().filter(|c| !c.is_control()).collect::<String>(),
        "StarCount": hit.stars.to_string(),
    })
}

impl Filter {
    fn parse(texts: &[String]) -> CliResult<Self> {
        let mut filter = Self::default();
        for text in texts {
            let wrong = || {
                CliError::Usage(format!(
                    "invalid filter `{text}`: use stars=NUMBER, is-official=BOOL or is-automated=BOOL"
                ))
            };
            let (key, value) = text.split_once('=').ok_or_else(wrong)?;
            let truth = || match value {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Some(true)),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Some(false)),
                _ => Err(wrong()),
            };
            match key.trim() {
                "stars" => filter.stars = filter.stars.max(value.parse().map_err(|_| wrong())?),
                "is-official" => filter.official = truth()?,
                "is-automated" => filter.automated = truth()?,
                _ => return Err(wrong()),
            }
        }
        Ok(filter)
    }

    fn takes(&self, hit: &Hit) -> bool {
        hit.stars >= self.stars
            && self.official.is_none_or(|wanted| hit.official == wanted)
            && self.automated.is_none_or(|wanted| hit.automated == wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_from_words() {
        for (text, host, term) in [
            ("debian", "docker.io", "debian"),
            ("me/app", "docker.io", "me/app"),
            ("localhost:5000/app", "localhost:5000", "app"),
            ("localhost:5000/", "localhost:5000", ""),
            ("r.lan/a/b", "r.lan", "a/b"),
        ] {
            assert_eq!(split(text), (host, term), "{text}");
        }
    }

    #[test]
    fn filters_are_read() {
        let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let filter = Filter::parse(&texts(&["stars=3", "is-official=true", "is-automated=0"])).expect("they are right");
        assert_eq!(filter, Filter { stars: 3, official: Some(true), automated: Some(false) });
        for wrong in ["stars=x", "is-official=yes", "stars", "is-nice=true"] {
            assert!(Filter::parse(&texts(&[wrong])).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rows_hold_one_line_each() {
        let hit = Hit { description: "a\nb".repeat(30), stars: 7, official: true, ..Hit::default() };
        let shown = row(&hit, true, false);
        assert_eq!(shown["Description"].as_str().map(|text| text.chars().count()), Some(45));
        assert_eq!((&shown["IsOfficial"], &shown["IsAutomated"]), (&json!("[OK]"), &json!("")));
        assert_eq!(row(&hit, false, true)["IsOfficial"], "true");
    }
}

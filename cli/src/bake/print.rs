//! `--print` and `--list`.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::config::{Config, Selected};
use super::definitions::ListedVariable;
use super::target::Target;
use crate::output;

/// What `--list` shows, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct List {
    /// Variables; otherwise targets.
    pub(crate) variables: bool,
    pub(crate) json: bool,
}

impl List {
    /// Reads `targets`, `variables` or `type=…,format=table|json`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut kind = if text.starts_with("type=") || text.contains(',') { None } else { Some(text) };
        let mut json = false;
        if kind.is_none() {
            for field in text.split(',') {
                match field.split_once('=') {
                    Some(("type", value)) => kind = Some(value),
                    Some(("format", "json")) => json = true,
                    Some(("format", "table")) => json = false,
                    _ => return Err(format!("`{field}` is not known: write targets, variables or type=…,format=json")),
                }
            }
        }
        match kind {
            Some("targets") => Ok(Self { variables: false, json }),
            Some("variables") => Ok(Self { variables: true, json }),
            _ => Err(format!("`{text}` can't be listed: targets and variables can")),
        }
    }
}

/// Everything resolved, as a bake file in JSON.
pub(crate) fn definition(selected: &Selected) -> String {
    let targets = selected.targets.iter().map(|(name, target)| (name.clone(), target.json())).collect();
    whole(selected, targets)
}

fn whole(selected: &Selected, targets: Map<String, Json>) -> String {
    let groups: Map<String, Json> = selected.groups.iter().map(|(name, group)| (name.clone(), group.json())).collect();
    let mut whole = Map::new();
    if !groups.is_empty() {
        whole.insert("group".into(), groups.into());
    }
    whole.insert("target".into(), targets.into());
    format!("{:#}\n", Json::Object(whole))
}

/// What `--call` with `format=json` says of all targets: how each is built, and the answer.
pub(crate) fn answers(selected: &Selected, mut answers: BTreeMap<String, (&'static str, Json)>) -> String {
    let target = |(name, target): (&String, &Target)| {
        let mut object = Map::from_iter([("build".to_owned(), target.json())]);
        if let Some((method, answer)) = answers.remove(name) {
            object.insert(method.to_owned(), answer);
        }
        (name.clone(), Json::Object(object))
    };
    let targets: Map<String, Json> = selected.targets.iter().map(target).collect();
    whole(selected, targets)
}

/// All targets and groups but those whose names begin with `_`.
pub(crate) fn targets(config: &Config, list: List) -> String {
    let mut rows: Vec<(String, String, bool)> = Vec::new();
    for target in &config.targets {
        rows.push((target.name.clone(), target.description.clone(), false));
    }
    for group in &config.groups {
        let mut members = group.targets.clone();
        members.sort();
        let members = members.join(", ");
        let description = match (group.description.as_str(), members.as_str()) {
            ("", members) => members.to_owned(),
            (description, "") => description.to_owned(),
            (description, members) => format!("{description} ({members})"),
        };
        rows.push((group.name.clone(), description, true));
    }
    rows.retain(|(name, ..)| !name.starts_with('_'));
    rows.sort();
    if list.json {
        let row = |(name, description, group): &(String, String, bool)| {
            let mut row = Map::from_iter([("name".to_owned(), json!(name))]);
            if !description.is_empty() {
                row.insert("description".into(), json!(description));
            }
            if *group {
                row.insert("group".into(), json!(true));
            }
            Json::Object(row)
        };
        return format!("{:#}\n", rows.iter().map(row).collect::<Json>());
    }
    let mut table = vec![vec!["TARGET".to_owned(), "DESCRIPTION".to_owned()]];
    table.extend(rows.into_iter().map(|(name, description, _)| vec![name, description]));
    output::table(&table)
}

/// All variables.
pub(crate) fn variables(variables: Vec<ListedVariable>, list: List) -> String {
    if list.json {
        let row = |variable: &ListedVariable| {
            let mut row = Map::from_iter([("name".to_owned(), json!(variable.name))]);
            for (name, text) in [("type", &variable.kind), ("description", &variable.description)] {
                if !text.is_empty() {
                    row.insert(name.into(), json!(text));
                }
            }
            if let Some(value) = &variable.value {
                row.insert("value".into(), json!(value));
            }
            Json::Object(row)
        };
        return format!("{:#}\n", variables.iter().map(row).collect::<Json>());
    }
    let mut table = vec![["VARIABLE", "TYPE", "VALUE", "DESCRIPTION"].map(str::to_owned).to_vec()];
    table.extend(variables.into_iter().map(|variable| {
        let value = variable.value.unwrap_or_else(|| "<null>".to_owned());
        vec![variable.name, variable.kind, value, variable.description]
    }));
    output::table(&table)
}

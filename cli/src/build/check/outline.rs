//! `--call=outline`, `targets` and `subrequests.describe`.

use std::fmt::Write as _;

use builder_frontend::outline::{self, Outline, OutlineNeed};
use builder_frontend::parser;
use serde_json::{Value, json};

use super::super::images::StoreImages;
use super::super::source::BuildSource;
use super::{AnyImages, Question, diagnosed, json};
use crate::error::{CliError, CliResult};
use crate::output;

/// The methods that there are, with what they answer.
const METHODS: [(&str, &str); 3] = [
    ("outline", "List all parameters current build target supports"),
    ("targets", "List all targets current build supports"),
    ("subrequests.describe", "List available subrequest types"),
];
/// The version of all of them.
const VERSION: &str = "1.0.0";

/// What can be asked.
pub(super) fn describe(json: bool) -> String {
    if json {
        let methods = METHODS.iter().map(|(name, description)| {
            json!({
                "name": format!("frontend.{name}"),
                "version": VERSION,
                "type": "rpc",
                "description": description,
                "opts": if *name == "outline" { json!([{ "name": "target", "description": "Target build stage" }]) } else { json!(null) },
                "inputs": null,
                "metadata": [{ "name": "result.json" }, { "name": "result.txt" }],
                "refs": null,
            })
        });
        return indented(&methods.collect());
    }
    let mut rows = vec![["NAME", "VERSION", "DESCRIPTION"].map(str::to_owned).to_vec()];
    rows.extend(METHODS.iter().map(|(name, description)| [name, VERSION, description].map(str::to_owned).to_vec()));
    output::columns(&rows, 1)
}

/// What can be built.
pub(super) fn targets(source: &BuildSource, json: bool) -> CliResult<String> {
    let file = parser::parse(&source.text).map_err(|error| diagnosed(source, &error.into()))?;
    let targets = outline::targets(&file);
    if json {
        return Ok(indented(&json::targets(source, &targets)));
    }
    let mut rows = vec![vec!["TARGET".to_owned(), "DESCRIPTION".to_owned()]];
    for target in targets {
        let name = match (target.name, target.is_default) {
            (None, true) => "(default)".to_owned(),
            (Some(name), true) => format!("{name} (default)"),
            (name, false) => name.unwrap_or_default(),
        };
        rows.push(vec![name, target.description.unwrap_or_default()]);
    }
    Ok(output::columns(&rows, 1))
}

/// What the target can be given.
pub(super) fn outline(question: &Question<'_>, json: bool) -> CliResult<String> {
    let source = question.source;
    let file = parser::parse(&source.text).map_err(|error| diagnosed(source, &error.into()))?;
    let options = question.options()?;
    let images = AnyImages(StoreImages(question.store));
    let Some(outline) = outline::outline(&file, &options, &images) else {
        let names: Vec<String> = outline::targets(&file).into_iter().filter_map(|target| target.name).collect();
        let target = options.target.unwrap_or_default();
        let error = anyhow::anyhow!("the Dockerfile has no stage `{target}`");
        let hint = match &names[..] {
            [] => "no stage has a name: take its number, from 0".to_owned(),
            names => format!("the stages with a name are: {}", names.join(", ")),
        };
        return Err(CliError::with_hint(error, hint));
    };
    Ok(if json { indented(&json::outline(source, &outline)) } else { shown(&outline) })
}

fn shown(outline: &Outline) -> String {
    let mut text = String::new();
    let Outline { name, description, args, secrets, ssh } = outline;
    if name.is_some() || description.is_some() {
        let mut rows = vec![vec!["TARGET:".to_owned(), name.clone().unwrap_or_else(|| "(default)".to_owned())]];
        if let Some(description) = description {
            rows.push(vec!["DESCRIPTION:".to_owned(), description.clone()]);
        }
        let _ = writeln!(text, "{}", output::columns(&rows, 1));
    }
    if !args.is_empty() {
        let mut rows = vec![["BUILD ARG", "VALUE", "DESCRIPTION"].map(str::to_owned).to_vec()];
        rows.extend(args.iter().map(|arg| {
            vec![arg.name.clone(), arg.value.clone().unwrap_or_default(), arg.description.clone().unwrap_or_default()]
        }));
        let _ = writeln!(text, "{}", output::columns(&rows, 3));
    }
    for (title, needs) in [("SECRET", secrets), ("SSH", ssh)] {
        if !needs.is_empty() {
            let _ = writeln!(text, "{}", needed(title, needs));
        }
    }
    text
}

fn needed(title: &str, needs: &[OutlineNeed]) -> String {
    let mut rows = vec![vec![title.to_owned(), "REQUIRED".to_owned()]];
    rows.extend(needs.iter().map(|need| {
        let required = if need.required { "true" } else { "" };
        vec![need.id.clone(), required.to_owned()]
    }));
    output::columns(&rows, 3)
}

fn indented(value: &Value) -> String {
    format!("{value:#}\n")
}

//! `--metadata-file`, `--iidfile`: what programs want to know of a build.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use super::export::Exported;
use super::request::BuildRequest;
use crate::container::random_name;
use crate::csv::boolean;
use crate::error::CliResult;
use crate::progress::Warning;
use crate::whole_file;

/// Asks for the warnings in the file.
const WARNINGS: &str = "BUILDX_METADATA_WARNINGS";

/// Writes the files that requests ask for; `all` is one for all of them, by target.
pub(super) fn write(
    requests: &[BuildRequest],
    exported: &[Exported],
    warnings: &[Warning],
    all: Option<&Path>,
) -> CliResult<()> {
    let warnings = warnings_wanted().then(|| warnings.iter().map(warning).collect::<Vec<_>>());
    let warnings = warnings.filter(|list| !list.is_empty());
    let mut targets = Map::new();
    for (request, exported) in requests.iter().zip(exported) {
        if let (Some(file), Some(id)) = (&request.args.iidfile, &exported.id) {
            whole_file::write_bytes(file, id.as_bytes())?;
        }
        let mut facts = exported.facts.clone();
        facts.insert("buildx.build.ref".into(), json!(format!("builder/builder/{}", random_name())));
        if let Some(name) = request.name.as_ref().filter(|_| !request.linked) {
            facts.sort_keys();
            targets.insert(name.clone(), Value::Object(facts.clone()));
        }
        if let Some(file) = &request.args.metadata_file {
            write_facts(file, facts, warnings.as_ref())?;
        }
    }
    match all {
        Some(file) => write_facts(file, targets, warnings.as_ref()),
        None => Ok(()),
    }
}

fn write_facts(path: &Path, mut facts: Map<String, Value>, warnings: Option<&Vec<Value>>) -> CliResult<()> {
    if let Some(warnings) = warnings {
        facts.insert("buildx.build.warnings".into(), json!(warnings));
    }
    facts.sort_keys();
    // Indented, as buildx does it.
    whole_file::write_bytes(path, format!("{:#}\n", Value::Object(facts)).as_bytes())
}

fn warnings_wanted() -> bool {
    std::env::var(WARNINGS).is_ok_and(|text| boolean(WARNINGS, &text) == Ok(true))
}

/// A warning in the words of BuildKit, whose texts are base64.
fn warning(warning: &Warning) -> Value {
    let short = match warning.rule.as_str() {
        "" => warning.message.clone(),
        rule => format!("{rule}: {}", warning.message),
    };
    let mut value = json!({ "level": 1, "short": BASE64.encode(short) });
    if !warning.detail.is_empty() {
        value["detail"] = warning.detail.iter().map(|detail| BASE64.encode(detail)).collect();
    }
    if let Some(url) = &warning.url {
        value["url"] = json!(url);
    }
    if let Some(at) = warning.line {
        value["range"] = json!([{ "start": { "line": at }, "end": { "line": warning.last_line.unwrap_or(at) } }]);
    }
    value
}

//! `builder bake`: many builds from one definition.
//!
//! ```text
//! files ─▶ syntax (HCL, JSON) ─▶ definitions, evaluated ─┐
//!      └─▶ compose (YAML) ───────────────────────────────┴▶ config ─▶ selected targets ─▶ build requests
//! ```
//!
//! A definition says what `docker buildx bake` takes it to say. Each target becomes the request that `builder build`
//! would make of the same options, and all requests are built in one graph, so that what they share is done once.
//!
//! The HCL grammar is that of the crate `hcl-edit`; evaluation is our own (`eval`), because values have to be asked for
//! lazily across files, functions are defined by files, and what is wrong has to be shown where it stands.

mod compose;
mod config;
mod decode;
mod definitions;
mod entitlements;
mod entry;
mod error;
mod eval;
mod files;
mod functions;
mod glob;
mod overrides;
mod print;
mod remote;
mod requests;
mod syntax;
mod target;
#[cfg(test)]
mod tests;
mod types;
mod value;
mod variables;

use std::collections::BTreeMap;

use builder_frontend::platform::Platform;

use self::config::{Config, Selected};
use self::definitions::{Definitions, ListedVariable, Outside};
use self::entitlements::Entitlements;
use self::error::{BakeError, BakeResult, SourceFile};
use self::files::Content;
use self::overrides::Overrides;
use self::remote::Called;
use crate::build::{self, BuildRequest, CallRequest, Session};
use crate::commands::Global;
use crate::commands::bake::BakeArgs;
use crate::csv;
use crate::error::CliResult;
use crate::output;

pub(crate) use self::print::List;

/// Builds, prints or lists.
pub(crate) fn run(global: &Global, args: &BakeArgs) -> CliResult<u8> {
    let mut files = Vec::new();
    carry_out(global, args, &mut files)
}

fn carry_out(global: &Global, args: &BakeArgs, files: &mut Vec<SourceFile>) -> CliResult<u8> {
    let prepared = prepare(global, args, files).map_err(|error| error.into_cli(files))?;
    let (requests, selected) = match prepared {
        Prepared::Text(text) => {
            output::result(&text)?;
            return Ok(0);
        }
        Prepared::Build(requests, selected) => (requests, selected),
    };
    let mut asked: Vec<(&BuildRequest, CallRequest)> = Vec::new();
    for request in &requests {
        asked.extend(request.call()?.map(|call| (request, call)));
    }
    if !asked.is_empty() {
        return answer(global, &asked, &selected);
    }
    let mut session = Session::new(args.progress, args.quiet, args.explain, args.jobs)?;
    session.metadata_file.clone_from(&args.metadata_file);
    build::build_all(global, &session, &requests)?;
    Ok(0)
}

/// What is to be done.
enum Prepared {
    Text(String),
    Build(Vec<BuildRequest>, Selected),
}

/// From the files to what is to be done; `files` are filled in for the errors.
fn prepare(global: &Global, args: &BakeArgs, files: &mut Vec<SourceFile>) -> BakeResult<Prepared> {
    let granted = Entitlements::parse(&args.allow)?;
    let variables = variables(&args.variables)?;
    let outside = |name: &str| match variables.get(name) {
        Some(value) => Some(value.clone()),
        None if environment_counts() => std::env::var(name).ok(),
        None => None,
    };
    let called = Called::new(&args.targets);
    *files = remote::read(global, &called, &args.files)?;
    let (mut config, listed) = load(files, called.context, &outside)?;
    config.remote = called.remote;
    if let Some(list) = args.list {
        return Ok(Prepared::Text(if list.variables {
            print::variables(listed, list)
        } else {
            print::targets(&config, list)
        }));
    }
    let overrides = Overrides::new(&flags(args), &config, &outside)?;
    let wanted = if called.targets.is_empty() { vec!["default".to_owned()] } else { called.targets.to_vec() };
    let mut selected = config.select(&wanted, &overrides)?;
    fix_times(&mut selected);
    if args.print {
        return Ok(Prepared::Text(print::definition(&selected)));
    }
    granted.check(selected.targets.values())?;
    let mut requests = requests::requests(&selected, &granted)?;
    for request in &mut requests {
        request.args.cache_mounts |= args.cache_mounts;
    }
    if let Some(call) = args.call.filter(|call| call.name() != "build") {
        // With the form that the answer should have.
        for request in &mut requests {
            request.args.call = Some(call);
        }
    }
    Ok(Prepared::Build(requests, selected))
}

/// Reads all files into one configuration; `context` is what a definition from elsewhere may take for this directory.
fn load(
    files: &mut Vec<SourceFile>,
    context: &str,
    outside: &dyn Fn(&str) -> Option<String>,
) -> BakeResult<(Config, Vec<ListedVariable>)> {
    let mut config = Config::default();
    let (mut bodies, mut composed) = (Vec::new(), Vec::new());
    let bases: Vec<Option<String>> = files.iter().map(files::base).collect();
    for (position, file) in files.iter().enumerate() {
        match files::parse(file, position)? {
            Content::Bake(body) => bodies.push(body),
            Content::Compose => composed.push(position),
        }
    }
    if !composed.is_empty() {
        compose::load(files, &composed, outside, &mut config)?;
        config.targets.iter_mut().for_each(|target| decode::rebase(target, &bases));
    }
    let builtin = BTreeMap::from([
        ("BAKE_CMD_CONTEXT", context.to_owned()),
        ("BAKE_LOCAL_PLATFORM", Platform::host().to_string()),
    ]);
    let outside = Outside { lookup: outside, builtin };
    let definitions = Definitions::new(&bodies, &outside)?;
    decode::decode(&definitions, &bases, &mut config)?;
    let listed = definitions.list()?;
    Ok((config, listed))
}

/// The flags that stand for `--set`.
fn flags(args: &BakeArgs) -> Vec<String> {
    let mut flags = args.set.clone();
    let mut all = |wanted: bool, flag: &str| {
        if wanted {
            flags.push(format!("*.{flag}"));
        }
    };
    all(args.push, "push=true");
    all(args.load, "load=true");
    all(args.no_cache, "no-cache=true");
    all(args.pull, "pull=true");
    all(args.check, "call=check");
    if let Some(call) = args.call.filter(|call| call.name() != "build") {
        all(true, &format!("call={}", call.name()));
    }
    for (kind, value) in [("sbom", &args.sbom), ("provenance", &args.provenance)] {
        if let Some(value) = value {
            let options = match csv::truth(value) {
                Some(wanted) => format!("disabled={}", !wanted),
                None => value.clone(),
            };
            all(true, &format!("attest=type={kind},{options}"));
        }
    }
    flags
}

/// `--var NAME=VALUE`
fn variables(flags: &[String]) -> BakeResult<BTreeMap<String, String>> {
    let pair = |flag: &String| match flag.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(BakeError::new(format!("--var {flag}: write NAME=VALUE"))),
    };
    flags.iter().filter(|flag| !flag.is_empty()).map(pair).collect()
}

/// The environment sets variables unless somebody turned that off.
fn environment_counts() -> bool {
    let disabled = std::env::var("BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP").ok().and_then(|text| csv::truth(&text));
    disabled != Some(true)
}

/// The client's own wish for fixed times is an argument of every target that has none.
fn fix_times(selected: &mut Selected) {
    const EPOCH: &str = "SOURCE_DATE_EPOCH";
    if let Some(epoch) = std::env::var(EPOCH).ok().filter(|epoch| !epoch.is_empty()) {
        for target in selected.targets.values_mut() {
            target.args.entry(EPOCH.to_owned()).or_insert_with(|| epoch.clone());
        }
    }
}

/// `--check` and `--call`: one answer after the other, or one object of all. The result is the first exit code that is
/// not 0.
fn answer(global: &Global, asked: &[(&BuildRequest, CallRequest)], selected: &Selected) -> CliResult<u8> {
    let json = asked.iter().any(|(_, call)| call.json);
    let (mut first, mut answers) = (0, BTreeMap::new());
    for (position, (request, call)) in asked.iter().enumerate() {
        let name = request.name.as_deref().unwrap_or_default();
        let mut text = String::new();
        // They are parts of one answer, whatever form a definition asks for.
        let call = CallRequest { json, ..*call };
        let code = build::check::reply(global, request, call, &mut |part| {
            text.push_str(part);
            Ok(())
        });
        if json {
            // Nothing was said when the question failed.
            let method = if text.is_empty() { serde_json::Value::Null } else { serde_json::from_str(&text)? };
            answers.insert(name.to_owned(), (call.name(), method));
        } else {
            let mut heading = if position == 0 { String::new() } else { "\n".to_owned() };
            heading.extend([name, "\n"]);
            let description = selected.targets.get(name).map(|target| &target.description);
            if let Some(description) = description.filter(|description| !description.is_empty()) {
                heading.extend([description, "\n"]);
            }
            output::result(&format!("{heading}\n{text}"))?;
        }
        let code = match code {
            Ok(code) => code,
            Err(error) => {
                output::notice(&error.to_string());
                error.exit_code()
            }
        };
        first = if first == 0 { code } else { first };
    }
    if json {
        output::result(&print::answers(selected, answers))?;
    }
    Ok(first)
}

use std::fs::File;
use std::path::Path;

use anyhow::Context;
use builder_image::archive::SaveImage;
use builder_image::verify::{Check, Outcome, Report, archive, image, layout};
use clap::Args;
use serde_json::{Value, json};

use super::{Global, save};
use crate::error::CliResult;
use crate::{output, store};

/// Compares what is stored with its digests: blobs with their names, layers with the image's config, files in the
/// store with what was written down of them, attestations with the image that they are about. The exit code is 1 when
/// something differs.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print what is as it should be, too
    #[arg(short, long)]
    verbose: bool,
    /// Names or ids of images in the store, archives (from `save` or other tools), or directories with an OCI layout
    #[arg(required = true, value_name = "IMAGE|FILE|DIRECTORY")]
    targets: Vec<String>,
}

pub(crate) fn run(global: &Global, args: &VerifyArgs) -> CliResult<u8> {
    let mut failed = 0;
    let mut all = Vec::new();
    for target in &args.targets {
        let report = verify(global, target)?;
        failed += report.failed();
        if args.json {
            all.push(value(target, &report));
        } else {
            output::result(&shown(target, &report, args.verbose))?;
        }
    }
    if args.json {
        output::result(&format!("{:#}\n", Value::Array(all)))?;
    }
    Ok(u8::from(failed > 0))
}

/// What is called like a path is one; anything else is an image of the store, or else a path after all.
fn verify(global: &Global, target: &str) -> CliResult<Report> {
    let path = Path::new(target);
    let is_path = target.starts_with(['/', '.']);
    if !is_path {
        let store = store::open(global)?;
        let _lease = store.lease()?;
        // A path may be no name at all.
        let found = store::try_find(&store, target);
        let found = if path.exists() { found.ok().flatten() } else { found? };
        if let Some(found) = found {
            // A config that can't be read is what is to be told, and no reason to tell nothing else.
            let whole =
                save::image(&store, &found, None).unwrap_or_else(|_| SaveImage::one(found.image.id, Vec::new()));
            return Ok(image(&store, &whole)?);
        }
        if !path.exists() {
            return Err(store::no_such_image(target));
        }
    }
    let checked = if path.is_dir() {
        layout(path)
    } else {
        archive(File::open(path).with_context(|| format!("{target} can't be opened"))?)
    };
    Ok(checked.with_context(|| format!("{target} can't be verified"))?)
}

fn shown(target: &str, report: &Report, verbose: bool) -> String {
    let mut rows = vec![["WHAT", "WHICH", "COMPARED", "RESULT"].map(str::to_owned).to_vec()];
    let listed = report.checks.iter().filter(|check| verbose || check.outcome != Outcome::Passed);
    rows.extend(listed.map(|check| {
        let result = match &check.outcome {
            Outcome::Passed => "ok".to_owned(),
            Outcome::Skipped(reason) => format!("skipped: {reason}"),
            Outcome::Failed(reason) => format!("FAILED: {reason}"),
        };
        vec![check.subject.to_string(), check.object.clone(), check.compared.clone(), result]
    }));
    let table = if rows.len() > 1 { output::table(&rows) } else { String::new() };
    let (total, failed) = (report.checks.len(), report.failed());
    let skipped = report.checks.iter().filter(|check| matches!(check.outcome, Outcome::Skipped(_))).count();
    let skipped = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
    let verdict = match failed {
        0 => format!("{total} checks, none failed{skipped}"),
        failed => format!("{failed} of {total} checks FAILED{skipped}"),
    };
    format!("{table}{target}: {verdict}\n")
}

fn value(target: &str, report: &Report) -> Value {
    let check = |check: &Check| {
        let (result, reason) = match &check.outcome {
            Outcome::Passed => ("passed", None),
            Outcome::Skipped(reason) => ("skipped", Some(reason)),
            Outcome::Failed(reason) => ("failed", Some(reason)),
        };
        let mut value = json!({
            "what": check.subject.to_string(), "which": check.object, "compared": check.compared, "result": result,
        });
        if let Some(reason) = reason {
            value["reason"] = json!(reason);
        }
        value
    };
    let checks: Vec<Value> = report.checks.iter().map(check).collect();
    json!({ "target": target, "failed": report.failed(), "checks": checks })
}

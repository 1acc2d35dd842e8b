//! What can be known to be wrong with outputs before anything is built.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use anyhow::Context;
use builder_frontend::platform::Platform;

use crate::commands::build::BuildArgs;
use crate::error::{CliError, CliResult};
use crate::outputs::{Annotations, Attest, Dest, LocalOutput, OutputSpec};

/// What allows to delete files elsewhere than below the working directory.
const DELETE: &str = "buildx.local.delete";

/// Brings outputs into the form that is carried out, and refuses what would fail at the end of a long build.
pub(in crate::build) fn prepare(
    args: &BuildArgs,
    outputs: &mut [OutputSpec],
    platforms: &[Platform],
    several: bool,
) -> CliResult<()> {
    let attest = Attest::new(&args.attest, args.provenance.as_deref(), args.sbom.as_deref(), &args.arguments)?;
    let attested = !attest.is_empty();
    super::full_names(&args.tags)?;
    let mut common = Annotations::default();
    for text in &args.annotations {
        common.flag(text).map_err(CliError::Usage)?;
    }
    for output in outputs {
        let image = match output {
            OutputSpec::Image(output) => {
                super::full_names(output.dangling_prefix.as_slice())?;
                super::push::check(args, output)?;
                &mut output.image
            }
            OutputSpec::Archive(output) => {
                let dest = if output.tar { Some(&output.dest) } else { None };
                check_file(dest)?;
                &mut output.image
            }
            OutputSpec::Local(output) => {
                check_directory(args, output)?;
                continue;
            }
            OutputSpec::Tar(output) => {
                check_file(Some(&output.dest))?;
                continue;
            }
            OutputSpec::CacheOnly => continue,
        };
        super::full_names(&image.names)?;
        if !common.is_empty() {
            // Those of the output itself count more.
            image.annotations = common.with(&image.annotations);
            image.docker_types = false;
        }
        if attested {
            // Docker's lists know no artifacts.
            image.docker_types = false;
        }
        if let Some(other) = image.annotations.of_another_than(platforms).filter(|_| several) {
            return Err(CliError::Usage(format!(
                "an annotation is for {other}, which is not built: take it out, or add {other} to --platform"
            )));
        }
        if image.annotations.need_index() && !several && !attested {
            return Err(CliError::Usage(
                "an image for one platform has no index to annotate: annotate the manifest, or name several platforms"
                    .into(),
            ));
        }
    }
    Ok(())
}

fn check_file(dest: Option<&Dest>) -> CliResult<()> {
    match dest {
        Some(Dest::Path(path)) if path.is_dir() => Err(CliError::message(format!(
            "{} is a directory, where a file is to be written: name the file in it",
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// Asked once more when the files are there: another output may have put a link on the way to this one.
pub(super) fn check_directory(args: &BuildArgs, output: &LocalOutput) -> CliResult<()> {
    let (dest, allowed) = (&output.dest, args.allow.iter().any(|allowed| allowed == DELETE));
    if dest.exists() && !dest.is_dir() {
        return Err(CliError::message(format!("{} is a file, where a directory is to be written", dest.display())));
    }
    if output.delete && !allowed && !is_below_here(dest)? {
        return Err(CliError::with_hint(
            anyhow::anyhow!("mode=delete would remove files of {}, which is not below this directory", dest.display()),
            format!("if that is what you want, add --allow {DELETE}"),
        ));
    }
    Ok(())
}

/// Whether a path leads to something below the working directory, by way of the links that are there.
fn is_below_here(path: &Path) -> CliResult<bool> {
    let here = std::env::current_dir().and_then(|here| here.canonicalize());
    let here = here.context("the working directory can't be found")?;
    let mut existing: PathBuf = std::path::absolute(path)?;
    let mut rest: Vec<OsString> = Vec::new();
    while existing.symlink_metadata().is_err() {
        match existing.components().next_back() {
            Some(Component::Normal(name)) => rest.push(name.to_owned()),
            // Where `..` leads is not known before the directory is there.
            _ => return Ok(false),
        }
        existing.pop();
    }
    let Ok(mut place) = existing.canonicalize() else { return Ok(false) };
    place.extend(rest.iter().rev());
    Ok(place != here && place.starts_with(&here))
}

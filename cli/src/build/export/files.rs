//! The files of results, without an image around them.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use builder_executor::rootfs::{Purpose, RootMount};
use builder_image::archive::statement;
use builder_image::export::{Rooted, digests, directories, remove_others, tars};
use serde_json::Value;

use super::Exporter;
use super::checks::check_directory;
use crate::error::CliResult;
use crate::outputs::{Dest, LocalOutput, TarOutput};
use crate::whole_file;

/// The files of a platform; they are there as long as the mount is.
struct Mounted {
    _mount: RootMount,
    root: OwnedFd,
    /// `linux/arm64`.
    name: String,
    /// `linux_arm64`, when platforms are apart.
    directory: String,
}

impl Mounted {
    fn part(&self) -> Rooted<'_> {
        Rooted { root: &self.root, name: &self.name, directory: &self.directory }
    }
}

fn mount(exporter: &Exporter<'_>, split: Option<bool>) -> CliResult<Vec<Mounted>> {
    let split = split.unwrap_or_else(|| exporter.result.is_multi());
    let each = exporter.result.platforms.iter().map(|result| {
        let mount = exporter.driver.mount(exporter.store, &result.snapshot, None, Purpose::Files)?;
        let root = mount.as_fd().try_clone_to_owned()?;
        let name = result.platform.to_string();
        let directory = if split { name.replace('/', "_") } else { String::new() };
        Ok(Mounted { _mount: mount, root, name, directory })
    });
    each.collect()
}

/// Files with what is said of a platform's files, in a directory of their own.
struct Beside {
    _held: tempfile::TempDir,
    root: OwnedFd,
    name: String,
    directory: String,
}

impl Beside {
    fn part(&self) -> Rooted<'_> {
        Rooted { root: &self.root, name: &self.name, directory: &self.directory }
    }
}

/// Writes down what is said of the files that go out. Where platforms share a directory, names tell them apart.
fn beside(exporter: &Exporter<'_>, mounted: &[Mounted], prefix: &str) -> CliResult<Vec<Beside>> {
    let mut all = Vec::new();
    for (part, result) in mounted.iter().zip(&exporter.result.platforms) {
        let said = exporter.attested.predicates(&result.platform);
        let said: Vec<_> = said.iter().filter(|predicate| !predicate.inline_only).collect();
        if said.is_empty() {
            continue;
        }
        let subjects = digests(&part.root)?;
        let held = tempfile::tempdir().context("a temporary directory can't be made")?;
        for predicate in said {
            let mut name = format!("{prefix}{}", predicate.filename);
            if mounted.len() > 1 && part.directory.is_empty() {
                let (base, extension) = name.rsplit_once('.').unwrap_or((&name, "json"));
                name = format!("{base}.{}.{extension}", part.name.replace('/', "_"));
            }
            let statement: Value = serde_json::from_slice(&statement(predicate.kind, &subjects, &predicate.bytes))?;
            let path = held.path().join(&name);
            let write = |mut file: File| file.write_all(format!("{statement:#}\n").as_bytes());
            let options = File::options().write(true).create_new(true).mode(0o600).open(&path);
            options.and_then(write).with_context(|| format!("{} can't be written", path.display()))?;
        }
        let root = OwnedFd::from(File::open(held.path()).context("a temporary directory can't be read")?);
        let name = format!("what is said of {}", part.name);
        all.push(Beside { _held: held, root, name, directory: part.directory.clone() });
    }
    Ok(all)
}

/// The time that every file has.
fn inherited(exporter: &Exporter<'_>) -> Option<i64> {
    exporter.result.platforms.iter().find_map(|result| result.plan.source_date_epoch)
}

/// Into a directory.
pub(super) fn local(exporter: &Exporter<'_>, output: &LocalOutput) -> CliResult<()> {
    check_directory(exporter.args, output)?;
    let mounted = mount(exporter, output.split)?;
    let beside = beside(exporter, &mounted, &output.attestation_prefix)?;
    let parts: Vec<Rooted<'_>> = mounted.iter().map(Mounted::part).chain(beside.iter().map(Beside::part)).collect();
    let time = output.epoch.or(inherited(exporter));
    let context = || format!("the result can't be written to {}", output.dest.display());
    directories(&parts, &output.dest, time).with_context(context)?;
    if output.delete {
        remove_others(&parts, &output.dest).with_context(context)?;
    }
    Ok(())
}

/// As a tarball, nothing of it in memory or in a temporary file.
pub(super) fn tar(exporter: &Exporter<'_>, output: &TarOutput) -> CliResult<()> {
    let mounted = mount(exporter, output.split)?;
    let beside = beside(exporter, &mounted, &output.attestation_prefix)?;
    let parts: Vec<Rooted<'_>> = mounted.iter().map(Mounted::part).chain(beside.iter().map(Beside::part)).collect();
    let time = output.epoch.or(inherited(exporter));
    write_to(&output.dest, |out| {
        tars(&parts, time, out)?;
        Ok(())
    })
}

/// Opens the destination. The directories on the way to it are made.
pub(super) fn write_to(dest: &Dest, work: impl FnOnce(&mut dyn Write) -> CliResult<()>) -> CliResult<()> {
    match dest {
        Dest::Stdout => {
            let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
            work(&mut out)?;
            Ok(out.flush().context("standard output can't be written")?)
        }
        Dest::Path(path) => {
            if let Some(parent) = path.parent().filter(|parent| *parent != Path::new("")) {
                std::fs::create_dir_all(parent).with_context(|| format!("{} can't be made", parent.display()))?;
            }
            whole_file::write(path, work)
        }
    }
}

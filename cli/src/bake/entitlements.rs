//! What a bake definition may do only when the command line allows it.
//!
//! A definition can come from elsewhere: it reads and writes files outside the working directory, and weakens the
//! sandbox, only with `--allow`.

use std::path::{Path, PathBuf};

use super::entry::Entry;
use super::error::{BakeError, BakeResult};
use super::remote::is_remote;
use super::requests::{local, of_target, places};
use super::target::Target;
use crate::csv::truth;
use crate::paths::resolved;

/// What `--allow` grants.
#[derive(Debug, Default)]
pub(crate) struct Entitlements {
    insecure: bool,
    /// What goes to the builds as it is.
    passed: Vec<String>,
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
    all_read: bool,
    all_write: bool,
}

impl Entitlements {
    /// Reads the flags.
    pub(crate) fn parse(flags: &[String]) -> BakeResult<Self> {
        let mut granted = Self::default();
        if let Ok(here) = std::env::current_dir() {
            let here = resolved(&here);
            granted.read.push(here.clone());
            granted.write.push(here);
        }
        for flag in flags {
            let (key, value) = flag.split_once('=').unwrap_or((flag, ""));
            match key {
                "security.insecure" => {
                    granted.insecure = true;
                    granted.passed.push(flag.clone());
                }
                "network.host" | "buildx.local.delete" => granted.passed.push(flag.clone()),
                // These need no right here.
                "ssh" | "image" | "image.push" | "image.load" => {}
                "fs" | "fs.read" | "fs.write" if value.is_empty() => {
                    return Err(BakeError::new(format!("--allow {flag} names no path: write {key}=PATH or {key}=*")));
                }
                "fs" | "fs.read" | "fs.write" => {
                    let path = resolved(Path::new(value));
                    if key != "fs.write" {
                        granted.all_read |= value == "*";
                        granted.read.push(path.clone());
                    }
                    if key != "fs.read" {
                        granted.all_write |= value == "*";
                        granted.write.push(path);
                    }
                }
                other => {
                    let known =
                        ["network.host", "security.insecure", "fs", "fs.read", "fs.write", "buildx.local.delete"];
                    return Err(BakeError::new(format!("there is no entitlement `{other}`"))
                        .suggest(other, known)
                        .help(format!("the entitlements are {}", known.join(", "))));
                }
            }
        }
        Ok(granted)
    }

    /// What the builds are allowed.
    pub(crate) fn passed(&self) -> &[String] {
        &self.passed
    }

    /// Refuses what is not granted.
    pub(crate) fn check<'t>(&self, targets: impl IntoIterator<Item = &'t Target>) -> BakeResult<()> {
        let guarded = std::env::var("BUILDX_BAKE_ENTITLEMENTS_FS").ok().and_then(|text| truth(&text)).unwrap_or(true);
        let mut missing: Vec<(String, String)> = Vec::new();
        let mut need = |flag: String, what: String| {
            if !missing.iter().any(|(known, _)| *known == flag) {
                missing.push((flag, what));
            }
        };
        for target in targets {
            if !self.insecure && target.entitlements.iter().any(|right| right == "security.insecure") {
                need("security.insecure".into(), "runs privileged steps that can change the system".into());
            }
            if !guarded {
                continue;
            }
            for path in written(target).map(|path| resolved(Path::new(path))) {
                if !self.all_write && !within(&path, &self.write) {
                    need(format!("fs.write={}", path.display()), format!("writes to {}", path.display()));
                }
            }
            for path in read(target)?.iter().map(|path| resolved(Path::new(path))) {
                if !self.all_read && !within(&path, &self.read) {
                    need(format!("fs.read={}", path.display()), format!("reads {}", path.display()));
                }
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let flags: Vec<String> = missing.iter().map(|(flag, _)| format!("--allow={flag}")).collect();
        let what: Vec<&str> = missing.iter().map(|(_, what)| what.as_str()).collect();
        Err(BakeError::new(format!("additional privileges requested: the definition {}", what.join(", ")))
            .help(format!("pass {} to grant what it asks for", flags.join(" "))))
    }
}

fn written(target: &Target) -> impl Iterator<Item = &str> {
    let outputs = target.outputs.iter().flatten().filter_map(|output| match output.field("type") {
        Some("local" | "tar" | "oci" | "docker") => output.field("dest").filter(|dest| *dest != "-"),
        _ => None,
    });
    let caches = target.cache_to.iter().flatten().filter(|cache| cache.field("type") == Some("local"));
    outputs.chain(caches.filter_map(|cache| cache.field("dest")))
}

fn read(target: &Target) -> BakeResult<Vec<String>> {
    let (context, dockerfile) = places(target).map_err(|error| of_target(error, target))?;
    let directories = target.contexts.values().filter(|source| !source.starts_with("target:"));
    let directories = directories.map(|source| local(source).to_owned());
    let own = [context].into_iter().chain(dockerfile).chain(directories).filter(|place| !is_remote(place));
    let caches = target.cache_from.iter().filter(|cache| cache.field("type") == Some("local"));
    let secrets = target.secrets.iter().filter_map(|secret| secret.field("src"));
    let keys = target.ssh.iter().flat_map(Entry::paths);
    let others = caches.filter_map(|cache| cache.field("src")).chain(secrets).chain(keys);
    Ok(own.chain(others.map(str::to_owned)).collect())
}

fn within(path: &Path, granted: &[PathBuf]) -> bool {
    granted.iter().any(|directory| path.starts_with(directory))
}

//! Making what was built durable.
//!
//! A killed process loses nothing that was finished; a power cut loses what was not flushed to the disk yet, and the
//! store knows what that is. `BUILDER_DURABILITY` says when the store is flushed after a build that added something:
//! `background` (the default: by a process that the build does not wait for), `build` (before the build ends), or `none`.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use builder_cache::Store;

use crate::commands::Global;
use crate::error::{CliError, CliResult};
use crate::store;

/// When the store is flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// By a process that nobody waits for.
    Background,
    /// Before the command ends.
    Build,
    /// Not at all.
    None,
}

/// What the environment asks for.
pub(crate) fn durability() -> CliResult<Durability> {
    match std::env::var("BUILDER_DURABILITY").unwrap_or_default().as_str() {
        "" | "background" => Ok(Durability::Background),
        "build" => Ok(Durability::Build),
        "none" => Ok(Durability::None),
        wish => Err(CliError::Usage(format!("BUILDER_DURABILITY is `{wish}`: use background, build or none"))),
    }
}

/// Flushes the store if there is anything to flush.
pub(crate) fn after_build(global: &Global, opened: &Store, durability: Durability) -> CliResult<()> {
    if durability == Durability::None || !opened.unsynced()? {
        return Ok(());
    }
    if durability == Durability::Build {
        return Ok(opened.sync()?);
    }
    // Many commands in a row need no process each.
    if opened.try_lock_flush()?.is_none() {
        return Ok(());
    }
    let executable = std::env::current_exe()?;
    let started = Command::new(executable)
        .arg("--root")
        .arg(store::root(global)?)
        .arg("store-sync")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C at the terminal is not for it.
        .process_group(0)
        .spawn();
    match started {
        Ok(_) => Ok(()),
        // Better late than not at all.
        Err(_) => Ok(opened.sync()?),
    }
}

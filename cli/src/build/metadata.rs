//! `--iidfile` and `--metadata-file`.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use crate::error::CliResult;

/// Writes a file that is whole or not there.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> CliResult<()> {
    let write = || -> std::io::Result<()> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut file = tempfile::Builder::new().permissions(permissions()).tempfile_in(directory)?;
        file.write_all(bytes)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    Ok(write().with_context(|| format!("{} can't be written", path.display()))?)
}

fn permissions() -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    std::fs::Permissions::from_mode(0o644)
}

/// Writes the facts as indented JSON, as buildx does.
pub(crate) fn write_metadata(path: &Path, facts: &Value) -> CliResult<()> {
    write_whole(path, format!("{facts:#}\n").as_bytes())
}

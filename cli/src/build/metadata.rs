//! `--metadata-file`.

use std::path::Path;

use serde_json::Value;

use crate::error::CliResult;
use crate::whole_file;

/// Writes the facts as indented JSON, as buildx does.
pub(crate) fn write_metadata(path: &Path, facts: &Value) -> CliResult<()> {
    whole_file::write_bytes(path, format!("{facts:#}\n").as_bytes())
}

use super::Global;
use crate::error::{CliError, CliResult};
use clap::Args;
#[derive(Debug, Args)]
pub(crate) struct SaveArgs {
    files: Vec<String>,
}
pub(crate) fn run(_: &Global, _: &SaveArgs) -> CliResult<u8> {
    Err(CliError::message("TEMP"))
}

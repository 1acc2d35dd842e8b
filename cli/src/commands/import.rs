use super::Global;
use crate::error::{CliError, CliResult};
use clap::Args;
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    files: Vec<String>,
}
pub(crate) fn run(_: &Global, _: &ImportArgs) -> CliResult<u8> {
    Err(CliError::message("TEMP"))
}

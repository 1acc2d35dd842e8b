use super::Global;
use crate::error::{CliError, CliResult};
use clap::Args;
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    files: Vec<String>,
}
pub(crate) fn run(_: &Global, _: &LoadArgs) -> CliResult<u8> {
    Err(CliError::message("TEMP"))
}

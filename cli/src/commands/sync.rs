use super::Global;
use crate::error::CliResult;
use crate::store;

/// Flushes the store; the records of finished builds outlive a power cut from then on.
pub(crate) fn run(global: &Global) -> CliResult<u8> {
    store::open(global)?.sync()?;
    Ok(0)
}

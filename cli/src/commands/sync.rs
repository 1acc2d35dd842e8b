use super::Global;
use crate::error::CliResult;
use crate::store;

/// Flushes the store; the records of finished builds outlive a power cut from then on.
pub(crate) fn run(global: &Global) -> CliResult<u8> {
    let store = store::open(global)?;
    // Whoever came while this had the turn left the flush to it. What can't be flushed yet is left to the next command.
    for _ in 0..3 {
        let Some(turn) = store.try_lock_flush()? else { break };
        store.sync()?;
        drop(turn);
        if !store.unsynced()? {
            break;
        }
    }
    Ok(0)
}

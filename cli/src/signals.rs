//! Ctrl-C and its relatives.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::error::CliResult;

/// The first Ctrl-C (or SIGTERM, or a closed terminal) ends the build in order; the second ends the process at once.
/// Nothing is lost then either: sandboxes and mounts go with the process.
pub(crate) fn cancel_on_interrupt(cancel: CancellationToken) -> CliResult<JoinHandle<()>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("Ctrl-C can't be caught")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be caught")?;
    let mut hangup = signal(SignalKind::hangup()).context("SIGHUP can't be caught")?;
    Ok(tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            if cancel.is_cancelled() {
                std::process::exit(130);
            }
            cancel.cancel();
        }
    }))
}

//! Ctrl-C and its relatives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use builder_image::registry::Stop;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error::CliResult;

/// The first one came.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Ends transfers when the build was told to end. Other commands end at once.
pub(crate) fn stop() -> Stop {
    Stop::new(|| INTERRUPTED.load(Ordering::Relaxed))
}

/// Whether the build was told to end.
pub(crate) fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// The first Ctrl-C (or SIGTERM, or a closed terminal) ends the build in order; the second one, or one that comes when
/// the steps are over and `solved` is set, ends the process at once. Nothing is lost then either: sandboxes and mounts
/// go with the process, and files of the user are whole or not there.
pub(crate) fn cancel_on_interrupt(cancel: CancellationToken, solved: Arc<AtomicBool>) -> CliResult<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("Ctrl-C can't be caught")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be caught")?;
    let mut hangup = signal(SignalKind::hangup()).context("SIGHUP can't be caught")?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            if cancel.is_cancelled() || solved.load(Ordering::Relaxed) {
                std::process::exit(130);
            }
            INTERRUPTED.store(true, Ordering::Relaxed);
            cancel.cancel();
        }
    });
    Ok(())
}

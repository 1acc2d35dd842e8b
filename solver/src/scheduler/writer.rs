//! Writes records down beside the steps: what comes up while one write is under way becomes one transaction.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::run::blocking;
use crate::worker::{Change, Records};

/// How many changes go into one transaction at most.
const BATCH: usize = 256;

/// A change on its way to the records.
pub(super) struct Write<Output, Guard> {
    pub(super) change: Change<Output>,
    /// Lets other builders at the key once the record is there.
    pub(super) guard: Option<Guard>,
    /// Keeps whoever waits for this change waiting.
    pub(super) token: TaskTrackerToken,
}

/// The way to the writer. It ends when all copies of this are gone.
pub(super) type Writes<Output, Guard> = mpsc::UnboundedSender<Write<Output, Guard>>;

/// Starts the writer. It ends with the first change that can't be written, after telling `failed`.
pub(super) fn start<R: Records, Guard: Send + 'static>(
    records: Arc<R>,
    failed: impl Fn(R::Error) + Send + 'static,
) -> Writes<R::Output, Guard> {
    let (sender, mut queue) = mpsc::unbounded_channel::<Write<R::Output, Guard>>();
    tokio::spawn(async move {
        let mut batch = Vec::new();
        while queue.recv_many(&mut batch, BATCH).await > 0 {
            // Guards and tokens are held until the changes are there, or somebody knows why not.
            let (changes, _held): (Vec<_>, Vec<_>) =
                batch.drain(..).map(|Write { change, guard, token }| (change, (guard, token))).unzip();
            let records = Arc::clone(&records);
            if let Err(error) = blocking(move || records.apply(&changes)).await {
                return failed(error);
            }
        }
    });
    sender
}

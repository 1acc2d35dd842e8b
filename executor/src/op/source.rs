//! Sources that come over the network.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use builder_cache::Snapshot;
use builder_solver::{ContentDigest, LogStream, Source, Task};

use super::{BuildWorker, OpError};

/// What identifies a source as it is now.
pub(super) async fn digest(worker: &BuildWorker, source: &Source) -> Result<ContentDigest, OpError> {
    let abandoned = Abandoned::default();
    let (source, stop) = (source.clone(), Arc::clone(&abandoned.0));
    worker
        .blocking(move |inner| {
            let stop = || stop.load(Ordering::Relaxed);
            Ok(match &source {
                Source::Http(http) => inner.options.remotes.http_digest(http, &stop)?,
                Source::Git(git) => inner.options.remotes.git_digest(git, &stop)?,
                _ => return Err(OpError::NoContext(format!("{source:?}"))),
            })
        })
        .await
}

/// Fetches a source.
pub(super) async fn fetch(worker: &BuildWorker, source: &Source, task: &Task<Snapshot>) -> Result<Snapshot, OpError> {
    let (source, cancel) = (source.clone(), task.cancel.clone());
    let (snapshot, note) = worker
        .blocking(move |inner| {
            let stop = || cancel.is_cancelled();
            match &source {
                Source::Http(http) => {
                    let file = inner.options.remotes.http(http, &stop)?;
                    Ok((file.snapshot(), format!("{} bytes, {}\n", file.size, file.digest)))
                }
                Source::Git(git) => {
                    let tree = inner.options.remotes.git(git, &stop)?;
                    let reference = tree.commit.reference.as_deref().unwrap_or_default();
                    Ok((tree.snapshot(), format!("{} {reference}\n", tree.commit.id)))
                }
                _ => Err(OpError::NoContext(format!("{source:?}"))),
            }
        })
        .await?;
    task.log.write(LogStream::Stdout, note.into_bytes()).await;
    Ok(snapshot)
}

/// Tells work on another thread that nobody waits for it any more.
#[derive(Default)]
struct Abandoned(Arc<AtomicBool>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

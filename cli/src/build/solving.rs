//! One graph, all targets, one solve.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use builder_cache::Snapshot;
use builder_executor::op::BuildWorker;
use builder_image::remote_cache::SharedRecords;
use builder_solver::{Graph, Observer, Solution, SolveError, SolveOptions, Solver, VertexId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::request::Session;
use crate::error::{CliError, CliResult};
use crate::progress::Progress;
use crate::signals;

/// How many events may wait for the renderer.
const EVENTS: usize = 1024;

/// How long steps may take to end after Ctrl-C.
const GRACE: Duration = Duration::from_millis(1500);

/// How long they may take after that to be gone.
const LAST_GRACE: Duration = Duration::from_millis(200);

/// The threads that wait.
pub(super) fn runtime() -> CliResult<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the threads of the builder can't be started")?)
}

/// Ends the threads of a build that failed. What is over but not yet gone (the writer of records, tasks that gave their
/// answer a moment ago) still holds the store, whose last holder removes what was being written. A copy that goes on is
/// waited for no longer than Ctrl-C waits; what it wrote is swept up by the next builder.
pub(super) fn end(runtime: tokio::runtime::Runtime) {
    runtime.shutdown_timeout(if signals::is_interrupted() { LAST_GRACE } else { GRACE });
}

/// Solves the targets.
pub(super) async fn solve(
    session: &Session,
    targets: &[VertexId],
    graph: Arc<Graph>,
    worker: BuildWorker,
    records: Arc<SharedRecords>,
    progress: &Progress,
    observer: Option<Arc<dyn Observer<Snapshot>>>,
) -> CliResult<Solution<Snapshot>> {
    let (events, received) = mpsc::channel(EVENTS);
    let needed = graph.reachable(targets);
    let attached = progress.attach(&graph, &needed, received).context("the progress display can't be started")?;
    let cancel = CancellationToken::new();
    let over = Arc::new(AtomicBool::new(false));
    signals::cancel_on_interrupt(cancel.clone(), Arc::clone(&over))?;
    let interrupted = cancel.clone();
    let solver = Solver::new(Arc::new(worker), records).observed(observer);
    let options = SolveOptions { jobs: session.jobs, cancel, events };
    let solved = tokio::select! {
        solved = solver.solve(Arc::clone(&graph), targets, options) => solved,
        () = overdue(interrupted) => return Err(CliError::Interrupted),
    };
    over.store(true, Ordering::Relaxed);
    // Every sender is gone with the solve, so this ends.
    tokio::task::block_in_place(|| attached.join());
    match solved {
        Ok(solution) => Ok(solution),
        Err(SolveError::Cancelled) => Err(CliError::Interrupted),
        Err(SolveError::Records(error)) => Err(CliError::Failed {
            error: anyhow::Error::new(error).context("the build cache can't be used"),
            hint: None,
        }),
        Err(SolveError::Vertex { vertex, source }) => Err(CliError::Step {
            vertex: Some(vertex),
            span: graph.vertex(vertex).origin.span.clone(),
            name: graph.vertex(vertex).origin.name.clone(),
            error: anyhow::Error::new(source),
        }),
    }
}

/// Ends a while after the build was interrupted: processes are gone by then, and bulk work has had its chance.
async fn overdue(interrupted: CancellationToken) {
    interrupted.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

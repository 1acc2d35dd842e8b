//! One call of [`super::Solver::solve`]: a task for each demanded vertex.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::try_join_all;
use tokio::sync::{OnceCell, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::reports::Reports;
use super::writer::{Write, Writes};
use super::{Key, Observer, SolveError, lock, send};
use crate::cache_key::{self, InputKey};
use crate::digest::{CacheKey, ContentDigest};
use crate::graph::{Graph, Vertex, VertexId};
use crate::miss_reason::MissReason;
use crate::op::{Op, Source};
use crate::progress::{Event, EventSender, VertexLog};
use crate::worker::{Change, Nearest, Record, Records, Task, TaskInput, Worker};

/// The build is over; why is in [`Run::failure`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Stopped;

pub(super) type Answer<Output> = watch::Receiver<Option<Result<Output, Stopped>>>;

/// What is known of one vertex.
#[derive(Debug)]
pub(super) struct Slot<Output> {
    answer: Mutex<Option<Answer<Output>>>,
    /// The content digest of its whole result.
    content: OnceCell<ContentDigest>,
}

impl<Output> Default for Slot<Output> {
    fn default() -> Self {
        Self { answer: Mutex::new(None), content: OnceCell::new() }
    }
}

/// One call of [`Solver::solve`].
pub(super) struct Run<W: Worker, R: Records<Output = W::Output>> {
    pub(super) worker: Arc<W>,
    pub(super) records: Arc<R>,
    pub(super) observer: Option<Arc<dyn Observer<W::Output>>>,
    pub(super) graph: Arc<Graph>,
    pub(super) keys: Vec<Option<Key>>,
    pub(super) slots: Vec<Slot<W::Output>>,
    pub(super) reports: Mutex<Reports>,
    pub(super) jobs: Option<Semaphore>,
    pub(super) cancel: CancellationToken,
    pub(super) events: EventSender,
    pub(super) failure: Mutex<Option<SolveError<W::Error, R::Error>>>,
    /// The vertices, until they are carried out and their records are written.
    pub(super) executing: TaskTracker,
    /// The content keys that nobody waits for.
    pub(super) settling: TaskTracker,
    pub(super) writes: Writes<W::Output, W::Guard>,
}

impl<W, R> Run<W, R>
where
    W: Worker,
    R: Records<Output = W::Output>,
{
    pub(super) fn key(&self, id: VertexId) -> &Key {
        self.keys[id.index()].as_ref().expect("every reachable vertex has a key")
    }

    /// Starts the vertex unless somebody did; the answer comes through the channel. Tasks are spawned and never
    /// nested, so that a chain of any length needs no stack.
    pub(super) fn demand(run: &Arc<Self>, id: VertexId) -> Answer<W::Output> {
        let mut slot = lock(&run.slots[id.index()].answer);
        if let Some(answer) = &*slot {
            return answer.clone();
        }
        let (sender, receiver) = watch::channel(None);
        *slot = Some(receiver.clone());
        drop(slot);
        lock(&run.reports).demanded[id.index()] = true;
        let task = Arc::clone(run);
        run.executing.spawn(async move {
            let result = task.resolve(id).await;
            if let (Ok(output), Some(observer)) = (&result, &task.observer) {
                observer.ready(id, output);
            }
            let _ = sender.send(Some(result));
        });
        receiver
    }

    pub(super) async fn wait(mut answer: Answer<W::Output>) -> Result<W::Output, Stopped> {
        match answer.wait_for(Option::is_some).await {
            Ok(value) => value.clone().unwrap_or(Err(Stopped)),
            Err(_) => Err(Stopped),
        }
    }

    async fn resolve(self: &Arc<Self>, id: VertexId) -> Result<W::Output, Stopped> {
        let vertex = self.graph.vertex(id);
        if self.cancel.is_cancelled() {
            return Err(Stopped);
        }
        if let Op::Source(source) = &vertex.op
            && !vertex.op.is_remote()
        {
            let output = self.run_worker(id, Vec::new(), None).await?;
            if let Source::Image { .. } = source {
                self.record_source(id, &output)?;
            }
            if !matches!(source, Source::Local { .. }) {
                self.report_cached(id).await;
            }
            return Ok(output);
        }
        let key = self.key(id);
        if !key.fresh
            && let Some(record) = self.records(self.records.by_recipe(&key.recipe))?
        {
            self.report_cached(id).await;
            return Ok(record.output);
        }

        let answers: Vec<_> = vertex.inputs.iter().map(|&input| Self::demand(self, input)).collect();
        let mut inputs = Vec::with_capacity(answers.len());
        for answer in answers {
            inputs.push(Self::wait(answer).await?);
        }

        let mut content = None;
        if !vertex.ignore_cache && self.records(self.records.has_op(&key.op))? {
            let digest = self.content_key(id, &inputs).await?;
            if let Some(found) = self.records(self.records.by_content(&digest))? {
                let output = match inputs.as_slice() {
                    [] => found.output.clone(),
                    inputs => self.worker.rebase(vertex, inputs, &found.output),
                };
                let record = Record { content: Some(digest), ..self.record(id, output.clone(), &found) };
                self.insert(record, None);
                self.report_cached(id).await;
                return Ok(output);
            }
            content = Some(digest);
        }
        self.execute(id, inputs, content).await
    }

    /// Carries the vertex out, unless another process does or did in the meantime.
    async fn execute(
        self: &Arc<Self>,
        id: VertexId,
        inputs: Vec<W::Output>,
        content: Option<CacheKey>,
    ) -> Result<W::Output, Stopped> {
        let (vertex, key) = (self.graph.vertex(id), self.key(id));
        let guard = tokio::select! {
            () = self.cancel.cancelled() => return Err(Stopped),
            guard = self.worker.lock(&key.recipe) => guard.map_err(|error| self.fail(id, error))?,
        };
        if !key.fresh
            && let Some(record) = self.records(self.records.by_recipe(&key.recipe))?
        {
            self.report_cached(id).await;
            return Ok(record.output);
        }
        let nearest = self.records(self.records.nearest(&vertex.origin.lineage, &vertex.origin.name))?;
        let reason = self.miss_reason(vertex, key, nearest.as_ref())?;
        // Who asked for a fresh run does not get half of an old one.
        let previous =
            nearest.filter(|nearest| nearest.op == key.op && !vertex.ignore_cache).and_then(|nearest| nearest.output);

        let permit = match &self.jobs {
            Some(jobs) => tokio::select! {
                () = self.cancel.cancelled() => return Err(Stopped),
                permit = jobs.acquire() => permit.ok(),
            },
            None => None,
        };
        send(&self.events, Event::Missed { vertex: id, reason }).await;
        send(&self.events, Event::Started { vertex: id, at: SystemTime::now() }).await;
        let started = Instant::now();
        let inputs_kept = inputs.clone();
        let Ok(output) = self.run_worker(id, inputs, previous).await else {
            self.report_stopped(id, started).await;
            return Err(Stopped);
        };
        let took = started.elapsed();
        drop(permit);

        // What follows does not wait for the record; other builders wait for it at the key.
        self.insert(self.new_record(id, content, output.clone(), took), Some(guard));
        if content.is_none() {
            self.settle(id, inputs_kept);
        }
        lock(&self.reports).finished(id);
        send(&self.events, Event::Completed { vertex: id, took }).await;
        Ok(output)
    }

    async fn run_worker(
        &self,
        id: VertexId,
        inputs: Vec<W::Output>,
        previous: Option<W::Output>,
    ) -> Result<W::Output, Stopped> {
        let vertex = self.graph.vertex(id);
        let inputs = vertex
            .inputs
            .iter()
            .zip(inputs)
            .map(|(input, output)| TaskInput { vertex: Arc::clone(self.graph.vertex(*input)), output })
            .collect();
        let task = Task {
            vertex: Arc::clone(vertex),
            inputs,
            previous,
            log: VertexLog::new(id, self.events.clone()),
            cancel: self.cancel.clone(),
        };
        self.worker.execute(task).await.map_err(|error| self.fail(id, error))
    }

    /// Computes and writes the content key of a vertex that ran before anybody asked for it.
    fn settle(self: &Arc<Self>, id: VertexId, inputs: Vec<W::Output>) {
        let run = Arc::clone(self);
        self.settling.spawn(async move {
            let Ok(content) = run.content_key(id, &inputs).await else { return };
            let change = Change::ContentKey { recipe: run.key(id).recipe, content };
            run.send_write(Write { change, guard: None, token: run.settling.token() });
        });
    }

    async fn content_key(&self, id: VertexId, outputs: &[W::Output]) -> Result<CacheKey, Stopped> {
        let (vertex, key) = (self.graph.vertex(id), self.key(id));
        let digests = vertex.inputs.iter().zip(outputs).enumerate().map(|(position, (&input, output))| async move {
            if let InputKey::Files(digest) = key.inputs[position] {
                return Ok(digest);
            }
            let picked = vertex.op.picks(position);
            let digest =
                async { self.worker.content_digest(output, &picked).await.map_err(|error| self.fail(id, error)) };
            if picked.is_empty() {
                self.slots[input.index()].content.get_or_try_init(|| digest).await.copied()
            } else {
                digest.await
            }
        });
        Ok(cache_key::content_key(&key.op, &try_join_all(digests).await?))
    }

    fn miss_reason(
        &self,
        vertex: &Vertex,
        key: &Key,
        nearest: Option<&Nearest<W::Output>>,
    ) -> Result<MissReason, Stopped> {
        if vertex.ignore_cache {
            return Ok(MissReason::NotAsked);
        }
        match nearest {
            None => Ok(MissReason::New),
            Some(nearest) => self.records(MissReason::compare(&*self.records, &nearest.components, &key.components)),
        }
    }

    /// Images are recorded, too, so that the cache graph knows what its steps stand on.
    fn record_source(&self, id: VertexId, output: &W::Output) -> Result<(), Stopped> {
        if self.records(self.records.by_recipe(&self.key(id).recipe))?.is_some() {
            return Ok(());
        }
        self.insert(self.new_record(id, None, output.clone(), Duration::ZERO), None);
        Ok(())
    }

    fn new_record(
        &self,
        id: VertexId,
        content: Option<CacheKey>,
        output: W::Output,
        cost: Duration,
    ) -> Record<W::Output> {
        let (vertex, key) = (self.graph.vertex(id), self.key(id));
        Record {
            recipe: key.recipe,
            content,
            op: key.op,
            kind: vertex.op.kind().to_owned(),
            name: vertex.origin.name.clone(),
            lineage: vertex.origin.lineage.clone(),
            components: key.components.clone(),
            output,
            cost,
            created_ms: now_ms(),
        }
    }

    /// The record of a vertex that was found by content: its own key, the time and cost of the run that made it.
    fn record(&self, id: VertexId, output: W::Output, found: &Record<W::Output>) -> Record<W::Output> {
        let (vertex, key) = (self.graph.vertex(id), self.key(id));
        Record {
            recipe: key.recipe,
            content: found.content,
            op: key.op,
            kind: found.kind.clone(),
            name: vertex.origin.name.clone(),
            lineage: vertex.origin.lineage.clone(),
            components: key.components.clone(),
            output,
            cost: found.cost,
            created_ms: found.created_ms,
        }
    }

    fn insert(&self, record: Record<W::Output>, guard: Option<W::Guard>) {
        self.send_write(Write { change: Change::Insert(record), guard, token: self.executing.token() });
    }

    fn send_write(&self, write: Write<W::Output, W::Guard>) {
        // A writer that is gone has failed, and said so.
        let _ = self.writes.send(write);
    }

    fn records<T>(&self, result: Result<T, R::Error>) -> Result<T, Stopped> {
        result.map_err(|error| self.stop(SolveError::Records(error)))
    }

    fn fail(&self, vertex: VertexId, source: W::Error) -> Stopped {
        self.stop(SolveError::Vertex { vertex, source })
    }

    /// Ends the build; the first reason is the one that is told.
    pub(super) fn stop(&self, error: SolveError<W::Error, R::Error>) -> Stopped {
        let mut failure = lock(&self.failure);
        // A worker that was cancelled fails, too; its error is not the reason.
        if failure.is_none() && !self.cancel.is_cancelled() {
            *failure = Some(error);
        }
        drop(failure);
        self.cancel.cancel();
        Stopped
    }

    async fn report_cached(&self, id: VertexId) {
        let cached = lock(&self.reports).cached(&self.graph, id);
        for vertex in cached {
            if !self.graph.vertex(vertex).origin.hidden {
                send(&self.events, Event::Cached { vertex }).await;
            }
        }
    }

    async fn report_stopped(&self, id: VertexId, started: Instant) {
        let message = match &*lock(&self.failure) {
            Some(SolveError::Vertex { vertex, source }) if *vertex == id => Some(source.to_string()),
            _ => None,
        };
        lock(&self.reports).reported[id.index()] = true;
        let event = match message {
            Some(message) => Event::Failed { vertex: id, message, took: started.elapsed() },
            None => Event::Cancelled { vertex: id },
        };
        send(&self.events, event).await;
    }
}

/// SQLite and the file system are synchronous: the one way into them from here.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

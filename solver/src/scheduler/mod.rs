//! Solves a graph: every vertex that the target needs is found in the cache or carried out, in parallel.
//!
//! A vertex is *demanded* by whoever needs its result, starting with the target:
//!
//! 1. its recipe key is looked up; a hit demands nothing of its inputs;
//! 2. on a miss its inputs are demanded, all at once, and the content key is looked up (early cut-off);
//! 3. on a miss of that, too, the vertex is carried out under the lock of its recipe key and recorded.
//!
//! Each demanded vertex is one tokio task and is demanded once, whoever asks for it. The first failure cancels the
//! rest; [`Solver::solve`] returns only when every task has ended. Content keys that nobody waits for are
//! written by tasks that outlive the answer: see [`Solution::settled`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Instant, SystemTime};

use futures_util::future::try_join_all;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cache_key::{self, InputKey};
use crate::digest::{CacheKey, ContentDigest, OpDigest};
use crate::graph::{Graph, VertexId};
use crate::op::{Op, Source};
use crate::progress::{Event, EventSender};
use crate::worker::{Component, Part, Records, Worker};

mod reports;
mod run;
mod writer;

use reports::Reports;
use run::{Run, Slot};

/// Why a build ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum SolveError<W: std::error::Error + 'static, R: std::error::Error + 'static> {
    /// A vertex failed.
    #[error("{source}")]
    Vertex {
        /// Which.
        vertex: VertexId,
        /// Why.
        source: W,
    },
    /// The records can't be read or written.
    #[error("the build cache can't be used: {0}")]
    Records(#[source] R),
    /// The caller's token fired.
    #[error("the build was cancelled")]
    Cancelled,
}

/// Hears what vertices result in, while others are still being carried out.
pub trait Observer<Output>: std::fmt::Debug + Send + Sync {
    /// A vertex was found or carried out. Called on a thread of the runtime: it must not wait.
    fn ready(&self, vertex: VertexId, output: &Output);
}

/// Runs graphs on one worker and one set of records.
#[derive(Debug)]
pub struct Solver<W: Worker, R> {
    worker: Arc<W>,
    records: Arc<R>,
    observer: Option<Arc<dyn Observer<W::Output>>>,
}

/// How to solve.
#[derive(Debug, Clone)]
pub struct SolveOptions {
    /// How many vertices may be carried out at once; `None` means no limit.
    pub jobs: Option<usize>,
    /// Ends the build.
    pub cancel: CancellationToken,
    /// Where events go.
    pub events: EventSender,
}

/// What came of one target.
#[derive(Debug, Clone)]
pub struct Solved<Output> {
    /// The result.
    pub output: Output,
    /// The target's recipe key, under which the cache graph of the build is found.
    pub recipe: CacheKey,
}

/// The targets' results.
#[derive(Debug)]
pub struct Solution<Output> {
    /// In the order of the targets.
    pub targets: Vec<Solved<Output>>,
    /// How many vertices were carried out, sources aside.
    pub executed: usize,
    /// The recipe keys of all vertices that the target needs, for the cache graph.
    pub recipes: Vec<(VertexId, CacheKey)>,
    tracker: TaskTracker,
}

impl<Output> Solution<Output> {
    /// Waits for the content keys that are still being computed. Whoever ends the process before loses those keys
    /// and nothing else.
    pub async fn settled(self) {
        self.tracker.wait().await;
    }
}

impl<W, R> Solver<W, R>
where
    W: Worker,
    R: Records<Output = W::Output>,
{
    /// A solver that carries out with `worker` and remembers in `records`.
    pub fn new(worker: Arc<W>, records: Arc<R>) -> Self {
        Self { worker, records, observer: None }
    }

    /// Tells somebody of each result as soon as it is there.
    #[must_use]
    pub fn observed(self, observer: Option<Arc<dyn Observer<W::Output>>>) -> Self {
        Self { observer, ..self }
    }

    /// Solves `targets` side by side; what they share is carried out once. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The first vertex that failed, or that the build was cancelled.
    pub async fn solve(
        &self,
        graph: Arc<Graph>,
        targets: &[VertexId],
        options: SolveOptions,
    ) -> Result<Solution<W::Output>, SolveError<W::Error, R::Error>> {
        let order = graph.reachable(targets);
        let keys = self.keys(&graph, &order, &options).await?;
        let recipes = order.iter().filter_map(|id| keys[id.index()].as_ref().map(|key| (*id, key.recipe))).collect();
        let run = Arc::new_cyclic(|run: &Weak<Run<W, R>>| Run {
            writes: {
                let run = Weak::clone(run);
                writer::start(Arc::clone(&self.records), move |error| {
                    if let Some(run) = run.upgrade() {
                        run.stop(SolveError::Records(error));
                    }
                })
            },
            worker: Arc::clone(&self.worker),
            records: Arc::clone(&self.records),
            observer: self.observer.clone(),
            reports: Mutex::new(Reports::new(&graph, &order)),
            slots: (0..graph.len()).map(|_| Slot::default()).collect(),
            jobs: options.jobs.map(Semaphore::new),
            cancel: options.cancel.child_token(),
            events: options.events,
            keys,
            graph,
            failure: Mutex::new(None),
            executing: TaskTracker::new(),
            settling: TaskTracker::new(),
        });

        let answers: Vec<_> = targets.iter().map(|&target| Run::demand(&run, target)).collect();
        let mut solved = Vec::with_capacity(targets.len());
        for (&target, answer) in targets.iter().zip(answers) {
            if let Ok(output) = Run::<W, R>::wait(answer).await {
                solved.push(Solved { output, recipe: run.key(target).recipe });
            }
        }
        run.executing.close();
        run.executing.wait().await;
        run.settling.close();
        if solved.len() == targets.len() && lock(&run.failure).is_none() {
            return Ok(Solution {
                targets: solved,
                executed: lock(&run.reports).executed,
                recipes,
                tracker: run.settling.clone(),
            });
        }
        run.settling.wait().await;
        Err(lock(&run.failure).take().unwrap_or(SolveError::Cancelled))
    }

    /// The recipe keys of all vertices. Only local and remote sources need work for it, and they do it side by side.
    async fn keys(
        &self,
        graph: &Graph,
        order: &[VertexId],
        options: &SolveOptions,
    ) -> Result<Vec<Option<Key>>, SolveError<W::Error, R::Error>> {
        let sources = async {
            tokio::try_join!(
                self.local_files(graph, order, &options.events),
                self.remote_sources(graph, order, &options.events)
            )
        };
        let (files, fetched) = tokio::select! {
            () = options.cancel.cancelled() => return Err(SolveError::Cancelled),
            sources = sources => sources?,
        };
        let mut keys: Vec<Option<Key>> = (0..graph.len()).map(|_| None).collect();
        for &id in order {
            let vertex = graph.vertex(id);
            let mut definition = cache_key::definition(&vertex.op);
            definition.extend(fetched.get(&id).map(cache_key::fetched));
            let op = cache_key::op_digest(&definition);
            let mut fresh = vertex.ignore_cache;
            let mut inputs = Vec::with_capacity(vertex.inputs.len());
            for (position, input) in vertex.inputs.iter().enumerate() {
                let key = keys[input.index()].as_ref().expect("inputs come before their users in the order");
                fresh |= key.fresh;
                inputs.push(match files.get(&(id, position)) {
                    Some(digest) => InputKey::Files(*digest),
                    None => InputKey::Recipe(key.recipe),
                });
            }
            let (recipe, mut components) = cache_key::recipe_key(definition, &inputs);
            for component in &mut components {
                // People know steps by name; the digest beside it is what counts.
                if let Part::Input(position) = component.part {
                    component.value.clone_from(&graph.vertex(vertex.inputs[position]).origin.name);
                }
            }
            keys[id.index()] = Some(Key { op, recipe, components, inputs, fresh });
        }
        Ok(keys)
    }

    /// What is at each remote source now.
    async fn remote_sources(
        &self,
        graph: &Graph,
        order: &[VertexId],
        events: &EventSender,
    ) -> Result<HashMap<VertexId, ContentDigest>, SolveError<W::Error, R::Error>> {
        let sources = order.iter().filter_map(|&id| match &graph.vertex(id).op {
            op @ Op::Source(source) if op.is_remote() => Some((id, source)),
            _ => None,
        });
        let digests = sources.map(|(id, source)| async move {
            let started = Instant::now();
            match self.worker.source_digest(source, &[]).await {
                Ok(digest) => Ok((id, digest)),
                Err(source) => {
                    send(events, Event::Started { vertex: id, at: SystemTime::now() }).await;
                    let message = source.to_string();
                    send(events, Event::Failed { vertex: id, message, took: started.elapsed() }).await;
                    Err(SolveError::Vertex { vertex: id, source })
                }
            }
        });
        Ok(try_join_all(digests).await?.into_iter().collect())
    }

    /// The content digest of what each vertex selects from local sources, by user and input position.
    async fn local_files(
        &self,
        graph: &Graph,
        order: &[VertexId],
        events: &EventSender,
    ) -> Result<HashMap<(VertexId, usize), ContentDigest>, SolveError<W::Error, R::Error>> {
        let mut uses: HashMap<VertexId, Vec<(VertexId, usize)>> = HashMap::new();
        for &id in order {
            for (position, &input) in graph.vertex(id).inputs.iter().enumerate() {
                if matches!(graph.vertex(input).op, Op::Source(Source::Local { .. })) {
                    uses.entry(input).or_default().push((id, position));
                }
            }
        }
        let sources = uses.into_iter().map(|(local, users)| async move {
            let started = Instant::now();
            send(events, Event::Started { vertex: local, at: SystemTime::now() }).await;
            let Op::Source(source) = &graph.vertex(local).op else { unreachable!("collected as a source above") };
            let digests = users.into_iter().map(|(user, position)| async move {
                let vertex = graph.vertex(user);
                let picked = vertex.op.picks(position);
                match self.worker.source_digest(source, &picked).await {
                    Ok(digest) => Ok(((user, position), digest)),
                    Err(source) => Err(SolveError::Vertex { vertex: user, source }),
                }
            });
            let result = try_join_all(digests).await;
            let took = started.elapsed();
            // The source is there; what failed is what somebody wants of it.
            send(events, Event::Completed { vertex: local, took }).await;
            if let Err(SolveError::Vertex { vertex, source }) = &result {
                send(events, Event::Failed { vertex: *vertex, message: source.to_string(), took }).await;
            }
            result
        });
        Ok(try_join_all(sources).await?.into_iter().flatten().collect())
    }
}

/// A vertex's keys.
#[derive(Debug)]
struct Key {
    op: OpDigest,
    recipe: CacheKey,
    components: Vec<Component>,
    inputs: Vec<InputKey>,
    /// It, or something before it, must run whatever the cache holds.
    fresh: bool,
}

async fn send(events: &EventSender, event: Event) {
    // A renderer that is gone does not end the build.
    let _ = events.send(event).await;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Times the scheduler alone: 10,000 vertices that do nothing, cold and warm.
#![expect(clippy::print_stdout, reason = "it reports to the person who runs it")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use builder_solver::digest::FramedHasher;
use builder_solver::{
    CacheKey, Change, ContentDigest, Event, Exec, Graph, Nearest, NetworkMode, Op, OpDigest, Origin, PathChange,
    Picked, Record, Records, SolveOptions, Solver, Source, Task, Vertex, Worker,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

struct Nothing;

impl Worker for Nothing {
    type Output = u64;
    type Error = Infallible;
    type Guard = ();

    async fn source_digest(&self, _: &Source, _: &[Picked]) -> Result<ContentDigest, Infallible> {
        Ok(ContentDigest::from_bytes(FramedHasher::new("none").finish()))
    }

    async fn content_digest(&self, output: &u64, _: &[Picked]) -> Result<ContentDigest, Infallible> {
        Ok(ContentDigest::from_bytes(FramedHasher::new("output").number(*output).finish()))
    }

    async fn execute(&self, task: Task<u64>) -> Result<u64, Infallible> {
        Ok(task.inputs.iter().map(|input| input.output).sum::<u64>() + 1)
    }

    fn rebase(&self, _: &Vertex, _: &[u64], found: &u64) -> u64 {
        *found
    }

    async fn lock(&self, _: &CacheKey) -> Result<(), Infallible> {
        Ok(())
    }
}

#[derive(Default)]
struct InMemory(RwLock<HashMap<CacheKey, Record<u64>>>);

impl Records for InMemory {
    type Output = u64;
    type Error = Infallible;

    fn by_recipe(&self, key: &CacheKey) -> Result<Option<Record<u64>>, Infallible> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn by_content(&self, _: &CacheKey) -> Result<Option<Record<u64>>, Infallible> {
        Ok(None)
    }

    fn has_op(&self, _: &OpDigest) -> Result<bool, Infallible> {
        Ok(false)
    }

    fn apply(&self, changes: &[Change<u64>]) -> Result<(), Infallible> {
        let mut records = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            if let Change::Insert(record) = change {
                records.insert(record.recipe, record.clone());
            }
        }
        Ok(())
    }

    fn nearest(&self, _: &str, _: &str) -> Result<Option<Nearest<u64>>, Infallible> {
        Ok(None)
    }

    fn tree_changes(
        &self,
        _: &ContentDigest,
        _: &ContentDigest,
        _: usize,
    ) -> Result<Option<Vec<PathChange>>, Infallible> {
        Ok(None)
    }
}

fn exec(number: usize) -> Op {
    Op::Exec(Exec {
        args: vec!["/bin/sh".into(), "-c".into(), format!("echo {number}")],
        env: vec![("PATH".into(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into())],
        cwd: "/".into(),
        user: String::new(),
        network: NetworkMode::Default,
        script: None,
        proxy_env: vec![],
        ..Exec::default()
    })
}

/// A hundred stages of a hundred steps and a last one that joins them.
fn graph() -> (Arc<Graph>, builder_solver::VertexId) {
    let mut graph = Graph::new();
    let mut add = |op, inputs| graph.add(Vertex { op, inputs, origin: Origin::default(), ignore_cache: false });
    let base = add(Op::Source(Source::Scratch), vec![]);
    let mut ends = Vec::new();
    for stage in 0..100 {
        let mut last = base;
        for step in 0..100 {
            last = add(exec(stage * 100 + step), vec![last]);
        }
        ends.push(last);
    }
    let target = add(exec(10_000), ends);
    (Arc::new(graph), target)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let started = Instant::now();
    let (graph, target) = graph();
    println!("graph     {:>8.1} ms", started.elapsed().as_secs_f64() * 1e3);
    let solver = Solver::new(Arc::new(Nothing), Arc::new(InMemory::default()));
    for name in ["cold", "warm"] {
        let (events, mut received) = mpsc::channel::<Event>(1024);
        let drain = tokio::spawn(async move { while received.recv().await.is_some() {} });
        let started = Instant::now();
        let options = SolveOptions { jobs: None, cancel: CancellationToken::new(), events };
        let solution = solver.solve(Arc::clone(&graph), &[target], options).await?;
        let took = started.elapsed();
        println!("{name}      {:>8.1} ms, {} vertices carried out", took.as_secs_f64() * 1e3, solution.executed);
        solution.settled().await;
        drain.await?;
    }
    Ok(())
}

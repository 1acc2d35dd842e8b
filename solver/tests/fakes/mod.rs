//! A worker without files and records without a disk.
#![expect(clippy::unwrap_used, reason = "a poisoned lock means that the test has failed already")]

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use builder_solver::digest::FramedHasher;
use builder_solver::{
    CacheKey, Change, ContentDigest, Event, Exec, FileAction, FileOp, Graph, MissReason, Nearest, NetworkMode, Op,
    OpDigest, Origin, Owner, PathChange, Picked, Record, Records, Selection, SolveError, SolveOptions, Solver, Source,
    Task, Vertex, VertexId, Worker,
};
use tokio::sync::{Barrier, mpsc};
use tokio_util::sync::CancellationToken;

/// A result is the text that the fake process "wrote".
pub(crate) type Output = String;

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failure(pub(crate) String);

/// Commands: `echo TEXT` gives TEXT, `concat` joins the inputs, `meet N` waits until N of them run at once,
/// `fail` fails, `hang` waits for the end of the build.
#[derive(Default)]
pub(crate) struct FakeWorker {
    pub(crate) files: Mutex<BTreeMap<String, String>>,
    pub(crate) ran: Mutex<Vec<String>>,
    pub(crate) barrier: Mutex<Option<Arc<Barrier>>>,
    pub(crate) running: AtomicUsize,
    pub(crate) most_running: AtomicUsize,
    pub(crate) previous: Mutex<Vec<Option<String>>>,
    pub(crate) content_digests: AtomicUsize,
    pub(crate) rebased: AtomicUsize,
    locks: Mutex<HashMap<CacheKey, Arc<tokio::sync::Mutex<()>>>>,
}

fn digest(text: &str) -> ContentDigest {
    ContentDigest::from_bytes(FramedHasher::new("fake").part(text.as_bytes()).finish())
}

impl FakeWorker {
    pub(crate) fn count(&self, command: &str) -> usize {
        self.ran.lock().unwrap().iter().filter(|ran| *ran == command).count()
    }

    async fn run(&self, command: &str, task: &Task<Output>) -> Result<Output, Failure> {
        let inputs = || task.inputs.iter().map(|input| input.output.as_str()).collect::<Vec<_>>().join("+");
        match command.split_once(' ').unwrap_or((command, "")) {
            ("echo", text) => Ok(text.to_owned()),
            ("concat", tail) => Ok(format!("({}){tail}", inputs())),
            ("meet", _) => {
                let barrier = self.barrier.lock().unwrap().clone().expect("a test with `meet` sets the barrier");
                barrier.wait().await;
                Ok(format!("met {command} {}", inputs()))
            }
            ("fail", text) => Err(Failure(format!("failed: {text}"))),
            ("hang", _) => {
                task.cancel.cancelled().await;
                Err(Failure("stopped".into()))
            }
            _ => Err(Failure(format!("unknown command {command}"))),
        }
    }
}

impl Worker for FakeWorker {
    type Output = Output;
    type Error = Failure;
    type Guard = tokio::sync::OwnedMutexGuard<()>;

    async fn source_digest(&self, source: &Source, picked: &[Picked]) -> Result<ContentDigest, Failure> {
        let files = self.files.lock().unwrap();
        let name = match source {
            Source::Local { name } => name,
            Source::Http(http) => {
                let content = files.get(&http.url).ok_or_else(|| Failure(format!("`{}` not found", http.url)))?;
                return Ok(digest(content));
            }
            _ => return Err(Failure("neither local nor remote".into())),
        };
        let mut text = name.clone();
        for path in picked.iter().flat_map(|picked| &picked.selection.sources) {
            let content = files.get(path).ok_or_else(|| Failure(format!("`{path}` not found")))?;
            text = format!("{text}\0{path}\0{content}");
        }
        Ok(digest(&text))
    }

    async fn content_digest(&self, output: &Output, _: &[Picked]) -> Result<ContentDigest, Failure> {
        self.content_digests.fetch_add(1, Ordering::SeqCst);
        Ok(digest(output))
    }

    async fn execute(&self, task: Task<Output>) -> Result<Output, Failure> {
        match &task.vertex.op {
            Op::Source(Source::Http(http)) => {
                self.ran.lock().unwrap().push(format!("get {}", http.url));
                Ok(self.files.lock().unwrap().get(&http.url).cloned().unwrap_or_default())
            }
            Op::Source(source) => Ok(format!("{source:?}")),
            Op::Merge => Ok(format!("merge({}|{})", task.inputs[0].output, task.inputs[1].output)),
            Op::File(file) => {
                self.ran.lock().unwrap().push("copy".into());
                self.previous.lock().unwrap().push(task.previous.clone());
                let FileAction::Copy(copy) = &file.actions[0] else { return Err(Failure("no copy".into())) };
                let files = self.files.lock().unwrap();
                Ok(copy.selection.sources.iter().filter_map(|path| files.get(path).cloned()).collect())
            }
            Op::Exec(exec) => {
                let command = exec.args.join(" ");
                self.ran.lock().unwrap().push(command.clone());
                let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
                self.most_running.fetch_max(now, Ordering::SeqCst);
                let result = self.run(&command, &task).await;
                self.running.fetch_sub(1, Ordering::SeqCst);
                result
            }
        }
    }

    fn rebase(&self, _: &Vertex, _: &[Output], found: &Output) -> Output {
        self.rebased.fetch_add(1, Ordering::SeqCst);
        found.clone()
    }

    async fn lock(&self, key: &CacheKey) -> Result<Self::Guard, Failure> {
        let lock = Arc::clone(self.locks.lock().unwrap().entry(*key).or_default());
        Ok(lock.lock_owned().await)
    }
}

/// Records in memory.
#[derive(Default)]
pub(crate) struct FakeRecords {
    pub(crate) records: Mutex<Vec<Record<Output>>>,
    pub(crate) evicted: Mutex<Vec<CacheKey>>,
}

impl FakeRecords {
    fn find(&self, matches: impl Fn(&Record<Output>) -> bool) -> Option<Record<Output>> {
        let evicted = self.evicted.lock().unwrap();
        let records = self.records.lock().unwrap();
        records.iter().rev().find(|record| matches(record) && !evicted.contains(&record.recipe)).cloned()
    }
}

impl Records for FakeRecords {
    type Output = Output;
    type Error = Infallible;

    fn by_recipe(&self, key: &CacheKey) -> Result<Option<Record<Output>>, Infallible> {
        Ok(self.find(|record| record.recipe == *key))
    }

    fn by_content(&self, key: &CacheKey) -> Result<Option<Record<Output>>, Infallible> {
        Ok(self.find(|record| record.content == Some(*key)))
    }

    fn has_op(&self, op: &OpDigest) -> Result<bool, Infallible> {
        Ok(self.records.lock().unwrap().iter().any(|record| record.op == *op))
    }

    fn apply(&self, changes: &[Change<Output>]) -> Result<(), Infallible> {
        let mut evicted = self.evicted.lock().unwrap();
        let mut records = self.records.lock().unwrap();
        for change in changes {
            match change {
                Change::Insert(record) => {
                    evicted.retain(|key| *key != record.recipe);
                    records.retain(|old| old.recipe != record.recipe);
                    records.push(record.clone());
                }
                Change::ContentKey { recipe, content } => {
                    for record in records.iter_mut().filter(|record| record.recipe == *recipe) {
                        record.content = Some(*content);
                    }
                }
            }
        }
        Ok(())
    }

    fn nearest(&self, lineage: &str, name: &str) -> Result<Option<Nearest<Output>>, Infallible> {
        let records = self.records.lock().unwrap();
        let found = records
            .iter()
            .rev()
            .find(|record| record.lineage == lineage)
            .or_else(|| records.iter().rev().find(|record| record.name == name));
        Ok(found.map(|record| Nearest {
            recipe: record.recipe,
            op: record.op,
            components: record.components.clone(),
            output: Some(record.output.clone()),
        }))
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

/// A graph under construction.
#[derive(Default)]
pub(crate) struct Steps {
    pub(crate) graph: Graph,
}

impl Steps {
    pub(crate) fn add(&mut self, op: Op, inputs: &[VertexId], name: &str, ignore_cache: bool) -> VertexId {
        let origin = Origin { name: name.into(), lineage: name.into(), ..Origin::default() };
        self.graph.add(Vertex { op, inputs: inputs.to_vec(), origin, ignore_cache })
    }

    pub(crate) fn scratch(&mut self) -> VertexId {
        self.add(Op::Source(Source::Scratch), &[], "scratch", false)
    }

    pub(crate) fn context(&mut self) -> VertexId {
        self.add(Op::Source(Source::Local { name: "context".into() }), &[], "context", false)
    }

    pub(crate) fn run(&mut self, command: &str, inputs: &[VertexId]) -> VertexId {
        self.add(exec(command), inputs, command, false)
    }

    pub(crate) fn copy(&mut self, base: VertexId, from: VertexId, path: &str) -> VertexId {
        let selection = Selection { sources: vec![path.into()], exclude: vec![], parents: false };
        let copy = builder_solver::CopyAction {
            input: 1,
            selection,
            dest: "/".into(),
            owner: Owner::Default,
            mode: None,
            unpack: false,
        };
        self.add(
            Op::File(FileOp { actions: vec![FileAction::Copy(copy)] }),
            &[base, from],
            &format!("copy {path}"),
            false,
        )
    }
}

pub(crate) fn exec(command: &str) -> Op {
    Op::Exec(Exec {
        args: command.split(' ').map(str::to_owned).collect(),
        env: vec![("PATH".into(), "/bin".into())],
        cwd: "/".into(),
        user: String::new(),
        network: NetworkMode::Default,
        script: None,
        proxy_env: vec![],
        ..Exec::default()
    })
}

/// What came of a build.
pub(crate) struct Built {
    pub(crate) result: Result<Output, SolveError<Failure, Infallible>>,
    pub(crate) events: Vec<Event>,
    pub(crate) executed: usize,
}

impl Built {
    pub(crate) fn reason(&self, vertex: VertexId) -> Option<&MissReason> {
        self.events.iter().find_map(|event| match event {
            Event::Missed { vertex: found, reason } if *found == vertex => Some(reason),
            _ => None,
        })
    }

    /// How each reported vertex ended, in order.
    pub(crate) fn ends(&self) -> Vec<(VertexId, &'static str)> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::Cached { vertex } => Some((*vertex, "cached")),
                Event::Completed { vertex, .. } => Some((*vertex, "ran")),
                Event::Failed { vertex, .. } => Some((*vertex, "failed")),
                Event::Cancelled { vertex } => Some((*vertex, "cancelled")),
                _ => None,
            })
            .collect()
    }
}

/// One machine: its worker and its records outlive a build.
#[derive(Default)]
pub(crate) struct Machine {
    pub(crate) worker: Arc<FakeWorker>,
    pub(crate) records: Arc<FakeRecords>,
}

impl Machine {
    pub(crate) async fn build(&self, graph: &Graph, target: VertexId) -> Built {
        self.build_with(graph, target, None, CancellationToken::new()).await
    }

    pub(crate) async fn build_with(
        &self,
        graph: &Graph,
        target: VertexId,
        jobs: Option<usize>,
        cancel: CancellationToken,
    ) -> Built {
        self.build_all(graph, &[target], jobs, cancel).await
    }

    pub(crate) async fn build_all(
        &self,
        graph: &Graph,
        targets: &[VertexId],
        jobs: Option<usize>,
        cancel: CancellationToken,
    ) -> Built {
        let (events, mut received) = mpsc::channel(64);
        let collector = tokio::spawn(async move {
            let mut all = Vec::new();
            while let Some(event) = received.recv().await {
                all.push(event);
            }
            all
        });
        let solver = Solver::new(Arc::clone(&self.worker), Arc::clone(&self.records));
        let options = SolveOptions { jobs, cancel, events };
        let solution = solver.solve(Arc::new(graph.clone()), targets, options).await;
        let (result, executed) = match solution {
            Ok(solution) => {
                let outputs: Vec<_> = solution.targets.iter().map(|target| target.output.as_str()).collect();
                let (output, executed) = (outputs.join(" and "), solution.executed);
                solution.settled().await;
                (Ok(output), executed)
            }
            Err(error) => (Err(error), 0),
        };
        Built { result, events: collector.await.unwrap(), executed }
    }
}

//! The traits through which the solver sees the world: a [`Worker`] carries ops out, [`Records`] remember what
//! came of it. Tests give it fakes of both.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::digest::{CacheKey, ContentDigest, OpDigest};
use crate::graph::Vertex;
use crate::op::{Picked, Source};
use crate::progress::VertexLog;

/// Carries ops out.
pub trait Worker: Send + Sync + 'static {
    /// What a vertex results in; cheap to clone (the store's snapshot, not its files).
    type Output: Clone + Debug + Send + Sync + 'static;
    /// Why an op failed.
    type Error: std::error::Error + Send + Sync + 'static;
    /// Holds a key's lock until it is dropped.
    type Guard: Send + 'static;

    /// The content digest of what `picked` takes from a local source, before anything runs. Nothing picked means
    /// all of it. For a remote source, what identifies what is there now: it is asked before any step runs, fetches no
    /// more than it must, and becomes part of the vertex's own key.
    fn source_digest(
        &self,
        source: &Source,
        picked: &[Picked],
    ) -> impl Future<Output = Result<ContentDigest, Self::Error>> + Send;

    /// The content digest of a result, or of what `picked` takes from it.
    fn content_digest(
        &self,
        output: &Self::Output,
        picked: &[Picked],
    ) -> impl Future<Output = Result<ContentDigest, Self::Error>> + Send;

    /// Carries the vertex out. Returns soon after `task.cancel` fires, with nothing left behind: no process, no
    /// mount, no half snapshot.
    fn execute(&self, task: Task<Self::Output>) -> impl Future<Output = Result<Self::Output, Self::Error>> + Send;

    /// What `vertex` results in on `inputs`, when `found` is what it resulted in on other inputs of the same content.
    /// What the vertex added is taken from `found`, what was there before from `inputs`: equal content can be made of
    /// other layers.
    fn rebase(&self, vertex: &Vertex, inputs: &[Self::Output], found: &Self::Output) -> Self::Output;

    /// Waits until no other builder on this machine works on `key`.
    fn lock(&self, key: &CacheKey) -> impl Future<Output = Result<Self::Guard, Self::Error>> + Send;
}

/// One vertex to carry out.
#[derive(Debug, Clone)]
pub struct Task<Output> {
    /// The vertex.
    pub vertex: Arc<Vertex>,
    /// Its inputs, in the op's order.
    pub inputs: Vec<TaskInput<Output>>,
    /// What the same step of the same project last resulted in, when that step had the same definition: a file op
    /// may write only what is different.
    pub previous: Option<Output>,
    /// Where the output of the step goes.
    pub log: VertexLog,
    /// Fires when the build is over.
    pub cancel: CancellationToken,
}

/// An input of a [`Task`].
#[derive(Debug, Clone)]
pub struct TaskInput<Output> {
    /// The vertex that it came from. For a local source, whose files are not in the store, this is all there is.
    pub vertex: Arc<Vertex>,
    /// Its result; for a local source the worker's own empty result.
    pub output: Output,
}

/// Remembers results. Calls are synchronous and short (an indexed read, or one insert).
pub trait Records: Send + Sync + 'static {
    /// The worker's result type.
    type Output: Clone + Debug + Send + Sync + 'static;
    /// Why the store failed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The record whose recipe key is `key`, if its result is still there. Counts as a use.
    fn by_recipe(&self, key: &CacheKey) -> Result<Option<Record<Self::Output>>, Self::Error>;

    /// The newest record whose content key is `key`, if its result is still there.
    fn by_content(&self, key: &CacheKey) -> Result<Option<Record<Self::Output>>, Self::Error>;

    /// Whether any record has this definition. When none has, no content key can hit.
    fn has_op(&self, op: &OpDigest) -> Result<bool, Self::Error>;

    /// Writes changes down in this order, all of them or none.
    fn apply(&self, changes: &[Change<Self::Output>]) -> Result<(), Self::Error>;

    /// What a miss is compared with: the newest record of this lineage, or else of this name, whether or not its
    /// result is still there.
    fn nearest(&self, lineage: &str, name: &str) -> Result<Option<Nearest<Self::Output>>, Self::Error>;

    /// The paths in which two trees differ, at most `limit` of them; `None` when one is not known any more.
    fn tree_changes(
        &self,
        old: &ContentDigest,
        new: &ContentDigest,
        limit: usize,
    ) -> Result<Option<Vec<PathChange>>, Self::Error>;
}

/// One change of the [`Records`].
#[derive(Debug, Clone)]
pub enum Change<Output> {
    /// Adds a record; one with the same recipe key is replaced (the last run wins).
    Insert(Record<Output>),
    /// Gives the record of `recipe` its content key, once that is known.
    ContentKey {
        /// Whose.
        recipe: CacheKey,
        /// The key.
        content: CacheKey,
    },
}

/// A finished step.
#[derive(Debug, Clone)]
pub struct Record<Output> {
    /// The key it is found by before anything runs.
    pub recipe: CacheKey,
    /// The key it is found by when its inputs came out the same; unknown until they were hashed.
    pub content: Option<CacheKey>,
    /// Its definition.
    pub op: OpDigest,
    /// The op in one word.
    pub kind: String,
    /// As [`crate::Origin::name`].
    pub name: String,
    /// As [`crate::Origin::lineage`].
    pub lineage: String,
    /// What the recipe key was made of.
    pub components: Vec<Component>,
    /// The result.
    pub output: Output,
    /// How long the step took when it ran.
    pub cost: Duration,
    /// When it ran, in milliseconds since the epoch. A record found by content keeps the time of the run.
    pub created_ms: i64,
}

/// An older record to compare a miss with.
#[derive(Debug, Clone)]
pub struct Nearest<Output> {
    /// Its recipe key.
    pub recipe: CacheKey,
    /// Its definition.
    pub op: OpDigest,
    /// What its key was made of.
    pub components: Vec<Component>,
    /// Its result, when that is still there.
    pub output: Option<Output>,
}

/// One part of a recipe key, kept so that a miss can be explained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// What it is.
    pub part: Part,
    /// The value in short, for people; at most 200 bytes.
    pub value: String,
    /// The digest of the value in full.
    pub digest: ContentDigest,
}

/// The parts that a recipe key can have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The kind of op.
    Kind,
    /// The arguments of a process.
    Command,
    /// One variable of its environment.
    Env(String),
    /// The order of the environment's variables.
    EnvOrder,
    /// Its working directory.
    WorkingDirectory,
    /// Its user.
    User,
    /// Its network.
    Network,
    /// Its script file.
    Script,
    /// How it is kept apart from the machine.
    Security,
    /// More host names, and its own.
    Hosts,
    /// The platform that it is for.
    Platform,
    /// One of its mounts, or of its secret variables.
    Mount(usize),
    /// One action of a file op.
    Action(usize),
    /// The image that a reference means.
    Image,
    /// Where a remote source is.
    Remote,
    /// What is there.
    Fetched,
    /// The recipe of input `n`, that is: everything that led to it.
    Input(usize),
    /// The files that are selected from input `n`, a local source: the digest of a tree.
    Files(usize),
}

/// How one path differs between two trees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PathChange {
    /// The path, below the tree's root; bytes that are not UTF-8 are escaped.
    pub path: String,
    /// In which way.
    pub kind: PathChangeKind,
}

/// How a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PathChangeKind {
    /// Only the new tree has it.
    Added,
    /// Only the old tree has it.
    Removed,
    /// Type, mode, owner, attributes or bytes differ.
    Changed,
}

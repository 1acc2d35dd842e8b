//! Decides what has to run, and runs it in parallel.
//!
//! A [`Graph`] of [`Vertex`]es comes in; each holds an [`Op`] in the vocabulary of BuildKit's LLB. The
//! [`Solver`] asks for every vertex "do I already have this?" (two levels of [`cache_key`]), lets a [`Worker`]
//! carry out what is missing, and lets [`Records`] remember it. What happens is told as a stream of
//! [`progress::Event`]s, and every miss has a [`MissReason`].
//!
//! Invariant: this crate knows no Dockerfile, no file system and no namespace. It is tested with fake workers.

pub mod address;
pub mod cache_key;
pub mod digest;
pub mod graph;
pub mod miss_reason;
pub mod op;
pub mod progress;
pub mod scheduler;
pub mod worker;

pub use digest::{CacheKey, ContentDigest, OpDigest};
pub use graph::{Graph, Origin, Vertex, VertexId};
pub use miss_reason::MissReason;
pub use op::{
    CacheMount, CopyAction, Exec, FileAction, FileMode, FileOp, GitSource, HttpSource, Mount, MountKind, NetworkMode,
    Op, Owner, Picked, Script, SecretEnv, SecretFile, SecurityMode, Selection, Sharing, Source,
};
pub use progress::{Event, EventSender, LogStream, VertexLog};
pub use scheduler::{Observer, Solution, SolveError, SolveOptions, Solved, Solver};
pub use worker::{
    Change, Component, Nearest, Part, PathChange, PathChangeKind, Record, Records, Task, TaskInput, Worker,
};

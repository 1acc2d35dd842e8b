//! The one stream of events from which every kind of output is rendered.

use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;

use crate::graph::VertexId;
use crate::miss_reason::MissReason;

/// Something happened. Every vertex that is reported ends with exactly one of `Cached`, `Completed`, `Failed` and
/// `Cancelled`.
#[derive(Debug, Clone)]
pub enum Event {
    /// The vertex begins to run.
    Started {
        /// Which.
        vertex: VertexId,
        /// When.
        at: SystemTime,
    },
    /// It did not have to run.
    Cached {
        /// Which.
        vertex: VertexId,
    },
    /// It runs because of this.
    Missed {
        /// Which.
        vertex: VertexId,
        /// Why.
        reason: MissReason,
    },
    /// It wrote something.
    Log {
        /// Which.
        vertex: VertexId,
        /// To where.
        stream: LogStream,
        /// The bytes as they came: not lines, not always UTF-8.
        data: Vec<u8>,
    },
    /// It is this far.
    Progress {
        /// Which.
        vertex: VertexId,
        /// Of what: `files`, `bytes`.
        unit: &'static str,
        /// How many are done.
        current: u64,
        /// Of how many, when that is known.
        total: Option<u64>,
    },
    /// It ran and succeeded.
    Completed {
        /// Which.
        vertex: VertexId,
        /// How long it ran.
        took: Duration,
    },
    /// It ran and failed.
    Failed {
        /// Which.
        vertex: VertexId,
        /// The error and its causes in one line.
        message: String,
        /// How long it ran.
        took: Duration,
    },
    /// It was stopped because the build is over.
    Cancelled {
        /// Which.
        vertex: VertexId,
    },
}

/// Where a process wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    /// File descriptor 1.
    Stdout,
    /// File descriptor 2.
    Stderr,
}

/// The sending end. Bounded: a step that writes without end waits for the renderer and does not fill the memory.
pub type EventSender = mpsc::Sender<Event>;

/// The output of one vertex.
#[derive(Debug, Clone)]
pub struct VertexLog {
    vertex: VertexId,
    events: EventSender,
}

impl VertexLog {
    /// Output of `vertex` goes to `events`.
    pub fn new(vertex: VertexId, events: EventSender) -> Self {
        Self { vertex, events }
    }

    /// Passes on what the step wrote. A renderer that is gone is no reason to fail.
    pub async fn write(&self, stream: LogStream, data: Vec<u8>) {
        let _ = self.events.send(Event::Log { vertex: self.vertex, stream, data }).await;
    }

    /// The same for threads outside of the async runtime.
    pub fn write_blocking(&self, stream: LogStream, data: Vec<u8>) {
        let _ = self.events.blocking_send(Event::Log { vertex: self.vertex, stream, data });
    }

    /// Says how far the step is; dropped when the renderer is behind.
    pub fn progress(&self, unit: &'static str, current: u64, total: Option<u64>) {
        let _ = self.events.try_send(Event::Progress { vertex: self.vertex, unit, current, total });
    }
}

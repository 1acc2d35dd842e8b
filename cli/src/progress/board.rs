//! What every renderer knows: the tasks of this run and how they stand.
//!
//! A task is a vertex of the graph, or work that the command line does around it (read the Dockerfile, export the
//! image). Both are numbered in the order in which they first appear.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use builder_solver::{Graph, LogStream, MissReason, VertexId};
use sha2::{Digest as _, Sha256};

use super::control::{Styles, visible_text};
use super::format;
use super::log::{Line, Splitter, Tail};

/// A task of one [`Board`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct TaskId(usize);

/// One piece of work.
#[derive(Debug)]
pub(super) struct Task {
    /// Safe to show.
    pub(super) name: String,
    /// `sha256:…` over the number and the name of the task: names it within this run and says nothing about its
    /// cache key.
    pub(super) digest: String,
    /// The tasks that it waits for.
    pub(super) inputs: Vec<TaskId>,
    /// The bytes of the Dockerfile that asked for it.
    pub(super) span: Option<Range<usize>>,
    /// A vertex, not a step of the command line.
    pub(super) vertex: Option<VertexId>,
    /// The target needs it.
    pub(super) planned: bool,
    /// Shown only when it fails.
    pub(super) hidden: bool,
    /// Its place in the order of appearance, from 1; `None` as long as it did not appear.
    pub(super) number: Option<usize>,
    /// When it began.
    pub(super) started: Option<SystemTime>,
    /// How it stands.
    pub(super) phase: Phase,
    /// Why it was not cached.
    pub(super) missed: Option<MissReason>,
    /// The shared cache that had it.
    pub(super) cache: Option<String>,
    /// The end of its output, as long as it may be needed.
    pub(super) tail: Tail,
    /// How far it is.
    pub(super) counters: Vec<Counter>,
    splitter: Splitter,
}

/// How a task stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    Waiting,
    Running,
    Cached,
    Completed { took: Duration },
    Failed { message: String, took: Duration },
    Cancelled,
}

/// A part of a task that counts something, or just has a name and a duration.
#[derive(Debug, Clone)]
pub(super) struct Counter {
    /// What it is called; empty for the one counter of a vertex.
    pub(super) label: String,
    pub(super) unit: Cow<'static, str>,
    pub(super) current: u64,
    pub(super) total: Option<u64>,
    pub(super) started: SystemTime,
    pub(super) ended: Option<SystemTime>,
}

/// Something that happened to a task.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Started { at: SystemTime },
    Cached,
    Missed(MissReason),
    Output { stream: LogStream, data: Vec<u8> },
    Counted { label: String, unit: Cow<'static, str>, current: u64, total: Option<u64>, ended: bool },
    Completed { took: Option<Duration> },
    Failed { message: String, took: Option<Duration> },
    Cancelled,
}

/// All tasks.
#[derive(Debug)]
pub(super) struct Board {
    tasks: Vec<Task>,
    appeared: usize,
    styles: Styles,
    /// When the first task was made known.
    pub(super) since: SystemTime,
}

impl Task {
    fn new(id: usize, name: &str) -> Self {
        let name = visible_text(name);
        let mut hash = Sha256::new();
        hash.update((id as u64).to_le_bytes());
        hash.update(name.as_bytes());
        Self {
            digest: format!("sha256:{}", hex(&hash.finalize())),
            name,
            inputs: Vec::new(),
            span: None,
            vertex: None,
            planned: true,
            hidden: false,
            number: None,
            started: None,
            phase: Phase::Waiting,
            missed: None,
            cache: None,
            tail: Tail::default(),
            counters: Vec::new(),
            splitter: Splitter::default(),
        }
    }

    /// Neither waiting nor running.
    pub(super) fn ended(&self) -> bool {
        !matches!(self.phase, Phase::Waiting | Phase::Running)
    }

    /// How long it has been running at `now`, or ran.
    pub(super) fn elapsed(&self, now: SystemTime) -> Duration {
        match self.phase {
            Phase::Completed { took } | Phase::Failed { took, .. } => took,
            _ => since(self.started.unwrap_or(now), now),
        }
    }

    /// When it ended, if it did.
    pub(super) fn ended_at(&self, now: SystemTime) -> Option<SystemTime> {
        match self.phase {
            Phase::Waiting | Phase::Running => None,
            Phase::Completed { took } | Phase::Failed { took, .. } => self.started.map(|started| started + took),
            Phase::Cached | Phase::Cancelled => Some(now),
        }
    }

    /// The newest counter of that name.
    pub(super) fn counter(&self, label: &str) -> Option<&Counter> {
        self.counters.iter().rfind(|counter| counter.label == label)
    }

    /// Lines that were begun and not ended yet.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = String> {
        self.splitter.unfinished()
    }
}

impl Counter {
    /// `exporting layers 1.2MB / 3.4MB 0.3s done`, without what there is not.
    pub(super) fn text(&self) -> String {
        let mut words = Vec::new();
        if !self.label.is_empty() {
            words.push(self.label.clone());
        }
        words.push(format::amount(&self.unit, self.current, self.total));
        if let Some(took) = self.ended.map(|ended| since(self.started, ended)) {
            if took >= Duration::from_millis(50) {
                words.push(format::seconds(took));
            }
            words.push("done".to_owned());
        }
        words.retain(|word| !word.is_empty());
        words.join(" ")
    }
}

impl Board {
    /// A board without tasks. Output keeps its colours or loses them.
    pub(super) fn new(styles: Styles, now: SystemTime) -> Self {
        Self { tasks: Vec::new(), appeared: 0, styles, since: now }
    }

    pub(super) fn task(&self, id: TaskId) -> &Task {
        &self.tasks[id.0]
    }

    pub(super) fn tasks(&self) -> impl Iterator<Item = (TaskId, &Task)> {
        self.tasks.iter().enumerate().map(|(index, task)| (TaskId(index), task))
    }

    /// Notes which shared cache had a vertex.
    pub(super) fn found_in(&mut self, vertex: VertexId, cache: &str) {
        for task in self.tasks.iter_mut().filter(|task| task.vertex == Some(vertex)) {
            task.cache = Some(cache.to_owned());
        }
    }

    /// Adds the vertices of a graph, of which `plan` will be asked for. The tasks have the order of the vertices.
    pub(super) fn add_graph(&mut self, graph: &Graph, plan: &[VertexId]) -> Vec<TaskId> {
        let first = self.tasks.len();
        for (vertex, node) in graph.vertices() {
            let fallback = format!("vertex {}", vertex.index());
            let name = if node.origin.name.is_empty() { &fallback } else { &node.origin.name };
            self.tasks.push(Task {
                inputs: node.inputs.iter().map(|input| TaskId(first + input.index())).collect(),
                span: node.origin.span.clone(),
                vertex: Some(vertex),
                planned: false,
                hidden: node.origin.hidden,
                ..Task::new(self.tasks.len(), name)
            });
        }
        for vertex in plan {
            self.tasks[first + vertex.index()].planned = true;
        }
        (first..self.tasks.len()).map(TaskId).collect()
    }

    /// Adds work of the command line itself.
    pub(super) fn add_step(&mut self, name: &str) -> TaskId {
        self.tasks.push(Task::new(self.tasks.len(), name));
        TaskId(self.tasks.len() - 1)
    }

    /// Takes note of a change. Returns the lines of output that it completes; `None` when it says nothing new,
    /// because the task ended before.
    pub(super) fn apply(&mut self, id: TaskId, change: &Change, now: SystemTime) -> Option<Vec<Line>> {
        let task = &mut self.tasks[id.0];
        if task.ended() {
            return None;
        }
        let mut lines = Vec::new();
        match change {
            Change::Missed(reason) => {
                task.missed = Some(reason.clone());
                return Some(lines);
            }
            Change::Started { at } => {
                task.phase = Phase::Running;
                task.started.get_or_insert(*at);
            }
            Change::Output { .. } | Change::Counted { .. } => {
                task.phase = Phase::Running;
                task.started.get_or_insert(now);
            }
            Change::Cached => {
                task.phase = Phase::Cached;
                task.started.get_or_insert(now);
            }
            Change::Completed { took } => task.phase = Phase::Completed { took: task.finish(*took, now) },
            Change::Failed { message, took } => {
                task.phase = Phase::Failed { message: visible_text(message), took: task.finish(*took, now) };
            }
            Change::Cancelled => task.phase = Phase::Cancelled,
        }
        match change {
            Change::Output { stream, data } => {
                let at = since(task.started.unwrap_or(now), now);
                task.splitter.push(*stream, data, at, self.styles, &mut lines);
            }
            Change::Counted { label, unit, current, total, ended } => {
                task.count(Counter {
                    label: visible_text(label),
                    unit: unit.clone(),
                    current: *current,
                    total: *total,
                    started: now,
                    ended: ended.then_some(now),
                });
            }
            _ => {}
        }
        if task.ended() {
            task.splitter.finish(self.styles, &mut lines);
            for counter in &mut task.counters {
                counter.ended.get_or_insert(now);
            }
        }
        for line in &lines {
            task.tail.push(line);
        }
        if matches!(task.phase, Phase::Completed { .. } | Phase::Cached) {
            // Only a failure is reported with its output.
            task.tail = Tail::default();
        }
        let appears = match task.phase {
            Phase::Waiting => false,
            Phase::Failed { .. } => true,
            // What never ran has nothing to cancel.
            Phase::Cancelled => task.started.is_some() && !task.hidden,
            Phase::Running | Phase::Cached | Phase::Completed { .. } => !task.hidden,
        };
        if appears && task.number.is_none() {
            self.appeared += 1;
            task.number = Some(self.appeared);
        }
        Some(lines)
    }

    /// How many tasks are over, how many appeared, and how many there will be.
    pub(super) fn progress(&self) -> [usize; 3] {
        let count = |wanted: fn(&Task) -> bool| self.tasks.iter().filter(|task| wanted(task)).count();
        [
            count(|task| task.number.is_some() && task.ended()),
            count(|task| task.number.is_some()),
            count(|task| task.number.is_some() || task.planned && !task.hidden),
        ]
    }

    /// Nothing failed, was stopped or still runs.
    pub(super) fn settled(&self) -> bool {
        self.tasks.iter().all(|task| matches!(task.phase, Phase::Waiting | Phase::Cached | Phase::Completed { .. }))
    }

    /// How many vertices of the plan were never heard of.
    pub(super) fn untouched(&self) -> usize {
        let untouched =
            |task: &&Task| task.vertex.is_some() && task.planned && !task.hidden && task.phase == Phase::Waiting;
        self.tasks.iter().filter(untouched).count()
    }
}

impl Task {
    fn finish(&mut self, took: Option<Duration>, now: SystemTime) -> Duration {
        let took = took.unwrap_or_else(|| since(self.started.unwrap_or(now), now));
        self.started.get_or_insert(now.checked_sub(took).unwrap_or(now));
        took
    }

    /// The counter of that label that is still open counts on; otherwise a new one begins.
    fn count(&mut self, counter: Counter) {
        let open = |known: &&mut Counter| known.label == counter.label && known.ended.is_none();
        match self.counters.iter_mut().find(open) {
            Some(known) => *known = Counter { started: known.started, ..counter },
            None => self.counters.push(counter),
        }
    }
}

/// A clock may be set back.
pub(super) fn since(start: SystemTime, end: SystemTime) -> Duration {
    end.duration_since(start).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

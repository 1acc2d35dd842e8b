//! Shows what a build does while it does it.
//!
//! There is one stream of events ([`builder_solver::Event`]) and one [`board`] on which they are noted; how it looks
//! is up to one of the renderers: [`plain`] lines, the [`live`] view of a terminal, [`rawjson`] for programs, or
//! nothing. All of them write to standard error.
//!
//! ```text
//!  solver ──events──▶ thread of [`Progress::attach`] ─┐
//!  command line ──▶ [`Step`] ─────────────────────────┼──▶ board ──▶ renderer ──▶ standard error
//!  clock (redraws, turns of plain output) ────────────┘
//! ```
//!
//! At the end [`Progress::finish`] hands back what is printed below: the failed steps with their last output for
//! [`failure`], the reasons of `--explain` for [`explain`], and the [`warning`]s.
//!
//! Invariants: what others wrote reaches the output through [`control`] only (JSON and base64 aside); renderers
//! learn the time from their caller; nothing is hidden or set on the terminal that would have to be restored.

mod board;
mod colour;
pub(crate) mod control;
mod explain;
mod failure;
mod format;
mod frame;
mod layers;
mod live;
mod log;
mod options;
mod plain;
mod rawjson;
mod renderer;
mod screen;
mod step;
#[cfg(test)]
mod tests;
mod transfer;
mod warning;

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use builder_solver::{Event, Graph, VertexId};

pub(crate) use self::control::visible_text;
pub(crate) use self::failure::{Dockerfile, FailedStep};
pub(crate) use self::layers::FetchedLayers;
pub(crate) use self::options::{Mode, Options};
pub(crate) use self::step::Step;
pub(crate) use self::transfer::Transfers;
pub(crate) use self::warning::{Code, Warning};

use self::board::{Board, Change, TaskId};
use self::control::Styles;
use self::explain::Explained;
use self::renderer::Renderer;

/// How often the clock of a live view ticks.
const TICK: Duration = Duration::from_millis(100);

/// The progress of one run of `builder`. Clones are the same progress.
#[derive(Clone)]
pub(crate) struct Progress {
    shared: Arc<Shared>,
}

struct Shared {
    display: Mutex<Display>,
    clock: Box<dyn Fn() -> SystemTime + Send + Sync>,
    mode: Mode,
    /// The clock's thread ends when this is dropped.
    _ticking: Option<mpsc::Sender<()>>,
}

struct Display {
    board: Board,
    renderer: Box<dyn Renderer>,
    warnings: Vec<Warning>,
    /// The same, for asking whether one is known.
    warned: HashSet<Warning>,
    finished: bool,
}

/// What is left to print when all is over.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The steps that failed, in the order in which they appeared.
    pub(crate) failed: Vec<FailedStep>,
    /// In the order in which they came up.
    pub(crate) warnings: Vec<Warning>,
    /// Every vertex that appeared, and why it ran.
    explained: Vec<Explained>,
    /// How many vertices of the plan nobody had to look at, because a later one was cached.
    untouched: usize,
}

impl Outcome {
    /// The table of `--explain`, for a terminal of `width` columns or for any reader.
    pub(crate) fn explain(&self, width: Option<usize>) -> String {
        explain::table(&self.explained, self.untouched, width)
    }

    /// The list of warnings; empty when there are none.
    pub(crate) fn warning_summary(&self) -> String {
        warning::summary(&self.warnings)
    }
}

/// The events of one solve that are still being read.
#[derive(Debug)]
pub(crate) struct Attached {
    reader: JoinHandle<()>,
}

impl Progress {
    /// Begins to show progress on standard error.
    pub(crate) fn start(options: &Options) -> Self {
        let now = SystemTime::now();
        let renderer: Box<dyn Renderer> = match options.mode {
            Mode::Quiet => Box::new(renderer::Quiet),
            Mode::RawJson => Box::new(rawjson::RawJson::new(io::stderr())),
            Mode::Tty => Box::new(live::Live::new(screen::Stderr, options, now)),
            Mode::Plain | Mode::Auto => Box::new(plain::Plain::new(io::stderr(), options.short_names, now)),
        };
        let ticks = matches!(options.mode, Mode::Tty | Mode::Plain);
        let (sender, receiver) = mpsc::channel::<()>();
        let progress = Self::with(renderer, options, Box::new(SystemTime::now), ticks.then_some(sender));
        if ticks {
            let shared = Arc::downgrade(&progress.shared);
            // Without the thread the view is redrawn on events only.
            let _ = thread::Builder::new().name("progress clock".to_owned()).spawn(move || {
                while receiver.recv_timeout(TICK) == Err(mpsc::RecvTimeoutError::Timeout) {
                    let Some(shared) = shared.upgrade() else { break };
                    Self { shared }.tick();
                }
            });
        }
        progress
    }

    fn with(
        renderer: Box<dyn Renderer>,
        options: &Options,
        clock: Box<dyn Fn() -> SystemTime + Send + Sync>,
        ticking: Option<mpsc::Sender<()>>,
    ) -> Self {
        let styles = if options.colour { Styles::Keep } else { Styles::Strip };
        let display = Display {
            board: Board::new(styles, clock()),
            renderer,
            warnings: Vec::new(),
            warned: HashSet::new(),
            finished: false,
        };
        Self { shared: Arc::new(Shared { display: Mutex::new(display), clock, mode: options.mode, _ticking: ticking }) }
    }

    /// Reads the events of solving `graph` on a thread of their own, until every sender is dropped. `plan` are the
    /// vertices that the targets need ([`Graph::reachable`]).
    pub(crate) fn attach(
        &self,
        graph: &Graph,
        plan: &[VertexId],
        mut events: tokio::sync::mpsc::Receiver<Event>,
    ) -> io::Result<Attached> {
        let tasks = self.plan(graph, plan);
        let progress = self.clone();
        let reader = thread::Builder::new().name("progress events".to_owned()).spawn(move || {
            while let Some(event) = events.blocking_recv() {
                progress.event(&tasks, event);
            }
        })?;
        Ok(Attached { reader })
    }

    /// Begins work that is no vertex: `[internal] load build definition from Dockerfile`.
    pub(crate) fn step(&self, name: &str) -> Step {
        let task = self.lock().board.add_step(name);
        self.change(task, &Change::Started { at: (self.shared.clock)() });
        Step::new(self.clone(), task)
    }

    /// A cached vertex was found in a shared cache, which `--explain` names.
    pub(crate) fn found_in(&self, vertex: VertexId, cache: &str) {
        self.lock().board.found_in(vertex, cache);
    }

    /// Notes a warning, unless it is known. It is listed at the end.
    pub(crate) fn warn(&self, warning: Warning) {
        self.warn_in(None, warning);
    }

    fn warn_in(&self, task: Option<TaskId>, warning: Warning) {
        let now = (self.shared.clock)();
        let mut guard = self.lock();
        let display = &mut *guard;
        if display.warned.insert(warning.clone()) {
            display.renderer.warned(&display.board, task, &warning, now);
            display.warnings.push(warning);
        }
    }

    /// Ends the display, with the terminal ready for other text. To be called when all is over, also after Ctrl-C;
    /// later events are ignored.
    pub(crate) fn finish(&self) -> Outcome {
        let now = (self.shared.clock)();
        let mut guard = self.lock();
        guard.finish(now);
        let board = &guard.board;
        Outcome {
            failed: board.tasks().filter_map(|(_, task)| FailedStep::of(task, self.shared.mode)).collect(),
            explained: board.tasks().filter_map(|(_, task)| Explained::of(task, now)).collect(),
            untouched: if board.settled() { board.untouched() } else { 0 },
            warnings: std::mem::take(&mut guard.warnings),
        }
    }

    fn plan(&self, graph: &Graph, plan: &[VertexId]) -> Vec<TaskId> {
        let now = (self.shared.clock)();
        let mut guard = self.lock();
        let display = &mut *guard;
        let tasks = display.board.add_graph(graph, plan);
        display.renderer.planned(&display.board, &tasks, now);
        tasks
    }

    fn event(&self, tasks: &[TaskId], event: Event) {
        let (vertex, change) = match event {
            Event::Started { vertex, at } => (vertex, Change::Started { at }),
            Event::Cached { vertex } => (vertex, Change::Cached),
            Event::Missed { vertex, reason } => (vertex, Change::Missed(reason)),
            Event::Log { vertex, stream, data } => (vertex, Change::Output { stream, data }),
            Event::Progress { vertex, unit, current, total } => {
                let unit = Cow::Borrowed(unit);
                (vertex, Change::Counted { label: String::new(), unit, current, total, ended: false })
            }
            Event::Completed { vertex, took } => (vertex, Change::Completed { took: Some(took) }),
            Event::Failed { vertex, message, took } => (vertex, Change::Failed { message, took: Some(took) }),
            Event::Cancelled { vertex } => (vertex, Change::Cancelled),
        };
        if let Some(&task) = tasks.get(vertex.index()) {
            self.change(task, &change);
        }
    }

    fn change(&self, task: TaskId, change: &Change) {
        let now = (self.shared.clock)();
        let mut display = self.lock();
        if display.finished {
            return;
        }
        let begins = matches!(change, Change::Output { .. } | Change::Counted { .. });
        if begins && display.board.task(task).started.is_none() {
            display.apply(task, &Change::Started { at: now }, now);
        }
        display.apply(task, change, now);
    }

    fn tick(&self) {
        let now = (self.shared.clock)();
        let mut guard = self.lock();
        let display = &mut *guard;
        if !display.finished {
            display.renderer.tick(&display.board, now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Display> {
        self.shared.display.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("mode", &self.shared.mode).finish_non_exhaustive()
    }
}

impl Attached {
    /// Waits until all events are shown. Every sender has to be dropped before.
    pub(crate) fn join(self) {
        let _ = self.reader.join();
    }
}

impl Display {
    fn apply(&mut self, task: TaskId, change: &Change, now: SystemTime) {
        if let Some(lines) = self.board.apply(task, change, now) {
            self.renderer.changed(&self.board, task, change, &lines, now);
        }
    }

    fn finish(&mut self, now: SystemTime) {
        if !std::mem::replace(&mut self.finished, true) {
            self.renderer.finish(&self.board, now);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let now = (self.clock)();
        self.display.get_mut().unwrap_or_else(PoisonError::into_inner).finish(now);
    }
}

//! The renderers, driven by scripts of events with a clock of their own.

mod hostile;
mod live;
mod plain;
mod rawjson;
mod report;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use builder_solver::{Event, Graph, LogStream, MissReason, Op, Origin, Source, Vertex, VertexId};

use super::board::TaskId;
use super::colour::Palette;
use super::renderer::Renderer;
use super::{Mode, Options, Progress, live as live_view, plain as plain_lines, rawjson as json_lines, screen};

/// What a renderer wrote.
#[derive(Debug, Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).expect("output is UTF-8")
    }
}

/// A build of which each event is told by hand.
struct Script {
    progress: Progress,
    clock: Arc<Mutex<SystemTime>>,
    vertices: Vec<VertexId>,
    tasks: Vec<TaskId>,
    sink: Sink,
}

fn options(mode: Mode) -> Options {
    Options { mode, colour: false, palette: Palette::none(), tail_lines: 3, short_names: false }
}

/// Vertices with these names, each with the one before it as input. A name in parentheses is hidden.
fn graph(names: &[&str]) -> Graph {
    let mut graph = Graph::new();
    let mut before = None;
    for (position, name) in names.iter().enumerate() {
        let origin = Origin {
            name: (*name).to_owned(),
            span: Some(position * 10..position * 10 + 9),
            hidden: name.starts_with('('),
            ..Origin::default()
        };
        let op = Op::Source(Source::Local { name: format!("context {position}") });
        let inputs = before.into_iter().collect();
        before = Some(graph.add(Vertex { op, inputs, origin, ignore_cache: false }));
    }
    graph
}

impl Script {
    fn plain(names: &[&str]) -> Self {
        Self::with(names, &options(Mode::Plain), |sink, now| Box::new(plain_lines::Plain::new(sink, false, now)))
    }

    fn rawjson(names: &[&str]) -> Self {
        Self::with(names, &options(Mode::RawJson), |sink, _| Box::new(json_lines::RawJson::new(sink)))
    }

    fn live(names: &[&str], terminal: impl screen::Terminal + 'static, options: &Options) -> Self {
        Self::with(names, options, |_, now| Box::new(live_view::Live::new(terminal, options, now)))
    }

    fn with(names: &[&str], options: &Options, renderer: impl FnOnce(Sink, SystemTime) -> Box<dyn Renderer>) -> Self {
        // 2026-01-02T03:04:05Z
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045);
        let clock = Arc::new(Mutex::new(start));
        let sink = Sink::default();
        let time = Arc::clone(&clock);
        let progress =
            Progress::with(renderer(sink.clone(), start), options, Box::new(move || *time.lock().unwrap()), None);
        let graph = graph(names);
        let vertices: Vec<_> = graph.vertices().map(|(id, _)| id).collect();
        let tasks = progress.plan(&graph, &vertices);
        Self { progress, clock, vertices, tasks, sink }
    }

    /// Time passes, and the clock's thread notices.
    fn wait(&self, millis: u64) -> &Self {
        *self.clock.lock().unwrap() += Duration::from_millis(millis);
        self.progress.tick();
        self
    }

    fn event(&self, event: Event) -> &Self {
        self.progress.event(&self.tasks, event);
        self
    }

    fn started(&self, index: usize) -> &Self {
        let at = *self.clock.lock().unwrap();
        self.event(Event::Started { vertex: self.vertices[index], at })
    }

    fn cached(&self, index: usize) -> &Self {
        self.event(Event::Cached { vertex: self.vertices[index] })
    }

    fn missed(&self, index: usize, reason: MissReason) -> &Self {
        self.event(Event::Missed { vertex: self.vertices[index], reason })
    }

    fn out(&self, index: usize, text: &str) -> &Self {
        self.bytes(index, LogStream::Stdout, text.as_bytes())
    }

    fn bytes(&self, index: usize, stream: LogStream, data: &[u8]) -> &Self {
        self.event(Event::Log { vertex: self.vertices[index], stream, data: data.to_vec() })
    }

    fn counted(&self, index: usize, unit: &'static str, current: u64, total: Option<u64>) -> &Self {
        self.event(Event::Progress { vertex: self.vertices[index], unit, current, total })
    }

    fn completed(&self, index: usize, millis: u64) -> &Self {
        self.event(Event::Completed { vertex: self.vertices[index], took: Duration::from_millis(millis) })
    }

    fn failed(&self, index: usize, message: &str, millis: u64) -> &Self {
        let took = Duration::from_millis(millis);
        self.event(Event::Failed { vertex: self.vertices[index], message: message.to_owned(), took })
    }

    fn cancelled(&self, index: usize) -> &Self {
        self.event(Event::Cancelled { vertex: self.vertices[index] })
    }
}

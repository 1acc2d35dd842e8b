//! One JSON object a line, in the form of BuildKit's `SolveStatus`, for programs.
//!
//! Each object has some of `vertexes`, `statuses`, `logs` and `warnings`. A vertex is sent with everything that is
//! known of it whenever that changes: first without times (the plan), then with `started`, then with `completed`.
//! `data` and the texts of a warning are base64, times are RFC 3339. Digests tell the vertices of one run apart and
//! are no cache keys.

use std::io::Write;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use builder_solver::LogStream;
use jiff::Timestamp;
use serde::Serialize;

use super::board::{Board, Change, Counter, Phase, Task, TaskId};
use super::log::Line;
use super::renderer::Renderer;
use super::warning::Warning;

/// Writes to `out`.
#[derive(Debug)]
pub(super) struct RawJson<W> {
    out: W,
}

#[derive(Debug, Default, Serialize)]
struct SolveStatus<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vertexes: Vec<Vertex<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    statuses: Vec<Status<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logs: Vec<Log<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<VertexWarning<'a>>,
}

#[derive(Debug, Serialize)]
struct Vertex<'a> {
    digest: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<&'a str>,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cached: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Status<'a> {
    id: &'a str,
    vertex: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    current: u64,
    timestamp: String,
    started: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<String>,
}

#[derive(Debug, Serialize)]
struct Log<'a> {
    vertex: &'a str,
    stream: u8,
    data: String,
    timestamp: String,
}

#[derive(Debug, Serialize)]
struct VertexWarning<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    vertex: Option<&'a str>,
    level: u8,
    short: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    detail: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    range: Vec<Range>,
}

#[derive(Debug, Serialize)]
struct Range {
    start: Position,
    end: Position,
}

#[derive(Debug, Serialize)]
struct Position {
    line: usize,
}

impl<W: Write + Send> RawJson<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out }
    }

    fn write(&mut self, status: &SolveStatus<'_>) {
        if let Ok(mut line) = serde_json::to_vec(status) {
            line.push(b'\n');
            let _ = self.out.write_all(&line).and_then(|()| self.out.flush());
        }
    }
}

impl<W: Write + Send> Renderer for RawJson<W> {
    fn planned(&mut self, board: &Board, tasks: &[TaskId], now: SystemTime) {
        let vertexes: Vec<_> = tasks
            .iter()
            .map(|&id| board.task(id))
            .filter(|task| task.planned && !task.hidden)
            .map(|task| vertex(board, task, now))
            .collect();
        if !vertexes.is_empty() {
            self.write(&SolveStatus { vertexes, ..SolveStatus::default() });
        }
    }

    fn changed(&mut self, board: &Board, id: TaskId, change: &Change, _lines: &[Line], now: SystemTime) {
        let task = board.task(id);
        if task.number.is_none() {
            return;
        }
        let mut status = SolveStatus::default();
        match change {
            Change::Missed(_) => return,
            Change::Output { stream, data } => status.logs.push(Log {
                vertex: &task.digest,
                stream: match stream {
                    LogStream::Stdout => 1,
                    LogStream::Stderr => 2,
                },
                data: BASE64.encode(data),
                timestamp: rfc3339(now),
            }),
            Change::Counted { label, .. } => {
                status.statuses.extend(task.counter(label).map(|counter| counted(task, counter, now)));
            }
            _ => {
                if task.ended() {
                    let open = task.counters.iter().filter(|counter| counter.ended == Some(now));
                    status.statuses.extend(open.map(|counter| counted(task, counter, now)));
                }
                status.vertexes.push(vertex(board, task, now));
            }
        }
        self.write(&status);
    }

    fn warned(&mut self, board: &Board, task: Option<TaskId>, warning: &Warning, _now: SystemTime) {
        let last = warning.last_line;
        let range =
            warning.line.map(|line| Range { start: Position { line }, end: Position { line: last.unwrap_or(line) } });
        let warning = VertexWarning {
            vertex: task.map(|task| board.task(task).digest.as_str()),
            level: 1,
            short: BASE64.encode(warning.summary()),
            detail: warning.detail.iter().map(|line| BASE64.encode(line)).collect(),
            url: warning.url.as_deref(),
            range: range.into_iter().collect(),
        };
        self.write(&SolveStatus { warnings: vec![warning], ..SolveStatus::default() });
    }
}

fn vertex<'a>(board: &'a Board, task: &'a Task, now: SystemTime) -> Vertex<'a> {
    Vertex {
        digest: &task.digest,
        inputs: task
            .inputs
            .iter()
            .map(|&input| board.task(input))
            .filter(|input| !input.hidden)
            .map(|input| input.digest.as_str())
            .collect(),
        name: &task.name,
        started: task.started.map(rfc3339),
        completed: task.ended_at(now).map(rfc3339),
        cached: task.phase == Phase::Cached,
        error: match &task.phase {
            Phase::Failed { message, .. } => Some(message),
            // What programs look for to tell a step that was stopped from one that failed.
            Phase::Cancelled => Some("context canceled"),
            _ => None,
        },
    }
}

fn counted<'a>(task: &'a Task, counter: &'a Counter, now: SystemTime) -> Status<'a> {
    Status {
        id: if counter.label.is_empty() { &counter.unit } else { &counter.label },
        vertex: &task.digest,
        total: counter.total,
        current: counter.current,
        timestamp: rfc3339(now),
        started: rfc3339(counter.started),
        completed: counter.ended.map(rfc3339),
    }
}

fn rfc3339(time: SystemTime) -> String {
    Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

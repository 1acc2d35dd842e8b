//! How a failed step is reported: its last output, the place in the Dockerfile, and the error.

use std::fmt::Write as _;
use std::ops::Range;

use builder_solver::VertexId;

use super::board::{Phase, Task};
use super::control::visible_text;
use super::format;
use super::log::Tail;
use super::options::Mode;

/// How many lines are repeated when the output was printed already.
const REPEATED_LINES: usize = 10;
/// How many lines of the Dockerfile are shown around the one that failed.
const LINES_AROUND: usize = 2;
const RULE: &str = "--------------------";

/// A step that failed.
#[derive(Debug, Clone)]
pub(crate) struct FailedStep {
    /// `[2/3] RUN make`.
    pub(crate) name: String,
    /// The error and its causes in one line.
    pub(crate) message: String,
    /// The bytes of the Dockerfile that asked for the step.
    pub(crate) span: Option<Range<usize>>,
    /// The vertex, when it is one.
    pub(crate) vertex: Option<VertexId>,
    tail: Tail,
    /// How many lines of the output the report shows at most.
    shown: usize,
}

/// The text that the steps came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dockerfile<'a> {
    /// As the user named it.
    pub(crate) name: &'a str,
    /// All of it.
    pub(crate) text: &'a str,
}

impl FailedStep {
    /// `None` for a task that did not fail.
    pub(super) fn of(task: &Task, mode: Mode) -> Option<Self> {
        let Phase::Failed { message, .. } = &task.phase else { return None };
        Some(Self {
            name: task.name.clone(),
            message: message.clone(),
            span: task.span.clone(),
            vertex: task.vertex,
            tail: task.tail.clone(),
            shown: if mode == Mode::Plain { REPEATED_LINES } else { usize::MAX },
        })
    }

    /// The whole report, in the form that BuildKit gives it.
    pub(crate) fn report(&self, dockerfile: Option<Dockerfile<'_>>) -> String {
        let mut report = self.output();
        if let (Some(dockerfile), Some(span)) = (dockerfile, &self.span) {
            report.push_str(&dockerfile.excerpt(span));
        }
        let _ = writeln!(report, "ERROR: failed to build: failed to solve: {}", self.message);
        report
    }

    /// The step and the end of what it wrote, between rules.
    pub(crate) fn output(&self) -> String {
        let mut block = format!("------\n > {}:\n", self.name);
        let all = self.tail.lines();
        let skipped = all.len().saturating_sub(self.shown);
        if self.shown == usize::MAX && self.tail.dropped() > 0 {
            let _ = writeln!(block, "({} earlier lines are left out; --progress=plain shows all)", self.tail.dropped());
        }
        for line in all.skip(skipped) {
            let _ = writeln!(block, "{} {}", format::offset(line.at), line.text);
        }
        block.push_str("------\n");
        block
    }
}

impl Dockerfile<'_> {
    /// The lines that `span` touches, marked, and some around them; nothing when the span is not in the text.
    pub(crate) fn excerpt(&self, span: &Range<usize>) -> String {
        if span.start > self.text.len() {
            return String::new();
        }
        let line_of = |offset: usize| self.text.as_bytes()[..offset].split(|byte| *byte == b'\n').count() - 1;
        let first = line_of(span.start);
        // The line break that ends an instruction is not a line of it.
        let end = span.end.min(self.text.len());
        let end = span.start + self.text.as_bytes()[span.start..end.max(span.start)].trim_ascii_end().len();
        let last = line_of(end);
        let lines: Vec<&str> = self.text.lines().collect();
        if lines.is_empty() {
            return String::new();
        }
        let shown = first.saturating_sub(LINES_AROUND)..=(last + LINES_AROUND).min(lines.len() - 1);
        let mut excerpt = format!("{}:{}\n{RULE}\n", visible_text(self.name), first + 1);
        for number in shown {
            let mark = if (first..=last).contains(&number) { ">>>" } else { "   " };
            let line = format!(" {:3} | {mark} {}", number + 1, visible_text(lines[number]));
            let _ = writeln!(excerpt, "{}", line.trim_end());
        }
        let _ = writeln!(excerpt, "{RULE}");
        excerpt
    }
}

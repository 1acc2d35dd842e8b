//! From the bytes that a step writes to lines, and the end of them that is kept for the failure report.
//!
//! A line ends with `\n`. A carriage return ends one too, so that nothing is overwritten and hidden, but such a line
//! is marked as one that a terminal would have replaced by the next: of a progress bar, live view and failure report
//! show only the last state.

use std::collections::VecDeque;
use std::time::Duration;

use builder_solver::LogStream;

use super::control::{Styles, visible};

/// How much of each step's output is kept for the failure report.
const KEPT_BYTES: usize = 100 * 1024;

/// A line is broken when it gets longer than this, so that a step that never ends a line needs no more memory.
const LONGEST_LINE: usize = 64 * 1024;

/// A line of output, safe to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// When it began, counted from the start of the step.
    pub(crate) at: Duration,
    /// What it shows.
    pub(crate) text: String,
    /// The step meant to replace it by the next line.
    pub(crate) replaced: bool,
}

/// Cuts output into lines. Standard output and standard error are cut apart, so that a line is never made of both.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    streams: [Partial; 2],
}

#[derive(Debug, Default)]
struct Partial {
    bytes: Vec<u8>,
    since: Duration,
    /// Carriage returns were read; what follows decides what they mean.
    returned: bool,
}

impl Splitter {
    /// Takes what was written and appends the lines that it completes.
    pub(super) fn push(&mut self, stream: LogStream, data: &[u8], at: Duration, styles: Styles, lines: &mut Vec<Line>) {
        let partial = &mut self.streams[match stream {
            LogStream::Stdout => 0,
            LogStream::Stderr => 1,
        }];
        let mut rest = data;
        while !rest.is_empty() {
            let length = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
            let (text, tail) = rest.split_at(length);
            partial.text(text, at, styles, lines);
            rest = match tail {
                [b'\n', tail @ ..] => {
                    partial.end(at, styles, false, lines);
                    tail
                }
                [_, tail @ ..] => {
                    partial.returned = true;
                    tail
                }
                [] => tail,
            };
        }
    }

    /// The lines that were begun, for a live view: a prompt, the state of a progress bar.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = String> {
        self.streams
            .iter()
            .filter(|partial| !partial.bytes.is_empty())
            .map(|partial| visible(&partial.bytes, Styles::Strip))
    }

    /// No more will come: appends what is left.
    pub(super) fn finish(&mut self, styles: Styles, lines: &mut Vec<Line>) {
        for partial in &mut self.streams {
            if !partial.bytes.is_empty() {
                partial.end(partial.since, styles, false, lines);
            }
            *partial = Partial::default();
        }
    }
}

impl Partial {
    fn text(&mut self, text: &[u8], at: Duration, styles: Styles, lines: &mut Vec<Line>) {
        let mut rest = text;
        while !rest.is_empty() {
            if self.returned || self.bytes.len() >= LONGEST_LINE {
                self.end(at, styles, self.returned, lines);
            }
            if self.bytes.is_empty() {
                self.since = at;
            }
            let (fits, more) = rest.split_at(rest.len().min(LONGEST_LINE - self.bytes.len()));
            self.bytes.extend_from_slice(fits);
            rest = more;
        }
    }

    fn end(&mut self, at: Duration, styles: Styles, replaced: bool, lines: &mut Vec<Line>) {
        let text = visible(&self.bytes, styles);
        let at = if self.bytes.is_empty() { at } else { self.since };
        self.bytes.clear();
        self.returned = false;
        if !(replaced && text.trim().is_empty()) {
            lines.push(Line { at, text, replaced });
        }
    }
}

/// The last lines of a step.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tail {
    lines: VecDeque<Line>,
    bytes: usize,
    dropped: u64,
}

impl Tail {
    /// Appends a line; it takes the place of one that was to be replaced.
    pub(super) fn push(&mut self, line: &Line) {
        if self.lines.back().is_some_and(|last| last.replaced)
            && let Some(last) = self.lines.pop_back()
        {
            self.bytes -= last.text.len();
        }
        self.bytes += line.text.len();
        self.lines.push_back(line.clone());
        while self.bytes > KEPT_BYTES
            && let Some(first) = self.lines.pop_front()
        {
            self.bytes -= first.text.len();
            self.dropped += 1;
        }
    }

    /// The lines that are left, oldest first.
    pub(crate) fn lines(&self) -> impl DoubleEndedIterator<Item = &Line> + ExactSizeIterator {
        self.lines.iter()
    }

    /// How many lines are not here any more.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(chunks: &[&str]) -> Vec<(String, bool)> {
        let mut splitter = Splitter::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            splitter.push(LogStream::Stdout, chunk.as_bytes(), Duration::ZERO, Styles::Strip, &mut lines);
        }
        splitter.finish(Styles::Strip, &mut lines);
        lines.into_iter().map(|line| (line.text, line.replaced)).collect()
    }

    #[test]
    fn lines_come_out_as_they_were_written() {
        for (name, chunks, expected) in [
            ("whole lines", &["a\nb\n"][..], &[("a", false), ("b", false)][..]),
            ("in pieces", &["a", "b\nc", "\n"], &[("ab", false), ("c", false)]),
            ("no end", &["a"], &[("a", false)]),
            ("empty lines", &["\n\na\n"], &[("", false), ("", false), ("a", false)]),
            ("windows", &["a\r\nb\r", "\n"], &[("a", false), ("b", false)]),
            ("terminal", &["a\r\r\nb"], &[("a", false), ("b", false)]),
            ("progress", &["1%\r2%\r", "3%\n"], &[("1%", true), ("2%", true), ("3%", false)]),
            ("hiding", &["evil\rgood\n"], &[("evil", true), ("good", false)]),
            ("clears the line first", &["\r\x1b[2Ka\r\x1b[2Kb\n"], &[("a", true), ("b", false)]),
            ("return at the end", &["a\r"], &[("a", false)]),
        ] {
            let expected: Vec<_> = expected.iter().map(|&(text, replaced)| (text.to_owned(), replaced)).collect();
            assert_eq!(split(chunks), expected, "{name}");
        }
    }

    #[test]
    fn streams_do_not_share_a_line() {
        let mut splitter = Splitter::default();
        let mut lines = Vec::new();
        let at = Duration::from_secs;
        splitter.push(LogStream::Stdout, b"out", at(1), Styles::Strip, &mut lines);
        splitter.push(LogStream::Stderr, b"err\n", at(2), Styles::Strip, &mut lines);
        splitter.push(LogStream::Stdout, b" put\n", at(3), Styles::Strip, &mut lines);
        let seen: Vec<_> = lines.iter().map(|line| (line.at.as_secs(), line.text.as_str())).collect();
        assert_eq!(seen, [(2, "err"), (1, "out put")]);
    }

    #[test]
    fn a_line_without_end_is_broken_and_nothing_is_lost() {
        let mut splitter = Splitter::default();
        let mut lines = Vec::new();
        for _ in 0..100 {
            splitter.push(LogStream::Stdout, &[b'x'; 3000], Duration::ZERO, Styles::Strip, &mut lines);
        }
        splitter.finish(Styles::Strip, &mut lines);
        assert!(lines.iter().all(|line| line.text.len() <= LONGEST_LINE));
        assert_eq!(lines.iter().map(|line| line.text.len()).sum::<usize>(), 300_000);
    }

    #[test]
    fn the_tail_keeps_the_end() {
        let mut tail = Tail::default();
        let line = |text: &str, replaced| Line { at: Duration::ZERO, text: text.to_owned(), replaced };
        for number in 0..20_000 {
            tail.push(&line(&format!("line {number:05}"), false));
        }
        assert!(tail.lines().map(|line| line.text.len()).sum::<usize>() <= KEPT_BYTES);
        assert_eq!(tail.lines().next_back().map(|line| line.text.as_str()), Some("line 19999"));
        assert_eq!(tail.dropped() + tail.lines().len() as u64, 20_000);

        let mut tail = Tail::default();
        for (text, replaced) in [("1%", true), ("2%", true), ("100%", false), ("done", false)] {
            tail.push(&line(text, replaced));
        }
        let seen: Vec<_> = tail.lines().map(|line| line.text.as_str()).collect();
        assert_eq!(seen, ["100%", "done"]);
    }
}

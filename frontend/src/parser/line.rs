//! Logical lines: continuations joined, positions mapped back to the file.

use std::borrow::Cow;

use crate::ast::{Span, Word};
use crate::parser::grammar::Pair;

/// One instruction on one line, as the instruction layer of the grammar reads it.
#[derive(Debug)]
pub(super) struct LogicalLine<'t> {
    text: Cow<'t, str>,
    /// Where the pieces of `text` begin: in `text`, and in the file. In order; the first is at 0.
    pieces: Vec<(usize, usize)>,
}

impl<'t> LogicalLine<'t> {
    /// Joins pieces of the file, each given with its place. Blanks around the whole are dropped.
    pub(super) fn join(mut segments: impl Iterator<Item = (usize, &'t str)>) -> Self {
        let Some((mut start, mut first)) = segments.next() else {
            return Self { text: Cow::Borrowed(""), pieces: Vec::new() };
        };
        let mut rest = segments.peekable();
        if rest.peek().is_none() {
            start += first.len() - first.trim_start().len();
            return Self { text: Cow::Borrowed(first.trim()), pieces: vec![(0, start)] };
        }
        let mut text = String::new();
        let mut pieces = Vec::new();
        loop {
            if text.is_empty() {
                let trimmed = first.trim_start();
                start += first.len() - trimmed.len();
                first = trimmed;
                pieces.clear();
            }
            pieces.push((text.len(), start));
            text.push_str(first);
            let Some(next) = rest.next() else { break };
            (start, first) = next;
        }
        text.truncate(text.trim_end().len());
        Self { text: Cow::Owned(text), pieces }
    }

    /// The joined text, no blanks around it.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The same line with another text of the same length.
    pub(super) fn with_text(&self, text: String) -> LogicalLine<'static> {
        LogicalLine { text: Cow::Owned(text), pieces: self.pieces.clone() }
    }

    /// The part from `start` on as a line of its own.
    pub(super) fn tail(&self, start: usize) -> LogicalLine<'_> {
        let from = self.piece(start);
        let pieces = self.pieces[from..]
            .iter()
            .enumerate()
            .map(
                |(index, &(joined, file))| if index == 0 { (0, file + start - joined) } else { (joined - start, file) },
            )
            .collect();
        LogicalLine { text: Cow::Borrowed(&self.text[start..]), pieces }
    }

    /// Where a byte range of the joined text stands in the file.
    pub(super) fn span(&self, part: Span) -> Span {
        let start = self.offset(part.start);
        if part.is_empty() {
            return start..start;
        }
        start..self.offset(part.end - 1) + 1
    }

    /// Where the whole line stands in the file.
    pub(super) fn whole(&self) -> Span {
        self.span(0..self.text.len())
    }

    /// The text of a pair with its place in the file.
    pub(super) fn word(&self, pair: &Pair<'_>) -> Word {
        Word::new(pair.as_str().to_owned(), self.place(pair))
    }

    /// The place of a pair in the file.
    pub(super) fn place(&self, pair: &Pair<'_>) -> Span {
        let span = pair.as_span();
        self.span(span.start()..span.end())
    }

    fn piece(&self, at: usize) -> usize {
        self.pieces.partition_point(|&(joined, _)| joined <= at).saturating_sub(1)
    }

    fn offset(&self, at: usize) -> usize {
        self.pieces.get(self.piece(at)).map_or(0, |&(joined, file)| file + (at - joined))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_positions_across_pieces() {
        // In the file: "  RUN a\⏎  b\⏎c  "
        let line = LogicalLine::join([(2, "RUN a"), (9, "  b"), (14, "c  ")].into_iter());
        assert_eq!(line.text(), "RUN a  bc");
        assert_eq!(line.span(0..3), 2..5);
        assert_eq!(line.span(4..5), 6..7);
        assert_eq!(line.span(4..8), 6..12);
        assert_eq!(line.span(7..9), 11..15);
        assert_eq!(line.whole(), 2..15);
        let tail = line.tail(7);
        assert_eq!(tail.text(), "bc");
        assert_eq!(tail.span(0..2), 11..15);
    }

    #[test]
    fn one_piece_is_borrowed_and_trimmed() {
        let line = LogicalLine::join(std::iter::once((10, " \tRUN a \t")));
        assert_eq!(line.text(), "RUN a");
        assert!(matches!(line.text, Cow::Borrowed(_)));
        assert_eq!(line.whole(), 12..17);
    }

    #[test]
    fn blank_pieces_at_the_start_vanish() {
        let line = LogicalLine::join([(0, " "), (3, "  RUN a")].into_iter());
        assert_eq!(line.text(), "RUN a");
        assert_eq!(line.whole(), 5..10);
    }
}

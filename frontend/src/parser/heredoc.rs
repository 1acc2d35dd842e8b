//! Heredocs: the opening token on the line, the body below it.

use crate::ast::{Heredoc, Span, Word};
use crate::parser::Escape;
use crate::parser::error::{ParseError, ParseErrorKind};
use crate::parser::grammar::{self, Pair, Rule};
use crate::parser::line::LogicalLine;

/// What a token `3<<-"EOF"` announces.
#[derive(Debug)]
pub(super) struct Opener {
    /// The delimiter without quotes.
    name: String,
    /// The whole token in the file.
    span: Span,
    strip_tabs: bool,
    expand: bool,
    descriptor: Option<u32>,
}

/// The file below an instruction's line, from which heredoc bodies are taken.
#[derive(Debug)]
pub(super) struct Bodies<'t> {
    text: &'t str,
    at: usize,
}

impl Opener {
    /// Reads a `heredoc` pair.
    pub(super) fn read(line: &LogicalLine<'_>, pair: Pair<'_>) -> Self {
        let mut opener =
            Self { name: String::new(), span: line.place(&pair), strip_tabs: false, expand: true, descriptor: None };
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::descriptor => opener.descriptor = part.as_str().parse().ok(),
                Rule::strip_tabs => opener.strip_tabs = true,
                _ => opener.read_delimiter(part),
            }
        }
        opener
    }

    fn read_delimiter(&mut self, pair: Pair<'_>) {
        match pair.as_rule() {
            Rule::delimiter_quoted => {
                self.expand = false;
                pair.into_inner().for_each(|part| self.read_delimiter(part));
            }
            Rule::delimiter => pair.into_inner().for_each(|part| self.read_delimiter(part)),
            Rule::delimiter_escape => self.name.push_str(&pair.as_str()[1..]),
            _ => self.name.push_str(pair.as_str()),
        }
    }

    /// All openers of a shell command, which begins at `start` of the line.
    pub(super) fn all(line: &LogicalLine<'_>, start: usize, escape: Escape) -> Vec<Self> {
        let tail = line.tail(start);
        if !tail.text().contains("<<") {
            return Vec::new();
        }
        let rule = escape.choose(Rule::heredocs_backslash, Rule::heredocs_backtick);
        grammar::parse(rule, tail.text()).map_or_else(
            |_| Vec::new(),
            |pairs| pairs.filter(|pair| pair.as_rule() == Rule::heredoc).map(|pair| Self::read(&tail, pair)).collect(),
        )
    }

    /// The whole token in the file.
    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Does the token make up all of `span`?
    pub(super) fn covers(&self, span: &Span) -> bool {
        self.span == *span
    }
}

impl<'t> Bodies<'t> {
    /// Bodies begin at byte `at` of the file, the start of a line.
    pub(super) fn new(text: &'t str, at: usize) -> Self {
        Self { text, at }
    }

    /// Where the next line begins.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Where the last line that was taken ends, without its line end.
    pub(super) fn end_of_last_line(&self) -> usize {
        self.text[..self.at].trim_end_matches(['\r', '\n']).len()
    }

    /// Takes the lines up to the terminator.
    pub(super) fn take(&mut self, opener: Opener) -> Result<Heredoc, ParseError> {
        let start = self.at;
        for line in self.text[start..].split_inclusive('\n') {
            let end = self.at;
            self.at += line.len();
            let line = line.trim_end_matches(['\r', '\n']);
            let line = if opener.strip_tabs { line.trim_start_matches('\t') } else { line };
            if line == opener.name {
                let body = Word::new(self.text[start..end].to_owned(), start..end);
                let Opener { name, span, strip_tabs, expand, descriptor } = opener;
                return Ok(Heredoc { name: Word::new(name, span), body, strip_tabs, expand, descriptor });
            }
        }
        let Opener { name, span, .. } = opener;
        let error = ParseError::new(ParseErrorKind::UnterminatedHeredoc, span)
            .expected(format!("a line `{name}` further down"));
        Err(match name.find([';', '|', '&', '(', ')', '>']) {
            Some(at) if at > 0 => error.help(format!("if the delimiter is `{}`, put a space after it", &name[..at])),
            _ => error,
        })
    }
}

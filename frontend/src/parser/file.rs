//! Walking over a file: directives, comments, logical lines.

use pest::iterators::Pairs;

use crate::ast::{Comment, Directives, Instruction, Span, Spanned, Warning, Word};
use crate::parser::error::{ParseError, ParseErrorKind};
use crate::parser::grammar::{self, Pair, Rule};
use crate::parser::heredoc::Bodies;
use crate::parser::line::LogicalLine;
use crate::parser::{Escape, MAX_LINE, instruction};

const BYTE_ORDER_MARK: char = '\u{FEFF}';

/// A file that is being read.
#[derive(Debug)]
pub(super) struct File<'t> {
    text: &'t str,
    /// Where the next line begins.
    at: usize,
    escape: Escape,
    directives: Directives,
    comments: Vec<Comment>,
    /// The comments since the last instruction.
    block: Vec<Comment>,
    warnings: Vec<Warning>,
}

impl<'t> File<'t> {
    /// Checks the line lengths and reads the directives.
    pub(super) fn open(text: &'t str) -> Result<Self, ParseError> {
        let mut file = Self::fragment(text)?;
        let shebang = file.rest().starts_with("#!");
        if shebang {
            file.at += file.rest().find('\n').map_or(file.rest().len(), |end| end + 1);
        }
        while let Some(pairs) = file.next_pairs(Rule::directive_line) {
            let end = pairs.clone().last().map_or(0, |pair| pair.as_span().end());
            if !file.directive(pairs)? {
                break;
            }
            file.at += end;
        }
        if shebang {
            file.escape = Escape::Backslash;
            file.directives.escape = None;
        }
        Ok(file)
    }

    /// Checks the line lengths; a fragment has no directives.
    pub(super) fn fragment(text: &'t str) -> Result<Self, ParseError> {
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            if line.len() > MAX_LINE + 1 || (line.len() > MAX_LINE && !line.ends_with('\n')) {
                let end = start + line.trim_end_matches(['\r', '\n']).len();
                return Err(ParseError::new(ParseErrorKind::LineTooLong(MAX_LINE), start..end)
                    .help("break the line with a continuation, or use a heredoc or a file"));
            }
            start += line.len();
        }
        Ok(Self {
            text,
            at: if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len_utf8() } else { 0 },
            escape: Escape::Backslash,
            directives: Directives::default(),
            comments: Vec::new(),
            block: Vec::new(),
            warnings: Vec::new(),
        })
    }

    /// The next instruction, with its comments and heredocs.
    pub(super) fn next_instruction(&mut self) -> Result<Option<Instruction>, ParseError> {
        while self.at < self.text.len() {
            let rule = self.escape.choose(Rule::line_backslash, Rule::line_backtick);
            let Some(pair) = self.next_pairs(rule).and_then(|mut pairs| pairs.next()) else {
                return Err(ParseError::new(ParseErrorKind::Syntax, self.at..self.text.len()));
            };
            let base = self.at;
            self.at += pair.as_span().end();
            match pair.as_rule() {
                Rule::comment_line => {
                    let comment = self.comment(base, pair);
                    match comment {
                        Some(comment) if comment.text.is_empty() => self.block.clear(),
                        comment => self.block.extend(comment),
                    }
                }
                Rule::logical_line => {
                    if let Some(instruction) = self.instruction(base, pair)? {
                        return Ok(Some(instruction));
                    }
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// What belongs to the file as a whole.
    pub(super) fn finish(self) -> (Directives, Vec<Comment>, Vec<Warning>) {
        (self.directives, self.comments, self.warnings)
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// The pairs of a rule of the line layer; positions count from `self.at`.
    fn next_pairs(&self, rule: Rule) -> Option<Pairs<'t, Rule>> {
        grammar::parse(rule, self.rest()).ok()
    }

    /// Takes a directive; `false` if it is a comment that only looks like one.
    fn directive(&mut self, pairs: Pairs<'_, Rule>) -> Result<bool, ParseError> {
        let mut parts = pairs.flatten().filter(|pair| matches!(pair.as_rule(), Rule::directive_key | Rule::rest));
        let (Some(key), Some(value)) = (parts.next(), parts.next()) else { return Ok(false) };
        let key_span = self.at + key.as_span().start()..self.at + key.as_span().end();
        let text = value.as_str().trim_end();
        let start = self.at + value.as_span().start();
        let value = Word::new(text.to_owned(), start..start + text.len());
        if value.value.is_empty() {
            return Ok(false);
        }
        let key = key.as_str().to_ascii_lowercase();
        let repeated = match key.as_str() {
            "syntax" => self.directives.syntax.replace(value).is_some(),
            "check" => self.directives.check.replace(value).is_some(),
            "escape" => {
                self.escape = match value.as_str() {
                    "\\" => Escape::Backslash,
                    "`" => Escape::Backtick,
                    _ => {
                        return Err(ParseError::new(ParseErrorKind::InvalidEscape(value.value), value.span)
                            .expected("`\\` or a backtick"));
                    }
                };
                let escape = Spanned::new(self.escape.character(), value.span);
                self.directives.escape.replace(escape).is_some()
            }
            _ => return Ok(false),
        };
        if repeated {
            return Err(ParseError::new(ParseErrorKind::RepeatedDirective(key), key_span).help("remove one of them"));
        }
        Ok(true)
    }

    /// Keeps the comment of a `comment_line` and returns it.
    fn comment(&mut self, base: usize, pair: Pair<'_>) -> Option<Comment> {
        let comment = pair.into_inner().next()?;
        let start = base + comment.as_span().start();
        let line = comment.as_str().trim_end();
        let comment = Comment { text: line[1..].trim().to_owned(), span: start..start + line.len() };
        self.comments.push(comment.clone());
        Some(comment)
    }

    fn instruction(&mut self, base: usize, pair: Pair<'t>) -> Result<Option<Instruction>, ParseError> {
        let mut segments = Vec::new();
        let mut empty: Option<Span> = None;
        for part in pair.into_inner() {
            let start = base + part.as_span().start();
            match part.as_rule() {
                Rule::segment => segments.push((start, part.as_str())),
                Rule::comment_line => {
                    self.comment(base, part);
                }
                _ => {
                    let end = start + part.as_str().trim_end_matches(['\r', '\n']).len();
                    empty.get_or_insert(start..end);
                }
            }
        }
        let line = LogicalLine::join(segments.into_iter());
        if line.text().is_empty() {
            return Ok(None);
        }
        if let Some(span) = empty {
            let message = format!(
                "empty continuation line in {}: remove it, it will become an error",
                line.text().split_whitespace().next().unwrap_or_default()
            );
            self.warnings.push(Warning { rule: "NoEmptyContinuation", message, span });
        }
        let mut bodies = Bodies::new(self.text, self.at);
        let mut instruction = instruction::read(&line, &mut bodies, self.escape)?;
        self.at = bodies.at();
        instruction.comments = std::mem::take(&mut self.block);
        Ok(Some(instruction))
    }
}

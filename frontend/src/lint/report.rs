//! What the checks found.

use crate::ast::{Comment, Instruction, Span};
use crate::lint::config::Config;
use crate::lint::rule::Rule;

/// Something that is allowed and probably not meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// What is wrong here, in one sentence.
    pub message: String,
    /// The instruction; its lines are the place of the finding.
    pub span: Span,
    /// The part of it that is to blame.
    pub focus: Span,
}

impl Finding {
    /// The first and the last line, from 1.
    pub fn lines(&self, lines: &Lines) -> (usize, usize) {
        let first = lines.line(self.span.start);
        // The line break that ends an instruction is not a line of it.
        let last = lines.line(self.span.end.saturating_sub(1).max(self.span.start));
        (first, last)
    }
}

/// Where the lines of a text begin: many places are looked up in it.
#[derive(Debug, Clone)]
pub struct Lines {
    /// Of all but the first.
    starts: Vec<usize>,
}

impl Lines {
    /// The lines of `text`.
    pub fn of(text: &str) -> Self {
        Self { starts: text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1).collect() }
    }

    /// The line of a byte, from 1.
    pub fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|&start| start <= offset) + 1
    }
}

/// What the checks found in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order of their lines.
    pub findings: Vec<Finding>,
    /// Base images of which nothing is known, so that some checks could not be made.
    pub unknown_images: Vec<String>,
    error: bool,
}

impl Report {
    /// What to fail with, if the file asks for `error=true` and something was found.
    pub fn failure(&self) -> Option<String> {
        if !self.error || self.findings.is_empty() {
            return None;
        }
        let mut rules: Vec<&str> = self.findings.iter().map(|finding| finding.rule.name).collect();
        rules.sort_unstable();
        rules.dedup();
        Some(format!("lint violation found for rules: {}", rules.join(", ")))
    }
}

/// Where a finding stands.
#[derive(Debug, Clone)]
pub(super) struct Place<'a> {
    pub(super) span: Span,
    /// The comments above, which may silence it.
    pub(super) comments: &'a [Comment],
}

impl<'a> Place<'a> {
    pub(super) fn of<C>(instruction: &'a Instruction<C>) -> Self {
        Self { span: instruction.span.clone(), comments: &instruction.comments }
    }
}

/// Collects findings.
#[derive(Debug)]
pub(super) struct Reporter {
    config: Config,
    findings: Vec<Finding>,
    unknown_images: Vec<String>,
}

impl Reporter {
    pub(super) fn new(config: Config) -> Self {
        Self { config, findings: Vec::new(), unknown_images: Vec::new() }
    }

    /// Keeps a finding unless the file does not want to know.
    pub(super) fn report(&mut self, rule: &'static Rule, place: &Place<'_>, focus: Span, message: String) {
        let local = Config::of_comments(place.comments);
        if self.config.allows(rule, local.as_ref()) {
            self.findings.push(Finding { rule, message, span: place.span.clone(), focus });
        }
    }

    /// There are so many findings already that nobody reads the next one closely.
    pub(super) fn is_crowded(&self) -> bool {
        const MANY: usize = 1000;
        self.findings.len() >= MANY
    }

    /// Whether any experimental rule is asked for at the head of the file.
    pub(super) fn is_experimental(&self) -> bool {
        self.config.is_experimental()
    }

    pub(super) fn unknown_image(&mut self, name: &str) {
        if !self.unknown_images.iter().any(|known| known == name) {
            self.unknown_images.push(name.to_owned());
        }
    }

    pub(super) fn finish(mut self) -> Report {
        self.findings.sort_by_key(|finding| finding.span.start);
        Report { findings: self.findings, unknown_images: self.unknown_images, error: self.config.error }
    }
}

//! Drawing what is wrong with a Dockerfile: file, line and column, the source line underlined, what to do.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use crate::ast::{Span, Warning};

/// A problem at a place of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// One sentence, lower case.
    pub message: String,
    /// Where, in bytes of the text.
    pub span: Span,
    /// What is said below the underlined text.
    pub label: Option<String>,
    /// What to do.
    pub help: Option<String>,
}

/// How bad a [`Diagnostic`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Nothing can be built.
    Error,
    /// It can.
    Warning,
}

impl Diagnostic {
    /// A problem without label and help.
    pub fn new(message: impl Into<String>, span: Span) -> Self {
        Self { message: message.into(), span, label: None, help: None }
    }

    /// Adds what is said below the underlined text.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Line and column of the start, both from 1; columns count characters.
    pub fn position(&self, source: &str) -> (usize, usize) {
        let before = &source[..source.floor_char_boundary(self.span.start)];
        let line = before.rfind('\n').map_or(0, |end| end + 1);
        (before.matches('\n').count() + 1, before[line..].trim_start_matches('\u{FEFF}').chars().count() + 1)
    }

    /// Draws it as an error. `path` is the name of the text for people, `source` the text that the span counts in.
    pub fn render(&self, path: &str, source: &str, colored: bool) -> String {
        self.render_as(Severity::Error, path, source, colored)
    }

    /// Draws it.
    pub fn render_as(&self, severity: Severity, path: &str, source: &str, colored: bool) -> String {
        let renderer = if colored { Renderer::styled() } else { Renderer::plain() };
        let level = match severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let (excerpt, first_line, span) = excerpt(source, &self.span);
        let annotation = AnnotationKind::Primary.span(span).label(self.label.as_deref());
        let snippet = Snippet::source(excerpt).line_start(first_line).path(path).annotation(annotation);
        let mut group = level.primary_title(self.message.as_str()).element(snippet);
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        renderer.decor_style(DecorStyle::Ascii).render(&[group])
    }
}

impl From<Warning> for Diagnostic {
    fn from(warning: Warning) -> Self {
        Self::new(format!("{}: {}", warning.rule, warning.message), warning.span)
    }
}

/// The lines that a span touches, the number of the first, and the span in them. Only they are shown to the renderer, so
/// that its cost does not depend on the size of the file. A byte order mark is left out.
fn excerpt<'s>(source: &'s str, span: &Span) -> (&'s str, usize, Span) {
    let start = source.floor_char_boundary(span.start);
    let end = source.floor_char_boundary(span.end).max(start);
    let mut first = source[..start].rfind('\n').map_or(0, |end| end + 1);
    if first == 0 && source.starts_with('\u{FEFF}') {
        first = '\u{FEFF}'.len_utf8();
    }
    let last = source[end..].find('\n').map_or(source.len(), |length| end + length);
    let line = source[..first].matches('\n').count() + 1;
    let excerpt = &source[first..last];
    let excerpt = excerpt.strip_suffix('\r').unwrap_or(excerpt);
    let within = |at: usize| at.max(first).min(first + excerpt.len()) - first;
    (excerpt, line, within(start)..within(end))
}

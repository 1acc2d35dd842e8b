//! What is wrong with a template, and where.

use std::fmt;
use std::ops::Range;

use builder_frontend::diagnostic::Diagnostic;

use crate::error::CliError;
use crate::output;

/// The result of everything here.
pub(super) type TemplateResult<T> = Result<T, TemplateError>;

/// A problem at a place of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TemplateError {
    message: String,
    span: Range<usize>,
    help: Option<String>,
    /// The whole template; known when the error leaves this module.
    source: String,
}

impl TemplateError {
    pub(super) fn new(message: impl Into<String>, span: Range<usize>) -> Self {
        Self { message: message.into(), span, help: None, source: String::new() }
    }

    /// Adds what to do.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn within(mut self, source: &str) -> Self {
        source.clone_into(&mut self.source);
        self
    }

    /// Drawn below the template for the command line; `name` says where the template was given (`--format`).
    pub(crate) fn drawn(&self, name: &str) -> CliError {
        CliError::Diagnosed(output::drawn(&self.diagnostic(), name, &self.source))
    }

    fn diagnostic(&self) -> Diagnostic {
        let mut diagnostic = Diagnostic::new(self.message.clone(), self.span.clone());
        diagnostic.help.clone_from(&self.help);
        diagnostic
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.diagnostic().position(&self.source);
        write!(f, "template:{line}:{column}: {}", self.message)
    }
}

impl std::error::Error for TemplateError {}

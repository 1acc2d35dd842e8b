//! What is wrong with a bake file, and where.

use std::fmt;
use std::ops::Range;

use builder_frontend::diagnostic::Diagnostic;

use crate::error::CliError;
use crate::output;

/// A place in one of the files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Span {
    /// The file's position in the list of files.
    pub(crate) file: usize,
    /// Its bytes.
    pub(crate) range: Range<usize>,
}

/// Why a bake definition can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BakeError {
    /// One sentence.
    pub(crate) message: String,
    /// Where; `None` when no line is to blame.
    pub(crate) span: Option<Span>,
    /// What to do.
    pub(crate) help: Option<String>,
}

/// What reading and evaluating returns.
pub(crate) type BakeResult<T> = Result<T, BakeError>;

/// A file of definitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceFile {
    /// As people call it.
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: String,
}

impl BakeError {
    /// An error that no line is to blame for.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), span: None, help: None }
    }

    /// Says where it is, unless that is known more exactly.
    #[must_use]
    pub(crate) fn at(mut self, span: &Span) -> Self {
        self.span.get_or_insert_with(|| span.clone());
        self
    }

    /// Says what to do, unless that was said.
    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.get_or_insert_with(|| help.into());
        self
    }

    /// The same with a name that is near to what was written.
    #[must_use]
    pub(crate) fn suggest<'n>(self, wrong: &str, names: impl IntoIterator<Item = &'n str>) -> Self {
        let names: Vec<&str> = names.into_iter().collect();
        match builder_frontend::suggest::nearest(wrong, &names) {
            Some(near) => self.help(format!("did you mean `{near}`?")),
            None => self,
        }
    }

    /// For the command line: drawn below its line, when it has one.
    pub(crate) fn into_cli(self, files: &[SourceFile]) -> CliError {
        let Some((span, file)) = self.span.as_ref().and_then(|span| Some((span, files.get(span.file)?))) else {
            return CliError::Failed { error: anyhow::anyhow!("{}", self.message), hint: self.help };
        };
        let diagnostic =
            Diagnostic { message: self.message, span: span.range.clone(), label: None, help: self.help.clone() };
        CliError::Diagnosed(format!("{}\n", output::drawn(&diagnostic, &file.name, &file.text)))
    }
}

impl fmt::Display for BakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for BakeError {}

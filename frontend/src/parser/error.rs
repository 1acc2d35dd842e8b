//! What the parser refuses, and why.

use thiserror::Error;

use crate::ast::Span;
use crate::diagnostic::Diagnostic;

/// The first error of a text, with its place.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{kind}")]
pub struct ParseError {
    /// What is wrong.
    pub kind: ParseErrorKind,
    /// Where, in bytes of the text that was parsed.
    pub span: Span,
    /// What would have been right at this place.
    pub expected: Option<String>,
    /// The known word that was probably meant.
    pub suggestion: Option<String>,
    /// What to do.
    pub help: Option<String>,
}

/// The kinds of [`ParseError`]. The texts are those that `docker build` prints wherever it has one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParseErrorKind {
    /// Nothing but comments and blank lines.
    #[error("file with no instructions")]
    Empty,
    /// `ARG` and nothing else.
    #[error("dockerfile contains no stages to build")]
    NoStages,
    /// An instruction other than `ARG` before the first `FROM`.
    #[error("no build stage in current context: {0} stands before the first FROM")]
    NoStage(String),
    /// A single instruction was asked for, and there is not exactly one.
    #[error("exactly one instruction is allowed here")]
    NotOneInstruction,
    /// A line longer than the format allows.
    #[error("dockerfile line greater than max allowed size of {0}")]
    LineTooLong(usize),
    /// A parser directive that is given twice.
    #[error("only one {0} parser directive can be used")]
    RepeatedDirective(String),
    /// `# escape=` with something else than `\` or `` ` ``.
    #[error("invalid escape token '{0}' does not match ` or \\")]
    InvalidEscape(String),
    /// A keyword that nobody knows.
    #[error("unknown instruction: {0}")]
    UnknownInstruction(String),
    /// A flag that the instruction does not have.
    #[error("unknown flag: --{0}")]
    UnknownFlag(String),
    /// A flag that can be given once is given twice.
    #[error("duplicate flag specified: --{0}")]
    DuplicateFlag(String),
    /// `--from` instead of `--from=value`.
    #[error("missing a value on flag: --{0}")]
    MissingFlagValue(String),
    /// A flag whose value is not one of those that it takes.
    #[error("{0}")]
    InvalidFlagValue(String),
    /// A quote that is opened and never closed.
    #[error("unexpected end of statement while looking for matching {0}")]
    UnterminatedQuote(&'static str),
    /// Too few or too many arguments.
    #[error("{0}")]
    Arguments(String),
    /// JSON, but not an array of strings.
    #[error("when using JSON array syntax, arrays must be comprised of strings only")]
    JsonNotStrings,
    /// An instruction that only has the JSON form.
    #[error("{0} requires the arguments to be in JSON form")]
    NotJson(&'static str),
    /// A heredoc whose terminator never comes.
    #[error("unterminated heredoc")]
    UnterminatedHeredoc,
    /// A heredoc where a path must stand.
    #[error("{0} cannot accept a heredoc as a destination")]
    HeredocDestination(&'static str),
    /// A stage name with characters that names do not have.
    #[error("invalid name for build stage: \"{0}\", name can't start with a number or contain symbols")]
    InvalidStageName(String),
    /// An instruction that cannot be a trigger.
    #[error("{0}")]
    InvalidTrigger(String),
    /// A wrong option of `--mount`.
    #[error("{0}")]
    InvalidMount(String),
    /// The grammar found no reading at all.
    #[error("cannot be parsed")]
    Syntax,
}

impl ParseError {
    /// An error without further advice.
    pub fn new(kind: ParseErrorKind, span: Span) -> Self {
        Self { kind, span, expected: None, suggestion: None, help: None }
    }

    /// The error in one line, in the words of `docker build`. `line` is where the error is.
    pub fn summary(&self, line: usize) -> String {
        let of_the_file =
            matches!(self.kind, ParseErrorKind::Empty | ParseErrorKind::NoStages | ParseErrorKind::NoStage(_));
        let place = if of_the_file { String::new() } else { format!("dockerfile parse error on line {line}: ") };
        let suggestion =
            self.suggestion.as_ref().map(|word| format!(" (did you mean {}?)", word.trim_start_matches("--")));
        format!("{place}{}{}", self.kind, suggestion.unwrap_or_default())
    }

    /// Adds what would have been right.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// Adds the known word that was probably meant.
    #[must_use]
    pub fn suggest(mut self, suggestion: Option<impl Into<String>>) -> Self {
        self.suggestion = suggestion.map(Into::into);
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl From<ParseError> for Diagnostic {
    fn from(error: ParseError) -> Self {
        let suggestion = error.suggestion.map(|word| format!("did you mean `{word}`?"));
        let help = match (suggestion, error.help) {
            (Some(suggestion), Some(help)) => Some(format!("{suggestion} {help}")),
            (suggestion, help) => suggestion.or(help),
        };
        let label = error.expected.map(|expected| format!("expected {expected}"));
        Self { message: error.kind.to_string(), span: error.span, label, help }
    }
}

impl From<Box<ParseError>> for Diagnostic {
    fn from(error: Box<ParseError>) -> Self {
        (*error).into()
    }
}

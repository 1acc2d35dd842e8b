//! Dockerfile text → syntax tree.
//!
//! `dockerfile.pest` holds the whole grammar and says how its two layers work. Here, `file` walks over the file with the
//! line layer, `line` joins continuations and maps positions back, `instruction` and its neighbours turn the pairs of
//! the instruction layer into the types of [`crate::ast`], and `heredoc` takes the bodies.
//!
//! Spans are byte ranges of the text that was given, a byte order mark included. Line and column are worked out only
//! when a [`crate::diagnostic::Diagnostic`] is drawn. The first error ends the parse.

mod blanks;
mod error;
mod file;
mod files;
mod flags;
mod grammar;
mod health;
mod heredoc;
mod instruction;
mod json;
mod line;
mod run;
mod values;

use thiserror::Error;

pub use self::error::{ParseError, ParseErrorKind};
use self::file::File;
use self::grammar::Rule;
use crate::ast::{Command, Dockerfile, Instruction, Span, Stage};

/// The longest line that the format allows, in bytes.
pub const MAX_LINE: usize = 65_535;

/// The character that continues lines and takes the meaning from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    Backslash,
    Backtick,
}

impl Escape {
    fn choose<T>(self, backslash: T, backtick: T) -> T {
        match self {
            Self::Backslash => backslash,
            Self::Backtick => backtick,
        }
    }

    fn character(self) -> char {
        self.choose('\\', '`')
    }
}

/// Parses a whole Dockerfile.
pub fn parse(text: &str) -> Result<Dockerfile, ParseError> {
    let mut file = File::open(text)?;
    let mut global_args = Vec::new();
    let mut stages: Vec<Stage> = Vec::new();
    while let Some(instruction) = file.next_instruction()? {
        let Instruction { keyword, text, span, comments, command } = instruction;
        match command {
            Command::From(from) => {
                let from = Instruction { keyword, text, span, comments, command: from };
                stages.push(Stage { from, instructions: Vec::new() });
            }
            Command::Arg(arg) if stages.is_empty() => {
                global_args.push(Instruction { keyword, text, span, comments, command: arg });
            }
            command => {
                let Some(stage) = stages.last_mut() else {
                    let kind = ParseErrorKind::NoStage(command.keyword().to_owned());
                    return Err(ParseError::new(kind, keyword.span).expected("`FROM image`, or `ARG` before it"));
                };
                stage.instructions.push(Instruction { keyword, text, span, comments, command });
            }
        }
    }
    if stages.is_empty() {
        let kind = if global_args.is_empty() { ParseErrorKind::Empty } else { ParseErrorKind::NoStages };
        return Err(ParseError::new(kind, text.len()..text.len()).help("a Dockerfile needs at least one FROM"));
    }
    let (directives, comments, warnings) = file.finish();
    Ok(Dockerfile { directives, global_args, stages, comments, warnings })
}

/// A single instruction that could not be parsed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("in `{}`: {error}", text.lines().next().unwrap_or_default())]
pub struct InstructionError {
    /// The text that was given.
    pub text: String,
    /// What is wrong with it.
    #[source]
    pub error: Box<ParseError>,
}

/// Parses one instruction that does not come from a Dockerfile: an `ONBUILD` trigger of an image, or a change given on
/// the command line. The escape character is `\`, heredoc bodies follow on the next lines.
pub fn parse_instruction(text: &str) -> Result<Instruction, InstructionError> {
    let parse = || {
        let mut file = File::fragment(text)?;
        let not_one = |span| ParseError::new(ParseErrorKind::NotOneInstruction, span);
        let first = file.next_instruction()?.ok_or_else(|| not_one(0..text.len()))?;
        match file.next_instruction()? {
            None => Ok(first),
            Some(second) => Err(not_one(second.span)),
        }
    };
    parse().map_err(|error| InstructionError { text: text.to_owned(), error: Box::new(error) })
}

/// Where the fields of one line of comma-separated values stand, quotes included; `None` if quotes stand wrong.
pub(crate) fn csv_spans(text: &str) -> Option<Vec<Span>> {
    let pairs = grammar::parse(Rule::csv, text).ok()?;
    Some(pairs.map(|pair| pair.as_span().start()..pair.as_span().end()).collect())
}

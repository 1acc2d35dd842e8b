//! Patterns over paths: the `.dockerignore` language and the wildcards of `COPY`.
//!
//! They are two languages that look alike. [`IgnoreMatcher`] matches whole paths the way moby's patternmatcher
//! does (ordered, the last match wins, `**`, a pattern holds for whatever lies below what it matches, `!` brings
//! back even what lies below an excluded directory). [`Wildcard`] matches component by component like Go's
//! `filepath.Match`. Names are bytes: they need not be UTF-8; `?` and classes take one character where the bytes are
//! UTF-8, and one byte where they are not.
//!
//! Both compile once and then match in time linear in the path for all common shapes; the general shape is bounded
//! by tokens × bytes, whatever the pattern.

mod clean;
mod glob;
mod ignore;
mod ignore_file;
#[cfg(test)]
mod oracle;
mod wildcard;

pub use clean::{clean, clean_rooted};
pub use ignore::{IgnoreMatcher, MatchState};
pub use ignore_file::parse_ignore_file;
pub use wildcard::{Wildcard, has_wildcard};

/// A pattern can't be used.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum PatternError {
    /// `!` with nothing behind it.
    #[error("line {line}: `!` must be followed by a pattern")]
    LoneExclamation {
        /// The line (or the position in a list of patterns), counted from 1.
        line: usize,
    },
    /// Not a pattern of Go's `filepath.Match`: an unclosed class, or a `\` at the end.
    #[error(
        "line {line}: `{pattern}` is not a pattern: a `[` is not closed, a range is not complete, or it ends in `\\`"
    )]
    Syntax {
        /// The line (or the position in a list of patterns), counted from 1.
        line: usize,
        /// The pattern as written.
        pattern: String,
    },
}

impl PatternError {
    /// The line (or the position in a list of patterns) that the error is about, counted from 1.
    pub fn line(&self) -> usize {
        match self {
            Self::LoneExclamation { line } | Self::Syntax { line, .. } => *line,
        }
    }
}

//! What can be wrong with a word.

use std::ops::Range;

/// A word could not be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct ExpandError {
    /// What is wrong.
    pub kind: ExpandErrorKind,
    /// Where, as a byte range of the word.
    pub span: Range<usize>,
}

/// The ways in which expansion fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandErrorKind {
    /// `'abc`
    #[error("unexpected end of statement while looking for matching {}", if *.0 == '"' { "double-quote" } else { "single-quote" })]
    UnclosedQuote(char),
    /// `${abc`
    #[error("syntax error: missing '}}' after `${{`")]
    MissingBrace,
    /// `${v/p}`
    #[error("syntax error: missing '/' in ${{}} between the pattern and its replacement")]
    MissingSlash,
    /// `${}`, `${{x}}`, `${:x}`
    #[error("syntax error: bad substitution: `${{` needs the name of a variable")]
    BadSubstitution,
    /// `${v=w}`
    #[error("unsupported modifier ({0}) in substitution")]
    UnsupportedModifier(String),
    /// `${v#\x}`
    #[error(
        "invalid pattern ({pattern}) in substitution: invalid escape '{escape}': only `*`, `?`, `\\`, `/` and `}}` can be \
         escaped"
    )]
    BadPattern {
        /// The pattern, its variables expanded.
        pattern: String,
        /// The escape in it.
        escape: String,
    },
    /// `${v:?w}`
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// What the Dockerfile says about it.
        message: String,
    },
    /// More levels of `${…}` than anybody writes.
    #[error("substitutions are nested too deep (more than {0} levels)")]
    TooDeep(usize),
    /// A pattern that would take too long to search for.
    #[error("the pattern of a substitution is longer than {0} characters")]
    PatternTooLong(usize),
    /// The values together are too long.
    #[error("the expanded text is too long: it grew by more than {0} bytes")]
    TooLong(usize),
}

//! From errors of the libraries to what a person reads, and to exit codes.
//!
//! 0 success · 1 the thing could not be done · 2 the command line is wrong · anything else is the exit code of the
//! process that `run` ran; 125 when it could not run it.

use std::fmt;

use builder_solver::VertexId;

use crate::progress::control::{Styles, visible};

/// What a command returns.
pub(crate) type CliResult<T> = Result<T, CliError>;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum CliError {
    /// The command line asks for something that does not exist or does not go together.
    Usage(String),
    /// Everything else: one sentence with its causes.
    Failed {
        /// What went wrong.
        error: anyhow::Error,
        /// What to do next, when that is known.
        hint: Option<String>,
    },
    /// Something is wrong with the Dockerfile, and this is how it looks when drawn.
    Diagnosed(String),
    /// A step of a build failed. Shown by the build itself, which knows its log and its line.
    Step {
        /// Which.
        vertex: Option<VertexId>,
        /// The instruction in the Dockerfile.
        span: Option<std::ops::Range<usize>>,
        /// The step's name.
        name: String,
        /// Why.
        error: anyhow::Error,
    },
    /// The failure was already shown in full.
    Shown,
    /// Stopped by a signal.
    Interrupted,
}

impl CliError {
    /// A failure with advice.
    pub(crate) fn with_hint(error: impl Into<anyhow::Error>, hint: impl Into<String>) -> Self {
        Self::Failed { error: error.into(), hint: Some(hint.into()) }
    }

    /// The same failure with what was being done in front of it.
    pub(crate) fn context(self, doing: &str) -> Self {
        match self {
            Self::Failed { error, hint } => Self::Failed { error: error.context(doing.to_owned()), hint },
            other => other,
        }
    }

    /// A failure in words.
    pub(crate) fn message(message: impl fmt::Display) -> Self {
        Self::Failed { error: anyhow::anyhow!("{message}"), hint: None }
    }

    /// What went wrong, for where the word error stands already.
    pub(crate) fn text(&self) -> String {
        let text = self.to_string();
        text.strip_prefix("ERROR: ").unwrap_or(&text).to_owned()
    }

    /// The process's exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failed { .. } | Self::Diagnosed(_) | Self::Step { .. } | Self::Shown => 1,
            Self::Interrupted => 130,
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for CliError {
    fn from(error: E) -> Self {
        Self::Failed { error: error.into(), hint: None }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) => write!(f, "ERROR: {message}"),
            Self::Failed { error, hint } => {
                // Parts of it may be a stranger's words.
                write!(f, "ERROR: {}", shown(&format!("{error:#}"), Styles::Strip))?;
                match hint {
                    Some(hint) => write!(f, "\nhint: {hint}"),
                    None => Ok(()),
                }
            }
            Self::Diagnosed(text) => f.write_str(&shown(text.trim_end(), Styles::Keep)),
            Self::Step { .. } | Self::Shown => Ok(()),
            Self::Interrupted => f.write_str("ERROR: interrupted"),
        }
    }
}

/// What a terminal would obey is left out.
fn shown(text: &str, styles: Styles) -> String {
    text.split('\n').map(|line| visible(line.as_bytes(), styles)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_hold_nothing_that_a_terminal_obeys() {
        let error = CliError::message("a\x1b]0;title\x07b\r\n\tc\u{9b}2Jd");
        assert_eq!(error.to_string(), "ERROR: ab \n\tcd");
        let drawn = CliError::Diagnosed("\x1b[31mred\x1b[0m\x1b[2J\n".to_owned());
        assert_eq!(drawn.to_string(), "\x1b[31mred\x1b[0m\x1b[0m");
    }
}

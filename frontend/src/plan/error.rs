//! Why a Dockerfile that reads well cannot be built.

use std::fmt;

use crate::ast::{Span, Word};
use crate::diagnostic::Diagnostic;
use crate::expand::{ExpandError, ExpandErrorKind};
use crate::platform::ParsePlatformError;
use crate::ports::PortError;

/// Why an image reference could not be resolved; the implementation of [`super::Images`] says.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ResolveError {
    /// One sentence that names the reference.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// What lies below it.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A Dockerfile could not be turned into a graph.
#[derive(Debug)]
pub struct PlanError {
    /// What is wrong.
    pub kind: Box<PlanErrorKind>,
    /// Where; `None` when no line of the file is to blame.
    pub span: Option<Span>,
    /// The `ONBUILD` trigger in which it is wrong.
    pub trigger: Option<String>,
    /// What to do.
    pub help: Option<String>,
}

/// The ways in which planning fails.
#[derive(Debug, thiserror::Error)]
pub enum PlanErrorKind {
    /// A word could not be expanded.
    #[error("{0}")]
    Expand(ExpandErrorKind),
    /// Legal, and not built yet.
    #[error("{0} is not supported yet")]
    NotSupported(String),
    /// Not a single `FROM`.
    #[error("the Dockerfile has no stages")]
    NoStages,
    /// `--target` names no stage.
    #[error("the Dockerfile has no stage `{0}`")]
    UnknownTarget(String),
    /// `FROM` is empty once its variables are expanded.
    #[error("the base image `{0}` is blank once its variables are expanded")]
    BlankBase(String),
    /// `--platform` is empty or wrong.
    #[error("{0}")]
    Platform(#[from] ParsePlatformError),
    /// The image store or registry does not know the image.
    #[error("{0}")]
    Image(#[source] ResolveError),
    /// `COPY --from=$x`
    #[error("`--from` does not expand variables")]
    VariableInFrom,
    /// `COPY --from` names its own stage.
    #[error("the stage `{0}` cannot copy from itself")]
    CopyFromItself(String),
    /// `COPY --from` names a stage below.
    #[error("cannot copy from the stage `{from}`: it is defined after the stage `{stage}`")]
    CopyFromLater {
        /// The stage to copy from.
        from: String,
        /// The stage that copies.
        stage: String,
    },
    /// `COPY --from=7` in a file of three stages.
    #[error("there is no stage number {index}: the file has {stages}")]
    StageIndex {
        /// The number.
        index: String,
        /// How many there are.
        stages: usize,
    },
    /// `RUN []`
    #[error("`RUN` has no command")]
    EmptyCommand,
    /// `COPY https://…`
    #[error("`COPY` does not take URLs")]
    CopyUrl,
    /// `ENV $empty=x`
    #[error("the name before `=` is blank once its variables are expanded")]
    BlankName,
    /// `VOLUME ""`
    #[error("the path of a volume is blank")]
    BlankVolume,
    /// `EXPOSE x`
    #[error("{0}")]
    Port(PortError),
    /// `STOPSIGNAL x`
    #[error("`{0}` is not a signal")]
    Signal(String),
    /// `--chmod=x`
    #[error("`{0}` is not a mode")]
    Mode(String),
    /// `<<a/b`
    #[error("`{0}` cannot be the name of a file")]
    HeredocName(String),
    /// `SOURCE_DATE_EPOCH=x`
    #[error("SOURCE_DATE_EPOCH is `{0}`, which is not a number of seconds")]
    SourceDateEpoch(String),
    /// A trigger of a base image does not parse.
    #[error("{0}")]
    Trigger(String),
    /// A trigger that is not allowed.
    #[error("`{0}` is not allowed as an ONBUILD trigger")]
    TriggerKeyword(&'static str),
}

impl PlanError {
    pub(crate) fn new(kind: PlanErrorKind, span: impl Into<Option<Span>>) -> Self {
        Self { kind: Box::new(kind), span: span.into(), trigger: None, help: None }
    }

    pub(crate) fn expand(error: ExpandError, word: &Word) -> Self {
        Self::new(PlanErrorKind::Expand(error.kind), word.sub_span(error.span))
    }

    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<Option<String>>) -> Self {
        self.help = help.into();
        self
    }

    /// The same error of an instruction that does not stand in the file itself.
    #[must_use]
    pub(crate) fn in_trigger(mut self, trigger: &str, place: Option<&Span>) -> Self {
        self.trigger = Some(trigger.to_owned());
        if let Some(place) = place {
            self.span = Some(place.clone());
        }
        self
    }

    /// For drawing below the lines of the file; `None` when no line is to blame.
    pub fn diagnostic(&self) -> Option<Diagnostic> {
        let span = self.span.clone()?;
        Some(Diagnostic { message: self.to_string(), span, label: None, help: self.help.clone() })
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        if let Some(trigger) = &self.trigger {
            write!(f, " (in the ONBUILD trigger `{}`)", trigger.lines().next().unwrap_or_default())?;
        }
        Ok(())
    }
}

impl std::error::Error for PlanError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &*self.kind {
            PlanErrorKind::Image(error) => std::error::Error::source(error),
            _ => None,
        }
    }
}

//! Why a Dockerfile that reads well cannot be built.

use std::fmt;

use crate::ast::{Span, Word};
use crate::diagnostic::Diagnostic;
use crate::expand::{ExpandError, ExpandErrorKind};
use crate::git_address::GitAddressError;
use crate::parser::ParseError;
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
    #[error("dockerfile contains no stages to build")]
    NoStages,
    /// `--target` names no stage.
    #[error("target stage \"{0}\" could not be found")]
    UnknownTarget(String),
    /// `FROM` is empty once its variables are expanded.
    #[error("base name ({0}) should not be blank")]
    BlankBase(String),
    /// `--platform` is empty once its variables are expanded.
    #[error("empty platform value from expression `{0}`")]
    BlankPlatform(String),
    /// `--platform` is wrong.
    #[error("{0}")]
    Platform(#[from] ParsePlatformError),
    /// The image store or registry does not know the image.
    #[error("{0}")]
    Image(#[source] ResolveError),
    /// `COPY --from=$x`
    #[error(
        "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a \
         workaround"
    )]
    VariableInFrom,
    /// A stage needs itself in the end.
    #[error("circular dependency detected on stage: {0}")]
    Circular(String),
    /// `COPY --from` names a stage below.
    #[error("cannot copy from stage \"{from}\", it needs to be defined before current stage \"{stage}\"")]
    CopyFromLater {
        /// The stage to copy from.
        from: String,
        /// The stage that copies.
        stage: String,
    },
    /// `RUN --mount=from=…` names a stage below.
    #[error("cannot mount from stage \"{from}\" to \"{target}\", stage needs to be defined before current command")]
    MountFromLater {
        /// The stage to mount.
        from: String,
        /// Where.
        target: String,
    },
    /// `COPY --from=7` in a file of three stages.
    #[error("invalid stage index {index}: the file has {stages}")]
    StageIndex {
        /// The number.
        index: String,
        /// How many there are.
        stages: usize,
    },
    /// `RUN []`
    #[error("`RUN` has no command")]
    EmptyCommand,
    /// An option of `--mount` is wrong once its variables are expanded.
    #[error("{0}")]
    Mount(String),
    /// A mount over the whole root file system.
    #[error("invalid mount target \"{0}\"")]
    MountTarget(String),
    /// Something that the user has to allow.
    #[error("{0} is not allowed")]
    NotAllowed(&'static str),
    /// `COPY https://…`
    #[error("source can't be a URL for COPY")]
    CopyUrl,
    /// `COPY https://….git`
    #[error("source can't be a git ref for COPY")]
    CopyGit,
    /// `ADD ftp://…`
    #[error("`{address}` cannot be added: the protocol `{protocol}` is not supported")]
    Protocol {
        /// The source.
        address: String,
        /// What is before `://`.
        protocol: String,
    },
    /// The query of a git address.
    #[error("{0}")]
    GitAddress(GitAddressError),
    /// `--checksum` and an address that does not agree.
    #[error("checksum mismatch \"{flag}\" != \"{address}\"")]
    GitChecksum {
        /// What the flag says.
        flag: String,
        /// What the address says.
        address: String,
    },
    /// `--keep-git-dir` and an address that does not agree.
    #[error("inconsistent keep-git-dir configuration")]
    KeepGitDir,
    /// `--checksum` where it has no meaning.
    #[error("{0}")]
    NoChecksum(&'static str),
    /// `--checksum=x`
    #[error("`{0}` is not a checksum")]
    Checksum(String),
    /// `ENV $empty=x`
    #[error("names can not be blank: nothing stands before `=` once its variables are expanded")]
    BlankName,
    /// `VOLUME ""`
    #[error("VOLUME specified can not be an empty string")]
    BlankVolume,
    /// `EXPOSE x`
    #[error("{0}")]
    Port(PortError),
    /// `STOPSIGNAL x`
    #[error("invalid signal: {0}")]
    Signal(String),
    /// `--chmod=x`
    #[error("invalid chmod parameter: '{0}'. it should be octal string and between 0 and 07777")]
    Mode(String),
    /// `<<a/b`
    #[error("`{0}` cannot be the name of a file")]
    HeredocName(String),
    /// `SOURCE_DATE_EPOCH=x`
    #[error("invalid SOURCE_DATE_EPOCH: {0}")]
    SourceDateEpoch(String),
    /// `SOURCE_DATE_EPOCH` names a stage that brings in more than one file or repository.
    #[error("the stage `{stage}` cannot give SOURCE_DATE_EPOCH: {reason}")]
    EpochStage {
        /// The stage.
        stage: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Nobody can tell the time that `SOURCE_DATE_EPOCH` asks for.
    #[error("SOURCE_DATE_EPOCH cannot be found out: {0}")]
    EpochSource(#[source] ResolveError),
    /// A built-in argument that is true or false.
    #[error("the build argument {name} is `{value}`, which is neither true nor false")]
    Truth {
        /// The argument.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// A trigger of a base image does not parse.
    #[error("{0}")]
    Trigger(String),
    /// A trigger that is not allowed.
    #[error("{0} isn't allowed as an ONBUILD trigger")]
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

impl From<ParseError> for PlanError {
    /// What only shows once variables are expanded.
    fn from(error: ParseError) -> Self {
        let Diagnostic { message, span, label, help } = error.into();
        let help =
            help.or_else(|| label.map(|label| format!("it should be {}", label.trim_start_matches("expected "))));
        Self::new(PlanErrorKind::Mount(message), span).help(help)
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
            PlanErrorKind::Image(error) | PlanErrorKind::EpochSource(error) => std::error::Error::source(error),
            _ => None,
        }
    }
}

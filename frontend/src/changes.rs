//! Changes to the config of an image without a build: `import --change`, `commit -c`.

use crate::ast::{Command, Span};
use crate::config::ImageConfig;
use crate::diagnostic::Diagnostic;
use crate::expand::Expander;
use crate::parser::{self, InstructionError};
use crate::plan::PlanError;
use crate::plan::settings::{Applied, Settings};

/// A change is wrong.
#[derive(Debug, thiserror::Error)]
#[error("in the change `{change}`: {kind}")]
pub struct ChangeError {
    /// The change as given.
    pub change: String,
    /// What is wrong with it.
    pub kind: ChangeErrorKind,
}

/// What is wrong with a change.
#[derive(Debug, thiserror::Error)]
pub enum ChangeErrorKind {
    /// It does not parse.
    #[error("{}", .0.error)]
    Syntax(InstructionError),
    /// It cannot be carried out.
    #[error("{0}")]
    Value(PlanError),
    /// It would need a build.
    #[error(
        "`{0}` is not possible here; CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, MAINTAINER, ONBUILD, SHELL, \
         STOPSIGNAL, USER, VOLUME and WORKDIR are"
    )]
    Instruction(&'static str, Span),
}

impl ChangeError {
    /// For drawing below the text of the change.
    pub fn diagnostic(&self) -> Option<Diagnostic> {
        match &self.kind {
            ChangeErrorKind::Syntax(error) => Some(error.error.clone().into()),
            ChangeErrorKind::Value(error) => error.diagnostic(),
            ChangeErrorKind::Instruction(_, span) => {
                Some(Diagnostic { message: self.kind.to_string(), span: span.clone(), label: None, help: None })
            }
        }
    }
}

/// Applies instructions to a config in order, as a Dockerfile on top of the image would, without layers and history.
/// When one is wrong, the config stays as it was.
pub fn apply_changes(config: &mut ImageConfig, changes: &[String]) -> Result<(), ChangeError> {
    let expander = Expander::new('\\');
    let mut settings = Settings::new(config.clone());
    for change in changes {
        let fail = |kind| ChangeError { change: change.clone(), kind };
        let instruction = parser::parse_instruction(change).map_err(|error| fail(ChangeErrorKind::Syntax(error)))?;
        if let Command::Workdir(path) = &instruction.command {
            let set = settings.set_working_directory(expander, path);
            set.map_err(|error| fail(ChangeErrorKind::Value(error)))?;
            continue;
        }
        match settings.apply(&instruction.command, expander) {
            Ok(Applied::Entry(_) | Applied::Silently) => {}
            Ok(Applied::Not) => {
                let keyword = instruction.command.keyword();
                return Err(fail(ChangeErrorKind::Instruction(keyword, instruction.keyword.span)));
            }
            Err(error) => return Err(fail(ChangeErrorKind::Value(error))),
        }
    }
    *config = settings.finish();
    Ok(())
}

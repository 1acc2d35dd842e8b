//! The checks of a build, and their findings as warnings.

use builder_executor::pattern::{IgnoreMatcher, parse_ignore_file};
use builder_frontend::ast::Dockerfile;
use builder_frontend::lint::{self, CheckOptionsError, Facts, Finding, Lines, Report};
use builder_frontend::plan::{BuildOptions, Images};

use super::super::source::BuildSource;
use super::drawn;
use crate::build::planning::FAILED;
use crate::error::{CliError, CliResult};
use crate::progress::{Code, Warning};

/// Checks a Dockerfile.
pub(crate) struct Checker {
    ignore: IgnoreMatcher,
}

impl Checker {
    /// A broken ignore file excludes nothing here: whoever copies by it says what is wrong.
    pub(crate) fn new(source: &BuildSource) -> Self {
        let parsed = source.ignore.as_ref().and_then(|(_, bytes)| parse_ignore_file(bytes).ok());
        Self { ignore: parsed.unwrap_or_default() }
    }

    /// What is to be said about `file`.
    pub(crate) fn check(
        &self,
        file: &Dockerfile,
        options: &BuildOptions,
        images: &dyn Images,
        all_stages: bool,
    ) -> Result<Report, CheckOptionsError> {
        let ignored = |path: &str| {
            let path = path.as_bytes();
            self.ignore.excludes_path(path) && !self.ignore.may_include_below(path)
        };
        lint::check(file, &Facts { options, images, ignored: &ignored, all_stages })
    }
}

/// Findings as warnings of a build.
pub(crate) fn warnings(findings: &[Finding], source: &BuildSource) -> Vec<Warning> {
    let lines = Lines::of(&source.text);
    let warning = |finding: &Finding| {
        let (first, last) = finding.lines(&lines);
        Warning {
            rule: finding.rule.name.to_owned(),
            message: finding.message.clone(),
            detail: vec![finding.rule.description.to_owned()],
            url: Some(finding.rule.page()),
            line: Some(first),
            last_line: Some(last),
            code: Code::of(&source.name, lines.line(finding.focus.start), &source.text, &finding.focus),
        }
    };
    findings.iter().map(warning).collect()
}

/// What is to be said about the lines above an error.
pub(crate) fn above(source: &BuildSource, error: usize) -> Vec<Warning> {
    warnings(&lint::check_above(&source.text, error), source)
}

/// Fails when the file asks for that.
pub(crate) fn enforce(source: &BuildSource, report: Result<Report, CheckOptionsError>) -> CliResult<()> {
    let error = match report {
        Ok(report) => match report.failure() {
            Some(failure) => return Err(CliError::message(format!("{FAILED}{failure}"))),
            None => return Ok(()),
        },
        Err(error) => error,
    };
    Err(match error.diagnostic() {
        Some(diagnostic) => CliError::Diagnosed(format!("{}\nERROR: {FAILED}{error}\n", drawn(source, &diagnostic))),
        None => CliError::message(format!("{FAILED}{error}")),
    })
}

//! `--check`: everything that can be said about a Dockerfile without building it.

use std::fmt::Write as _;

use builder_frontend::ast::{Dockerfile, Span};
use builder_frontend::diagnostic::Diagnostic;
use builder_frontend::lint::{self, Report};
use builder_frontend::parser;
use builder_frontend::plan::{self, BuildOptions};
use builder_solver::Graph;

use super::super::images::StoreImages;
use super::findings::Checker;
use super::{AnyImages, CallRequest, Question, diagnosed, json};
use crate::error::{CliError, CliResult};
use crate::{output, progress};

/// Why a Dockerfile can't be built.
struct Obstacle {
    message: String,
    span: Option<Span>,
    error: CliError,
}

/// Checks, prints, and says how the command ends.
pub(super) fn verdict(
    question: &Question<'_>,
    call: CallRequest,
    show: &mut dyn FnMut(&str) -> CliResult<()>,
) -> CliResult<u8> {
    let source = question.source;
    let (report, obstacle) = look(question)?;
    if call.json {
        let error = obstacle.as_ref().map(|obstacle| (obstacle.message.as_str(), obstacle.span.as_ref()));
        show(&format!("{:#}\n", json::check(source, &report, error)))?;
    } else {
        show(&shown(question, &report, obstacle.is_some()))?;
    }
    for image in report.unknown_images.iter().filter(|_| !question.request.args.quiet) {
        output::notice(&format!("note: the image {image} is not in the store: what it sets could not be checked"));
    }
    if let Some(obstacle) = obstacle {
        return Err(obstacle.error);
    }
    Ok(u8::from(!report.findings.is_empty() && !call.ignore_status))
}

/// What there is to say.
fn look(question: &Question<'_>) -> CliResult<(Report, Option<Obstacle>)> {
    let source = question.source;
    let obstacle = |diagnostic: &Diagnostic| Obstacle {
        message: diagnostic.message.clone(),
        span: Some(diagnostic.span.clone()),
        error: diagnosed(source, diagnostic),
    };
    let file = match parser::parse(&source.text) {
        Ok(file) => file,
        Err(error) => {
            let findings = lint::check_above(&source.text, error.span.start);
            let diagnostic = Diagnostic::from(error);
            let line = diagnostic.position(&source.text).0;
            let message = format!("dockerfile parse error on line {line}: {}", diagnostic.message);
            let mut report = Report::default();
            report.findings = findings;
            return Ok((report, Some(Obstacle { message, ..obstacle(&diagnostic) })));
        }
    };
    let mut options = question.options()?;
    // `--target=` is as good as none.
    options.target = options.target.filter(|target| !target.is_empty());
    let all_stages = options.target.is_none();
    let images = StoreImages(question.store);
    let report = match Checker::new(source).check(&file, &options, &images, all_stages) {
        Ok(report) => report,
        Err(error) => {
            let found = match error.diagnostic() {
                Some(diagnostic) => obstacle(&diagnostic),
                None => {
                    Obstacle { message: error.to_string(), span: None, error: CliError::message(error.to_string()) }
                }
            };
            return Ok((Report::default(), Some(found)));
        }
    };
    let failure = || {
        let message = report.failure()?;
        Some(Obstacle { error: CliError::message(&message), message, span: None })
    };
    let obstacle = unbuildable(question, &file, options).or_else(failure);
    Ok((report, obstacle))
}

/// Why the target can't be planned, or the first stage that can't when there is no target.
fn unbuildable(question: &Question<'_>, file: &Dockerfile, mut options: BuildOptions) -> Option<Obstacle> {
    let source = question.source;
    let images = AnyImages(StoreImages(question.store));
    let mut graph = Graph::new();
    let mut plan = |options: &BuildOptions| plan::plan(&mut graph, file, &source.text, options, &images);
    let mut first = None;
    if options.target.is_some() {
        first = plan(&options).err();
    } else {
        // From the bottom up: a stage that one below it needs was planned with that one.
        let mut open = vec![true; file.stages.len()];
        for index in (0..open.len()).rev() {
            if !open[index] {
                continue;
            }
            // The last one is what a build without a target plans, which variables can tell from one by number.
            options.target = (index + 1 < open.len()).then(|| index.to_string());
            match plan(&options) {
                Ok(plan) => {
                    for (stage, open) in plan.stages.iter().zip(&mut open) {
                        *open &= stage.vertices.is_empty();
                    }
                }
                Err(error) => first = Some(error),
            }
        }
    }
    let error = first?;
    let message = error.to_string();
    let (span, error) = if let Some(diagnostic) = error.diagnostic() {
        (Some(diagnostic.span.clone()), diagnosed(source, &diagnostic))
    } else {
        let shown = anyhow::anyhow!("{}: {message}", source.name);
        (None, CliError::Failed { error: shown, hint: error.help.clone() })
    };
    Some(Obstacle { message, span, error })
}

/// As buildx prints it.
fn shown(question: &Question<'_>, report: &Report, has_error: bool) -> String {
    let source = question.source;
    let dockerfile = progress::Dockerfile { name: &source.name, text: &source.text };
    let mut text = match report.findings.len() {
        0 if has_error => return String::new(),
        0 => return "Check complete, no warnings found.\n".to_owned(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        many => format!("Check complete, {many} warnings have been found!\n"),
    };
    for finding in &report.findings {
        let message = progress::visible_text(&finding.message);
        let _ = writeln!(text, "\nWARNING: {} - {}\n{message}", finding.rule.name, finding.rule.page());
        text.push_str(&dockerfile.excerpt(&finding.span));
    }
    if has_error {
        text.push('\n');
    }
    text
}

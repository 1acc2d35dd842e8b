//! The names of steps as people and scripts know them: `[build 2/4] RUN make`.
//!
//! With several platforms it is `[linux/arm64 build 2/4]`, in a stage that runs here and compiles for another one
//! `[linux/amd64->arm64 build 2/4]`; the targets of a bake file come first of all.

use builder_solver::address::redact_text;

use crate::ast::{Command, Instruction, RunCommand};
use crate::expand::{Expander, Variables};
use crate::plan::environment::Environment;
use crate::plan::stages::Step;
use crate::platform::Platform;

/// Counts the steps of a stage.
#[derive(Debug)]
pub(super) struct Counter {
    /// Empty when the file has only one stage.
    stage: String,
    count: usize,
    total: usize,
}

impl Counter {
    /// A base that is no stage and not `scratch` counts as a step, and every trigger does.
    pub(super) fn new(stage: &str, has_image: bool, steps: &[Step<'_>]) -> Self {
        let counts = |step: &&Step<'_>| {
            let makes_layer = matches!(
                step.instruction.command,
                Command::Add(_) | Command::Copy(_) | Command::Run(_) | Command::Workdir(_)
            );
            makes_layer || step.onbuild
        };
        let total = steps.iter().filter(counts).count() + usize::from(has_image);
        Self { stage: stage.to_owned(), count: 0, total }
    }

    /// The number of the step that was named last.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The name of the next step; `heading` comes before the stage.
    pub(super) fn next(&mut self, heading: &str, text: &str, onbuild: bool) -> String {
        self.count += 1;
        let (count, total) = (self.count, self.total);
        let width = total.checked_ilog10().unwrap_or(0) as usize + 1;
        let number = format!("{count:width$}/{total}");
        let parts = [heading, &self.stage, &number];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let onbuild = if onbuild { "ONBUILD " } else { "" };
        format!("[{}] {onbuild}{text}", parts.join(" "))
    }
}

/// The platform that a step is for; with arguments for another one, that one, too.
pub(super) fn platform(of: &Platform, env: &Environment) -> String {
    match target_platform(of, env) {
        Some(target) if target.os != of.os => format!("{of}->{target}"),
        Some(target) if target.architecture != of.architecture => {
            let slash = if target.variant.is_empty() { "" } else { "/" };
            format!("{of}->{}{slash}{}", target.architecture, target.variant)
        }
        _ => of.to_string(),
    }
}

/// What the declared arguments say that is compiled for.
fn target_platform(of: &Platform, env: &Environment) -> Option<Platform> {
    if let Some(platform) = env.get("TARGETPLATFORM").and_then(|platform| platform.parse().ok()) {
        return Some(platform);
    }
    let [os, architecture, variant] = ["TARGETOS", "TARGETARCH", "TARGETVARIANT"].map(|name| env.get(name));
    os.or(architecture).or(variant)?;
    let or = |value: Option<&str>, or: &str| value.filter(|value| !value.is_empty()).unwrap_or(or).to_owned();
    let platform =
        Platform { os: or(os, &of.os), architecture: or(architecture, &of.architecture), variant: or(variant, "") };
    Some(platform.normalize())
}

/// Variables, of which those that are secrets show nothing.
pub(super) struct Masked<'a> {
    pub(super) env: &'a Environment,
    pub(super) secrets: &'a [&'a str],
}

impl Variables for Masked<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        if self.secrets.contains(&name) { Some("****") } else { self.env.get(name) }
    }
}

/// What a step shows of its instruction: on one line, its variables expanded, the keyword in upper case.
pub(super) fn shown(instruction: &Instruction, escape: char, env: &dyn Variables) -> String {
    let mut written = instruction.text.value.clone();
    let expander = match &instruction.command {
        Command::Run(run) => {
            if let RunCommand::Script(script) = &run.command {
                let content = script.content();
                let mut lines = content.trim().lines();
                let first = lines.next().unwrap_or_default();
                let more = if lines.next().is_some() { "..." } else { "" };
                written.extend([" (", first, more, ")"]);
            }
            Expander::for_display(escape)
        }
        _ => Expander::new(escape),
    };
    let expanded = expander.word(&written, env).map(|word| word.text.into_owned());
    let text = expanded.unwrap_or(written).replace(['\n', '\r'], " ");
    let text = if matches!(instruction.command, Command::Add(_)) { redact_text(&text) } else { text };
    match text.split_once(' ') {
        Some((keyword, rest)) => format!("{} {rest}", keyword.to_uppercase()),
        None => text.to_uppercase(),
    }
}

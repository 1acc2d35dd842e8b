//! The names of steps as people and scripts know them: `[build 2/4] RUN make`.

use crate::ast::{Command, Instruction, RunCommand};
use crate::expand::{Expander, Variables};
use crate::plan::stages::Step;

/// Counts the steps of a stage.
#[derive(Debug)]
pub(super) struct Counter {
    /// Empty when the file has only one stage.
    stage: String,
    count: usize,
    total: usize,
}

impl Counter {
    /// A base image counts as a step; a stage and `scratch` do not.
    pub(super) fn new(stage: &str, has_image: bool, steps: &[Step<'_>]) -> Self {
        let makes_layer = |step: &&Step<'_>| {
            matches!(
                step.instruction.command,
                Command::Add(_) | Command::Copy(_) | Command::Run(_) | Command::Workdir(_)
            )
        };
        let total = steps.iter().filter(makes_layer).count() + usize::from(has_image);
        Self { stage: stage.to_owned(), count: 0, total }
    }

    /// The number of the step that was named last.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The name of the next step.
    pub(super) fn next(&mut self, text: &str, onbuild: bool) -> String {
        self.count += 1;
        let (count, total) = (self.count, self.total);
        let width = total.checked_ilog10().unwrap_or(0) as usize + 1;
        let space = if self.stage.is_empty() { "" } else { " " };
        let onbuild = if onbuild { "ONBUILD " } else { "" };
        format!("[{}{space}{count:width$}/{total}] {onbuild}{text}", self.stage)
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
    match text.split_once(' ') {
        Some((keyword, rest)) => format!("{} {rest}", keyword.to_uppercase()),
        None => text.to_uppercase(),
    }
}

//! `--explain`: for every step, whether it was cached, and if not, why it ran.

use std::fmt::Write as _;
use std::time::SystemTime;

use builder_solver::MissReason;

use super::board::{Phase, Task};
use super::control::{visible_name, visible_text};
use super::format::{columns, fit, seconds};

/// How many paths the solver names for one reason. It stops there, so nobody knows how many more there are.
const NAMED_PATHS: usize = 20;
/// A name is cut when the column would get wider.
const WIDEST_NAME: usize = 60;

/// One step and its reason.
#[derive(Debug, Clone)]
pub(crate) struct Explained {
    name: String,
    state: String,
    reasons: Vec<String>,
}

impl Explained {
    /// `None` for what is not a vertex or did not appear.
    pub(super) fn of(task: &Task, now: SystemTime) -> Option<Self> {
        task.vertex?;
        task.number?;
        let took = seconds(task.elapsed(now));
        let state = match &task.phase {
            Phase::Cached => "cached".to_owned(),
            Phase::Completed { .. } => format!("ran {took}"),
            Phase::Failed { .. } => format!("failed {took}"),
            Phase::Waiting | Phase::Running | Phase::Cancelled => "stopped".to_owned(),
        };
        let reasons = match (&task.phase, &task.missed) {
            (Phase::Cached, _) => task.cache.iter().map(|cache| format!("from {}", visible_text(cache))).collect(),
            (_, None) => Vec::new(),
            (_, Some(reason)) => reasons(reason),
        };
        Some(Self { name: task.name.clone(), state, reasons })
    }
}

/// The table, and how many steps are not in it because nobody had to look at them.
pub(super) fn table(rows: &[Explained], untouched: usize, width: Option<usize>) -> String {
    // Reasons are what was asked for: names leave them more than half of the terminal.
    let widest = width.map_or(WIDEST_NAME, |width| (width * 2 / 5).min(WIDEST_NAME));
    let name_width = rows.iter().map(|row| columns(&row.name)).max().unwrap_or(0).min(widest);
    let state_width = rows.iter().map(|row| columns(&row.state)).max().unwrap_or(0);
    let indent = " ".repeat(1 + name_width + 2 + state_width + 2);
    let mut table = "\nCache:\n".to_owned();
    for row in rows {
        let name = fit(&row.name, name_width);
        let mut line = format!(
            " {name}{:name_fill$}  {}{:state_fill$}  ",
            "",
            row.state,
            "",
            name_fill = name_width - columns(&name),
            state_fill = state_width - columns(&row.state),
        );
        for reason in &row.reasons {
            line.push_str(reason);
            push(&mut table, &line, width);
            line.clone_from(&indent);
        }
        if row.reasons.is_empty() {
            push(&mut table, &line, width);
        }
    }
    if untouched > 0 {
        let (steps, were) = if untouched == 1 { ("step", "was") } else { ("steps", "were") };
        let _ = writeln!(table, " {untouched} more {steps} {were} not looked at: what needs them is cached");
    }
    table
}

fn push(table: &mut String, line: &str, width: Option<usize>) {
    let line = line.trim_end();
    match width {
        // A reason is worth a second row, a cut-off one tells nothing; only absurdly narrow tables are cut.
        Some(width) if width < 20 => table.push_str(&fit(line, width)),
        _ => table.push_str(line),
    }
    table.push('\n');
}

/// One line for each thing that changed.
fn reasons(reason: &MissReason) -> Vec<String> {
    let MissReason::Changed { changes } = reason else { return vec![visible_text(&reason.to_string())] };
    let mut lines = Vec::new();
    for change in changes {
        if change.paths.is_empty() {
            lines.push(visible_text(&change.to_string()));
            continue;
        }
        lines.push(visible_text(&format!("{} changed:", change.part)));
        for path in change.paths.iter().take(NAMED_PATHS) {
            lines.push(format!("  {} {}", visible_name(&path.path), path.kind));
        }
        if change.paths.len() > NAMED_PATHS {
            lines.push(format!("  and {} more", change.paths.len() - NAMED_PATHS));
        } else if change.paths.len() == NAMED_PATHS {
            lines.push(format!("  (the first {NAMED_PATHS}; there may be more)"));
        }
    }
    lines
}

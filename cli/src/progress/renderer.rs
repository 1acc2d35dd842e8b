//! What the kinds of output have in common.

use std::time::SystemTime;

use super::board::{Board, Change, TaskId};
use super::log::Line;
use super::warning::Warning;

/// Shows a [`Board`] while it changes. Output that can't be written is lost: nobody is there to be told.
pub(super) trait Renderer: Send {
    /// These tasks were added.
    fn planned(&mut self, _board: &Board, _tasks: &[TaskId], _now: SystemTime) {}

    /// This happened, and completed these lines of output. The board knows it already.
    fn changed(&mut self, board: &Board, task: TaskId, change: &Change, lines: &[Line], now: SystemTime);

    /// Something is worth a warning; the task is what it came up in.
    fn warned(&mut self, _board: &Board, _task: Option<TaskId>, _warning: &Warning, _now: SystemTime) {}

    /// Time passed.
    fn tick(&mut self, _board: &Board, _now: SystemTime) {}

    /// Nothing more will happen.
    fn finish(&mut self, _board: &Board, _now: SystemTime) {}
}

/// Shows nothing.
#[derive(Debug)]
pub(super) struct Quiet;

impl Renderer for Quiet {
    fn changed(&mut self, _: &Board, _: TaskId, _: &Change, _: &[Line], _: SystemTime) {}
}

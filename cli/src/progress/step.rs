//! Work that is no vertex of the graph: reading the Dockerfile, exporting the image.

use std::borrow::Cow;

use super::board::{Change, TaskId};
use super::{Progress, Warning};

/// A running step; it is numbered among the vertices. A step that is dropped counts as cancelled.
#[derive(Debug)]
pub(crate) struct Step {
    progress: Progress,
    task: TaskId,
}

/// A named part of a step, `exporting layers`; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    step: &'a Step,
    label: String,
    unit: Cow<'static, str>,
    current: u64,
    total: Option<u64>,
}

impl Step {
    pub(super) fn new(progress: Progress, task: TaskId) -> Self {
        Self { progress, task }
    }

    /// Begins a part that takes a while.
    pub(crate) fn part(&self, label: impl Into<String>) -> Part<'_> {
        let part = Part { step: self, label: label.into(), unit: Cow::Borrowed(""), current: 0, total: None };
        part.report(false);
        part
    }

    /// Tells of a part that is done already: `writing image sha256:…`, `naming to docker.io/library/app`.
    pub(crate) fn note(&self, label: impl Into<String>) {
        let part = Part { step: self, label: label.into(), unit: Cow::Borrowed(""), current: 0, total: None };
        drop(part);
    }

    /// Says how far one of many is that are under way in it at once, in bytes.
    pub(crate) fn transferred(&self, label: &str, current: u64, total: u64) {
        let ended = current >= total;
        let (label, unit) = (label.to_owned(), Cow::Borrowed("bytes"));
        self.progress.change(self.task, &Change::Counted { label, unit, current, total: Some(total), ended });
    }

    /// Something in it is worth a warning.
    pub(crate) fn warn(&self, warning: Warning) {
        self.progress.warn_in(Some(self.task), warning);
    }

    /// The step succeeded.
    pub(crate) fn done(self) {
        self.progress.change(self.task, &Change::Completed { took: None });
    }

    /// The step failed.
    pub(crate) fn failed(self, message: impl Into<String>) {
        self.progress.change(self.task, &Change::Failed { message: message.into(), took: None });
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        // Says nothing new when the step ended in another way.
        self.progress.change(self.task, &Change::Cancelled);
    }
}

impl Part<'_> {
    /// Says how far the part is. The unit `bytes` is shown as kB and MB.
    pub(crate) fn count(&mut self, unit: &'static str, current: u64, total: Option<u64>) {
        (self.unit, self.current, self.total) = (Cow::Borrowed(unit), current, total);
        self.report(false);
    }

    fn report(&self, ended: bool) {
        let change = Change::Counted {
            label: self.label.clone(),
            unit: self.unit.clone(),
            current: self.current,
            total: self.total,
            ended,
        };
        self.step.progress.change(self.step.task, &change);
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        self.report(true);
    }
}

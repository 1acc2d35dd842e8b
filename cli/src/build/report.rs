//! What is printed below the progress: failures, reasons, warnings.

use std::collections::HashMap;
use std::rc::Rc;

use builder_solver::VertexId;

use super::request::Session;
use super::source::BuildSource;
use crate::error::CliError;
use crate::output;
use crate::progress::{Dockerfile, Mode, Outcome};

/// Which Dockerfile asked for which vertex.
#[derive(Debug, Default)]
pub(super) struct Origins {
    sources: Vec<Rc<BuildSource>>,
    vertices: HashMap<VertexId, usize>,
}

impl Origins {
    /// Notes that `source` asked for these vertices; the first to ask for one is named.
    pub(super) fn add(&mut self, source: &Rc<BuildSource>, vertices: impl IntoIterator<Item = VertexId>) {
        let known = self.sources.iter().position(|known| Rc::ptr_eq(known, source));
        let position = known.unwrap_or_else(|| {
            self.sources.push(Rc::clone(source));
            self.sources.len() - 1
        });
        for vertex in vertices {
            self.vertices.entry(vertex).or_insert(position);
        }
    }

    /// The Dockerfile that asked for a vertex.
    pub(super) fn source(&self, vertex: VertexId) -> Option<&Rc<BuildSource>> {
        self.sources.get(*self.vertices.get(&vertex)?)
    }

    /// The Dockerfile of a vertex; when there is only one Dockerfile, that.
    fn dockerfile(&self, vertex: Option<VertexId>) -> Option<Dockerfile<'_>> {
        let known = vertex.and_then(|vertex| self.vertices.get(&vertex)).copied();
        let position = known.or((self.sources.len() == 1).then_some(0))?;
        let source = &self.sources[position];
        Some(Dockerfile { name: &source.name, text: &source.text })
    }
}

/// Prints it.
pub(super) fn report(session: &Session, origins: &Origins, outcome: &Outcome, error: Option<&CliError>) {
    let mut reported = false;
    if matches!(error, Some(CliError::Step { .. })) {
        for failed in &outcome.failed {
            output::notice(failed.report(origins.dockerfile(failed.vertex)).trim_end());
            reported = true;
        }
    }
    if let (Some(CliError::Step { vertex, span, name, error }), false) = (error, reported) {
        if let (Some(span), Some(dockerfile)) = (span, origins.dockerfile(*vertex)) {
            output::notice(dockerfile.excerpt(span).trim_end());
        }
        output::notice(&format!("ERROR: failed to build: failed to solve: {name}: {error:#}"));
    }
    if session.explain {
        output::notice(outcome.explain(terminal_width()).trim_end());
    }
    if !matches!(session.progress.mode, Mode::Quiet | Mode::RawJson) {
        let warnings = outcome.warning_summary();
        if !warnings.is_empty() {
            output::notice(warnings.trim_end());
        }
    }
}

fn terminal_width() -> Option<usize> {
    rustix::termios::tcgetwinsize(rustix::stdio::stderr())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns > 0)
}

//! What has been told about which vertex.

use crate::graph::{Graph, VertexId};
use crate::op::{Op, Source};

/// Which vertices are settled, so that each ends with exactly one event and nothing is called cached that may still
/// be demanded.
#[derive(Debug)]
pub(super) struct Reports {
    pub(super) demanded: Vec<bool>,
    pub(super) reported: Vec<bool>,
    /// How many reachable users of a vertex may still demand it.
    open_users: Vec<usize>,
    pub(super) executed: usize,
}

impl Reports {
    pub(super) fn new(graph: &Graph, order: &[VertexId]) -> Self {
        let mut open_users = vec![0; graph.len()];
        for &id in order {
            for input in &graph.vertex(id).inputs {
                open_users[input.index()] += 1;
            }
        }
        let mut reported = vec![false; graph.len()];
        for &id in order {
            // Local sources are reported while the keys are made.
            reported[id.index()] = matches!(graph.vertex(id).op, Op::Source(Source::Local { .. }));
        }
        Self { demanded: vec![false; graph.len()], reported, open_users, executed: 0 }
    }

    /// The vertex ran. Its inputs were demanded and answer for themselves.
    pub(super) fn finished(&mut self, id: VertexId) {
        self.reported[id.index()] = true;
        self.executed += 1;
    }

    /// The vertex was found. Returns it after the vertices before it that nobody can demand any more.
    pub(super) fn cached(&mut self, graph: &Graph, id: VertexId) -> Vec<VertexId> {
        let mut found = Vec::new();
        let mut open = vec![id];
        while let Some(next) = open.pop() {
            if !std::mem::replace(&mut self.reported[next.index()], true) {
                found.push(next);
            }
            for &input in &graph.vertex(next).inputs {
                let users = &mut self.open_users[input.index()];
                *users = users.saturating_sub(1);
                if *users == 0 && !self.demanded[input.index()] {
                    open.push(input);
                }
            }
        }
        found.sort_unstable();
        found
    }
}

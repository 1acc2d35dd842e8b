//! The build graph: vertices in a petgraph DAG, equal vertices stored once.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use crate::op::Op;

/// A vertex of one [`Graph`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VertexId(NodeIndex<u32>);

impl VertexId {
    /// The position of the vertex in the graph, in the order in which vertices were added.
    pub fn index(self) -> usize {
        self.0.index()
    }
}

/// Where a vertex came from, for progress, errors, history and the cache graph.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// The name shown everywhere: `[build 2/4] RUN make`.
    pub name: String,
    /// The stage's name, or its number when it has none.
    pub stage: String,
    /// The instruction as written, joined to one line: `RUN make`.
    pub instruction: String,
    /// The byte range of the instruction in the Dockerfile; `None` for vertices that no line asked for.
    pub span: Option<Range<usize>>,
    /// What stays the same when the step is edited: project, stage and position. The last record with the same
    /// lineage is what a miss is compared with.
    pub lineage: String,
    /// Not worth a line of progress of its own (`FROM scratch`).
    pub hidden: bool,
}

/// An op with its inputs and its origin.
#[derive(Debug, Clone)]
pub struct Vertex {
    /// What to do.
    pub op: Op,
    /// The vertices whose results it works on, in the order that the op counts them.
    pub inputs: Vec<VertexId>,
    /// Where it came from.
    pub origin: Origin,
    /// Neither look its result up nor let a descendant be found by a recipe key that contains it (`--no-cache`).
    pub ignore_cache: bool,
}

/// A DAG of vertices. A vertex can only name inputs that exist already, so it has no cycles by construction.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    dag: DiGraph<Arc<Vertex>, usize, u32>,
    known: HashMap<(Op, Vec<VertexId>, bool), VertexId>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a vertex, or finds the one that does the same to the same inputs.
    ///
    /// # Panics
    /// If an input belongs to another graph.
    pub fn add(&mut self, vertex: Vertex) -> VertexId {
        let identity = (vertex.op.clone(), vertex.inputs.clone(), vertex.ignore_cache);
        if let Some(&id) = self.known.get(&identity) {
            return id;
        }
        let inputs = vertex.inputs.clone();
        let node = self.dag.add_node(Arc::new(vertex));
        for (position, input) in inputs.into_iter().enumerate() {
            assert!(input.0 < node, "an input must be added before the vertex that uses it");
            self.dag.add_edge(input.0, node, position);
        }
        self.known.insert(identity, VertexId(node));
        VertexId(node)
    }

    /// The vertex behind an id of this graph.
    pub fn vertex(&self, id: VertexId) -> &Arc<Vertex> {
        &self.dag[id.0]
    }

    /// All vertices in the order in which they were added, which is a topological order.
    pub fn vertices(&self) -> impl Iterator<Item = (VertexId, &Arc<Vertex>)> {
        self.dag.node_indices().map(|node| (VertexId(node), &self.dag[node]))
    }

    /// How many vertices there are.
    pub fn len(&self) -> usize {
        self.dag.node_count()
    }

    /// Whether there are no vertices.
    pub fn is_empty(&self) -> bool {
        self.dag.node_count() == 0
    }

    /// The vertices that use the result of `id`.
    pub fn users(&self, id: VertexId) -> Vec<VertexId> {
        self.dag.edges_directed(id.0, Direction::Outgoing).map(|edge| VertexId(edge.target())).collect()
    }

    /// Whatever `targets` need, themselves included, in topological order.
    pub fn reachable(&self, targets: &[VertexId]) -> Vec<VertexId> {
        let mut needed = vec![false; self.len()];
        let mut open: Vec<VertexId> = targets.to_vec();
        while let Some(id) = open.pop() {
            if !std::mem::replace(&mut needed[id.index()], true) {
                open.extend(&self.vertex(id).inputs);
            }
        }
        self.dag.node_indices().filter(|node| needed[node.index()]).map(VertexId).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Source;

    fn vertex(op: Op, inputs: Vec<VertexId>) -> Vertex {
        Vertex { op, inputs, origin: Origin::default(), ignore_cache: false }
    }

    #[test]
    fn equal_vertices_are_one() {
        let mut graph = Graph::new();
        let scratch = graph.add(vertex(Op::Source(Source::Scratch), vec![]));
        let context = graph.add(vertex(Op::Source(Source::Local { name: "context".into() }), vec![]));
        let first = graph.add(vertex(Op::Merge, vec![scratch, context]));
        let again = graph.add(vertex(Op::Merge, vec![scratch, context]));
        let swapped = graph.add(vertex(Op::Merge, vec![context, scratch]));
        assert_eq!(first, again);
        assert_ne!(first, swapped);
        assert_eq!(graph.users(scratch).len(), 2);
    }

    #[test]
    fn unreachable_vertices_are_left_out() {
        let mut graph = Graph::new();
        let scratch = graph.add(vertex(Op::Source(Source::Scratch), vec![]));
        let unused = graph.add(vertex(Op::Source(Source::Local { name: "unused".into() }), vec![]));
        let target = graph.add(vertex(Op::Merge, vec![scratch, scratch]));
        let needed = graph.reachable(&[target]);
        assert_eq!(needed, vec![scratch, target]);
        assert!(!needed.contains(&unused));
    }
}

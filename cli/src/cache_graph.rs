//! The cache graph: the records of the store with their inputs, as a tree for people, as DOT, and as JSON.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use builder_cache::{Store, StoredRecord};
use builder_solver::{CacheKey, Part};
use petgraph::dot::{Config, Dot};
use petgraph::graph::DiGraph;
use serde_json::{Value, json};

use crate::commands::images::timestamp;
use crate::error::CliResult;
use crate::output;
use crate::progress::visible_text;

/// Steps and what they are made of.
pub(crate) struct CacheGraph {
    records: Vec<StoredRecord>,
    by_key: HashMap<CacheKey, usize>,
    /// The bytes of the layer that each step made.
    sizes: Vec<u64>,
    /// The steps that no other step here uses, newest first.
    targets: Vec<usize>,
    now_ms: i64,
}

impl CacheGraph {
    /// Everything that is recorded.
    pub(crate) fn all(store: &Store) -> CliResult<Self> {
        Self::new(store, store.all_records()?)
    }

    /// What led to one step.
    pub(crate) fn of(store: &Store, target: CacheKey) -> CliResult<Self> {
        let (mut records, mut open, mut seen) = (Vec::new(), vec![target], HashSet::new());
        while let Some(key) = open.pop() {
            if !seen.insert(key) {
                continue;
            }
            if let Some(record) = store.stored_record(&key)? {
                open.extend(record.inputs());
                records.push(record);
            }
        }
        records.reverse();
        Self::new(store, records)
    }

    fn new(store: &Store, records: Vec<StoredRecord>) -> CliResult<Self> {
        let mut sizes = Vec::with_capacity(records.len());
        for record in &records {
            let top = record.output.as_ref().and_then(|output| output.layers.last());
            sizes.push(match top {
                Some(layer) if record.kind != "image" => store.layer(layer)?.meta.size,
                _ => record.size,
            });
        }
        let by_key: HashMap<_, _> = records.iter().enumerate().map(|(at, record)| (record.recipe, at)).collect();
        let used: HashSet<CacheKey> = records.iter().flat_map(StoredRecord::inputs).collect();
        let mut targets: Vec<usize> = (0..records.len()).filter(|at| !used.contains(&records[*at].recipe)).collect();
        targets.sort_by_key(|at| std::cmp::Reverse(records[*at].created_ms));
        let now_ms = jiff::Timestamp::now().as_millisecond();
        Ok(Self { records, by_key, sizes, targets, now_ms })
    }

    fn inputs(&self, at: usize) -> Vec<usize> {
        self.records[at].inputs().filter_map(|key| self.by_key.get(&key).copied()).collect()
    }

    /// The targets with what they are made of below them; a step that several use is shown in full once.
    pub(crate) fn tree(&self) -> String {
        if self.records.is_empty() {
            return "nothing is cached\n".to_owned();
        }
        let mut text = String::new();
        let mut shown = HashSet::new();
        for &target in &self.targets {
            // Frames of (step, prefix of its line, prefix of the lines below it): no recursion, chains are long.
            let mut open = vec![(target, String::new(), String::new())];
            while let Some((at, line, below)) = open.pop() {
                let record = &self.records[at];
                if !shown.insert(at) {
                    let _ = writeln!(text, "{line}{} (shown above)", visible_text(&record.name));
                    continue;
                }
                let _ = writeln!(text, "{line}{}", visible_text(&record.name));
                let inputs = self.inputs(at);
                let bar = if inputs.is_empty() { "   " } else { "│  " };
                let _ = writeln!(text, "{below}{bar}{}", self.details(at));
                // A chain stays in its column; only side inputs are indented.
                for (position, &input) in inputs.iter().enumerate() {
                    let (line, deeper) = if position == 0 {
                        (below.clone(), below.clone())
                    } else {
                        (format!("{below}├─ "), format!("{below}│  "))
                    };
                    open.push((input, line, deeper));
                }
            }
            text.push('\n');
        }
        let _ = writeln!(text, "{}", self.summary());
        text
    }

    fn summary(&self) -> String {
        let present = self.records.iter().filter(|record| record.output.is_some()).count();
        let cost: f64 = self.records.iter().map(|record| record.cost.as_secs_f64()).sum();
        format!(
            "{} steps, {present} of them cached, {cost:.1}s to run them all, {} in their layers",
            self.records.len(),
            output::size(self.sizes.iter().sum())
        )
    }

    /// For Graphviz. An edge goes from a step to the step that uses it.
    pub(crate) fn dot(&self) -> String {
        let mut graph: DiGraph<String, &str> = DiGraph::new();
        let nodes: Vec<_> = (0..self.records.len())
            .map(|at| graph.add_node(format!("{}\n{}", self.records[at].name, self.details(at))))
            .collect();
        for (at, node) in nodes.iter().enumerate() {
            for input in self.inputs(at) {
                graph.add_edge(nodes[input], *node, "");
            }
        }
        let records = &self.records;
        let style = |_: &DiGraph<String, &str>, (node, _): (petgraph::graph::NodeIndex, &String)| {
            if records[node.index()].output.is_some() {
                "shape=box".to_owned()
            } else {
                "shape=box style=dashed".to_owned()
            }
        };
        format!("{}", Dot::with_attr_getters(&graph, &[Config::EdgeNoLabel], &|_, _| String::new(), &style))
    }

    /// For programs: every step with the components of its key.
    pub(crate) fn json(&self) -> Value {
        let steps: Vec<Value> =
            self.records.iter().zip(&self.sizes).map(|(record, size)| step(record, *size)).collect();
        let targets: Vec<String> = self.targets.iter().map(|at| self.records[*at].recipe.to_string()).collect();
        json!({ "targets": targets, "steps": steps })
    }
}

impl CacheGraph {
    fn details(&self, at: usize) -> String {
        let (record, size) = (&self.records[at], self.sizes[at]);
        let state = if record.output.is_some() { "cached" } else { "pruned" };
        let mut files = String::new();
        for component in record.components.iter().filter(|component| matches!(component.part, Part::Files(_))) {
            let _ = write!(files, " · files {}", component.value);
        }
        format!(
            "{state} {} · {} · {:.2}s · last used {}{files}",
            record.recipe.short(),
            output::size(size),
            record.cost.as_secs_f64(),
            output::ago((self.now_ms - record.last_used_ms) / 1000)
        )
    }
}

fn step(record: &StoredRecord, size: u64) -> Value {
    json!({
        "key": record.recipe.to_string(),
        "contentKey": record.content.as_ref().map(ToString::to_string),
        "name": record.name,
        "kind": record.kind,
        "cached": record.output.is_some(),
        "costMs": u64::try_from(record.cost.as_millis()).unwrap_or(u64::MAX),
        "size": size,
        "created": timestamp(record.created_ms),
        "lastUsed": timestamp(record.last_used_ms),
        "hits": record.hits,
        "layers": record.output.as_ref().map(|output| output.layers.iter().map(ToString::to_string).collect::<Vec<_>>()),
        "inputs": record.inputs().map(|key| key.to_string()).collect::<Vec<_>>(),
        "components": record.components,
    })
}

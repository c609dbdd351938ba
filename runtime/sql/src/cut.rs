//! Cuts the dataflow into stages: everything between two exchanges is one stage.
use std::collections::{BTreeMap, BTreeSet};

use crate::dataflow::{Node, NodeKind, NodeRef};
use crate::graph::{Edge, OpKind, OpSpec, Partition, Stage, WindowTime};

/// The stages of all sinks, in topological order, and the edges between them.
pub(crate) fn cut(sinks: &[NodeRef]) -> (Vec<Stage>, Vec<Edge>) {
    let mut cutter = Cutter::default();
    for sink in sinks {
        cutter.stage_of(sink);
    }
    (cutter.stages, cutter.edges)
}

#[derive(Default)]
struct Cutter {
    stages: Vec<Stage>,
    edges: Vec<Edge>,
    /// The stage that ends with a node, by the node's id.
    by_node: BTreeMap<usize, usize>,
    names: BTreeSet<String>,
    /// How many stages have been named after a kind of op.
    counts: BTreeMap<&'static str, usize>,
}

impl Cutter {
    /// The stage whose output is that of `node`.
    fn stage_of(&mut self, node: &NodeRef) -> usize {
        if let Some(stage) = self.by_node.get(&node.id) {
            return *stage;
        }
        let mut chain: Vec<&NodeRef> = Vec::new();
        let mut current = node;
        while let (NodeKind::Op(_), false, [input]) = (&current.kind, current.is_keyed(), current.inputs.as_slice()) {
            chain.push(current);
            current = input;
        }
        let first = current;
        let inputs = self.inputs_of(first);
        if matches!(first.kind, NodeKind::Op(_)) {
            chain.push(first);
        }
        chain.reverse();
        let name = self.name_of(first);
        let ops = ops_of(&name, &chain);
        let stage = self.stages.len();
        self.stages.push(Stage { name, ops });
        self.edges.extend(inputs.into_iter().map(|input| Edge { to: stage, ..input }));
        self.by_node.insert(node.id, stage);
        stage
    }

    /// Edges into the stage that begins with `first`; where they lead is not known yet.
    fn inputs_of(&mut self, first: &Node) -> Vec<Edge> {
        let mut edges = Vec::new();
        for (port, input) in first.inputs.iter().enumerate() {
            let (port, partition) = match &first.kind {
                NodeKind::Op(kind) => (port, Partition::Hash { columns: hash_columns(kind, port) }),
                // An updating row and its retraction must not overtake each other: equal rows take the same way.
                NodeKind::Union if first.updating => {
                    (0, Partition::Hash { columns: (0..first.schema.fields().len()).collect() })
                }
                NodeKind::Union => (0, Partition::Rebalance),
            };
            for producer in flatten(input) {
                let from = self.stage_of(producer);
                edges.push(Edge { from, to: 0, port, partition: partition.clone() });
            }
        }
        edges
    }

    fn name_of(&mut self, first: &Node) -> String {
        let kind = match &first.kind {
            NodeKind::Op(OpKind::Source(table)) => {
                let label = dns_label(&table.name);
                return self.unique(&label);
            }
            NodeKind::Op(OpKind::WindowAggregate { .. }) => "window",
            NodeKind::Op(OpKind::GroupAggregate { .. }) => "aggregate",
            NodeKind::Op(OpKind::WindowJoin { .. }) => "window-join",
            NodeKind::Op(OpKind::Join { .. }) => "join",
            NodeKind::Op(_) => "stage",
            NodeKind::Union => "union",
        };
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        let name = format!("{kind}-{count}");
        self.unique(&name)
    }

    fn unique(&mut self, name: &str) -> String {
        let candidates = std::iter::once(name.to_owned()).chain((2_usize..).map(|number| format!("{name}-{number}")));
        // The candidates do not end, the names taken do.
        let free = candidates.into_iter().find(|candidate| !self.names.contains(candidate)).unwrap_or_default();
        self.names.insert(free.clone());
        free
    }
}

/// The inputs of unions inside each other are inputs of what reads the union.
fn flatten(node: &NodeRef) -> Vec<&NodeRef> {
    match node.kind {
        NodeKind::Union => node.inputs.iter().flat_map(flatten).collect(),
        NodeKind::Op(_) => vec![node],
    }
}

/// What rows of one key have in common. Without keys, rows of one window do; without a window, everything is one group.
fn hash_columns(kind: &OpKind, port: usize) -> Vec<usize> {
    let or_window = |keys: &[usize], window: (usize, usize)| {
        if keys.is_empty() { vec![window.0, window.1] } else { keys.to_vec() }
    };
    match kind {
        OpKind::WindowAggregate { keys, time: WindowTime::Attached { start, end }, .. } => {
            or_window(keys, (*start, *end))
        }
        OpKind::WindowAggregate { keys, .. } | OpKind::GroupAggregate { keys, .. } => keys.clone(),
        OpKind::WindowJoin { left_keys, left_window, .. } if port == 0 => or_window(left_keys, *left_window),
        OpKind::WindowJoin { right_keys, right_window, .. } => or_window(right_keys, *right_window),
        OpKind::Join { left_keys, .. } if port == 0 => left_keys.clone(),
        OpKind::Join { right_keys, .. } => right_keys.clone(),
        _ => Vec::new(),
    }
}

fn ops_of(stage: &str, chain: &[&NodeRef]) -> Vec<OpSpec> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut ops = Vec::with_capacity(chain.len());
    for node in chain {
        let NodeKind::Op(kind) = &node.kind else { continue };
        let name = kind.name();
        let count = seen.entry(name).or_default();
        *count += 1;
        let id = if *count == 1 { format!("{stage}.{name}") } else { format!("{stage}.{name}-{count}") };
        ops.push(OpSpec {
            id,
            kind: kind.clone(),
            output: node.schema.clone(),
            updating: node.updating,
            rowtime: node.rowtime(),
        });
    }
    ops
}

/// A table's name as a DNS label, with room for a suffix.
fn dns_label(name: &str) -> String {
    let label: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).take(40).collect();
    let label = label.trim_matches('-');
    if label.is_empty() { "table".to_owned() } else { label.to_owned() }
}

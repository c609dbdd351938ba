//! A query's columns on their way: where in the dataflow each of them is found.
use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;

use crate::dataflow::{Node, NodeRef, Output, Role, column, column_index};
use crate::graph::WindowSpec;

/// Where a column is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// A column of the node.
    Physical(usize),
    /// A column of the pending window, which nothing has computed yet.
    Window(Role),
}

/// A window function not yet applied: most are absorbed by the aggregate that follows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    pub window: WindowSpec,
    /// The event time column of the node.
    pub rowtime: usize,
}

/// The output of a logical plan node.
#[derive(Debug)]
pub(super) struct Relation {
    pub node: NodeRef,
    /// One per column of the logical plan.
    pub columns: Vec<Slot>,
    pub window: Option<Pending>,
}

impl Relation {
    /// Where the column is that `expr` names, if it only names one.
    pub(super) fn slot(&self, expr: &Expr, schema: &DFSchema) -> Option<Slot> {
        let Expr::Column(column) = expr else { return None };
        self.columns.get(schema.maybe_index_of_column(column)?).copied()
    }

    /// What a column means for time. A pending window puts an end to what columns meant before.
    pub(super) fn role(&self, slot: Slot) -> Role {
        match slot {
            Slot::Physical(_) if self.window.is_some() => Role::None,
            Slot::Physical(index) => self.node.roles.get(index).copied().unwrap_or_default(),
            Slot::Window(role) => role,
        }
    }

    /// Whether an expression reads columns of the pending window.
    pub(super) fn needs_window(&self, expr: &Expr, schema: &DFSchema) -> bool {
        self.window.is_some()
            && expr.column_refs().into_iter().any(|column| {
                let slot = schema.maybe_index_of_column(column).and_then(|index| self.columns.get(index));
                matches!(slot, Some(Slot::Window(_)))
            })
    }

    /// A column of the node under a name of its own.
    pub(super) fn output(&self, slot: Slot, name: &str) -> Option<Output> {
        let Slot::Physical(index) = slot else { return None };
        Some(Output { expr: column(&self.node, index), name: name.to_owned(), role: self.role(slot) })
    }
}

/// The columns of a projection being collected, each once.
pub(super) struct Outputs<'a> {
    node: &'a Node,
    outputs: Vec<Output>,
}

impl<'a> Outputs<'a> {
    pub(super) fn new(node: &'a Node) -> Self {
        Self { node, outputs: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.outputs.len()
    }

    /// Position of a column that is passed on.
    pub(super) fn keep(&mut self, index: usize) -> usize {
        if let Some(position) = self.outputs.iter().position(|output| column_index(&output.expr) == Some(index)) {
            return position;
        }
        let (name, role) = (self.node.schema.field(index).name(), self.node.roles[index]);
        self.push(column(self.node, index), name, role)
    }

    /// Position of a computed column.
    pub(super) fn compute(&mut self, expr: Arc<dyn PhysicalExpr>, name: &str) -> usize {
        self.push(expr, name, Role::None)
    }

    /// Position of what `expr` gives: a column passed on, or one computed, the same for equal expressions.
    pub(super) fn place(&mut self, expr: &Arc<dyn PhysicalExpr>) -> usize {
        if let Some(index) = column_index(expr) {
            return self.keep(index);
        }
        if let Some(position) = self.outputs.iter().position(|output| output.expr.as_ref() == expr.as_ref()) {
            return position;
        }
        let name = crate::tokens::shorten(&expr.to_string());
        self.compute(Arc::clone(expr), &name)
    }

    pub(super) fn finish(self) -> Vec<Output> {
        self.outputs
    }

    fn push(&mut self, expr: Arc<dyn PhysicalExpr>, name: &str, role: Role) -> usize {
        self.outputs.push(Output { expr, name: name.to_owned(), role });
        self.outputs.len() - 1
    }
}

//! The dataflow before it is cut into stages: a graph of ops in which equal parts are one node.
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};

use crate::expr::Expr;
use crate::graph::OpKind;

/// What a column means for time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Role {
    /// Nothing.
    #[default]
    None,
    /// Event time that watermarks are about.
    Rowtime,
    /// Start of the window the row belongs to.
    WindowStart,
    /// End of that window, exclusive.
    WindowEnd,
    /// Last millisecond of that window: an event time too.
    WindowTime,
}

impl Role {
    /// Whether windows can be made by this column.
    pub(crate) fn is_event_time(self) -> bool {
        matches!(self, Self::Rowtime | Self::WindowTime)
    }
}

/// What a node does.
#[derive(Debug, Clone)]
pub(crate) enum NodeKind {
    /// An op of the stage graph.
    Op(OpKind),
    /// All rows of all inputs.
    Union,
}

/// One step of the dataflow.
#[derive(Debug)]
pub(crate) struct Node {
    pub id: usize,
    pub kind: NodeKind,
    pub inputs: Vec<NodeRef>,
    pub schema: SchemaRef,
    pub updating: bool,
    pub roles: Vec<Role>,
}

/// A node, shared by all that read it.
pub(crate) type NodeRef = Arc<Node>;

impl Node {
    /// Whether its input arrives by key, so that a stage begins with it.
    pub(crate) fn is_keyed(&self) -> bool {
        matches!(
            self.kind,
            NodeKind::Op(
                OpKind::WindowAggregate { .. }
                    | OpKind::GroupAggregate { .. }
                    | OpKind::WindowJoin { .. }
                    | OpKind::Join { .. }
            )
        )
    }

    /// The event time column.
    pub(crate) fn rowtime(&self) -> Option<usize> {
        self.roles.iter().position(|role| role.is_event_time())
    }
}

/// A column of a projection.
pub(crate) struct Output {
    pub expr: Arc<dyn PhysicalExpr>,
    pub name: String,
    pub role: Role,
}

/// The nodes there are.
#[derive(Default)]
pub(crate) struct Dataflow {
    nodes: BTreeMap<String, NodeRef>,
}

impl Dataflow {
    /// The node that does this; the one there is, if there is one.
    pub(crate) fn add(
        &mut self,
        kind: NodeKind,
        inputs: Vec<NodeRef>,
        schema: SchemaRef,
        updating: bool,
        roles: Vec<Role>,
    ) -> NodeRef {
        let ids: Vec<usize> = inputs.iter().map(|input| input.id).collect();
        let key = format!("{kind:?} {ids:?} {:?}", schema.fields());
        let id = self.nodes.len();
        Arc::clone(
            self.nodes.entry(key).or_insert_with(|| Arc::new(Node { id, kind, inputs, schema, updating, roles })),
        )
    }

    /// A node with one input that keeps its columns.
    pub(crate) fn pass(&mut self, kind: OpKind, input: NodeRef, roles: Vec<Role>) -> NodeRef {
        let (schema, updating) = (Arc::clone(&input.schema), input.updating);
        self.add(NodeKind::Op(kind), vec![input], schema, updating, roles)
    }

    /// A projection; none if it would change nothing, one only over another projection where that does no work twice.
    pub(crate) fn project(&mut self, input: NodeRef, outputs: Vec<Output>) -> Result<NodeRef> {
        if is_identity(&input, &outputs) {
            return Ok(input);
        }
        let fields: Vec<Field> = outputs
            .iter()
            .map(|output| Ok(Field::new(&output.name, output.expr.data_type(&input.schema)?, true)))
            .collect::<Result<_>>()?;
        let roles = outputs.iter().map(|output| output.role).collect();
        let exprs: Vec<Arc<dyn PhysicalExpr>> = outputs.into_iter().map(|output| output.expr).collect();
        let (exprs, base) = match &input.kind {
            NodeKind::Op(OpKind::Project { exprs: inner }) if merges(&exprs, inner) => {
                let merged = exprs.into_iter().map(|expr| substitute(expr, inner)).collect::<Result<Vec<_>>>()?;
                (merged, input.inputs[0].clone())
            }
            _ => (exprs, input),
        };
        let updating = base.updating;
        let kind = OpKind::Project { exprs: exprs.into_iter().map(Expr::new).collect() };
        Ok(self.add(NodeKind::Op(kind), vec![base], Arc::new(Schema::new(fields)), updating, roles))
    }
}

/// The column an expression is, if it is nothing else.
pub(crate) fn column_index(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    expr.downcast_ref::<Column>().map(Column::index)
}

/// A reference to a column of a node.
pub(crate) fn column(node: &Node, index: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(node.schema.field(index).name(), index))
}

fn is_identity(input: &Node, outputs: &[Output]) -> bool {
    outputs.len() == input.schema.fields().len()
        && outputs.iter().enumerate().all(|(index, output)| {
            column_index(&output.expr) == Some(index) && output.name == *input.schema.field(index).name()
        })
}

/// Whether no work of the inner projection is done twice when it is put into the outer one.
fn merges(outer: &[Arc<dyn PhysicalExpr>], inner: &[Expr]) -> bool {
    let mut uses = vec![0_usize; inner.len()];
    for expr in outer {
        count_uses(expr, &mut uses);
    }
    inner.iter().zip(uses).all(|(expr, uses)| {
        uses <= 1 || expr.as_column().is_some() || expr.physical().downcast_ref::<Literal>().is_some()
    })
}

fn count_uses(expr: &Arc<dyn PhysicalExpr>, uses: &mut [usize]) {
    if let Some(uses) = column_index(expr).and_then(|index| uses.get_mut(index)) {
        *uses += 1;
    }
    for child in expr.children() {
        count_uses(child, uses);
    }
}

fn substitute(expr: Arc<dyn PhysicalExpr>, inner: &[Expr]) -> Result<Arc<dyn PhysicalExpr>> {
    let replaced = expr.transform_up(|part| {
        Ok(match column_index(&part).and_then(|index| inner.get(index)) {
            Some(replacement) => Transformed::yes(Arc::clone(replacement.physical())),
            None => Transformed::no(part),
        })
    });
    replaced.map(|transformed| transformed.data)
}

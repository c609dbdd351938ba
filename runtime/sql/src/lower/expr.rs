//! Logical expressions over a relation to physical ones over its node.
use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use super::Lowering;
use super::relation::{Relation, Slot};
use crate::dataflow::column_index;
use crate::error::Error;

/// The expression without the names it is given.
pub(super) fn unalias(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unalias(&alias.expr),
        other => other,
    }
}

impl Lowering<'_> {
    /// `expr` over `schema`, whose columns are those of `relation`, bound to the relation's node.
    pub(super) fn compile(&self, expr: &Expr, schema: &DFSchema, relation: &Relation) -> Result<Arc<dyn PhysicalExpr>, Error> {
        self.compile_with(expr, schema, |index| relation.columns.get(index).copied())
    }

    /// The same with the place of each column given by `slot`.
    pub(super) fn compile_with(
        &self, expr: &Expr, schema: &DFSchema, slot: impl Fn(usize) -> Option<Slot>,
    ) -> Result<Arc<dyn PhysicalExpr>, Error> {
        let context = PhysicalPlanningContext::default();
        let physical = create_physical_expr(expr, schema, &ExecutionProps::new(), &context).map_err(|error| self.fail(error))?;
        let bound = physical.transform_up(|part| {
            let Some(index) = column_index(&part) else { return Ok(Transformed::no(part)) };
            match slot(index) {
                Some(Slot::Physical(physical)) => {
                    let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(schema.field(index).name(), physical));
                    Ok(Transformed::yes(column))
                }
                _ => datafusion::common::internal_err!("column {part} is computed nowhere"),
            }
        });
        bound.map(|transformed| transformed.data).map_err(|error| self.fail(error))
    }
}

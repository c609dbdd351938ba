//! Logical expressions over a relation to physical ones over its node.
use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::Operator;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
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
    pub(super) fn compile(
        &self,
        expr: &Expr,
        schema: &DFSchema,
        relation: &Relation,
    ) -> Result<Arc<dyn PhysicalExpr>, Error> {
        self.compile_with(expr, schema, |index| relation.columns.get(index).copied())
    }

    /// The same with the place of each column given by `slot`.
    pub(super) fn compile_with(
        &self,
        expr: &Expr,
        schema: &DFSchema,
        slot: impl Fn(usize) -> Option<Slot>,
    ) -> Result<Arc<dyn PhysicalExpr>, Error> {
        let context = PhysicalPlanningContext::default();
        let physical =
            create_physical_expr(expr, schema, &ExecutionProps::new(), &context).map_err(|error| self.fail(error))?;
        let physical = physical
            .transform_up(|part| {
                let faster = with_duration(&part, schema);
                Ok(faster.map_or_else(|| Transformed::no(Arc::clone(&part)), Transformed::yes))
            })
            .map_err(|error| self.fail(error))?
            .data;
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

/// `ts - INTERVAL '4' SECOND` with the interval as a duration: one subtraction per row instead of a calendar's.
/// Seen before its columns are bound, so `schema` is that of the logical plan.
fn with_duration(part: &Arc<dyn PhysicalExpr>, schema: &DFSchema) -> Option<Arc<dyn PhysicalExpr>> {
    let binary = part.downcast_ref::<BinaryExpr>()?;
    let ScalarValue::IntervalMonthDayNano(Some(interval)) = binary.right().downcast_ref::<Literal>()?.value() else {
        return None;
    };
    let is_sum = matches!(binary.op(), Operator::Plus | Operator::Minus);
    if !is_sum || interval.months != 0 || interval.nanoseconds % 1_000_000 != 0 {
        return None;
    }
    // Days have 24 hours: all timestamps are without zone or in UTC.
    let ms = i64::from(interval.days) * 86_400_000 + interval.nanoseconds / 1_000_000;
    match binary.left().data_type(schema.as_arrow()).ok()? {
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            let duration: Arc<dyn PhysicalExpr> = Arc::new(Literal::new(ScalarValue::DurationMillisecond(Some(ms))));
            Some(Arc::new(BinaryExpr::new(Arc::clone(binary.left()), *binary.op(), duration)))
        }
        _ => None,
    }
}

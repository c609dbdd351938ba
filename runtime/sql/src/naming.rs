//! Names the planner makes up for aggregate calls. It leaves casts out of them, so `AVG(x)` and `AVG(CAST(x AS DOUBLE))` would
//! be two columns of one name, which it refuses.
use datafusion::common::tree_node::TreeNode;
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawAggregateExpr};

/// Names what an aggregate call is given after all of its text where there is a cast in it.
#[derive(Debug)]
pub(crate) struct CastNames;

impl ExprPlanner for CastNames {
    fn plan_aggregate(&self, mut call: RawAggregateExpr) -> Result<PlannerResult<RawAggregateExpr>> {
        call.args = call.args.into_iter().map(named).collect();
        call.filter = call.filter.map(|filter| Box::new(named(*filter)));
        Ok(PlannerResult::Original(call))
    }
}

fn named(expr: Expr) -> Expr {
    // The closure never fails, so neither does the search.
    let has_cast = expr.exists(|part| Ok(matches!(part, Expr::Cast(_) | Expr::TryCast(_)))).unwrap_or(false);
    if has_cast {
        let name = expr.to_string();
        expr.alias(name)
    } else {
        expr
    }
}

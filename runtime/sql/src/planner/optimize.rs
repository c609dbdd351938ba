//! The rules applied to a logical plan. Only those that keep what the streaming ops recognise: no rule may turn an
//! aggregate into two, a join into another kind, or a query into nothing.
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::analyzer::Analyzer;
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::optimize_unions::OptimizeUnions;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Optimizer, OptimizerContext, OptimizerRule};

use crate::catalog::Catalog;

/// Resolves types: inserts the casts that make operands fit.
pub(super) fn analyze(plan: LogicalPlan, catalog: &Catalog) -> Result<LogicalPlan> {
    Analyzer::new().execute_and_check(plan, &catalog.config, |_, _| {})
}

/// Types resolved, filters and columns pushed down, expressions simplified.
pub(super) fn optimize(plan: LogicalPlan, catalog: &Catalog) -> Result<LogicalPlan> {
    let rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = vec![
        Arc::new(OptimizeUnions::new()),
        Arc::new(SimplifyExpressions::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(EliminateDuplicatedExpr::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(PushDownFilter::new()),
        Arc::new(OptimizeProjections::new()),
    ];
    let config: Arc<ConfigOptions> = Arc::clone(&catalog.config);
    let context = OptimizerContext::new_with_config_options(config).without_query_execution_start_time();
    Optimizer::with_rules(rules).optimize(analyze(plan, catalog)?, &context, |_, _| {})
}

//! The watermark generator of a table.
use std::collections::HashSet;
use std::fmt;

use datafusion::common::DFSchemaRef;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

/// Passes all rows on and makes a watermark from them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub(crate) struct Watermark {
    pub input: LogicalPlan,
    /// The event time column.
    pub rowtime: Expr,
    /// The watermark each row stands for.
    pub expr: Expr,
    pub idle_timeout_ms: Option<u64>,
}

impl UserDefinedLogicalNodeCore for Watermark {
    fn name(&self) -> &str {
        "Watermark"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![self.rowtime.clone(), self.expr.clone()]
    }

    /// Every row counts for the watermark, also those a filter drops.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.schema().fields().iter().map(|field| field.name().clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watermark: {} AS {}", self.rowtime, self.expr)?;
        self.idle_timeout_ms.map_or(Ok(()), |timeout| write!(f, ", idle after {timeout} ms"))
    }

    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let (Some(expr), Some(rowtime), Some(input)) = (exprs.pop(), exprs.pop(), inputs.pop()) else {
            return datafusion::common::internal_err!("a watermark has two expressions and one input");
        };
        Ok(Self { input, rowtime, expr, idle_timeout_ms: self.idle_timeout_ms })
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let own = self.rowtime.column_refs().into_iter().chain(self.expr.column_refs());
        let own = own.filter_map(|column| self.schema().maybe_index_of_column(column));
        let mut needed: Vec<usize> = output_columns.iter().copied().chain(own).collect();
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}

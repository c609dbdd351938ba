//! A window table function: each row once per window it is in.
use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use crate::error::Position;
use crate::graph::WindowSpec;
use crate::types::TIMESTAMP;

/// What a window table function appends.
pub(crate) const WINDOW_COLUMNS: [&str; 3] = ["window_start", "window_end", "window_time"];

/// `TUMBLE` or `HOP` over a relation.
#[derive(Debug, Clone)]
pub(crate) struct WindowFunction {
    pub input: LogicalPlan,
    /// The column the window is found by.
    pub rowtime: Expr,
    pub window: WindowSpec,
    /// Where the text names that column.
    pub position: Position,
    schema: DFSchemaRef,
}

impl WindowFunction {
    pub(crate) fn try_new(input: LogicalPlan, rowtime: Expr, window: WindowSpec, position: Position) -> Result<Self> {
        let own = WINDOW_COLUMNS.iter().map(|name| (None, Arc::new(Field::new(*name, TIMESTAMP, false))));
        let fields = input.schema().iter().map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field)));
        let schema = DFSchema::new_with_metadata(fields.chain(own).collect(), Default::default())?;
        Ok(Self { input, rowtime, window, position, schema: Arc::new(schema) })
    }

    fn identity(&self) -> (&LogicalPlan, &Expr, WindowSpec, Position) {
        (&self.input, &self.rowtime, self.window, self.position)
    }
}

impl PartialEq for WindowFunction {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for WindowFunction {}

impl Hash for WindowFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.input.hash(state);
        self.rowtime.hash(state);
        (self.window.size_ms, self.window.slide_ms, self.window.offset_ms, self.position).hash(state);
    }
}

impl PartialOrd for WindowFunction {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.position.partial_cmp(&other.position)
    }
}

impl fmt::Display for WindowSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.slide_ms == self.size_ms {
            write!(f, "TUMBLE {} ms", self.size_ms)?;
        } else {
            write!(f, "HOP {} ms every {} ms", self.size_ms, self.slide_ms)?;
        }
        if self.offset_ms == 0 { Ok(()) } else { write!(f, " + {} ms", self.offset_ms) }
    }
}

impl UserDefinedLogicalNodeCore for WindowFunction {
    fn name(&self) -> &str {
        "WindowFunction"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![self.rowtime.clone()]
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        WINDOW_COLUMNS.iter().map(|name| (*name).to_owned()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WindowFunction: {} of {}", self.window, self.rowtime)
    }

    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let (Some(rowtime), Some(input)) = (exprs.pop(), inputs.pop()) else {
            return datafusion::common::internal_err!("a window function has one expression and one input");
        };
        Self::try_new(input, rowtime, self.window, self.position)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let inherited = self.input.schema().fields().len();
        let own = self.rowtime.column_refs().into_iter();
        let own = own.filter_map(|column| self.input.schema().maybe_index_of_column(column));
        let mut needed: Vec<usize> =
            output_columns.iter().copied().filter(|index| *index < inherited).chain(own).collect();
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}

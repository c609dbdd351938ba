//! Ops that look at one batch at a time: projection, filter, window assignment.
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use millstream_sql::Expr;
use millstream_sql::graph::{OpSpec, WindowSpec};

use super::row::fixed;
use super::window::slice_end;
use super::{Error, Op, OpContext};
use crate::batch::Batch;

/// One output column per expression.
pub(crate) struct Project {
    op: String,
    exprs: Vec<Expr>,
    output: SchemaRef,
}

impl Project {
    pub fn new(op: &OpSpec, exprs: &[Expr]) -> Self {
        Self { op: op.id.clone(), exprs: exprs.to_vec(), output: op.output.clone() }
    }

    fn project(&self, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let evaluate = |expr: &Expr| match expr.as_column() {
            Some(column) => Ok(rows.column(column).clone()),
            None => expr.evaluate(rows),
        };
        let columns = self.exprs.iter().map(evaluate).collect::<Result<Vec<ArrayRef>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(self.output.clone(), columns, &options)
    }
}

impl Op for Project {
    fn on_batch(&mut self, _port: usize, batch: Batch, context: &mut OpContext<'_>) -> Result<(), Error> {
        let rows = self.project(&batch.rows).map_err(|source| Error::Evaluate { op: self.op.clone(), source })?;
        context.output.push(Batch { rows, ..batch });
        Ok(())
    }
}

/// Keeps rows whose predicate is true.
pub(crate) struct Filter {
    op: String,
    predicate: Expr,
}

impl Filter {
    pub fn new(op: &OpSpec, predicate: &Expr) -> Self {
        Self { op: op.id.clone(), predicate: predicate.clone() }
    }
}

/// The rows for which `predicate` is true; none if there is none.
pub(crate) fn filter(batch: Batch, predicate: &Expr) -> Result<Option<Batch>, ArrowError> {
    let mask = predicate.evaluate(&batch.rows)?;
    let Some(mask) = mask.as_boolean_opt() else {
        return Err(ArrowError::ComputeError(format!("the predicate `{predicate}` gives {}", mask.data_type())));
    };
    let mask = if mask.null_count() > 0 { prep_null_mask_filter(mask) } else { mask.clone() };
    let kept = mask.true_count();
    if kept == batch.num_rows() {
        return Ok(Some(batch));
    }
    if kept == 0 {
        return Ok(None);
    }
    let rows = filter_record_batch(&batch.rows, &mask)?;
    let kinds = batch.kinds.map(|kinds| mask.values().set_indices().map(|row| kinds[row]).collect());
    let groups = batch.groups.map(|groups| mask.values().set_indices().map(|row| groups[row]).collect());
    Ok(Some(Batch { rows, kinds, groups, split: batch.split }))
}

impl Op for Filter {
    fn on_batch(&mut self, _port: usize, batch: Batch, context: &mut OpContext<'_>) -> Result<(), Error> {
        let kept = filter(batch, &self.predicate).map_err(|source| Error::Evaluate { op: self.op.clone(), source })?;
        context.output.extend(kept);
        Ok(())
    }
}

/// Each row once per window it is in. Rows without event time are in none and count as late.
pub(crate) struct AssignWindows {
    op: String,
    window: WindowSpec,
    rowtime: usize,
    output: SchemaRef,
}

impl AssignWindows {
    pub fn new(op: &OpSpec, window: WindowSpec, rowtime: usize) -> Self {
        Self { op: op.id.clone(), window, rowtime, output: op.output.clone() }
    }

    fn assign(&self, batch: &Batch, late_rows: &mut u64) -> Result<Batch, ArrowError> {
        let column = batch.rows.column(self.rowtime);
        let times = fixed::values::<i64>(&**column);
        let (mut rows, mut ends) = (Vec::with_capacity(times.len()), Vec::with_capacity(times.len()));
        let windows = self.window.size_ms / self.window.slide_ms;
        for (row, time) in times.iter().enumerate() {
            let Some(end) = slice_end(self.window, *time).filter(|_| column.is_valid(row)) else {
                *late_rows += 1;
                continue;
            };
            for window in 0..windows {
                rows.push(row as u32);
                ends.push(end + window * self.window.slide_ms);
            }
        }
        let same = windows == 1 && rows.len() == times.len();
        let taken = if same { batch.clone() } else { batch.take(&UInt32Array::from(rows))? };
        let mut columns = taken.rows.columns().to_vec();
        for shift in [-self.window.size_ms, 0, -1] {
            let values: Vec<i64> = ends.iter().map(|end| end + shift).collect();
            let data_type = self.output.field(columns.len()).data_type();
            columns.push(fixed::column(data_type, values, None).map_err(ArrowError::ComputeError)?);
        }
        Ok(Batch { rows: RecordBatch::try_new(Arc::clone(&self.output), columns)?, ..taken })
    }
}

impl Op for AssignWindows {
    fn on_batch(&mut self, _port: usize, batch: Batch, context: &mut OpContext<'_>) -> Result<(), Error> {
        let assigned = self.assign(&batch, context.late_rows);
        let assigned = assigned.map_err(|source| Error::Evaluate { op: self.op.clone(), source })?;
        if assigned.num_rows() > 0 {
            context.output.push(assigned);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

//! What both joins share: rows without null keys, pairs of rows with equal keys, and joined rows.
use arrow::array::{Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use millstream_sql::Expr;

use super::key::{KeyTable, Keys};
use super::stateless::filter;
use crate::batch::Batch;

/// Rows of which all of these columns have a value: null equals nothing.
pub(crate) fn rows_with_keys(rows: &RecordBatch, columns: &[usize]) -> Vec<u32> {
    let nullable = columns.iter().map(|column| rows.column(*column)).filter(|column| column.logical_null_count() > 0);
    let nulls: Vec<_> = nullable.filter_map(|column| column.logical_nulls()).collect();
    (0..rows.num_rows()).filter(|row| nulls.iter().all(|nulls| nulls.is_valid(*row))).map(|row| row as u32).collect()
}

/// How pairs of rows become output.
pub(crate) struct Joiner {
    pub output: SchemaRef,
    pub residual: Option<Expr>,
}

impl Joiner {
    /// Left columns, then right columns; only rows that the residual predicate keeps.
    pub fn join(
        &self,
        left: &RecordBatch,
        right: &RecordBatch,
        kinds: Option<Vec<u8>>,
    ) -> Result<Option<Batch>, ArrowError> {
        if left.num_rows() == 0 {
            return Ok(None);
        }
        let columns = [left.columns(), right.columns()].concat();
        let rows = RecordBatch::try_new(self.output.clone(), columns)?;
        let batch = Batch { kinds: kinds.map(Into::into), ..Batch::inserts(rows) };
        match &self.residual {
            Some(residual) => filter(batch, residual),
            None => Ok(Some(batch)),
        }
    }
}

/// Hash join of two batches, handed out in portions.
pub(crate) struct Matching {
    left: RecordBatch,
    right: RecordBatch,
    /// Left rows ordered by key, and where those of each key begin.
    rows: Vec<u32>,
    starts: Vec<usize>,
    /// The key of each right row; none if no left row has it.
    slots: Vec<Option<u32>>,
    /// Right row, and how many of its left rows have been handed out.
    at: (usize, usize),
}

impl Matching {
    pub fn new(
        (left, left_keys): (RecordBatch, &Keys),
        (right, right_keys): (RecordBatch, &Keys),
        mut keys: KeyTable,
    ) -> Self {
        let every: Vec<u32> = (0..left.num_rows() as u32).collect();
        let mut slots = Vec::new();
        keys.intern(left_keys, &every, &mut slots, &mut Vec::new());
        let mut starts = vec![0usize; keys.len() + 1];
        slots.iter().for_each(|slot| starts[*slot as usize + 1] += 1);
        (0..keys.len()).for_each(|slot| starts[slot + 1] += starts[slot]);
        let (mut next, mut rows) = (starts.clone(), vec![0; slots.len()]);
        for (row, slot) in slots.iter().enumerate() {
            rows[next[*slot as usize]] = row as u32;
            next[*slot as usize] += 1;
        }
        let slots = (0..right.num_rows()).map(|row| keys.find(right_keys, row)).collect();
        Self { left, right, rows, starts, slots, at: (0, 0) }
    }

    pub fn is_done(&self) -> bool {
        self.at.0 == self.slots.len()
    }

    /// The next pairs, at most `limit`: left rows and right rows, side by side.
    pub fn next(&mut self, limit: usize) -> Result<(RecordBatch, RecordBatch), ArrowError> {
        let (mut left, mut right) = (Vec::new(), Vec::new());
        while let Some(slot) = self.slots.get(self.at.0).filter(|_| left.len() < limit) {
            let range = slot.map_or(0..0, |slot| self.starts[slot as usize]..self.starts[slot as usize + 1]);
            let rest = &self.rows[range][self.at.1..];
            let taken = rest.len().min(limit - left.len());
            left.extend_from_slice(&rest[..taken]);
            right.resize(left.len(), self.at.0 as u32);
            self.at = if taken == rest.len() { (self.at.0 + 1, 0) } else { (self.at.0, self.at.1 + taken) };
        }
        let left = take_record_batch(&self.left, &UInt32Array::from(left))?;
        Ok((left, take_record_batch(&self.right, &UInt32Array::from(right))?))
    }
}

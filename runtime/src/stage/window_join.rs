//! Inner join per window. State: `rows`: prefix | window end | side | sequence number -> row; `progress`.
//!
//! Rows are buffered as column batches, written to the store at barriers, and held there alone once all buffers together
//! pass the bound. A window is joined when the watermark reaches its end, by hash, in portions. Groups that have arrived with
//! rows of the window are joined apart from the others, out of the store.
mod buffer;
mod fire;

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use millstream_api::id::KeyGroup;
use millstream_sql::Expr;
use millstream_sql::graph::OpSpec;

use super::build::OpSettings;
use super::group::GroupSet;
use super::key::KeyCodec;
use super::matching::{Joiner, rows_with_keys};
use super::progress::{self, Progress, time_bytes};
use super::row::{self, RowCodec, fixed};
use super::window::is_sane;
use super::{Error, Flow, Op, OpContext};
use crate::batch::Batch;
use crate::state::{StateOrdinal, prefix};
use buffer::{Buffer, Window};
use fire::Firing;

/// See the module.
pub(crate) struct WindowJoin {
    op: String,
    ordinal: StateOrdinal,
    cache_bytes: usize,
    joiner: Joiner,
    sides: [Side; 2],
    windows: BTreeMap<i64, Window>,
    /// Bytes of all buffers.
    buffered: usize,
    progress: Progress,
    firing: Option<Firing>,
}

/// One input.
struct Side {
    schema: SchemaRef,
    /// Key columns, the window's start last.
    keys: Vec<usize>,
    end: usize,
    codec: KeyCodec,
    rows: RowCodec,
}

/// Beyond this number of rows a window is removed from the store range by range.
const LISTED_ROWS: usize = 4096;

impl Side {
    fn new(schema: &SchemaRef, keys: &[usize], (start, end): (usize, usize)) -> Result<Self, String> {
        let keys = [keys, &[start]].concat();
        let types: Vec<_> = keys.iter().map(|column| schema.field(*column).data_type().clone()).collect();
        let rows = RowCodec::new(schema.fields().iter().map(|field| field.data_type()))?;
        Ok(Self { schema: schema.clone(), keys, end, codec: KeyCodec::new(&types)?, rows })
    }

    fn keys(&self, rows: &RecordBatch) -> super::key::Keys {
        let columns: Vec<ArrayRef> = self.keys.iter().map(|column| rows.column(*column).clone()).collect();
        self.codec.keys(&columns, rows.num_rows())
    }
}

/// What the plan says about a window join.
pub(crate) struct WindowJoinPlan<'a> {
    pub keys: [&'a [usize]; 2],
    pub windows: [(usize, usize); 2],
    pub residual: Option<Expr>,
}

impl WindowJoin {
    pub fn new(
        op: &OpSpec,
        inputs: [&SchemaRef; 2],
        plan: WindowJoinPlan<'_>,
        settings: &OpSettings,
    ) -> Result<Self, Error> {
        let unsupported = |what| Error::Unsupported { op: op.id.clone(), what };
        let side = |port: usize| Side::new(inputs[port], plan.keys[port], plan.windows[port]).map_err(unsupported);
        let sides = [side(0)?, side(1)?];
        if !sides[0].codec.matches(&sides[1].codec) {
            return Err(unsupported("the keys of both sides are not of the same types".into()));
        }
        Ok(Self {
            op: op.id.clone(),
            ordinal: settings.ordinal,
            cache_bytes: settings.cache_bytes,
            joiner: Joiner { output: op.output.clone(), residual: plan.residual },
            sides,
            windows: BTreeMap::new(),
            buffered: 0,
            progress: Progress::new(settings.ordinal + 1),
            firing: None,
        })
    }

    fn evaluate(&self) -> impl Fn(ArrowError) -> Error + '_ {
        |source| Error::Evaluate { op: self.op.clone(), source }
    }

    /// Rows that can still be joined, by window.
    fn by_window(
        &self,
        port: usize,
        batch: &Batch,
        groups: &[KeyGroup],
        late_rows: &mut u64,
    ) -> BTreeMap<i64, Vec<u32>> {
        let side = &self.sides[port];
        let ends = batch.rows.column(side.end);
        let times = fixed::values::<i64>(&**ends);
        let mut windows: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        for row in rows_with_keys(&batch.rows, &side.keys) {
            let (at, end) = (row as usize, times[row as usize]);
            if ends.is_null(at) || !is_sane(end) || end - 1 <= self.progress.of(groups[at]) {
                *late_rows += 1;
                continue;
            }
            windows.entry(end).or_default().push(row);
        }
        windows
    }

    /// Writes rows that are not in the store yet, of all groups or of these.
    fn write_back(&mut self, only: Option<&GroupSet>, context: &mut OpContext<'_>) -> Result<(), Error> {
        let evaluate = |source| Error::Evaluate { op: self.op.clone(), source };
        for (end, window) in &mut self.windows {
            let mut changes = Vec::new();
            for (port, (side, buffers)) in self.sides.iter().zip(&mut window.buffers).enumerate() {
                for buffer in buffers {
                    let Some((rows, groups)) = buffer.take_unwritten(only).map_err(evaluate)? else { continue };
                    let encoded = side.rows.encode(rows.columns(), rows.num_rows());
                    for (row, group) in groups.iter().enumerate() {
                        let mut key = prefix(*group, self.ordinal).to_vec();
                        key.extend_from_slice(&time_bytes(*end));
                        key.push(port as u8);
                        key.extend_from_slice(&self.progress.next().to_be_bytes());
                        changes.push((key, Some(encoded.row(row).to_vec())));
                    }
                }
            }
            if changes.is_empty() {
                continue;
            }
            let listed = window.stored.take().filter(|listed| listed.len() + changes.len() <= LISTED_ROWS);
            window.stored = listed.map(|mut listed| {
                listed.extend(changes.iter().map(|(key, _)| key.clone()));
                listed
            });
            context.store.write(changes)?;
        }
        Ok(())
    }

    fn evict(&mut self, context: &mut OpContext<'_>) -> Result<(), Error> {
        if self.buffered <= self.cache_bytes {
            return Ok(());
        }
        self.write_back(None, context)?;
        self.windows.values_mut().for_each(Window::spill);
        self.buffered = 0;
        Ok(())
    }
}

impl Op for WindowJoin {
    fn on_batch(&mut self, port: usize, batch: Batch, context: &mut OpContext<'_>) -> Result<(), Error> {
        let Some(groups) = batch.groups.clone() else { return Err(Error::Unrouted { op: self.op.clone() }) };
        for (end, rows) in self.by_window(port, &batch, &groups, context.late_rows) {
            let taken = rows.iter().map(|row| groups[*row as usize]).collect();
            let rows = match rows.len() == batch.num_rows() {
                true => batch.rows.clone(),
                false => take_record_batch(&batch.rows, &UInt32Array::from(rows)).map_err(self.evaluate())?,
            };
            self.buffered += rows.get_array_memory_size();
            let window = self.windows.entry(end).or_insert_with(Window::new);
            window.buffers[port].push(Buffer::new(rows, taken));
        }
        self.evict(context)
    }

    fn on_watermark(&mut self, watermark_ms: i64, context: &mut OpContext<'_>) -> Result<Flow, Error> {
        let flow = self.fire(watermark_ms, context)?;
        if flow == Flow::Done {
            self.progress.advance(watermark_ms);
        }
        Ok(flow)
    }

    fn on_barrier(&mut self, context: &mut OpContext<'_>) -> Result<(), Error> {
        self.write_back(None, context)?;
        let mut changes = Vec::new();
        self.progress.write(context.groups, &mut changes);
        if changes.is_empty() { Ok(()) } else { Ok(context.store.write(changes)?) }
    }

    fn flush_groups(&mut self, groups: &[KeyGroup], context: &mut OpContext<'_>) -> Result<(), Error> {
        self.write_back(Some(&groups.iter().copied().collect()), context)
    }

    fn disown(&mut self, groups: &[KeyGroup], context: &mut OpContext<'_>) -> Result<(), Error> {
        self.flush_groups(groups, context)?;
        let left = groups.iter().copied().collect();
        self.windows.values_mut().for_each(|window| window.leave(groups, &left));
        let mut changes = Vec::new();
        self.progress.leave(groups, &mut changes);
        Ok(context.store.write(changes)?)
    }

    fn adopt(&mut self, groups: &[KeyGroup], context: &mut OpContext<'_>) -> Result<(), Error> {
        self.progress.arrive(&self.op, groups, context)?;
        for (end, groups) in progress::pending(&self.op, self.ordinal, groups, context.store)? {
            self.windows.entry(end).or_insert_with(Window::new).arrive(groups);
        }
        Ok(())
    }

    fn restore(&mut self, _parts: &[serde_json::Value], context: &mut OpContext<'_>) -> Result<(), Error> {
        self.progress.restore(&self.op, context.groups, context.store)?;
        for end in progress::pending(&self.op, self.ordinal, context.groups, context.store)?.into_keys() {
            self.windows.insert(end, Window::restored());
        }
        Ok(())
    }

    fn states(&self) -> Vec<(&'static str, u32)> {
        vec![("rows", row::VERSION), ("progress", progress::VERSION)]
    }
}

/// Rows of many batches as one, without those of some groups.
fn concat(schema: &SchemaRef, buffers: &[Buffer], but: &GroupSet) -> Result<RecordBatch, ArrowError> {
    let rows = buffers.iter().map(|buffer| buffer.present(but)).collect::<Result<Vec<_>, _>>()?;
    arrow::compute::concat_batches(schema, &rows)
}

#[cfg(test)]
mod tests;

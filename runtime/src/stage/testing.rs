//! What the tests of ops share: stores, batches from columns, tasks whose groups can be dealt anew.
pub(crate) mod moving;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMillisecondType};
use millstream_api::id::KeyGroup;
use millstream_sql::graph::{OpKind, OpSpec};

use super::{Flow, Op, OpContext, OpSettings, build};
use crate::batch::{Batch, ChangeKind};
use crate::state::disk::MemoryDisk;
use crate::state::memory::MemoryBackend;
use crate::state::{Backend, Store};

/// An empty store.
pub(crate) fn store() -> Box<dyn Store> {
    let disk = MemoryDisk::default();
    MemoryBackend::new(Arc::new(disk)).create(Path::new("/state")).unwrap()
}

/// All keys and values of a store.
pub(crate) fn entries(store: &mut dyn Store) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut all = Vec::new();
    let visit = &mut |key: &[u8], value: &[u8]| {
        all.push((key.to_vec(), value.to_vec()));
        true
    };
    store.scan(&[], None, visit).unwrap();
    all
}

pub(crate) fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, None)
}

pub(crate) fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(
        columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true)).collect::<Vec<_>>(),
    ))
}

pub(crate) fn ints(values: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}

pub(crate) fn times(values: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(TimestampMillisecondArray::from(values))
}

pub(crate) fn texts(values: Vec<Option<String>>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}

pub(crate) fn bools(values: Vec<Option<bool>>) -> ArrayRef {
    Arc::new(BooleanArray::from(values))
}

pub(crate) fn op_spec(kind: OpKind, output: &SchemaRef, updating: bool) -> OpSpec {
    OpSpec { id: "op".into(), kind, output: output.clone(), updating, rowtime: None }
}

/// The rows of batches as text, with their change kinds.
pub(crate) fn rows_of(batches: &[Batch]) -> Vec<(ChangeKind, Vec<String>)> {
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            rows.push((batch.kind(row), batch.rows.columns().iter().map(|column| cell(column, row)).collect()));
        }
    }
    rows
}

fn cell(column: &ArrayRef, row: usize) -> String {
    match column.data_type() {
        _ if column.is_null(row) => "null".into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Timestamp(_, _) => column.as_primitive::<TimestampMillisecondType>().value(row).to_string(),
        DataType::Utf8 => column.as_string::<i32>().value(row).to_string(),
        DataType::Boolean => column.as_boolean().value(row).to_string(),
        DataType::Float64 => column.as_primitive::<arrow::datatypes::Float64Type>().value(row).to_string(),
        other => panic!("no text of {other}"),
    }
}

/// Number of key groups in tests.
pub(crate) const GROUPS: KeyGroup = 8;

/// One task with one op.
pub(crate) struct Task {
    pub op: Box<dyn Op>,
    pub store: Box<dyn Store>,
    pub groups: Vec<KeyGroup>,
    pub output: Vec<Batch>,
    pub late_rows: u64,
}

impl Task {
    pub fn call<T>(&mut self, visit: impl FnOnce(&mut dyn Op, &mut OpContext<'_>) -> T) -> T {
        let mut context = OpContext {
            store: &mut *self.store,
            output: &mut self.output,
            groups: &self.groups,
            late_rows: &mut self.late_rows,
        };
        visit(&mut *self.op, &mut context)
    }

    /// Gives groups away; what the store has of them afterwards is returned and removed.
    pub fn disown(&mut self, groups: &[KeyGroup]) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.call(|op, context| op.disown(groups, context)).unwrap();
        self.groups.retain(|group| !groups.contains(group));
        let mut all = entries(&mut *self.store);
        all.retain(|(key, _)| groups.contains(&KeyGroup::from_be_bytes([key[0], key[1]])));
        self.store.drop_groups(groups).unwrap();
        all
    }

    /// Takes groups over with these entries.
    pub fn adopt(&mut self, groups: &[KeyGroup], entries: Vec<(Vec<u8>, Vec<u8>)>) {
        self.store.write(entries.into_iter().map(|(key, value)| (key, Some(value))).collect()).unwrap();
        self.groups.extend(groups);
        self.groups.sort_unstable();
        self.call(|op, context| op.adopt(groups, context)).unwrap();
    }

    /// Gives groups away and takes them back, told at most `limit` keys that were in memory, after which the store loses them: the
    /// op knows what it has read before.
    pub fn come_back_warm(&mut self, groups: &[KeyGroup], limit: usize) {
        let hot = self.call(|op, _| op.hot_keys(groups, limit));
        let entries = self.disown(groups);
        self.adopt(groups, entries);
        self.call(|op, context| op.warm(&hot, context)).unwrap();
        self.store.drop_groups(groups).unwrap();
    }

    /// Rows emitted since the last call, as text.
    pub fn drain(&mut self) -> Vec<String> {
        let rows = rows_of(&std::mem::take(&mut self.output));
        rows.into_iter().map(|(kind, row)| format!("{kind:?} {}", row.join(","))).collect()
    }

    /// Keys looked up in the store so far.
    pub fn reads(&self) -> u64 {
        self.store.operations().reads
    }

    /// Keys written to the store so far.
    pub fn writes(&self) -> u64 {
        self.store.operations().writes
    }

    /// Has what is held its turn to be written, this share of it.
    pub fn write_ahead(&mut self, share: f64) {
        self.call(|op, context| op.write_ahead(share, context)).unwrap();
    }

    pub fn watermark(&mut self, watermark_ms: i64) {
        while self.call(|op, context| op.on_watermark(watermark_ms, context)).unwrap() == Flow::More {}
    }
}

/// What is needed to make the op of a task.
pub(crate) struct Plan {
    pub spec: OpSpec,
    pub input: SchemaRef,
    pub input2: Option<SchemaRef>,
    pub updating: [bool; 2],
    pub cache_bytes: usize,
}

impl Plan {
    fn task(&self, groups: Vec<KeyGroup>, store: Box<dyn Store>) -> Task {
        let settings = OpSettings { cache_bytes: self.cache_bytes, ordinal: 3 };
        let op = build(&self.spec, &self.input, self.input2.as_ref(), self.updating, &settings).unwrap();
        Task { op, store, groups, output: Vec::new(), late_rows: 0 }
    }
}

/// The tasks of a stage. Groups are dealt round-robin.
pub(crate) struct Stage {
    pub plan: Plan,
    pub tasks: Vec<Task>,
    /// Output and late rows of tasks that are no more.
    pub output: Vec<Batch>,
    pub late_rows: u64,
}

fn deal(tasks: usize) -> Vec<Vec<KeyGroup>> {
    (0..tasks).map(|task| (0..GROUPS).filter(|group| usize::from(*group) % tasks == task).collect()).collect()
}

impl Stage {
    pub fn new(plan: Plan, tasks: usize) -> Self {
        let tasks = deal(tasks).into_iter().map(|groups| plan.task(groups, store())).collect();
        Self { plan, tasks, output: Vec::new(), late_rows: 0 }
    }

    pub fn owner(&self, group: KeyGroup) -> usize {
        usize::from(group) % self.tasks.len()
    }

    /// Cuts all tasks and starts `tasks` new ones from the cut.
    pub fn rescale(&mut self, tasks: usize) {
        self.finish();
        let mut all = Vec::new();
        let mut parts = Vec::new();
        for mut task in self.tasks.drain(..) {
            parts.extend(task.op.operator_state());
            all.extend(entries(&mut *task.store));
        }
        for groups in deal(tasks) {
            let mut store = store();
            let mine = all.iter().filter(|(key, _)| groups.contains(&KeyGroup::from_be_bytes([key[0], key[1]])));
            store.write(mine.map(|(key, value)| (key.clone(), Some(value.clone()))).collect()).unwrap();
            let mut task = self.plan.task(groups, store);
            task.call(|op, context| op.restore(&parts, context)).unwrap();
            self.tasks.push(task);
        }
    }

    /// A barrier for all tasks; takes their output.
    pub fn finish(&mut self) {
        for task in &mut self.tasks {
            task.call(|op, context| op.on_barrier(context)).unwrap();
            self.output.append(&mut task.output);
            self.late_rows += std::mem::take(&mut task.late_rows);
        }
    }

    /// Rows whose key group is given, to their owners.
    pub fn push(&mut self, port: usize, rows: &RecordBatch, kinds: Option<&[u8]>, groups: &[KeyGroup]) {
        let batch = Batch { kinds: kinds.map(Into::into), groups: Some(groups.into()), ..Batch::inserts(rows.clone()) };
        for task in 0..self.tasks.len() {
            let mine = (0..groups.len() as u32).filter(|row| self.owner(groups[*row as usize]) == task);
            let part = batch.take(&mine.collect::<Vec<u32>>().into()).unwrap();
            if part.num_rows() > 0 {
                self.tasks[task].call(|op, context| op.on_batch(port, part, context)).unwrap();
            }
            // Whatever happens to be written ahead, nothing else changes.
            self.tasks[task].write_ahead(0.6);
        }
    }
}

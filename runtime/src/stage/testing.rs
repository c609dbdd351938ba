//! What the tests of ops share: a store in a map, batches from columns, tasks whose groups can be dealt anew.
use std::collections::BTreeMap;
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
use crate::state::{Changes, Cut, Error, Operations, Snapshot, Store};

/// Keyed state in a map.
#[derive(Default, Clone)]
pub(crate) struct MapStore(pub BTreeMap<Vec<u8>, Vec<u8>>);

impl Store for MapStore {
    fn multi_get(&mut self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        Ok(keys.iter().map(|key| self.0.get(*key).cloned()).collect())
    }
    fn write(&mut self, changes: Changes) -> Result<(), Error> {
        for (key, value) in changes {
            match value {
                Some(value) => self.0.insert(key, value),
                None => self.0.remove(&key),
            };
        }
        Ok(())
    }
    fn scan(
        &mut self,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        let range = self.0.range(from.to_vec()..).take_while(|(key, _)| to.is_none_or(|to| key.as_slice() < to));
        let _ = range.into_iter().all(|(key, value)| visit(key, value));
        Ok(())
    }
    fn delete_range(&mut self, from: &[u8], to: &[u8]) -> Result<(), Error> {
        self.0.retain(|key, _| key.as_slice() < from || key.as_slice() >= to);
        Ok(())
    }
    fn cut(&mut self, _folder: &Path) -> Result<Cut, Error> {
        unimplemented!("ops do not cut")
    }
    fn snapshot(&mut self) -> Result<Box<dyn Snapshot>, Error> {
        unimplemented!("ops take no snapshots")
    }
    fn track(&mut self, _group: KeyGroup) -> Result<(), Error> {
        unimplemented!("ops do not track")
    }
    fn take_changes(&mut self, _group: KeyGroup) -> Result<Changes, Error> {
        unimplemented!("ops do not track")
    }
    fn import(&mut self, _group: KeyGroup, _entries: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), Error> {
        unimplemented!("ops do not import")
    }
    fn drop_group(&mut self, _group: KeyGroup) -> Result<(), Error> {
        unimplemented!("ops do not drop groups")
    }
    fn group_bytes(&mut self, _group: KeyGroup) -> Result<u64, Error> {
        Ok(0)
    }
    fn bytes(&self) -> u64 {
        self.0.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }
    fn operations(&self) -> Operations {
        Operations::default()
    }
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
    pub store: MapStore,
    pub groups: Vec<KeyGroup>,
    pub output: Vec<Batch>,
    pub late_rows: u64,
}

impl Task {
    pub fn call<T>(&mut self, visit: impl FnOnce(&mut dyn Op, &mut OpContext<'_>) -> T) -> T {
        let mut context = OpContext {
            store: &mut self.store,
            output: &mut self.output,
            groups: &self.groups,
            late_rows: &mut self.late_rows,
        };
        visit(&mut *self.op, &mut context)
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
    fn task(&self, groups: Vec<KeyGroup>, store: MapStore) -> Task {
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
        let tasks = deal(tasks).into_iter().map(|groups| plan.task(groups, MapStore::default())).collect();
        Self { plan, tasks, output: Vec::new(), late_rows: 0 }
    }

    pub fn owner(&self, group: KeyGroup) -> usize {
        usize::from(group) % self.tasks.len()
    }

    /// Cuts all tasks and starts `tasks` new ones from the cut.
    pub fn rescale(&mut self, tasks: usize) {
        self.finish();
        let mut all = MapStore::default();
        let mut parts = Vec::new();
        for task in self.tasks.drain(..) {
            parts.extend(task.op.operator_state());
            all.0.extend(task.store.0);
        }
        for groups in deal(tasks) {
            let mut store = all.clone();
            store.0.retain(|key, _| groups.contains(&KeyGroup::from_be_bytes([key[0], key[1]])));
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
        }
    }
}

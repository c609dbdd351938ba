//! What flows: record batches with change kinds, and the in-band elements between them.
pub mod hash;

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::error::ArrowError;
use bytes::Bytes;
use millstream_api::id::{Epoch, KeyGroup, TableVersion, TaskId};

/// What a row does to the table the stream stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ChangeKind {
    /// A new row.
    Insert = 0,
    /// The old value of a row that changes; an update-after of the same key follows.
    UpdateBefore = 1,
    /// The new value of a row that changed.
    UpdateAfter = 2,
    /// A row that is no more.
    Delete = 3,
}

impl ChangeKind {
    /// The kind with this number.
    pub fn from_u8(value: u8) -> Option<Self> {
        [Self::Insert, Self::UpdateBefore, Self::UpdateAfter, Self::Delete].get(usize::from(value)).copied()
    }

    /// Whether the row is taken back (update-before and delete).
    pub fn is_retraction(self) -> bool {
        matches!(self, Self::UpdateBefore | Self::Delete)
    }
}

/// Rows that travel together. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The columns.
    pub rows: RecordBatch,
    /// A `ChangeKind` number per row; none = all inserts.
    pub kinds: Option<Arc<[u8]>>,
    /// The key group of each row by the key of the edge it arrived on; set by the router, gone after any op that
    /// changes the number or order of rows.
    pub groups: Option<Arc<[KeyGroup]>>,
    /// Source split all rows come from; only between a source and the watermark op.
    pub split: Option<u32>,
}

impl Batch {
    /// Inserts only.
    pub fn inserts(rows: RecordBatch) -> Self {
        Self { rows, kinds: None, groups: None, split: None }
    }

    /// This batch and those behind it as one, copied only if there are any. All have one schema and are of one edge.
    pub fn followed_by(self, more: Vec<Self>) -> Result<Self, ArrowError> {
        if more.is_empty() {
            return Ok(self);
        }
        let schema = self.rows.schema();
        let parts: Vec<Self> = std::iter::once(self).chain(more).collect();
        let rows = concat_batches(&schema, parts.iter().map(|part| &part.rows))?;
        let kinds = parts.iter().any(|part| part.kinds.is_some()).then(|| {
            let kinds =
                |part: &Self| part.kinds.as_ref().map_or_else(|| vec![0; part.num_rows()], |kinds| kinds.to_vec());
            parts.iter().flat_map(kinds).collect()
        });
        let groups: Option<Vec<&[u16]>> = parts.iter().map(|part| part.groups.as_deref()).collect();
        Ok(Self { rows, kinds, groups: groups.map(|groups| Arc::from(groups.concat())), split: None })
    }

    /// Number of rows.
    pub fn num_rows(&self) -> usize {
        self.rows.num_rows()
    }

    /// The change kind of a row.
    pub fn kind(&self, row: usize) -> ChangeKind {
        // Invariant: only numbers of `ChangeKind` are ever put into `kinds`; a foreign number is read as insert.
        self.kinds.as_ref().and_then(|kinds| ChangeKind::from_u8(kinds[row])).unwrap_or(ChangeKind::Insert)
    }

    /// The rows at `indices`, in that order, with their kinds, groups and split.
    pub fn take(&self, indices: &UInt32Array) -> Result<Self, ArrowError> {
        let at = |row: &u32| *row as usize;
        Ok(Self {
            rows: take_record_batch(&self.rows, indices)?,
            kinds: self.kinds.as_ref().map(|kinds| indices.values().iter().map(|row| kinds[at(row)]).collect()),
            groups: self.groups.as_ref().map(|groups| indices.values().iter().map(|row| groups[at(row)]).collect()),
            split: self.split,
        })
    }

    /// `count` rows from `from` on, without copying columns.
    pub fn slice(&self, from: usize, count: usize) -> Self {
        Self {
            rows: self.rows.slice(from, count),
            kinds: self.kinds.as_ref().map(|kinds| kinds[from..from + count].into()),
            groups: self.groups.as_ref().map(|groups| groups[from..from + count].into()),
            split: self.split,
        }
    }

    /// Bytes in memory, as credits count them.
    pub fn bytes(&self) -> usize {
        self.rows.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0)).sum::<usize>()
            + self.num_rows() * (usize::from(self.kinds.is_some()) + 2 * usize::from(self.groups.is_some()))
    }
}

/// What a channel carries, in order.
#[derive(Debug, Clone)]
pub enum Element {
    /// Rows.
    Rows(Batch),
    /// No row with an event time at or below this many ms will follow (`i64::MAX` at the end of input).
    Watermark(i64),
    /// The sender has no input for now: do not wait for its watermark. Ended by the next element of rows or watermark.
    Idle,
    /// Cut here.
    Barrier(Epoch),
    /// All rows of the channel after this one were routed by this version of the receiver's owner table (or a later one).
    Marker {
        /// The version.
        version: TableVersion,
        /// For the groups that moved, no row at or below this follows on the channel (`i64::MIN`: unknown).
        watermark_ms: i64,
    },
    /// The sender has given units (groups, splits) away; their last rows are before this.
    Closing {
        /// Of the owner table of the sender's stage that says so.
        version: TableVersion,
        /// Who has them now.
        receivers: Arc<[TaskId]>,
    },
    /// The sender has taken units over: their rows follow.
    Opening {
        /// Of the owner table of the sender's stage that says so.
        version: TableVersion,
        /// Who had them before.
        donors: Arc<[TaskId]>,
        /// Rows above it follow, so that it may lower the watermark of the channel.
        watermark_ms: i64,
    },
    /// A piece of a key group on its way to its next owner. Only on transfer channels; counts against credit like rows.
    State(StatePart),
    /// Nothing follows. Counts as having delivered every later barrier and marker, and watermark `i64::MAX`.
    End,
}

impl Element {
    /// Whether it may be sent only while there is credit, and spends it; all other elements are free.
    pub fn needs_credit(&self) -> bool {
        matches!(self, Self::Rows(_) | Self::State(_))
    }
}

/// A piece of a key group that moves. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatePart {
    /// The owner table that moves it.
    pub version: TableVersion,
    /// The group.
    pub group: KeyGroup,
    /// What the entries are.
    pub kind: PartKind,
    /// Entries as `state::part` writes them.
    pub entries: Bytes,
}

/// What a piece of a key group holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum PartKind {
    /// Entries of the snapshot.
    Snapshot = 0,
    /// Changes since the snapshot.
    Changes = 1,
    /// Nothing: the sender is done with this version (group 0, no entries).
    Last = 2,
    /// Keys of several groups that the sender had in memory, without values (group 0).
    Hot = 3,
    /// Nothing: all that the sender sends ahead of the flip is before it (group 0, no entries).
    Ahead = 4,
}

impl PartKind {
    /// The kind with this number.
    pub fn from_u8(value: u8) -> Option<Self> {
        [Self::Snapshot, Self::Changes, Self::Last, Self::Hot, Self::Ahead].get(usize::from(value)).copied()
    }
}

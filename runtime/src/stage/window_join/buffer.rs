//! Rows of one window, as they came, and what of them is in the store.
use std::collections::BTreeSet;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::error::ArrowError;
use millstream_api::id::KeyGroup;

use super::super::group::{Absent, GroupSet};

/// Rows of one window.
pub(super) struct Window {
    pub buffers: [Vec<Buffer>; 2],
    /// Groups with rows in the store that are not in the buffers.
    pub absent: Absent,
    /// Keys of the rows in the store, without those that groups brought along when they arrived; none if they are too many to
    /// list, or not known.
    pub stored: Option<Vec<Vec<u8>>>,
}

/// Rows of a batch.
pub(super) struct Buffer {
    pub rows: RecordBatch,
    groups: Vec<KeyGroup>,
    /// All rows are in the store.
    stored: bool,
    /// Groups whose rows are in the store although not all are.
    written: BTreeSet<KeyGroup>,
    /// Groups that have left since. Should one come back its rows are in the store, so that these here do not count any more.
    left: BTreeSet<KeyGroup>,
}

/// Rows and their groups.
pub(super) type Selected = (RecordBatch, Vec<KeyGroup>);

impl Window {
    pub fn new() -> Self {
        Self { buffers: Default::default(), absent: Absent::none(), stored: Some(Vec::new()) }
    }

    /// A window of which all that there is is in the store.
    pub fn restored() -> Self {
        Self { buffers: Default::default(), absent: Absent::All, stored: None }
    }

    /// Lets go of buffers that have been written.
    pub fn spill(&mut self) {
        if self.buffers.iter().all(Vec::is_empty) {
            return;
        }
        if !matches!(self.absent, Absent::All) && !self.absent.is_none() {
            self.stored = None;
        }
        (self.buffers, self.absent) = (Default::default(), Absent::All);
    }

    /// Groups have left, and their rows have been written.
    pub fn leave(&mut self, groups: &[KeyGroup], set: &GroupSet) {
        for buffer in self.buffers.iter_mut().flatten() {
            buffer.left.extend(buffer.groups.iter().filter(|group| set.contains(**group)));
        }
        if let Some(stored) = &mut self.stored {
            // The listed rows are removed when the window is done; those of a group on its way back must stay until then.
            stored.retain(|key| {
                !key.first_chunk::<2>().is_some_and(|group| set.contains(KeyGroup::from_be_bytes(*group)))
            });
        }
        self.absent.leave(groups);
    }

    /// Groups have arrived with rows of the window in the store.
    pub fn arrive(&mut self, groups: Vec<KeyGroup>) {
        if matches!(self.absent, Absent::All) {
            self.stored = None;
        }
        groups.into_iter().for_each(|group| self.absent.insert(group));
    }
}

impl Buffer {
    pub fn new(rows: RecordBatch, groups: Vec<KeyGroup>) -> Self {
        Self { rows, groups, stored: false, written: BTreeSet::new(), left: BTreeSet::new() }
    }

    /// Rows that are not in the store, of all groups or of these, with their groups. They count as written from now on.
    pub fn take_unwritten(&mut self, only: Option<&GroupSet>) -> Result<Option<Selected>, ArrowError> {
        if self.stored {
            return Ok(None);
        }
        if only.is_none() && self.written.is_empty() {
            self.stored = true;
            return Ok(Some((self.rows.clone(), self.groups.clone())));
        }
        let wanted = |group| only.is_none_or(|only| only.contains(group)) && !self.written.contains(&group);
        let (rows, groups) = self.select(wanted)?;
        match only {
            Some(_) => self.written.extend(&groups),
            None => self.stored = true,
        }
        Ok(Some((rows, groups)))
    }

    /// Rows of groups that are here and not among `but`.
    pub fn present(&self, but: &GroupSet) -> Result<RecordBatch, ArrowError> {
        if self.left.is_empty() && but.is_empty() {
            return Ok(self.rows.clone());
        }
        Ok(self.select(|group| !self.left.contains(&group) && !but.contains(group))?.0)
    }

    fn select(&self, wanted: impl Fn(KeyGroup) -> bool) -> Result<Selected, ArrowError> {
        let rows: Vec<u32> =
            (0..self.groups.len()).filter(|row| wanted(self.groups[*row])).map(|row| row as u32).collect();
        let groups = rows.iter().map(|row| self.groups[*row as usize]).collect();
        Ok((take_record_batch(&self.rows, &UInt32Array::from(rows))?, groups))
    }
}

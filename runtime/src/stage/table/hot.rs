//! Keys that a table has in memory: its next owner is told them and reads them before their first rows come.
use millstream_api::id::KeyGroup;

use super::{Aggregation, Table};
use crate::stage::Error;
use crate::stage::group::{Absent, GroupSet};
use crate::state::Store;

impl Table {
    /// Slots of these groups, without stale ones.
    pub fn slots_of(&self, groups: &GroupSet) -> impl Iterator<Item = usize> {
        (0..self.len()).filter(|slot| !self.stale[*slot] && groups.contains(self.groups[*slot]))
    }
}

impl Aggregation {
    /// Makes slots for these keys and fills them from the store, as rows of them would; `keys` without prefix and middle.
    pub fn warm(
        &self,
        table: &mut Table,
        keys: &[(KeyGroup, &[u8])],
        (absent, middle): (&Absent, &[u8]),
        store: &mut dyn Store,
    ) -> Result<(), Error> {
        let (before, mut slots) = (table.len(), Vec::with_capacity(keys.len()));
        for (group, key) in keys.iter().filter(|(group, _)| absent.contains(*group)) {
            let slot = table.keys.intern_bytes(key).map_err(self.corrupt())?;
            if slot as usize == table.len() {
                table.grow(std::iter::once(*group));
            }
            slots.push(slot);
        }
        self.load(table, (before..table.len(), &slots), (absent, middle), store)?;
        // Rows of these have been asked for lately, elsewhere.
        slots.iter().for_each(|slot| table.aged[*slot as usize] = false);
        Ok(())
    }
}

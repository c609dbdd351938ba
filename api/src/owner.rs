//! Owner tables: key group -> task id. The same arithmetic spreads source splits over tasks.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{KeyGroup, TableVersion, TaskId};

mod weighted;

pub use weighted::unsplittable;

/// The only truth about who owns which key group of a stage. One per stage, governing all its keyed inputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerTable {
    /// Grows with every change of the table.
    pub version: TableVersion,
    /// `owners[group]` is the task that owns the group; as long as the job has key groups.
    pub owners: Vec<TaskId>,
}

/// What is wrong with a table that someone wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not one owner per key group.
    #[error("the table names {given} owners and the job has {expected} key groups; name one task for each key group")]
    Length {
        /// Owners in the table.
        given: usize,
        /// Key groups of the job.
        expected: usize,
    },
    /// Owners that are no tasks of the stage.
    #[error("the table gives key groups to {}, but the stage has {}", names(unknown), names(tasks))]
    Unknown {
        /// Such owners.
        unknown: Vec<TaskId>,
        /// Those there are.
        tasks: Vec<TaskId>,
    },
}

/// How many ids a message names.
const NAMED: usize = 12;

fn names(tasks: &[TaskId]) -> String {
    let mut names: Vec<String> = tasks.iter().take(NAMED).map(ToString::to_string).collect();
    if tasks.len() > NAMED {
        names.push("...".into());
    }
    format!("{} {}", if tasks.len() == 1 { "task" } else { "tasks" }, names.join(", "))
}

impl OwnerTable {
    /// The first table of a stage: contiguous ranges of equal size, one more group for some. Version 1.
    /// Without tasks there is nothing to own anything, and the table is empty.
    pub fn initial(tasks: &[TaskId], key_groups: u32) -> Self {
        let tasks = distinct(tasks);
        let count = tasks.len() as u64;
        let owner = |group: u32| tasks[(u64::from(group) * count / u64::from(key_groups)) as usize];
        let owners = if tasks.is_empty() { Vec::new() } else { (0..key_groups).map(owner).collect() };
        Self { version: 1, owners }
    }

    /// The next table, for another set of tasks: every task owns floor or ceil of groups / tasks, and no balanced table
    /// moves fewer groups. The same arguments give the same table.
    pub fn rebalance_sticky(&self, tasks: &[TaskId]) -> Self {
        let owners: Vec<_> = self.owners.iter().copied().map(Some).collect();
        Self { version: self.version + 1, owners: rebalance(&owners, tasks) }
    }

    /// The next table as someone wrote it: one of `tasks` for each key group. A task may own nothing.
    pub fn explicit(&self, owners: &[TaskId], tasks: &[TaskId]) -> Result<Self, Error> {
        if owners.len() != self.owners.len() {
            return Err(Error::Length { given: owners.len(), expected: self.owners.len() });
        }
        let tasks = distinct(tasks);
        let unknown: Vec<_> =
            distinct(owners).into_iter().filter(|owner| tasks.binary_search(owner).is_err()).collect();
        if !unknown.is_empty() {
            return Err(Error::Unknown { unknown, tasks });
        }
        Ok(Self { version: self.version + 1, owners: owners.to_vec() })
    }

    /// Number of groups whose owner differs.
    pub fn moved(&self, other: &Self) -> usize {
        self.owners.iter().zip(&other.owners).filter(|(one, two)| one != two).count()
    }

    /// The least number of groups that any balanced table over `tasks` must move.
    pub fn minimum_moves(&self, tasks: &[TaskId]) -> usize {
        let tasks = distinct(tasks);
        if tasks.is_empty() {
            return 0;
        }
        let (floor, extra) = (self.owners.len() / tasks.len(), self.owners.len() % tasks.len());
        let owned = tasks.iter().map(|task| self.owners.iter().filter(|owner| *owner == task).count());
        let (mut kept, mut above) = (0, 0);
        for count in owned {
            kept += count.min(floor);
            above += usize::from(count > floor);
        }
        self.owners.len() - kept - above.min(extra)
    }

    /// The groups that `task` owns, ascending.
    pub fn groups_of(&self, task: TaskId) -> Vec<KeyGroup> {
        (0u16..).zip(&self.owners).filter(|(_, owner)| **owner == task).map(|(group, _)| group).collect()
    }
}

/// Spreads source splits `0..splits` over tasks: each task reads floor or ceil of splits / tasks, and as few splits as
/// possible leave the task they have in `previous`. Without tasks, or with none of them needed, a task may get nothing.
pub fn assign_splits_sticky(previous: &BTreeMap<u32, TaskId>, splits: u32, tasks: &[TaskId]) -> BTreeMap<u32, TaskId> {
    let owners: Vec<_> = (0..splits).map(|split| previous.get(&split).copied()).collect();
    (0..splits).zip(rebalance(&owners, tasks)).collect()
}

fn distinct(tasks: &[TaskId]) -> Vec<TaskId> {
    let mut tasks = tasks.to_vec();
    tasks.sort_unstable();
    tasks.dedup();
    tasks
}

/// Units (groups, splits) to tasks. A task that has more than floor keeps the odd unit first, so that the fewest move;
/// what must go are the highest units, and free units fill the tasks in the order of their ids.
fn rebalance(owners: &[Option<TaskId>], tasks: &[TaskId]) -> Vec<TaskId> {
    let tasks = distinct(tasks);
    if tasks.is_empty() {
        return Vec::new();
    }
    let mut owned: BTreeMap<TaskId, usize> = tasks.iter().map(|task| (*task, 0)).collect();
    for owner in owners.iter().flatten() {
        owned.entry(*owner).and_modify(|count| *count += 1);
    }
    owned.retain(|task, _| tasks.binary_search(task).is_ok());
    let (floor, extra) = (owners.len() / tasks.len(), owners.len() % tasks.len());
    let mut by_count = tasks.clone();
    by_count.sort_by_key(|task| (std::cmp::Reverse(owned[task]), *task));
    let mut room: BTreeMap<TaskId, usize> =
        by_count.iter().enumerate().map(|(rank, task)| (*task, floor + usize::from(rank < extra))).collect();

    let mut next: Vec<Option<TaskId>> = Vec::with_capacity(owners.len());
    for owner in owners {
        let kept = owner.filter(|owner| take_one(&mut room, *owner));
        next.push(kept);
    }
    let mut free = tasks.iter().flat_map(|task| std::iter::repeat_n(*task, room[task]));
    // Room adds up to the number of units, so every free unit finds a task; the first task stands in for none.
    next.into_iter().map(|kept| kept.or_else(|| free.next()).unwrap_or(tasks[0])).collect()
}

fn take_one(room: &mut BTreeMap<TaskId, usize>, task: TaskId) -> bool {
    match room.get_mut(&task) {
        Some(left) if *left > 0 => {
            *left -= 1;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;

//! From one owner table to another in batches. Each batch is one version of the table; the next one is planned from the
//! table as it is then, so that a plan has no state of its own and goes on after a crash.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use millstream_api::id::{KeyGroup, TableVersion, TaskId};
use millstream_api::owner::OwnerTable;
use millstream_api::wire::Batching;
use serde::{Deserialize, Serialize};

/// How much may move at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How groups are put together.
    pub batching: Batching,
    /// Bytes of state in one transfer, of [`Batching::Auto`]; a single group may exceed it.
    pub budget_bytes: u64,
}

/// What one task gives to another in a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// Owner before.
    pub from: TaskId,
    /// Owner after.
    pub to: TaskId,
    /// Which groups, ascending.
    pub groups: Vec<KeyGroup>,
}

/// One step from a table to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Of `table`.
    pub version: TableVersion,
    /// Transfers, at the same time.
    pub moves: Vec<Move>,
    /// The present table with the moves applied.
    pub table: OwnerTable,
    /// State in all transfers.
    pub bytes: u64,
    /// State in the transfer that has most, which is what a pause depends on: transfers go on side by side.
    pub largest_bytes: u64,
}

impl Batch {
    fn of(current: &OwnerTable, moves: Vec<Move>, bytes: &[u64]) -> Option<Self> {
        if moves.is_empty() {
            return None;
        }
        let mut table = OwnerTable { version: current.version + 1, owners: current.owners.clone() };
        let (mut sum, mut largest_bytes) = (0u64, 0);
        for one in &moves {
            one.groups.iter().for_each(|group| table.owners[usize::from(*group)] = one.to);
            let transfer = one.groups.iter().fold(0u64, |sum, group| sum.saturating_add(size(bytes, *group)));
            sum = sum.saturating_add(transfer);
            largest_bytes = transfer.max(largest_bytes);
        }
        Some(Self { version: table.version, moves, table, bytes: sum, largest_bytes })
    }
}

/// The next batch on the way from `current` to `target`; none once they have the same owners. A task is part of at most one
/// transfer of a batch, as donor or as receiver.
///
/// `bytes[group]` is its state (0 where it is missing). `load[group]`, not empty if the groups move because of their load:
/// then the hottest go first, else those of the smallest magnitude, so that early batches show what a pause is before much depends on
/// it, and neighbours together, which stores have next to each other. The tasks with most left to give or take come first, since
/// they decide how many batches there are.
pub fn next_batch(
    current: &OwnerTable,
    target: &OwnerTable,
    bytes: &[u64],
    load: &[f64],
    limits: &Limits,
) -> Option<Batch> {
    let moves = Pending::new(current, target, bytes, load).take(bytes, load, limits);
    Batch::of(current, moves, bytes)
}

/// All that is left as a single batch, in which a task may be part of several transfers.
pub fn whole_batch(current: &OwnerTable, target: &OwnerTable, bytes: &[u64]) -> Option<Batch> {
    let pending = Pending::new(current, target, bytes, &[]);
    let moves = pending.transfers.into_iter().map(|((from, to), groups)| transfer(from, to, groups));
    Batch::of(current, moves.collect(), bytes)
}

/// How many batches are left if the limits stay what they are, with the bytes of the largest transfer of each.
pub fn batches_left(
    current: &OwnerTable,
    target: &OwnerTable,
    bytes: &[u64],
    load: &[f64],
    limits: &Limits,
) -> Vec<u64> {
    let mut pending = Pending::new(current, target, bytes, load);
    let mut largest = Vec::new();
    loop {
        let moves = pending.take(bytes, load, limits);
        if moves.is_empty() {
            return largest;
        }
        let sums = moves.iter().map(|one| one.groups.iter().map(|group| size(bytes, *group)).sum());
        largest.push(sums.max().unwrap_or(0));
    }
}

/// State of each group if all that is known is the state of each task: even over its groups.
pub fn even_bytes(table: &OwnerTable, per_task: &BTreeMap<TaskId, u64>) -> Vec<u64> {
    let groups = counts(table);
    let share = |owner: &TaskId| per_task.get(owner).map_or(0, |bytes| bytes / groups.get(owner).copied().unwrap_or(1));
    table.owners.iter().map(share).collect()
}

/// Load of each group if all that is known is the load of each task: even over its groups.
pub fn even_load(table: &OwnerTable, per_task: &BTreeMap<TaskId, f64>) -> Vec<f64> {
    let groups = counts(table);
    let share =
        |owner: &TaskId| per_task.get(owner).map_or(0.0, |load| load / groups.get(owner).copied().unwrap_or(1) as f64);
    table.owners.iter().map(share).collect()
}

fn counts(table: &OwnerTable) -> BTreeMap<TaskId, u64> {
    let mut groups = BTreeMap::new();
    table.owners.iter().for_each(|owner| *groups.entry(*owner).or_default() += 1);
    groups
}

fn size(bytes: &[u64], group: KeyGroup) -> u64 {
    bytes.get(usize::from(group)).copied().unwrap_or(0)
}

fn heat(load: &[f64], group: KeyGroup) -> f64 {
    load.get(usize::from(group)).copied().filter(|load| load.is_finite()).unwrap_or(0.0)
}

fn transfer(from: TaskId, to: TaskId, mut groups: Vec<KeyGroup>) -> Move {
    groups.sort_unstable();
    Move { from, to, groups }
}

/// Groups that are not where they should be, by donor and receiver, each list in the order in which they go.
struct Pending {
    transfers: BTreeMap<(TaskId, TaskId), Vec<KeyGroup>>,
}

impl Pending {
    fn new(current: &OwnerTable, target: &OwnerTable, bytes: &[u64], load: &[f64]) -> Self {
        let mut transfers: BTreeMap<_, Vec<KeyGroup>> = BTreeMap::new();
        for (group, (from, to)) in (0..).zip(current.owners.iter().zip(&target.owners)) {
            if from != to {
                transfers.entry((*from, *to)).or_default().push(group);
            }
        }
        // Of all groups, moved or not: so that the order does not change on the way.
        let least = bytes.iter().copied().filter(|bytes| *bytes > 0).min().unwrap_or(1);
        for groups in transfers.values_mut() {
            let magnitude = |group: &KeyGroup| (size(bytes, *group) / least).checked_ilog2();
            groups.sort_by(|one, two| {
                let hot = heat(load, *two).total_cmp(&heat(load, *one));
                hot.then(magnitude(one).cmp(&magnitude(two))).then(one.cmp(two))
            });
        }
        Self { transfers }
    }

    /// Takes the transfers of one batch out.
    fn take(&mut self, bytes: &[u64], load: &[f64], limits: &Limits) -> Vec<Move> {
        let mut busy = BTreeSet::new();
        let mut moves = Vec::new();
        for (from, to) in self.ranking(load) {
            if busy.contains(&from) || busy.contains(&to) {
                continue;
            }
            let Some(groups) = self.transfers.get_mut(&(from, to)) else { continue };
            let taken = match limits.batching {
                Batching::Auto => fill(groups, bytes, limits.budget_bytes),
                Batching::Fluid | Batching::Batched => groups.drain(..1).collect(),
            };
            busy.extend([from, to]);
            moves.push(transfer(from, to, taken));
            if limits.batching == Batching::Fluid {
                break;
            }
        }
        self.transfers.retain(|_, groups| !groups.is_empty());
        moves.sort_by_key(|one| (one.from, one.to));
        moves
    }

    /// Pairs of donor and receiver, the most urgent first: by the hottest group, then by what its tasks have left to do.
    fn ranking(&self, load: &[f64]) -> Vec<(TaskId, TaskId)> {
        let mut left: BTreeMap<TaskId, usize> = BTreeMap::new();
        for ((from, to), groups) in &self.transfers {
            *left.entry(*from).or_default() += groups.len();
            *left.entry(*to).or_default() += groups.len();
        }
        let work = |(from, to): &(TaskId, TaskId)| {
            let (one, two) = (left[from], left[to]);
            (one.max(two), one.min(two))
        };
        let mut pairs: Vec<_> = self.transfers.iter().collect();
        pairs.sort_by(|(one, ones), (two, twos)| {
            let hot = heat(load, twos[0]).total_cmp(&heat(load, ones[0]));
            hot.then(Reverse(work(one)).cmp(&Reverse(work(two)))).then(one.cmp(two))
        });
        pairs.into_iter().map(|(pair, _)| *pair).collect()
    }
}

/// The first group, and of those after it what fits beside it.
fn fill(groups: &mut Vec<KeyGroup>, bytes: &[u64], budget: u64) -> Vec<KeyGroup> {
    let mut sum = 0u64;
    let mut taken = Vec::new();
    groups.retain(|group| {
        let with = sum.saturating_add(size(bytes, *group));
        let fits = taken.is_empty() || with <= budget;
        if fits {
            sum = with;
            taken.push(*group);
        }
        !fits
    });
    taken
}

#[cfg(test)]
mod tests;

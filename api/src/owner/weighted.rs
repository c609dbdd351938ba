//! Tables by measured load: the heaviest task is what bounds a stage, so it is relieved with as few moves as do.
use std::collections::BTreeMap;

use super::{OwnerTable, distinct};
use crate::id::{KeyGroup, TaskId};

/// How far above the best the heaviest task may stay when the tasks are those there were: to move state for less than
/// the noise of a measurement is not worth it.
const TOLERANCE: f64 = 1.10;
/// The same when there are other tasks: groups move anyway, and a new task is there to be used.
const TOLERANCE_SCALING: f64 = 1.02;
/// Differences of sums that come from rounding.
const ROUNDING: f64 = 1e-9;

impl OwnerTable {
    /// The next table by load: moves as few groups as needed until the heaviest task is within a tolerance (10 %, or 2 %
    /// when `tasks` are not those of this table) of the best that packing the groups anew achieves. A table that is so good
    /// already keeps its owners. `weights[group]` is the group's load in any unit; what is missing or no number counts as
    /// none, and without any load groups are counted. The same arguments give the same table.
    pub fn rebalance_weighted(&self, tasks: &[TaskId], weights: &[f64]) -> Self {
        let tasks = distinct(tasks);
        let weights: Vec<f64> = (0..self.owners.len()).map(|group| sane(weights.get(group))).collect();
        let same = distinct(&self.owners) == tasks;
        if tasks.is_empty() || (weights.iter().all(|weight| *weight == 0.0) && !same) {
            return self.rebalance_sticky(&tasks);
        }
        let packed = pack(&tasks, &weights);
        let mut best = packed.heaviest().1;
        let mut spread = Spread::keep(&self.owners, &tasks, &weights);
        if self.owners.iter().all(|owner| tasks.binary_search(owner).is_ok()) {
            best = best.min(spread.heaviest().1);
        }
        let limit = best * if same { TOLERANCE } else { TOLERANCE_SCALING };
        spread.place_free();
        spread.relieve(limit * (1.0 + ROUNDING));
        if spread.heaviest().1 > limit * (1.0 + ROUNDING) {
            // No single move helps; it takes exchanges. Rare: few heavy groups.
            spread = packed.renamed(&self.owners, &tasks);
        }
        let owners = spread.owners.iter().map(|owner| owner.unwrap_or(tasks[0])).collect();
        Self { version: self.version + 1, owners }
    }
}

/// The heaviest group, if it alone is more than a task's fair share: no table spreads this load over `tasks` tasks, and
/// more tasks would not help.
pub fn unsplittable(weights: &[f64], tasks: usize) -> Option<KeyGroup> {
    let weight = |group: usize| sane(weights.get(group));
    let share = (0..weights.len()).map(weight).sum::<f64>() / tasks.max(1) as f64;
    let heaviest = (0..weights.len()).rev().max_by(|one, two| weight(*one).total_cmp(&weight(*two)))?;
    let above = weight(heaviest) > share * (1.0 + ROUNDING);
    above.then(|| KeyGroup::try_from(heaviest).ok()).flatten()
}

fn sane(weight: Option<&f64>) -> f64 {
    weight.copied().filter(|weight| weight.is_finite() && *weight > 0.0).unwrap_or(0.0)
}

/// Groups on tasks with the load they amount to.
struct Spread<'a> {
    weights: &'a [f64],
    owners: Vec<Option<TaskId>>,
    load: BTreeMap<TaskId, f64>,
}

/// From nothing: the heaviest group first, each to the lightest task. At most a third above the optimum, and near it when
/// there are many groups per task.
fn pack<'a>(tasks: &[TaskId], weights: &'a [f64]) -> Spread<'a> {
    let mut spread = Spread::keep(&vec![TaskId::MAX; weights.len()], &[], weights);
    spread.load = tasks.iter().map(|task| (*task, 0.0)).collect();
    spread.place_free();
    spread
}

impl<'a> Spread<'a> {
    fn keep(owners: &[TaskId], tasks: &[TaskId], weights: &'a [f64]) -> Self {
        let mut load: BTreeMap<TaskId, f64> = tasks.iter().map(|task| (*task, 0.0)).collect();
        let owners: Vec<_> = owners.iter().map(|owner| Some(*owner).filter(|owner| load.contains_key(owner))).collect();
        for (owner, weight) in owners.iter().zip(weights) {
            if let Some(load) = owner.and_then(|owner| load.get_mut(&owner)) {
                *load += weight;
            }
        }
        Self { weights, owners, load }
    }

    /// The task with most load, the lowest id among equals.
    fn heaviest(&self) -> (TaskId, f64) {
        let task = self.load.iter().rev().max_by(|one, two| one.1.total_cmp(two.1));
        task.map_or((0, 0.0), |(task, load)| (*task, *load))
    }

    fn lightest(&self) -> (TaskId, f64) {
        let task = self.load.iter().min_by(|one, two| one.1.total_cmp(two.1));
        task.map_or((0, 0.0), |(task, load)| (*task, *load))
    }

    /// Gives every group without an owner to the lightest task, heaviest groups first; groups without load are counted, so
    /// that they do not all end up on one task.
    fn place_free(&mut self) {
        let mut free: Vec<usize> = (0..self.owners.len()).filter(|group| self.owners[*group].is_none()).collect();
        free.sort_by(|one, two| self.weights[*two].total_cmp(&self.weights[*one]).then(one.cmp(two)));
        let loaded = free.iter().take_while(|group| self.weights[**group] > 0.0).count();
        for group in &free[..loaded] {
            let (task, _) = self.lightest();
            self.give(*group, task);
        }
        let mut counts: BTreeMap<TaskId, usize> = self.load.keys().map(|task| (*task, 0)).collect();
        for owner in self.owners.iter().flatten() {
            counts.entry(*owner).and_modify(|count| *count += 1);
        }
        for group in &free[loaded..] {
            let Some((task, count)) = counts.iter_mut().min_by_key(|(task, count)| (**count, **task)) else { return };
            *count += 1;
            self.owners[*group] = Some(*task);
        }
    }

    fn give(&mut self, group: usize, to: TaskId) {
        if let Some(load) = self.owners[group].and_then(|from| self.load.get_mut(&from)) {
            *load -= self.weights[group];
        }
        self.owners[group] = Some(to);
        if let Some(load) = self.load.get_mut(&to) {
            *load += self.weights[group];
        }
    }

    /// Moves groups from the heaviest task to the lightest until none is above `limit` or no move helps: the lightest group
    /// that is enough, or else the heaviest that fits. Each move lowers the heavier of the two, so this ends.
    fn relieve(&mut self, limit: f64) {
        loop {
            let ((from, heavy), (to, light)) = (self.heaviest(), self.lightest());
            if heavy <= limit {
                return;
            }
            let owned = (0..self.owners.len()).filter(|group| self.owners[*group] == Some(from));
            let fits = |group: &usize| self.weights[*group] > 0.0 && light + self.weights[*group] <= limit;
            let fitting: Vec<usize> = owned.filter(fits).collect();
            let by_weight =
                |one: &&usize, two: &&usize| self.weights[**one].total_cmp(&self.weights[**two]).then(two.cmp(one));
            let enough = fitting.iter().filter(|group| heavy - self.weights[**group] <= limit).min_by(by_weight);
            let Some(group) = enough.or_else(|| fitting.iter().max_by(by_weight)).copied() else { return };
            self.give(group, to);
        }
    }

    /// The same parts on tasks named so that groups stay where they are as far as a greedy match finds.
    fn renamed(mut self, owners: &[TaskId], tasks: &[TaskId]) -> Self {
        let mut shared: BTreeMap<(TaskId, TaskId), f64> = BTreeMap::new();
        for (group, (before, part)) in owners.iter().zip(&self.owners).enumerate() {
            if let Some(part) = part.filter(|_| tasks.binary_search(before).is_ok()) {
                *shared.entry((part, *before)).or_default() += self.weights[group];
            }
        }
        let mut pairs: Vec<_> = shared.into_iter().collect();
        pairs.sort_by(|one, two| two.1.total_cmp(&one.1).then(one.0.cmp(&two.0)));
        let mut names: BTreeMap<TaskId, TaskId> = BTreeMap::new();
        let mut unused: Vec<TaskId> = tasks.to_vec();
        for ((part, name), _) in pairs {
            if !names.contains_key(&part) && unused.contains(&name) {
                names.insert(part, name);
                unused.retain(|task| *task != name);
            }
        }
        for part in tasks {
            if !names.contains_key(part) && !unused.is_empty() {
                names.insert(*part, unused.remove(0));
            }
        }
        let name = |part: TaskId| names.get(&part).copied().unwrap_or(part);
        self.owners.iter_mut().for_each(|owner| *owner = owner.map(name));
        self.load = self.load.into_iter().map(|(part, load)| (name(part), load)).collect();
        self
    }
}

#[cfg(test)]
mod tests;

//! What a rescale is to end in: tasks, owner tables and readers of splits, from what is deployed and what is asked for.
use std::collections::BTreeMap;

use millstream_api::id::{KeyGroup, TaskId};
use millstream_api::owner::unsplittable;
use millstream_api::wire::{
    HotGroup, RescaleBatch, RescaleEstimate, RescaleRequest, RescaleState, RescaleStatus, RescaleStrategy,
};

use super::Coordinator;
use crate::coordinator::place::{self, Before};
use crate::message::{Register, StageDeployment};
use crate::rescale::budget::Budget;
use crate::rescale::estimate::{self, Pace, estimate};
use crate::rescale::plan::{Limits, even_bytes, even_load};

/// A rescale that moved less says little about how fast state moves.
const TELLING_BYTES: u64 = 1 << 20;

/// The end of a rescale.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::coordinator) struct Target {
    /// All stages; those that nothing was asked of are as they are deployed.
    pub(in crate::coordinator) stages: Vec<StageDeployment>,
    /// The first task id not used.
    pub(in crate::coordinator) next_task: TaskId,
}

impl Coordinator {
    /// Where `request` leads, whose parallelisms by stage are `to`. Stages without a change keep their version of the table.
    pub(in crate::coordinator) fn target(&self, request: &RescaleRequest, to: &[u32]) -> Result<Target, (u16, String)> {
        let rebalanced = request.rebalance.iter().map(|name| (name, None));
        let written = request.tables.iter().map(|(name, owners)| (name, Some(owners)));
        let mut asked: BTreeMap<usize, Option<&Vec<TaskId>>> = BTreeMap::new();
        for (name, owners) in rebalanced.chain(written) {
            let index = self.keyed_stage(name)?;
            if asked.insert(index, owners).is_some_and(|other| other.is_some() != owners.is_some()) {
                return Err((400, format!("stage {name}: a table and a rebalance contradict each other; ask for one")));
            }
        }
        self.check_vacated(&request.vacate)?;
        let changes = |index: &usize| {
            let stage = &self.deployment[*index];
            let is_vacated = stage.tasks.iter().any(|placed| request.vacate.contains(&placed.worker));
            is_vacated || stage.tasks.len() != to[*index] as usize
        };
        let mut load: BTreeMap<String, u32> = BTreeMap::new();
        for index in (0..self.deployment.len()).filter(|index| !changes(index)) {
            for placed in &self.deployment[index].tasks {
                *load.entry(placed.worker.clone()).or_default() += 1;
            }
        }
        let mut target = Target { stages: self.deployment.clone(), next_task: self.next_task };
        for (index, parallelism) in to.iter().enumerate() {
            if changes(&index) {
                let workers = self.placeable_but(&request.vacate);
                target.stages[index] =
                    self.placed((index, *parallelism), &workers, &mut load, &mut target.next_task)?;
            }
            let tasks: Vec<_> = target.stages[index].tasks.iter().map(|placed| placed.task).collect();
            let current = &self.deployment[index].table;
            match asked.get(&index) {
                Some(Some(owners)) => {
                    let name = &self.config.stages[index].name;
                    let table = current.explicit(owners, &tasks);
                    target.stages[index].table = table.map_err(|error| (400, format!("stage {name}: {error}")))?;
                }
                Some(None) => {
                    let next = current.rebalance_weighted(&tasks, &self.group_load(index)?);
                    if next.owners != current.owners {
                        target.stages[index].table = next;
                    }
                }
                None => {}
            }
        }
        Ok(target)
    }

    /// Workers that tasks can be placed on, without some.
    fn placeable_but(&self, vacated: &[String]) -> Vec<Register> {
        self.placeable().into_iter().filter(|worker| !vacated.contains(&worker.name)).collect()
    }

    fn check_vacated(&self, vacated: &[String]) -> Result<(), (u16, String)> {
        match vacated.iter().find(|name| !self.workers.contains_key(*name)) {
            Some(name) => Err((404, format!("there is no worker {name} to vacate"))),
            None => Ok(()),
        }
    }

    /// A stage at another parallelism, or on other workers. Tasks on none of these are not among it.
    pub(super) fn placed(
        &self,
        (index, parallelism): (usize, u32),
        workers: &[Register],
        load: &mut BTreeMap<String, u32>,
        next_task: &mut TaskId,
    ) -> Result<StageDeployment, (u16, String)> {
        let deployed = &self.deployment[index];
        let stays = |placed: &&crate::job::Placement| workers.iter().any(|worker| worker.name == placed.worker);
        let before = Before {
            tasks: deployed.tasks.iter().filter(stays).cloned().collect(),
            table: Some(deployed.table.clone()),
            splits: deployed.splits.clone(),
        };
        let request = place::Request { parallelism, key_groups: self.config.job.key_groups, workers };
        let placed = place::stage(&self.config.stages[index], &before, &request, load, next_task);
        placed.map_err(|error| (409, format!("{error}; add workers")))
    }

    /// A stage whose rows are spread by key.
    fn keyed_stage(&self, name: &str) -> Result<usize, (u16, String)> {
        let index = self.config.stages.iter().position(|stage| stage.name == name);
        let index = index.ok_or_else(|| (404, self.no_such_stage(name)))?;
        if self.config.stages[index].inputs.iter().any(|(_, _, partition)| *partition == place::HASH) {
            return Ok(index);
        }
        Err((400, format!("stage {name}: its rows are not spread by key, so it has no key groups to move")))
    }

    /// State of each key group of a stage as its task has weighed it; until it has weighed all of them, that of the task, even over
    /// them.
    pub(in crate::coordinator) fn group_bytes(&self, index: usize) -> Vec<u64> {
        let (table, reports) = (&self.deployment[index].table, self.reports());
        let mut bytes = even_bytes(table, &reports.values().map(|report| (report.task, report.state_bytes)).collect());
        for (task, report) in &reports {
            let owned = || (0..).zip(&table.owners).filter(|(_, owner)| *owner == task).map(|(group, _)| group);
            let weights: Option<Vec<(KeyGroup, u64)>> =
                owned().map(|group| Some((group, *report.group_bytes.get(&group)?))).collect();
            weights.into_iter().flatten().for_each(|(group, weight)| bytes[usize::from(group)] = weight);
        }
        bytes
    }

    /// Load of each key group of a stage: the share of time its task is busy, by the rows of the task's groups; even over them if
    /// none came.
    pub(in crate::coordinator) fn group_load(&self, index: usize) -> Result<Vec<f64>, (u16, String)> {
        let stage = &self.deployment[index];
        let busy = |task: TaskId| Some((task, self.workers.values().find_map(|worker| worker.loads.busy(task))?));
        let known: Option<BTreeMap<TaskId, f64>> = stage.tasks.iter().map(|placed| busy(placed.task)).collect();
        let unknown =
            || (409, format!("stage {}: its load has not been measured yet; ask again in a moment", stage.name));
        let known = known.ok_or_else(unknown)?;
        let rates = self.group_rates(index);
        let mut rows: BTreeMap<TaskId, f64> = BTreeMap::new();
        stage.table.owners.iter().zip(&rates).for_each(|(owner, rate)| *rows.entry(*owner).or_default() += rate);
        let mut load = even_load(&stage.table, &known);
        for ((load, owner), rate) in load.iter_mut().zip(&stage.table.owners).zip(&rates) {
            if let (Some(busy), Some(rows)) = (known.get(owner), rows.get(owner).filter(|rows| **rows > 0.0)) {
                *load = busy * rate / rows;
            }
        }
        Ok(load)
    }

    /// Key groups of stages that are to be spread by load and have too much of it.
    pub(in crate::coordinator) fn hot_groups(&self, request: &RescaleRequest) -> Vec<HotGroup> {
        let hot = |name: &String| {
            let index = self.keyed_stage(name).ok()?;
            let load = self.group_load(index).ok()?;
            let group = unsplittable(&load, self.deployment[index].tasks.len())?;
            Some(HotGroup { stage: name.clone(), group, share: load[usize::from(group)] / load.iter().sum::<f64>() })
        };
        request.rebalance.iter().filter_map(hot).collect()
    }

    /// Load of each group of each stage that keeps its tasks and is spread by it, by the number of the stage.
    pub(super) fn moving_load(
        &self,
        request: &RescaleRequest,
        target: &[StageDeployment],
    ) -> BTreeMap<usize, Vec<f64>> {
        let stages = self.deployment.iter().zip(target).enumerate();
        let by_load =
            stages.filter(|(_, (now, then))| now.tasks == then.tasks && request.rebalance.contains(&then.name));
        by_load.map(|(index, _)| (index, self.group_load(index).unwrap_or_default())).collect()
    }

    /// What a rescale to `target` is expected to take.
    pub(in crate::coordinator) fn estimate(&self, request: &RescaleRequest, target: &Target) -> RescaleEstimate {
        let limits = Limits { batching: request.batch, budget_bytes: Budget::default().bytes() };
        let pace = Pace { strategy: request.strategy, limits, rate_bytes_per_s: self.rate_bytes_per_s() };
        let stages = self.deployment.iter().zip(&target.stages).enumerate();
        let load = self.moving_load(request, &target.stages);
        let one = |(index, (before, after)): (usize, (&StageDeployment, &StageDeployment))| {
            let tasks: Vec<_> = after.tasks.iter().map(|placed| placed.task).collect();
            let load = load.get(&index).map_or(&[][..], Vec::as_slice);
            estimate(&before.table, &after.table, &tasks, &self.group_bytes(index), load, &pace)
        };
        let changed = stages.filter(|(_, (before, after))| before != after);
        estimate::total(&changed.map(one).collect::<Vec<_>>(), request.strategy)
    }

    /// As the newest live rescale that moved enough has shown.
    fn rate_bytes_per_s(&self) -> u64 {
        let telling = |status: &&RescaleStatus| {
            let live = status.strategy != RescaleStrategy::Restart && status.state == RescaleState::Done;
            live && status.bytes_moved >= TELLING_BYTES
        };
        let seen = self.rescales.iter().find(telling);
        // Between batches, and at the end of tasks that leave, it waits for others.
        let rate = |seen: &RescaleStatus| {
            let sum = |of: fn(&RescaleBatch) -> u64| seen.history.iter().map(of).sum::<u64>();
            sum(|batch| batch.bytes).saturating_mul(1000).checked_div(sum(|batch| batch.copy_ms + batch.flip_ms))
        };
        seen.and_then(rate).filter(|rate| *rate > 0).unwrap_or(estimate::RATE_BYTES_PER_S)
    }
}

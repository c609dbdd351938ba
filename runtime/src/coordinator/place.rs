//! Placement: which tasks a stage has, on which workers, owning what. Pure.
use std::collections::{BTreeMap, BTreeSet};

use millstream_api::id::TaskId;
use millstream_api::owner::{OwnerTable, assign_splits_sticky};

use crate::job::Placement;
use crate::message::{Register, StageDeployment};
use crate::source::Split;

/// How an edge that spreads rows by key group is called.
pub const HASH: &str = "hash";

/// What a stage looks like to the coordinator.
#[derive(Debug, Clone)]
pub struct StageShape {
    /// Stable name.
    pub name: String,
    /// Names of its ops.
    pub ops: Vec<String>,
    /// Splits at their beginning, of a stage that reads a source.
    pub splits: Option<Vec<Split>>,
    /// Hash of the table it reads; 0 if it reads none.
    pub input: u64,
    /// Edges into it: (edge id, stage it comes from, `HASH` or `rebalance`).
    pub inputs: Vec<(u16, usize, &'static str)>,
}

/// What a stage was before: the tasks still alive keep their ids, their workers and as much of their state as they can.
#[derive(Debug, Clone, Default)]
pub struct Before {
    /// Tasks with the workers they ran on.
    pub tasks: Vec<Placement>,
    /// Their owner table.
    pub table: Option<OwnerTable>,
    /// Splits with their readers.
    pub splits: Vec<(TaskId, Split)>,
}

/// What is asked of a placement.
#[derive(Debug)]
pub struct Request<'a> {
    /// Tasks wanted.
    pub parallelism: u32,
    /// Key groups of the job.
    pub key_groups: u32,
    /// Workers there are.
    pub workers: &'a [Register],
}

/// Places the tasks of a stage. `load` counts the tasks already placed per worker (all stages).
///
/// Tasks of `before` survive in the order of their workers (highest-numbered workers are emptied first), keep their worker
/// if it is there, and keep what they own as far as balance allows.
pub fn stage(
    shape: &StageShape,
    before: &Before,
    request: &Request<'_>,
    load: &mut BTreeMap<String, u32>,
    next_task: &mut TaskId,
) -> Result<StageDeployment, String> {
    let Request { parallelism, workers, .. } = *request;
    let slots: u32 = workers.iter().map(|worker| worker.slots).sum();
    if parallelism > slots {
        return Err(format!("stage {} needs {parallelism} slots and there are {slots}", shape.name));
    }
    let mut free: BTreeMap<&str, u32> = workers.iter().map(|worker| (worker.name.as_str(), worker.slots)).collect();
    let mut survivors = before.tasks.clone();
    survivors.sort_by(|a, b| (worker_rank(&a.worker), a.task).cmp(&(worker_rank(&b.worker), b.task)));
    survivors.truncate(parallelism as usize);
    let mut tasks = Vec::new();
    let mut homeless = Vec::new();
    for placed in survivors {
        match free.get_mut(placed.worker.as_str()) {
            Some(left) if *left > 0 => {
                *left -= 1;
                *load.entry(placed.worker.clone()).or_default() += 1;
                tasks.push(placed);
            }
            _ => homeless.push(placed.task),
        }
    }
    while tasks.len() + homeless.len() < parallelism as usize {
        homeless.push(*next_task);
        *next_task += 1;
    }
    for task in homeless {
        let worker = roomiest(workers, &free, load);
        if let Some(left) = free.get_mut(worker.as_str()) {
            *left -= 1;
        }
        *load.entry(worker.clone()).or_default() += 1;
        tasks.push(Placement { task, worker });
    }
    tasks.sort_by_key(|placed| placed.task);
    let ids: Vec<TaskId> = tasks.iter().map(|placed| placed.task).collect();
    Ok(StageDeployment {
        name: shape.name.clone(),
        tasks,
        table: table(before, &ids, request.key_groups),
        splits: splits(shape, before, &ids),
    })
}

/// `w2` before `w10`.
fn worker_rank(name: &str) -> (u64, &str) {
    let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    (digits.parse().unwrap_or(u64::MAX), name)
}

/// The worker with the most free slots of this stage, then the fewest tasks of all, then the lowest number.
fn roomiest(workers: &[Register], free: &BTreeMap<&str, u32>, load: &BTreeMap<String, u32>) -> String {
    let key = |worker: &Register| {
        let left = free.get(worker.name.as_str()).copied().unwrap_or(0);
        (std::cmp::Reverse(left.min(1)), load.get(&worker.name).copied().unwrap_or(0))
    };
    let order = |a: &&Register, b: &&Register| {
        key(a).cmp(&key(b)).then_with(|| worker_rank(&a.name).cmp(&worker_rank(&b.name)))
    };
    workers.iter().min_by(order).map(|worker| worker.name.clone()).unwrap_or_default()
}

fn table(before: &Before, ids: &[TaskId], key_groups: u32) -> OwnerTable {
    match &before.table {
        // With the tasks there were, who owns what was decided by load or by a person, and is not for a recovery to undo.
        Some(table) if same_tasks(before, ids) && table.owners.iter().all(|owner| ids.contains(owner)) => {
            OwnerTable { version: table.version + 1, owners: table.owners.clone() }
        }
        Some(table) => table.rebalance_sticky(ids),
        None => OwnerTable::initial(ids, key_groups),
    }
}

fn same_tasks(before: &Before, ids: &[TaskId]) -> bool {
    before.tasks.len() == ids.len() && before.tasks.iter().all(|placed| ids.contains(&placed.task))
}

fn splits(shape: &StageShape, before: &Before, ids: &[TaskId]) -> Vec<(TaskId, Split)> {
    let Some(all) = &shape.splits else { return Vec::new() };
    // A restored job reads the splits it had, even if the table would now be cut differently.
    let known: BTreeMap<u32, &Split> = before.splits.iter().map(|(_, split)| (split.id, split)).collect();
    let readers: BTreeMap<u32, TaskId> = before.splits.iter().map(|(task, split)| (split.id, *task)).collect();
    let all: Vec<&Split> = if known.is_empty() { all.iter().collect() } else { known.into_values().collect() };
    let assigned = assign_splits_sticky(&readers, all.len() as u32, ids);
    let reader = |split: &&Split| assigned.get(&split.id).or(ids.first()).copied();
    all.into_iter().filter_map(|split| Some((reader(&split)?, split.clone()))).collect()
}

/// Names of all workers that host a task.
pub fn hosts(stages: &[StageDeployment]) -> BTreeSet<String> {
    stages.iter().flat_map(|stage| stage.tasks.iter().map(|placed| placed.worker.clone())).collect()
}

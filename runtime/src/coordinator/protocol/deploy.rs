//! From the last checkpoint and the workers there are to running tasks.
use std::collections::BTreeMap;

use super::{Action, Coordinator, Phase};
use crate::checkpoint::mapping::keeps_positions;
use crate::coordinator::place::{self, Before, StageShape};
use crate::message::{Command, Deploy, Peer, Register, RestoreFrom};
use millstream_api::id::Generation;

impl Coordinator {
    /// Tasks of a stage before the next deployment: those of the last checkpoint, which is where the job goes on from.
    pub(super) fn before(&self) -> Vec<Before> {
        let of = |stage: &StageShape| {
            let (manifest, _) = self.last.as_ref()?;
            let old = manifest.stages.iter().find(|old| old.name == stage.name)?;
            let tasks = old.tasks.iter();
            let placed =
                tasks.clone().map(|task| crate::job::Placement { task: task.task, worker: task.worker.clone() });
            // Positions in another table are given up: `upgrade.dropState` has been asked for that.
            let tasks = tasks.filter(|_| keeps_positions(old, stage.input));
            let splits = tasks.flat_map(|task| task.splits.iter().map(|split| (task.task, split.clone())));
            Some(Before { tasks: placed.collect(), table: Some(old.table.clone()), splits: splits.collect() })
        };
        self.config.stages.iter().map(|stage| of(stage).unwrap_or_default()).collect()
    }

    pub(super) fn try_deploy(&mut self, now_ms: i64, out: &mut Vec<Action>) {
        if self.storing.is_some() {
            // If it counts, the job must go on from there: another coordinator would, and expects its output untouched.
            return;
        }
        let workers = self.placeable();
        let most = self.most(now_ms, &workers);
        let mut load = BTreeMap::new();
        let mut next_task = self.next_task;
        let mut stages = Vec::new();
        for ((shape, before), parallelism) in self.config.stages.iter().zip(self.before()).zip(&self.parallelism) {
            let parallelism = (*parallelism).min(most);
            let request = place::Request { parallelism, key_groups: self.config.job.key_groups, workers: &workers };
            match place::stage(shape, &before, &request, &mut load, &mut next_task) {
                Ok(stage) => stages.push(stage),
                Err(_) => return, // Not enough slots yet; tried again with the next registration.
            }
        }
        let hosts = place::hosts(&stages);
        let counts: Vec<u32> = stages.iter().map(|stage| stage.tasks.len() as u32).collect();
        if counts != self.parallelism {
            out.push(Action::Tell(format!("there are only {most} slots: tasks by stage are {counts:?}")));
            self.parallelism = counts;
        }
        self.next_task = next_task;
        // Above all that ran under an earlier term, one that was adopted included.
        self.generation = self.generation.max(self.config.term << 20) + 1;
        self.deployment = stages;
        self.ended.clear();
        self.last_round_at_ms = now_ms;
        let deploy = self.describe(self.last.as_ref().map(|(_, from)| from.clone()));
        self.forget_measured();
        out.push(Action::Note(self.generation));
        for worker in &hosts {
            out.push(Action::Send { worker: worker.clone(), command: Command::Deploy(Box::new(deploy.clone())) });
        }
        self.phase = Phase::Deploying(hosts);
    }

    /// Tasks of a stage at most: as many as there are slots, once those missing have been waited for long enough.
    fn most(&self, now_ms: i64, workers: &[Register]) -> u32 {
        let slots: u32 = workers.iter().map(|worker| worker.slots).sum();
        let is_first = self.deployment.is_empty();
        let patience = self.config.patience.map(|wait| if is_first { wait.start_ms } else { wait.lost_ms });
        let is_over = patience.is_some_and(|wait_ms| self.phase_ms(now_ms) >= wait_ms);
        if is_over && slots > 0 { slots } else { u32::MAX }
    }

    /// The present generation, for those who host its tasks.
    pub(super) fn describe(&self, restore: Option<RestoreFrom>) -> Deploy {
        let hosts = place::hosts(&self.deployment);
        let peer = |worker: &Register| Peer {
            name: worker.name.clone(),
            incarnation: worker.incarnation,
            data_address: worker.data_address.clone(),
        };
        let workers = self.workers.values().map(|worker| &worker.register);
        Deploy {
            generation: self.generation,
            term: self.config.term,
            job_id: self.config.job_id,
            job: self.config.job.clone(),
            started_at_ms: self.config.started_at_ms,
            fingerprint: self.config.fingerprint,
            prefix: self.config.prefix.clone(),
            restore,
            stages: self.deployment.clone(),
            peers: workers.filter(|worker| hosts.contains(&worker.name)).map(peer).collect(),
        }
    }

    pub(super) fn deployed(&mut self, now_ms: i64, worker: &str, out: &mut Vec<Action>) {
        let Phase::Deploying(waiting) = &mut self.phase else { return };
        waiting.remove(worker);
        if waiting.is_empty() {
            self.phase = Phase::Running;
            self.send_all(|generation| Command::Start { generation }, out);
            self.rescaled(now_ms);
        }
    }

    /// Says something to every worker that hosts a task.
    pub(super) fn send_all(&self, command: impl Fn(Generation) -> Command, out: &mut Vec<Action>) {
        for worker in place::hosts(&self.deployment).into_iter().filter(|name| self.workers.contains_key(name)) {
            out.push(Action::Send { worker, command: command(self.generation) });
        }
    }
}

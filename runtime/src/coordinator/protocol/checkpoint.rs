//! Checkpoints of a running job: when they begin, what completes them, what they end in.
use std::collections::BTreeMap;

use millstream_api::id::{Epoch, TaskId};
use millstream_api::wire::{CheckpointStatus, ErrorBody, JobState};

use super::{Action, Coordinator, HISTORY, Intent, Leaves, Phase, Reply, Then};
use crate::checkpoint::manifest::{Manifest, StageManifest, TaskManifest};
use crate::coordinator::place;
use crate::coordinator::round::{Purpose, Round, Step};
use crate::message::{Command, CutFailure, RestoreFrom};

impl Coordinator {
    /// Looks after a running job: takes the checkpoint that is due, gives up the one that takes too long.
    pub(super) fn tend(&mut self, now_ms: i64, out: &mut Vec<Action>) {
        self.tend_drains(now_ms, out);
        self.drive(now_ms, out);
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        if let Some(round) = &self.round {
            let timeout = i64::try_from(self.config.job.checkpoint_timeout_ms).unwrap_or(i64::MAX);
            if matches!(round.step, Step::Cutting(_)) && now_ms.saturating_sub(round.started_at_ms) > timeout {
                self.give_up_round(round.epoch, "it took longer than the checkpoint timeout", out);
            }
            return;
        }
        if self.is_in_flux() {
            return;
        }
        let all_ended = self.ended == self.tasks();
        let due = self.config.job.checkpoint_interval_ms.is_some_and(|interval| {
            now_ms.saturating_sub(self.last_round_at_ms) >= i64::try_from(interval).unwrap_or(i64::MAX)
        });
        match &self.intent {
            Some(Intent::Stop(Leaves::Nothing)) => self.cancel(Then::Finish(JobState::Stopped), out),
            Some(Intent::Stop(leaves)) => {
                let savepoint = *leaves == Leaves::Savepoint;
                self.trigger(now_ms, Purpose::Stop { savepoint }, out);
            }
            Some(Intent::Rescale { .. }) => self.trigger(now_ms, Purpose::Rescale, out),
            Some(Intent::Leave) => self.trigger(now_ms, Purpose::Leave, out),
            Some(Intent::Retire) => {}
            None if all_ended && self.live.is_none() => self.trigger(now_ms, Purpose::Final, out),
            None => match self.savepoints_wanted.pop_front() {
                Some(asked) => self.trigger(now_ms, Purpose::Savepoint(asked), out),
                None if due => self.trigger(now_ms, Purpose::Periodic, out),
                None => {}
            },
        }
    }

    /// Begins a round.
    pub(super) fn trigger(&mut self, now_ms: i64, purpose: Purpose, out: &mut Vec<Action>) {
        let epoch = self.next_epoch;
        self.next_epoch += 1;
        self.last_round_at_ms = now_ms;
        self.round = Some(Round::new(epoch, purpose, now_ms, self.deployment.clone()));
        self.send_all(|generation| Command::Trigger { generation, epoch }, out);
    }

    pub(super) fn cut(
        &mut self,
        now_ms: i64,
        epoch: Epoch,
        (stage, task): (usize, TaskManifest),
        uploaded_bytes: u64,
        out: &mut Vec<Action>,
    ) {
        let Some(round) = self.round.as_mut().filter(|round| round.epoch == epoch) else { return };
        if round.add(stage, task, uploaded_bytes) {
            self.storing = self.manifest(now_ms);
            out.extend(self.storing.clone().map(|manifest| Action::Store(Box::new(manifest))));
        }
    }

    /// The manifest of the round whose cuts are all there.
    fn manifest(&self, now_ms: i64) -> Option<Manifest> {
        let round = self.round.as_ref()?;
        let mut tasks: BTreeMap<usize, Vec<TaskManifest>> = BTreeMap::new();
        for (stage, part) in round.parts.values() {
            tasks.entry(*stage).or_default().push(part.clone());
        }
        let stage = |(index, deployed): (usize, &crate::message::StageDeployment)| StageManifest {
            name: deployed.name.clone(),
            table: deployed.table.clone(),
            tasks: tasks.get(&index).cloned().unwrap_or_default(),
            states: self.config.states.get(index).cloned().unwrap_or_default(),
            input: self.config.stages.get(index).map_or(0, |stage| stage.input),
        };
        Some(Manifest {
            job_id: self.config.job_id,
            job_name: self.config.job.name.clone(),
            fingerprint: self.config.fingerprint,
            sql_hash: self.config.sql_hash.clone(),
            epoch: round.epoch,
            savepoint: matches!(round.purpose, Purpose::Savepoint(_) | Purpose::Stop { savepoint: true }),
            asked: round.purpose.asked().and_then(|asked| asked.name.clone()),
            generation: self.generation,
            term: self.config.term,
            created_at_ms: now_ms,
            started_at_ms: self.config.started_at_ms,
            key_groups: self.config.job.key_groups,
            stages: round.deployment.iter().enumerate().map(stage).collect(),
            next_task_id: self.next_task,
            final_: round.purpose == Purpose::Final,
            in_flight: Vec::new(),
            rescale_plan: None,
        })
    }

    pub(super) fn stored(&mut self, now_ms: i64, epoch: Epoch, result: Result<String, String>, out: &mut Vec<Action>) {
        let Some(manifest) = self.storing.take_if(|manifest| manifest.epoch == epoch) else { return };
        let under_way = self.round.as_ref().is_some_and(|round| round.epoch == epoch);
        match result {
            Err(reason) => self.give_up_round(epoch, &format!("its manifest cannot be stored: {reason}"), out),
            Ok(path) if under_way => self.complete(now_ms, manifest, path, out),
            // The job was about to go back: it goes back to this one, as another coordinator would.
            Ok(_) => self.last = Some(self.restorable(manifest)),
        }
    }

    fn restorable(&self, manifest: Manifest) -> (Manifest, RestoreFrom) {
        let from = RestoreFrom { root: None, prefix: self.config.prefix.clone(), id: manifest.id() };
        (manifest, from)
    }

    fn complete(&mut self, now_ms: i64, manifest: Manifest, path: String, out: &mut Vec<Action>) {
        let hosts = place::hosts(&self.deployment);
        let Some(round) = &mut self.round else { return };
        let status = CheckpointStatus {
            epoch: manifest.epoch,
            savepoint: manifest.savepoint,
            completed_at_ms: now_ms,
            duration_ms: u64::try_from(now_ms.saturating_sub(round.started_at_ms)).unwrap_or(0),
            uploaded_bytes: round.uploaded_bytes,
            state_bytes: round.parts.values().map(|(_, part)| part.state_bytes).sum(),
            path,
            name: manifest.asked.clone(),
        };
        round.step = Step::Committing(hosts);
        if let Some(asked) = round.purpose.asked() {
            out.push(Action::Answer { id: asked.id, reply: Box::new(Reply::Savepoint(status.clone())) });
        }
        let epoch = manifest.epoch;
        self.store_away = None;
        self.totals.checkpoints += 1;
        self.totals.uploaded_bytes += status.uploaded_bytes;
        self.checkpoints.push_front(status);
        self.checkpoints.truncate(HISTORY);
        self.last = Some(self.restorable(manifest));
        self.send_all(|generation| Command::Commit { generation, epoch }, out);
    }

    pub(super) fn committed(&mut self, worker: &str, epoch: Epoch, out: &mut Vec<Action>) {
        let Some(round) = self.round.as_mut().filter(|round| round.epoch == epoch) else { return };
        if !round.committed(worker) {
            return;
        }
        let purpose = round.purpose.clone();
        self.round = None;
        match purpose {
            Purpose::Periodic | Purpose::Savepoint(_) => {}
            Purpose::Final => self.finish(JobState::Completed, out),
            Purpose::Stop { .. } => self.cancel(Then::Finish(JobState::Stopped), out),
            Purpose::Rescale => self.apply_rescale(out),
            Purpose::Leave => self.cancel(Then::Deploy, out),
        }
    }

    /// A task's cut is not in the store.
    pub(super) fn cut_failed(&mut self, epoch: Epoch, task: TaskId, failure: CutFailure, out: &mut Vec<Action>) {
        let CutFailure { message, is_store_away } = failure;
        self.give_up_round(epoch, &format!("task {task}: {message}"), out);
        if is_store_away {
            self.store_away = Some(message);
        }
    }

    /// Gives up a round; the job goes on and tries again later.
    pub(super) fn give_up_round(&mut self, epoch: Epoch, reason: &str, out: &mut Vec<Action>) {
        if self.round.as_ref().is_none_or(|round| round.epoch != epoch) {
            return;
        }
        self.send_all(|generation| Command::Abort { generation, epoch }, out);
        self.drop_round(epoch, reason, out);
    }

    pub(super) fn drop_round(&mut self, epoch: Epoch, reason: &str, out: &mut Vec<Action>) {
        let Some(round) = self.round.take_if(|round| round.epoch == epoch) else { return };
        if matches!(round.step, Step::Committing(_)) {
            return; // Its manifest is stored: whoever restores from it makes the output visible.
        }
        self.totals.checkpoints_failed += 1;
        out.push(Action::Tell(format!("checkpoint {epoch} given up: {reason}")));
        if let Some(asked) = round.purpose.asked() {
            let id = asked.id;
            let error = format!("savepoint {epoch} failed: {reason}; ask again");
            out.push(Action::Answer { id, reply: Box::new(Reply::Refused(503, ErrorBody { error })) });
        }
    }

    /// Whether a running job may begin something new.
    pub(super) fn is_steady(&self) -> bool {
        matches!(self.phase, Phase::Running) && self.intent.is_none() && self.live.is_none()
    }
}

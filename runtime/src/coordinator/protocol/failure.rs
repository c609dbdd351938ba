//! What is done about lost workers and failed tasks, and how a generation and a job end.
use super::{Action, Coordinator, Intent, Phase, Reply, Then};
use crate::coordinator::place;
use crate::coordinator::round::Asked;
use crate::message::{Command, Failure};
use millstream_api::wire::{ErrorBody, JobState, RescaleState};

impl Coordinator {
    pub(super) fn lost(&mut self, now_ms: i64, worker: &str, incarnation: u64, out: &mut Vec<Action>) {
        self.gone(now_ms, worker, incarnation, "was lost", out);
    }

    /// How long the job has been where it is; not at all before the first fact.
    pub(super) fn phase_ms(&self, now_ms: i64) -> i64 {
        self.phase_since_ms.map_or(0, |since_ms| now_ms.saturating_sub(since_ms))
    }

    /// Takes as lost the workers that have not done in time what all wait for: one that hangs keeps its connection. If it comes to
    /// itself, it ends, and may be started again.
    pub(super) fn give_up_silent(&mut self, now_ms: i64, out: &mut Vec<Action>) {
        let timeout = i64::try_from(self.config.job.answer_timeout_ms).unwrap_or(i64::MAX);
        if self.phase_ms(now_ms) <= timeout {
            return;
        }
        let (task, waiting) = match &self.phase {
            Phase::Deploying(waiting) => ("started", waiting),
            Phase::Cancelling { waiting, .. } => ("cancelled", waiting),
            Phase::Finishing { waiting, .. } => ("ended", waiting),
            Phase::Waiting | Phase::Running | Phase::Ended(_) => return,
        };
        let reason = format!("has not {task} its tasks within {} s", timeout / 1000);
        for worker in waiting.clone() {
            let Some(incarnation) = self.workers.get(&worker).map(|known| known.register.incarnation) else { continue };
            out.push(Action::Tell(format!("worker {worker} {reason} and is taken as lost")));
            out.push(Action::Send { worker: worker.clone(), command: Command::Finish { clean: false } });
            self.gone(now_ms, &worker, incarnation, &reason, out);
        }
    }

    fn gone(&mut self, now_ms: i64, worker: &str, incarnation: u64, reason: &str, out: &mut Vec<Action>) {
        if !self.knows(worker, incarnation) {
            return;
        }
        if matches!(self.phase, Phase::Ended(_)) {
            return; // It has left after the job, and what it counted stays to be shown.
        }
        if let Phase::Finishing { waiting, .. } = &mut self.phase {
            waiting.remove(worker);
            return;
        }
        let lost = self.workers.remove(worker);
        self.gone.add(lost.iter().flat_map(|lost| &lost.metrics));
        let hosted = place::hosts(&self.deployment).contains(worker);
        let name = worker.to_owned();
        match &mut self.phase {
            Phase::Deploying(_) | Phase::Running if hosted => {
                self.recover(now_ms, format!("worker {worker} {reason}"), out)
            }
            Phase::Cancelling { waiting, .. } => {
                waiting.remove(&name);
            }
            _ => {}
        }
    }

    pub(super) fn failed(&mut self, now_ms: i64, failure: Failure, out: &mut Vec<Action>) {
        if !matches!(self.phase, Phase::Deploying(_) | Phase::Running) {
            return;
        }
        if failure.user {
            self.error = Some(failure.message);
            self.user_error = true;
            self.cancel(Then::Finish(JobState::Failed), out);
        } else {
            self.recover(now_ms, failure.message, out);
        }
    }

    /// Goes back to the last checkpoint, or gives up if that has happened too often of late.
    pub(super) fn recover(&mut self, now_ms: i64, reason: String, out: &mut Vec<Action>) {
        let window = i64::try_from(self.config.job.restart_window_ms).unwrap_or(i64::MAX);
        if matches!(&self.intent, Some(Intent::Rescale { to }) if *to != self.parallelism) {
            self.fail_rescale(&reason); // Its savepoint is not complete: the job goes on as it was.
        }
        self.failures.push_back(now_ms);
        self.failures.retain(|at| now_ms.saturating_sub(*at) <= window);
        let limit = self.config.job.restart_max_failures as usize;
        out.push(Action::Tell(format!("recovering: {reason}")));
        if self.failures.len() > limit {
            let many = self.failures.len();
            self.error = Some(format!("{reason}; {many} failures within {} s, giving up", window / 1000));
            self.cancel(Then::Finish(JobState::Failed), out);
        } else {
            self.recoveries += 1;
            self.error = Some(reason);
            self.cancel(Then::Deploy, out);
        }
    }

    /// Stops the present generation everywhere.
    pub(super) fn cancel(&mut self, then: Then, out: &mut Vec<Action>) {
        if let Some(epoch) = self.round.as_ref().map(|round| round.epoch) {
            self.drop_round(epoch, "the job went back to its last checkpoint", out);
        }
        for Asked { id, .. } in std::mem::take(&mut self.savepoints_wanted) {
            let error = "the savepoint could not begin: the tasks were stopped; ask again".to_owned();
            out.push(Action::Answer { id, reply: Box::new(Reply::Refused(503, ErrorBody { error })) });
        }
        let state = if then == Then::Deploy { RescaleState::Failed } else { RescaleState::Cancelled };
        self.end_live(state);
        if then != Then::Deploy {
            self.fail_rescale("the job ended before its tasks ran anew");
        }
        self.intent.take_if(|intent| matches!(intent, Intent::Leave));
        self.send_all(|generation| Command::Cancel { generation }, out);
        let hosts = place::hosts(&self.deployment);
        let waiting = hosts.into_iter().filter(|name| self.workers.contains_key(name)).collect();
        self.phase = Phase::Cancelling { waiting, then };
    }

    /// Ends the job: every worker cleans up and exits.
    pub(super) fn finish(&mut self, state: JobState, out: &mut Vec<Action>) {
        let clean = state == JobState::Completed;
        for worker in self.workers.keys() {
            out.push(Action::Send { worker: worker.clone(), command: Command::Finish { clean } });
        }
        self.phase = Phase::Finishing { waiting: self.workers.keys().cloned().collect(), state };
    }
}

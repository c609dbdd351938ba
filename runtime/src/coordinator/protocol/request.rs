//! Requests of people and of the autoscaler.
use std::collections::BTreeMap;

use millstream_api::wire::{
    ErrorBody, JobState, KeepRequest, RescaleRequest, RescaleState, RescaleStatus, RescaleStrategy,
};

use super::live::Plan;
use super::{Action, Coordinator, HISTORY, Intent, Leaves, Phase, Reply, Request, Then};
use crate::coordinator::place::StageShape;
use crate::coordinator::round::RequestId;

impl Coordinator {
    pub(super) fn asked(&mut self, now_ms: i64, id: RequestId, request: Request, out: &mut Vec<Action>) {
        let result = match request {
            Request::If(expect, request) => match self.check_expected(Some(&expect)) {
                Ok(()) => return self.asked(now_ms, id, *request, out),
                Err(refused) => Err(refused),
            },
            Request::Rescale(request) => self.ask_rescale(now_ms, &request).map(Some),
            Request::CancelRescale => self.ask_cancel(now_ms, out).map(Some),
            Request::Savepoint(request) => self.ask_savepoint(now_ms, id, request, out),
            Request::Stop(leaves) => self.ask_stop(leaves, out).map(Some),
            Request::Release(request) => self.ask_release(&request, out).map(Some),
            Request::Keep(request) => self.ask_keep(&request).map(Some),
        };
        match result {
            Ok(None) => {} // Answered when it is complete.
            Ok(Some(reply)) => out.push(Action::Answer { id, reply: Box::new(reply) }),
            Err((status, error)) => {
                out.push(Action::Answer { id, reply: Box::new(Reply::Refused(status, ErrorBody { error })) });
            }
        }
    }

    fn ask_keep(&mut self, request: &KeepRequest) -> Result<Reply, (u16, String)> {
        self.check_expected(request.expect.as_ref())?;
        if request.checkpoints == 0 {
            return Err((400, "checkpoints: 0 must be at least 1".into()));
        }
        self.config.job.checkpoint_keep = request.checkpoints as usize;
        Ok(Reply::Done)
    }

    fn ask_stop(&mut self, leaves: Leaves, out: &mut Vec<Action>) -> Result<Reply, (u16, String)> {
        match &self.phase {
            Phase::Ended(_) | Phase::Finishing { .. } => Err((409, "the job is already over".into())),
            Phase::Running => {
                self.fail_rescale("the job was stopped");
                self.want_less("the job was stopped");
                self.intent = Some(Intent::Stop(leaves));
                Ok(Reply::Stop)
            }
            _ if leaves != Leaves::Nothing => {
                Err((409, format!("the job is {}; a savepoint needs a running job", self.state_text())))
            }
            _ => {
                self.fail_rescale("the job was stopped");
                self.cancel(Then::Finish(JobState::Stopped), out);
                Ok(Reply::Stop)
            }
        }
    }

    fn ask_rescale(&mut self, now_ms: i64, request: &RescaleRequest) -> Result<Reply, (u16, String)> {
        self.check_expected(request.expect.as_ref())?;
        if self.live.is_some() {
            let text = "a rescale is under way; wait for its end, or cancel it with `job rescale --cancel`";
            return Err((409, text.into()));
        }
        if !self.is_steady() {
            return Err((409, format!("the job is {}; a rescale needs a running job", self.state_text())));
        }
        let mut to = self.parallelism.clone();
        for (name, parallelism) in &request.stages {
            let index = self.config.stages.iter().position(|stage| stage.name == *name);
            let index = index.ok_or_else(|| (404, self.no_such_stage(name)))?;
            self.check_parallelism(&self.config.stages[index], *parallelism)?;
            to[index] = *parallelism;
        }
        let name = |numbers: &[u32]| -> BTreeMap<String, u32> {
            let names = self.config.stages.iter().map(|stage| stage.name.clone());
            names.zip(numbers.iter().copied()).collect()
        };
        let target = self.target(request, &to)?;
        let estimate = self.estimate(request, &target);
        let status = RescaleStatus {
            id: self.rescales.front().map_or(1, |last| last.id + 1),
            strategy: request.strategy,
            from: name(&self.parallelism),
            to: name(&to),
            requested_at_ms: now_ms,
            estimate: Some(estimate),
            hot: self.hot_groups(request),
            ..RescaleStatus::default()
        };
        if request.dry_run {
            let (id, state) = (0, RescaleState::Planned);
            let planned = RescaleStatus { id, state, groups_moved_min: estimate.groups_min, ..status };
            return Ok(Reply::Rescale(Box::new(planned)));
        }
        let is_restart = request.strategy == RescaleStrategy::Restart;
        if is_restart && !(request.tables.is_empty() && request.rebalance.is_empty() && request.vacate.is_empty()) {
            let text = "a restart spreads key groups evenly over all workers; owner tables, rebalances and vacated workers \
                        need a live strategy";
            return Err((400, text.into()));
        }
        if target.stages == self.deployment {
            let done = RescaleStatus { state: RescaleState::Done, duration_ms: Some(0), ..status };
            return Ok(Reply::Rescale(Box::new(done)));
        }
        let status = RescaleStatus { groups_moved_min: estimate.groups_min, batches: None, ..status };
        if is_restart {
            self.intent = Some(Intent::Rescale { to });
        } else {
            self.next_task = target.next_task;
            let (strategy, batching) = (request.strategy, request.batch);
            let load = self.moving_load(request, &target.stages);
            self.begin_live(now_ms, Plan { target: target.stages, strategy, batching, load });
        }
        self.rescales.push_front(status.clone());
        self.rescales.truncate(HISTORY);
        Ok(Reply::Rescale(Box::new(status)))
    }

    /// A live rescale stops between two batches. Before its tasks are stopped a restart can be called off; the checkpoint under
    /// way is as good as any.
    fn ask_cancel(&mut self, now_ms: i64, out: &mut Vec<Action>) -> Result<Reply, (u16, String)> {
        let nothing = || (409, "no rescale is under way; there is nothing to cancel".to_owned());
        if self.live.is_some() {
            self.want_less("cancelled on request");
            self.drop_batch(now_ms, out);
            return self.rescales.front().cloned().map(|status| Reply::Rescale(Box::new(status))).ok_or_else(nothing);
        }
        let Some(Intent::Rescale { to }) = &self.intent else { return Err(nothing()) };
        if *to == self.parallelism {
            let text =
                "the rescale has stopped its tasks and is starting them anew; ask for another one when it is done";
            return Err((409, text.into()));
        }
        self.end_rescale(RescaleState::Cancelled, "cancelled on request");
        self.rescales.front().cloned().map(|status| Reply::Rescale(Box::new(status))).ok_or_else(nothing)
    }

    fn check_parallelism(&self, stage: &StageShape, parallelism: u32) -> Result<(), (u16, String)> {
        let slots: u32 = self.placeable().iter().map(|worker| worker.slots).sum();
        let name = &stage.name;
        let refused = if parallelism == 0 {
            format!("stage {name}: parallelism 0 is not possible; use `job stop` to stop the job")
        } else if parallelism > self.config.job.key_groups {
            format!(
                "stage {name}: parallelism {parallelism} exceeds the job's {} key groups",
                self.config.job.key_groups
            )
        } else if let Some(splits) = stage.splits.as_ref().filter(|splits| (splits.len() as u32) < parallelism) {
            format!("stage {name}: parallelism {parallelism} exceeds the {} splits of its source", splits.len())
        } else if parallelism > slots {
            return Err((
                409,
                format!("stage {name}: {parallelism} tasks need as many slots and there are {slots}; add workers"),
            ));
        } else {
            return Ok(());
        };
        Err((400, refused))
    }

    pub(super) fn no_such_stage(&self, name: &str) -> String {
        let names: Vec<&str> = self.config.stages.iter().map(|stage| stage.name.as_str()).collect();
        format!("there is no stage {name}; the stages are {}", names.join(", "))
    }

    /// The savepoint is committed: stop the tasks and start them anew at the parallelisms asked for.
    pub(super) fn apply_rescale(&mut self, out: &mut Vec<Action>) {
        let Some(Intent::Rescale { to }) = &self.intent else { return };
        self.parallelism.clone_from(to);
        self.cancel(Then::Deploy, out);
    }

    /// Tasks run again after a rescale.
    pub(super) fn rescaled(&mut self, now_ms: i64) {
        if !matches!(self.intent, Some(Intent::Rescale { .. })) {
            return;
        }
        self.intent = None;
        let (moved, least) = self.groups_moved();
        self.totals.rescales += 1;
        self.totals.groups_moved += u64::from(moved);
        if let Some(status) = self.rescales.front_mut() {
            status.state = RescaleState::Done;
            status.duration_ms = u64::try_from(now_ms.saturating_sub(status.requested_at_ms)).ok();
            (status.groups_moved, status.groups_moved_min) = (moved, least);
        }
    }

    /// Key groups of all stages whose owner is not the one of the last checkpoint, and the least number that had to change it.
    fn groups_moved(&self) -> (u32, u32) {
        let Some((manifest, _)) = &self.last else { return (0, 0) };
        let moved = |stage: &crate::message::StageDeployment| {
            let old = &manifest.stage(&stage.name)?.table;
            let tasks: Vec<_> = stage.tasks.iter().map(|placed| placed.task).collect();
            Some((old.moved(&stage.table) as u32, old.minimum_moves(&tasks) as u32))
        };
        let all = self.deployment.iter().filter_map(moved);
        all.fold((0, 0), |sum, (moved, least)| (sum.0 + moved, sum.1 + least))
    }

    /// A rescale under way will not be finished.
    pub(super) fn fail_rescale(&mut self, reason: &str) {
        self.end_rescale(RescaleState::Failed, reason);
    }

    fn end_rescale(&mut self, state: RescaleState, reason: &str) {
        if self.intent.take_if(|intent| matches!(intent, Intent::Rescale { .. })).is_some()
            && let Some(status) = self.rescales.front_mut()
        {
            (status.state, status.reason) = (state, Some(reason.to_owned()));
        }
    }

    pub(super) fn state_text(&self) -> String {
        serde_json::to_value(self.state()).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

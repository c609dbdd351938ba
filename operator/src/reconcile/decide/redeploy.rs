//! From one revision to another. A pod checks the new one while the old one runs, so a spec that cannot be run costs nothing. What
//! has passed is on trial until its first checkpoint: nothing of it is visible before, so the one it replaces comes back exactly.
//! Pure.
//!
//! The first revision of a job, and one that follows when nothing runs, are not checked: there is nothing to spare, their own
//! coordinator finds the same faults, and a pod more would double the time until the job is ready.
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use millstream_api::crd::{OperationKind, OperationStep, Reason};
use millstream_api::job::Rollback;
use millstream_api::wire::JobState;

use super::{Decision, Phase, is_stuck};
use crate::control::Plan;
use crate::diagnose::{self, Trouble, rank};
use crate::event::{Happened, News};
use crate::name::{CONTAINER, Role};
use crate::reconcile::admit::{Admitted, Rejection, plan_of};
use crate::reconcile::observe::Observed;
use crate::revision::{self, Revision, Trial, Verdict};

/// A check that ended by accident, or before the store answered, is made again after this time.
const AGAIN_MS: i64 = 60_000;

/// A check that is under way.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// What is checked.
    pub revision: Revision,
    /// Name of the pod that has to be made for it, if there is none.
    pub pod: Option<String>,
    /// What keeps it from coming to an end.
    pub trouble: Option<Trouble>,
}

/// What is known of a revision.
enum Outcome {
    Underway(Box<Check>),
    Passed,
    Failed(Verdict),
}

/// The revision that is to run, and what has to be written for that.
pub fn choose(observed: &Observed, admitted: &Result<Admitted, Rejection>, decision: &mut Decision) {
    let revisions = &observed.revisions;
    let mut current = revision::current(revisions).cloned();
    if let Some(current) = &mut current
        && judge(observed, current, decision)
    {
        decision.revisions.push(current.clone());
    }
    let wanted = admitted.as_ref().ok().map(|admitted| &admitted.revision);
    decision.wanted = wanted.map(|wanted| wanted.name.clone());
    let target = match (wanted, current) {
        (Some(wanted), None) => Some(Revision { trial: Some(Trial::default()), ..wanted.activated(revisions) }),
        // Another revision: a new one, or one from before that is asked for again and could be run then.
        (Some(wanted), Some(current)) if wanted.name != current.name && !wanted.is_rejected() => {
            Some(replace(observed, wanted, current, decision))
        }
        (_, current) => current,
    };
    let target = match target {
        // What cannot be run gives way to the last one that could.
        Some(rejected) if rejected.is_rejected() => {
            let good = last_good(revisions, &rejected);
            // One that has completed stays so: it is not run again because its successor is no good.
            let back = good.map(|good| Revision { verdict: good.verdict.clone(), ..good.activated(revisions) });
            Some(back.unwrap_or(rejected))
        }
        target => target,
    };
    if let Some(target) = &target {
        decision.revisions.retain(|revision| revision.name != target.name);
        decision.revisions.push(target.clone());
    }
    decision.target = target;
    decision.checked = useless(observed, wanted, decision);
}

/// `wanted` in place of `current`, or `current` as long as that is not known to be good.
fn replace(observed: &Observed, wanted: &Revision, current: Revision, decision: &mut Decision) -> Revision {
    let revisions = &observed.revisions;
    let activated = || {
        let replaces = if current.is_good() { Some(&current) } else { last_good(revisions, &current) };
        let trial = Trial { replaces: replaces.map(|revision| revision.name.clone()), since_ms: None };
        Revision { trial: Some(trial), ..wanted.activated(revisions) }
    };
    if current.verdict.is_some() || observed.job.spec.suspend {
        return activated();
    }
    let is_known = revisions.iter().any(|known| known.name == wanted.name);
    match outcome(observed, wanted) {
        Outcome::Passed => activated(),
        Outcome::Failed(verdict) => {
            let number = if is_known { wanted.number } else { 0 };
            decision.revisions.push(Revision { number, verdict: Some(verdict), ..wanted.clone() });
            current
        }
        Outcome::Underway(check) => {
            if !is_known {
                decision.revisions.push(Revision { number: 0, ..wanted.clone() });
                let note = format!("checking revision {}; the job goes on as it was", wanted.name);
                decision.news.push(News::new(Happened::Checking, note));
            }
            if let Some(trouble) = &check.trouble {
                let note = format!("revision {}: {}: {}", wanted.name, trouble.reason.as_str(), trouble.message);
                decision.news.push(News::new(Happened::CheckDelayed, note));
            }
            decision.check = Some(*check);
            current
        }
    }
}

/// The revision that comes back for one that cannot be run: the one it replaced, or else the last that ran well.
fn last_good<'a>(revisions: &'a [Revision], rejected: &Revision) -> Option<&'a Revision> {
    let replaced = rejected.trial.as_ref().and_then(|trial| trial.replaces.as_ref());
    let good = || revisions.iter().filter(|revision| revision.is_good() && revision.name != rejected.name);
    good().find(|good| Some(&good.name) == replaced).or_else(|| good().max_by_key(|revision| revision.number))
}

/// What has become of the revision that runs. Says whether it is to be written.
fn judge(observed: &Observed, current: &mut Revision, decision: &mut Decision) -> bool {
    if current.verdict.is_some() {
        return false;
    }
    let said = observed.said().filter(|said| said.revision == current.name);
    if said.is_some_and(|said| said.job.state == JobState::Completed) {
        decision.news.push(News::new(Happened::Completed, "the input has ended and everything is committed"));
        (current.verdict, current.trial) = (Some(Verdict::Completed), None);
        return true;
    }
    let mut troubles = troubles(observed, current);
    troubles.extend(refused(observed, current));
    // What was healthy once stays: a Secret may have changed under it, and may be changed back.
    let Some(trial) = &current.trial else { return false };
    if let Some(found) = troubles.iter().position(|trouble| trouble.is_final).map(|at| troubles.swap_remove(at)) {
        current.verdict = Some(Verdict::Rejected { reason: found.reason, message: found.message });
        return true;
    }
    let runs = said.is_some_and(|said| matches!(said.job.state, JobState::Running | JobState::Rescaling));
    // A coordinator tells of the checkpoints it has committed itself.
    if runs && said.is_some_and(|said| said.job.checkpoint.is_some()) {
        current.trial = None;
        return true;
    }
    let upgrade = &observed.job.spec.upgrade;
    let has_failed = said.is_some_and(|said| said.job.state == JobState::Failed);
    // No checkpoint can be expected before there is one due.
    let limit_ms = upgrade.health_timeout.as_ms().max(2 * observed.job.spec.checkpoint.interval.as_ms());
    let is_late = trial.since_ms.is_some_and(|since_ms| observed.now_ms - since_ms >= limit_ms);
    // What it goes back to takes the place of the state that the last good one would need.
    let can_return =
        !revision::is_going_back(current, &observed.revisions) && last_good(&observed.revisions, current).is_some();
    if observed.job.spec.suspend || upgrade.rollback == Rollback::Never || !can_return || !(has_failed || is_late) {
        return false;
    }
    let cause = said.and_then(|said| said.job.error.clone()).or_else(|| {
        let worst = troubles.into_iter().chain(observed.refusals.iter().cloned()).min_by_key(|one| rank(one.reason))?;
        Some(format!("{}: {}", worst.reason.as_str(), worst.message))
    });
    let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
    let message = if has_failed {
        format!("revision {} failed before its first checkpoint{cause}", current.name)
    } else {
        format!("revision {} had no checkpoint after {} s{cause}", current.name, limit_ms / 1000)
    };
    decision.news.push(News::new(Happened::RollingBack, format!("{message}; the last good revision comes back")));
    current.verdict = Some(Verdict::Rejected { reason: Reason::RolledBack, message });
    true
}

fn troubles(observed: &Observed, revision: &Revision) -> Vec<Trouble> {
    let pods = [Role::Coordinator, Role::Worker].into_iter().flat_map(|role| observed.pods_of(&revision.name, role));
    pods.filter_map(|pod| diagnose::trouble(pod, observed.now_ms)).collect()
}

/// What the API server has said against a revision.
fn refused(observed: &Observed, revision: &Revision) -> Option<Trouble> {
    let (of, _, trouble) = observed.refused.as_ref()?;
    (*of == revision.name).then(|| trouble.clone())
}

/// The pods that check this job's revisions; those of another job that had its name go with that.
fn checks(observed: &Observed) -> impl Iterator<Item = &Arc<Pod>> {
    let is_own = |pod: &Pod| pod.owner_references().iter().any(|owner| owner.uid == observed.identity.uid);
    observed.pods.iter().filter(move |pod| diagnose::is_check(pod) && is_own(pod))
}

/// Whether a check has come to an end: its exit code, if its process had one. The user's template may have other containers, which
/// go on.
fn ended(pod: &Pod) -> Option<Option<i32>> {
    let status = pod.status.as_ref()?;
    let mut containers = status.container_statuses.iter().flatten();
    let own = containers.find(|container| container.name == CONTAINER);
    let terminated = own.and_then(|own| own.state.as_ref()?.terminated.as_ref());
    let is_over = status.phase.as_deref() == Some("Failed");
    terminated.map(|terminated| Some(terminated.exit_code)).or(is_over.then_some(None))
}

fn outcome(observed: &Observed, wanted: &Revision) -> Outcome {
    let of_it = || checks(observed).filter(|pod| diagnose::revision(pod) == Some(&wanted.name));
    let found = of_it().find(|pod| !diagnose::is_going(pod));
    let underway = |pod, trouble| Outcome::Underway(Box::new(Check { revision: wanted.clone(), pod, trouble }));
    let Some(pod) = found else {
        return match refused(observed, wanted) {
            Some(trouble) if trouble.is_final => {
                Outcome::Failed(Verdict::Rejected { reason: trouble.reason, message: trouble.message })
            }
            trouble => {
                let stuck = of_it().filter(|pod| is_stuck(pod, observed.now_ms)).count();
                // One that is about to go has the name for so long.
                let is_free = stuck == of_it().count();
                underway(is_free.then(|| observed.identity.check(&wanted.name, stuck)), trouble)
            }
        };
    };
    if ended(pod) == Some(Some(0)) {
        return Outcome::Passed;
    }
    match diagnose::trouble(pod, observed.now_ms) {
        Some(trouble) if trouble.is_final => {
            Outcome::Failed(Verdict::Rejected { reason: trouble.reason, message: trouble.message })
        }
        trouble => underway(None, trouble),
    }
}

/// Pods whose result is written down, that check what nobody wants any more, or that have to begin again.
fn useless(observed: &Observed, wanted: Option<&Revision>, decision: &Decision) -> Vec<Arc<Pod>> {
    let is_written = |revision: &str| {
        let known = observed.revisions.iter().find(|known| known.name == revision);
        let runs = revision::current(&observed.revisions).is_some_and(|current| current.name == revision);
        runs || known.is_some_and(Revision::is_rejected)
    };
    let is_useless = |pod: &Arc<Pod>| {
        let revision = diagnose::revision(pod).unwrap_or_default();
        let checks_wanted = decision.check.as_ref().is_some_and(|check| check.revision.name == revision);
        if checks_wanted {
            let at_ms = diagnose::trouble(pod, observed.now_ms).and_then(|trouble| trouble.at_ms);
            return ended(pod).is_some() && at_ms.is_none_or(|at_ms| observed.now_ms - at_ms >= AGAIN_MS);
        }
        // As long as the result is not known to be written, the pod is all there is of it.
        wanted.is_none_or(|wanted| wanted.name != revision) || is_written(revision)
    };
    checks(observed).filter(|pod| !diagnose::is_going(pod) && is_useless(pod)).cloned().collect()
}

/// Whether nothing of a revision is visible: it gives way without a savepoint, to what was before it.
pub fn is_unproven(observed: &Observed, decision: &Decision, revision: &str) -> bool {
    let known = decision.revisions.iter().chain(&observed.revisions).find(|known| known.name == revision);
    known.is_some_and(|known| known.is_rejected() || known.trial.is_some())
}

/// What is done while the pods of another revision go.
pub fn kind(admitted: &Result<Admitted, Rejection>, decision: &Decision) -> OperationKind {
    let wanted = admitted.as_ref().ok().map(|admitted| admitted.revision.name.as_str());
    let judged = decision.revisions.iter().find(|revision| Some(revision.name.as_str()) == wanted);
    let wanted = judged.or_else(|| admitted.as_ref().ok().map(|admitted| &admitted.revision));
    match wanted {
        Some(wanted) if wanted.is_rejected() => OperationKind::Rollback,
        wanted => way_to(wanted),
    }
}

/// What it is to go on as this revision.
fn way_to(revision: Option<&Revision>) -> OperationKind {
    let goes_back = revision.is_some_and(|revision| revision::goes_back(revision).is_some());
    if goes_back { OperationKind::Restore } else { OperationKind::Redeploy }
}

/// The new revision has the place to itself: its time begins.
pub fn begin_trial(observed: &Observed, decision: &mut Decision) {
    set_since(decision, |since_ms| since_ms.or(Some(observed.now_ms)));
}

/// Nobody can become healthy who is not to run.
pub fn pause(decision: &mut Decision) {
    set_since(decision, |_| None);
}

fn set_since(decision: &mut Decision, set: impl Fn(Option<i64>) -> Option<i64>) {
    let Some(target) = &mut decision.target else { return };
    let Some(trial) = target.trial.as_mut().filter(|trial| trial.replaces.is_some()) else { return };
    trial.since_ms = set(trial.since_ms);
    let target = target.clone();
    decision.revisions.retain(|revision| revision.name != target.name);
    decision.revisions.push(target);
}

/// What is under way beside a rescale.
pub fn operation(decision: &mut Decision) {
    if decision.operation.is_some() {
        return;
    }
    let on_trial = decision.target.as_ref().filter(|target| is_watched(target));
    decision.operation = match &decision.check {
        Some(check) => Some((way_to(Some(&check.revision)), OperationStep::Checking)),
        None => on_trial.map(|target| (way_to(Some(target)), OperationStep::WaitingForHealth)),
    };
}

/// Whether a revision may still give way to the one it replaced.
pub fn is_watched(revision: &Revision) -> bool {
    revision.trial.as_ref().is_some_and(|trial| trial.replaces.is_some())
}

/// How the revision that runs scales: as the newest spec says, whether that can be run or not, with the slots that its workers have.
pub fn plan(observed: &Observed, admitted: &Result<Admitted, Rejection>, target: &Revision) -> Option<Plan> {
    let own = || plan_of(target, &observed.identity.name);
    match admitted {
        Ok(admitted) if admitted.revision.name == target.name => Some(admitted.plan.clone()),
        Ok(admitted) => {
            let own = own()?;
            Some(Plan { slots_per_worker: own.slots_per_worker, ..admitted.plan.clone() })
        }
        Err(_) => Some(Plan { targets: None, ..own()? }),
    }
}

impl Check {
    /// Why it is not known yet whether the revision can be run, as a reason and in words.
    pub fn why(&self) -> (Reason, String) {
        let accepted = millstream_api::crd::ConditionType::Accepted.reasons();
        match &self.trouble {
            Some(trouble) => {
                let reason = if accepted.contains(&trouble.reason) { trouble.reason } else { Reason::Checking };
                (reason, format!("revision {} cannot be checked: {}", self.revision.name, trouble.message))
            }
            None => (Reason::Checking, format!("revision {} is being checked", self.revision.name)),
        }
    }
}

/// Whether a decision leaves the job as it was, since the newest spec is not judged yet.
pub fn is_undecided(decision: &Decision) -> bool {
    decision.check.is_some() && decision.phase == Phase::Up
}

#[cfg(test)]
mod tests;

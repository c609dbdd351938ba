//! Rescales under earlier terms.
use millstream_api::id::TaskId;
use millstream_api::wire::{RescaleState, RescaleStrategy};

use super::{Coordinator, Intent, Phase};
use crate::message::StageDeployment;

/// Why one that was under way did not go on.
const LOST: &str = "the coordinator was lost; the job went on with what had been reached";

impl Coordinator {
    /// Whether the newest rescale was under way when its coordinator was lost, and its tasks can go on with it.
    pub(super) fn was_under_way(&self) -> bool {
        self.live.is_none()
            && self
                .newest_rescale()
                .is_some_and(|last| last.state == RescaleState::Running && last.strategy != RescaleStrategy::Restart)
    }

    /// What was under way when its coordinator was lost has come to its end if tasks run and nobody goes on with it.
    pub(super) fn end_lost(&mut self, now_ms: i64) {
        let goes_on = self.live.is_some() || matches!(self.intent, Some(Intent::Rescale { .. }));
        if goes_on || matches!(self.phase, Phase::Waiting) {
            return;
        }
        let reached = self.has_reached();
        if let Some(last) = self.rescales.front_mut().filter(|last| !last.state.is_final()) {
            last.step.clear();
            if reached {
                // Its coordinator was lost before it could note that.
                (last.state, last.duration_ms) =
                    (RescaleState::Done, u64::try_from(now_ms.saturating_sub(last.requested_at_ms)).ok());
            } else {
                (last.state, last.reason) = (RescaleState::Failed, Some(LOST.to_owned()));
            }
        }
    }

    /// Whether the newest rescale is where it was to be: stages have as many tasks, some of which had not, and in those all have their share
    /// (tasks join before they own anything). A table that was asked for and is not even is not known here, and not reached.
    pub(super) fn has_reached(&self) -> bool {
        self.newest_rescale().is_some_and(|last| {
            let reached = |(index, stage): (usize, &StageDeployment)| {
                let (from, to) = (last.from.get(&stage.name), last.to.get(&stage.name));
                to == Some(&(stage.tasks.len() as u32)) && (from == to || is_even(stage, self.is_keyed(index)))
            };
            last.from != last.to && self.deployment.iter().enumerate().all(reached)
        })
    }
}

/// Whether no task of a stage has two units more than another.
fn is_even(stage: &StageDeployment, is_keyed: bool) -> bool {
    let units = |task: TaskId| match is_keyed {
        true => stage.table.owners.iter().filter(|owner| **owner == task).count(),
        false => stage.splits.iter().filter(|(reader, _)| *reader == task).count(),
    };
    let units: Vec<usize> = stage.tasks.iter().map(|placed| units(placed.task)).collect();
    let (least, most) = (units.iter().min(), units.iter().max());
    least.zip(most).is_none_or(|(least, most)| most - least <= 1)
}

//! One thing that goes wrong at one step of a live rescale, so that each can be tried at each.
use millstream_api::wire::JobState;
use millstream_runtime::coordinator::protocol::Request;

use super::world::World;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// The process of a worker, by its number, is killed.
    KillWorker(usize),
    /// That of the coordinator.
    KillCoordinator,
    /// A worker's connection to the coordinator breaks.
    CutControl(usize),
    /// A data connection breaks.
    CutLink,
    /// Someone cancels the rescale.
    Cancel,
}

/// When, and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strike {
    /// As [`millstream_runtime::coordinator::protocol::Coordinator::rescale_step`] names it.
    pub step: &'static str,
    /// See there.
    pub blow: Blow,
}

/// What has come of it, in virtual time.
#[derive(Debug, Default, Clone, Copy)]
pub struct Struck {
    at_us: Option<u64>,
    /// No rescale was under way any more, and the job ran or was over.
    over_at_us: Option<u64>,
}

impl Struck {
    /// How long it took until all was as it should be; none if it did not happen, or never was.
    pub fn over_after_ms(self) -> Option<u64> {
        Some(self.over_at_us?.saturating_sub(self.at_us?) / 1000)
    }
}

impl World {
    /// Strikes at some moment of the step, once, and sees when it is over.
    pub fn strike(&mut self) -> Result<(), String> {
        let Some(Strike { step, blow }) = self.options.strike else { return Ok(()) };
        let step_now = self.seats.rescale_step();
        if self.struck.at_us.is_none() {
            // Some steps are over at once, others take long.
            if step_now == Some(step) && self.rng.one_in(3) && self.strike_with(blow)? {
                self.note(format!("strike: {blow:?} at {step}"));
                self.struck.at_us = Some(self.now_us());
            }
            return Ok(());
        }
        let is_well = matches!(self.state(), Some(JobState::Running | JobState::Completed));
        if self.struck.over_at_us.is_none() && step_now.is_none() && is_well {
            self.struck.over_at_us = Some(self.now_us());
        }
        Ok(())
    }

    fn strike_with(&mut self, blow: Blow) -> Result<bool, String> {
        let (happened, count) = match blow {
            Blow::KillWorker(index) => (self.kill_at(index), &mut self.plan.done.kill_worker),
            Blow::KillCoordinator => (self.kill_coordinator(), &mut self.plan.done.kill_coordinator),
            Blow::CutControl(index) => (self.cut_control_of(index), &mut self.plan.done.cut_control),
            Blow::CutLink => (self.cut_link(), &mut self.plan.done.cut_link),
            Blow::Cancel => (self.ask_twice(Request::CancelRescale)?, &mut self.plan.done.cancel),
        };
        *count += u32::from(happened);
        Ok(happened)
    }
}

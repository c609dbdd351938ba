//! Workers that were wanted and not to be had: the job goes on at its size, and they are asked for again after a while. Pure.
use super::plan::Targets;

/// What was given up is tried again after this long,
const AGAIN_MS: i64 = 60_000;
/// twice as long after each further time in a row, and at most this long: a node that comes is not waited for longer.
const AGAIN_MAX_MS: i64 = 960_000;

/// Whether more workers can be had, as far as is known.
#[derive(Debug, Clone, Default)]
pub struct Scarce {
    /// In a row.
    times: u32,
    given_up: Option<GivenUp>,
}

/// A wish for more workers that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// Workers that were wanted.
    pub workers: u32,
    /// When they are asked for again.
    pub again_ms: i64,
    /// What a person asked for then.
    targets: Option<Targets>,
}

impl Scarce {
    /// So many workers did not come in time.
    pub fn give_up(&mut self, workers: u32, targets: Option<&Targets>, now_ms: i64) {
        let wait_ms = AGAIN_MS.saturating_mul(1 << self.times.min(16)).min(AGAIN_MAX_MS);
        self.times += 1;
        self.given_up = Some(GivenUp { workers, again_ms: now_ms + wait_ms, targets: targets.cloned() });
    }

    /// They came.
    pub fn came(&mut self) {
        *self = Self::default();
    }

    /// Forgets what is over: it is time to try again, or a person has asked for something else.
    pub fn look(&mut self, targets: Option<&Targets>, now_ms: i64) {
        let Some(given_up) = &self.given_up else { return };
        if given_up.targets.as_ref() != targets {
            self.came();
        } else if now_ms >= given_up.again_ms {
            self.given_up = None;
        }
    }

    /// What is given up for now.
    pub fn given_up(&self) -> Option<&GivenUp> {
        self.given_up.as_ref()
    }

    /// Whether so many workers may be asked for where there are `desired`.
    pub fn allows(&self, workers: u32, desired: u32) -> bool {
        workers <= desired || self.given_up.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_up_is_tried_again_later_and_later_or_when_something_else_is_asked_for() {
        let (mut scarce, mut now_ms) = (Scarce::default(), 0);
        assert!(scarce.allows(9, 1));
        for wait_ms in [60_000, 120_000, 240_000, 480_000, 960_000, 960_000] {
            scarce.give_up(3, None, now_ms);
            scarce.look(None, now_ms + wait_ms - 1);
            assert!(!scarce.allows(3, 2) && scarce.allows(2, 2), "{wait_ms}");
            now_ms += wait_ms;
            scarce.look(None, now_ms);
            assert!(scarce.allows(3, 2), "{wait_ms}");
        }
        scarce.give_up(3, None, now_ms);
        scarce.look(Some(&Targets::default()), now_ms);
        assert_eq!(scarce.given_up(), None);
        scarce.give_up(3, None, 0);
        assert_eq!(scarce.given_up().map(|given_up| given_up.again_ms), Some(60_000), "it begins anew");
        scarce.came();
        assert!(scarce.allows(3, 2));
    }
}

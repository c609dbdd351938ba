//! Offered-load schedules: how many events are due at a time since the job's first start. Exact integer arithmetic,
//! so that every task, restart and platform agrees.
use crate::connector::options::duration_ms;

/// A script of rates; the last one holds for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    phases: Vec<Phase>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Phase {
    rate_per_s: u64,
    /// `u64::MAX` in the last phase.
    length_ms: u64,
}

impl Schedule {
    /// Reads `20000` or `20000 for 30s, 100000 for 60s`. None if it is neither, or if nothing would ever be due.
    pub fn parse(text: &str) -> Option<Self> {
        let mut phases: Vec<Phase> = text.split(',').map(parse_phase).collect::<Option<_>>()?;
        let open_ended = phases.iter().rev().skip(1).any(|phase| phase.length_ms == u64::MAX);
        if open_ended || phases.iter().all(|phase| phase.rate_per_s == 0) {
            return None;
        }
        phases.last_mut()?.length_ms = u64::MAX;
        Some(Self { phases })
    }

    /// Number of events due after `elapsed_ms`: those with a lower number.
    pub fn due(&self, elapsed_ms: i64) -> u64 {
        let mut left_ms = u128::try_from(elapsed_ms).unwrap_or(0);
        let mut event_ms: u128 = 0;
        for phase in &self.phases {
            let ms = left_ms.min(u128::from(phase.length_ms));
            event_ms += u128::from(phase.rate_per_s) * ms;
            left_ms -= ms;
        }
        u64::try_from(event_ms / 1000).unwrap_or(u64::MAX)
    }

    /// When event `number` is due: the first ms at which `due` exceeds it. None = never.
    pub fn due_at_ms(&self, number: u64) -> Option<i64> {
        let mut missing = (u128::from(number) + 1) * 1000;
        let mut at_ms: u128 = 0;
        for phase in &self.phases {
            let (rate, length) = (u128::from(phase.rate_per_s), u128::from(phase.length_ms));
            if rate > 0 && missing <= rate * length {
                return i64::try_from(at_ms + missing.div_ceil(rate)).ok();
            }
            missing -= (rate * length).min(missing);
            at_ms += length;
        }
        None
    }

    /// The rate in force.
    pub fn rate_per_s(&self, elapsed_ms: i64) -> u64 {
        let mut left_ms = u64::try_from(elapsed_ms).unwrap_or(0);
        for phase in &self.phases {
            if left_ms < phase.length_ms {
                return phase.rate_per_s;
            }
            left_ms -= phase.length_ms;
        }
        0
    }
}

fn parse_phase(text: &str) -> Option<Phase> {
    let (rate, length_ms) = match text.split_once(" for ") {
        Some((rate, length)) => (rate, duration_ms(length).filter(|ms| *ms > 0)?),
        None => (text, u64::MAX),
    };
    Some(Phase { rate_per_s: rate.trim().parse().ok().filter(|rate| *rate <= MOST_PER_S)?, length_ms })
}

/// Above any rate there is, and low enough that sums cannot overflow.
const MOST_PER_S: u64 = 1 << 50;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn due_follows_the_script() {
        let script = Schedule::parse("20000 for 30s, 100000 for 60s, 0 for 1 min, 7").unwrap();
        let cases = [
            (-5, 0, 20_000),
            (0, 0, 20_000),
            (1, 20, 20_000),
            (29_999, 599_980, 20_000),
            (30_000, 600_000, 100_000),
            (30_001, 600_100, 100_000),
            (90_000, 6_600_000, 0),
            (149_999, 6_600_000, 0),
            (150_000, 6_600_000, 7),
            (150_142, 6_600_000, 7),
            (150_143, 6_600_001, 7),
            (151_000, 6_600_007, 7),
            (1_150_000, 6_607_000, 7),
        ];
        for (elapsed_ms, due, rate) in cases {
            assert_eq!(script.due(elapsed_ms), due, "due at {elapsed_ms}");
            assert_eq!(script.rate_per_s(elapsed_ms), rate, "rate at {elapsed_ms}");
        }
        assert_eq!(script.due_at_ms(0), Some(1));
        assert_eq!(script.due_at_ms(599_999), Some(30_000));
        assert_eq!(script.due_at_ms(600_000), Some(30_001));
        assert_eq!(script.due_at_ms(6_600_000), Some(150_143));
    }

    #[test]
    fn the_last_rate_holds() {
        assert_eq!(Schedule::parse("10 for 1s, 20 for 1s").unwrap().due(10_000), 190);
        assert_eq!(Schedule::parse("10 for 1s, 0 for 1s").unwrap().due_at_ms(10), None);
        assert_eq!(Schedule::parse("1").unwrap().due(i64::MAX), u64::try_from(i64::MAX / 1000).unwrap());
    }

    #[test]
    fn what_is_no_script() {
        for text in
            ["", "fast", "-1", "0", "1.5", "10 for", "10 for ever", "10, 20", "10 for 0s", "5 for 1s,", "0 for 1s"]
        {
            assert_eq!(Schedule::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn due_at_is_the_first_ms_at_which_it_is_due(
            first in 0u64..5000, ms in 1u64..5000, last in 1u64..3_000_000, number in 0u64..100_000,
        ) {
            let script = Schedule::parse(&format!("{first} for {ms}ms, {last}")).unwrap();
            let at_ms = script.due_at_ms(number).unwrap();
            prop_assert!(script.due(at_ms) > number);
            prop_assert!(script.due(at_ms - 1) <= number);
        }
    }
}

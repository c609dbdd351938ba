//! Numbers of workers, of which some may not be had. Pure.
use std::collections::BTreeSet;

/// Numbers from 0 on. Those that are lost have a pod that is neither here nor gone: whoever wants so many workers passes them over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Those that cannot be had.
    pub lost: BTreeSet<u32>,
}

impl Numbers {
    /// Workers that can be had of the numbers below `end`.
    pub fn below(&self, end: u32) -> u32 {
        let lost = self.lost.range(..end).count();
        end.saturating_sub(u32::try_from(lost).unwrap_or(u32::MAX))
    }

    /// The least end below which there are `count` workers.
    pub fn end(&self, count: u32) -> u32 {
        count.checked_sub(1).map_or(0, |last| self.nth(last).saturating_add(1))
    }

    /// Number of the n-th worker, counted from 0.
    pub fn nth(&self, n: u32) -> u32 {
        // Each number that is lost and not above moves it one further.
        self.lost.iter().fold(n, |number, lost| if *lost <= number { number.saturating_add(1) } else { number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_lost_are_passed_over() {
        let numbers = |lost: &[u32]| Numbers { lost: lost.iter().copied().collect() };
        for (lost, end, below, nth) in [
            (&[][..], 3, 3, [0, 1, 2]),
            (&[0], 3, 2, [1, 2, 3]),
            (&[1], 2, 1, [0, 2, 3]),
            (&[1, 2], 3, 1, [0, 3, 4]),
            (&[1, 3], 4, 2, [0, 2, 4]),
            (&[9], 3, 3, [0, 1, 2]),
        ] {
            let numbers = numbers(lost);
            assert_eq!((numbers.below(end), [0, 1, 2].map(|n| numbers.nth(n))), (below, nth), "{lost:?}");
            for count in 0..4 {
                assert_eq!(numbers.below(numbers.end(count)), count, "{lost:?}");
            }
        }
        assert_eq!((numbers(&[1]).end(1), numbers(&[0]).end(1), numbers(&[0]).end(0)), (1, 2, 0));
    }
}

//! What the tests of connectors share: one table read by two tasks between which splits move at random moments.
use std::collections::BTreeSet;

use arrow::array::RecordBatch;

use super::{Poll, Source, Split};

/// Rows that a poll gave, in the order of the polls of both tasks.
pub(crate) struct Read {
    pub task: usize,
    pub rows: RecordBatch,
    pub split: Option<u32>,
}

/// Random numbers from a seed (SplitMix64).
pub(crate) struct Seeded(pub u64);

impl Seeded {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (bits ^ (bits >> 31)) % bound
    }
}

/// Reads all rows of a bounded table. The second task begins without splits; `began_at_ms` is the time of the first poll.
pub(crate) fn read_by_two(
    open: &dyn Fn(Vec<Split>) -> Box<dyn Source>,
    splits: Vec<Split>,
    seed: u64,
    began_at_ms: i64,
) -> (Vec<Read>, [Box<dyn Source>; 2]) {
    let count = splits.len();
    let mut moves = Moves { random: Seeded(seed), tasks: [open(splits), open(vec![])], under_way: vec![] };
    let (mut read, mut finished, mut now_ms) = (vec![], BTreeSet::new(), began_at_ms);
    loop {
        moves.step();
        if moves.random.below(8) == 0 {
            moves.check(open, count, now_ms);
        }
        let task = moves.random.below(2) as usize;
        match moves.tasks[task].poll(now_ms).unwrap() {
            Poll::Rows { rows, split } => {
                assert!(split.is_none_or(|split| moves.tasks[task].active_splits().contains(&split)));
                read.push(Read { task, rows, split });
            }
            Poll::Finished { split } => assert!(finished.insert(split), "split {split} has finished twice"),
            Poll::Pending { until_ms } => assert!(until_ms.is_none_or(|until_ms| until_ms > now_ms)),
            Poll::End if finished.len() == count => return (read, moves.tasks),
            Poll::End => assert!(moves.tasks[task].active_splits().is_empty()),
        }
        now_ms += moves.random.below(8) as i64;
    }
}

struct Moves {
    random: Seeded,
    tasks: [Box<dyn Source>; 2],
    /// Given and not yet taken, and by whom they will be.
    under_way: Vec<(usize, Vec<Split>)>,
}

impl Moves {
    /// Gives, takes, or does neither.
    fn step(&mut self) {
        match self.random.below(8) {
            0 => {
                let from = self.random.below(2) as usize;
                let mine = self.tasks[from].splits();
                // One of n splits; all for n = 1. What the other task reads is asked for in vain.
                let one_of = 1 + self.random.below(4);
                let asked = mine.iter().filter(|_| self.random.below(one_of) == 0).map(|split| split.id);
                let mut asked: Vec<u32> = asked.collect();
                let expected: BTreeSet<u32> = asked.iter().copied().collect();
                asked.extend(self.tasks[1 - from].splits().first().map(|split| split.id));
                let given = self.tasks[from].give(&asked);
                assert_eq!(given.iter().map(|split| split.id).collect::<BTreeSet<_>>(), expected);
                assert!(given.iter().all(|split| mine.contains(split)), "its position has changed on the way");
                self.under_way.push((1 - from, given));
            }
            1 | 2 if !self.under_way.is_empty() => {
                let (to, splits) = self.under_way.swap_remove(0);
                self.tasks[to].take(splits).unwrap();
            }
            _ => {}
        }
    }

    /// Nothing is lost on the way, and the tasks' shares are those of their splits.
    fn check(&self, open: &dyn Fn(Vec<Split>) -> Box<dyn Source>, count: usize, now_ms: i64) {
        let mut all = vec![];
        for task in &self.tasks {
            let splits = task.splits();
            let unfinished: Vec<u32> = splits.iter().filter(|split| !split.finished).map(|split| split.id).collect();
            assert_eq!(task.active_splits(), unfinished);
            all.extend(splits);
        }
        all.extend(self.under_way.iter().flat_map(|(_, splits)| splits.clone()));
        assert_eq!(all.iter().map(|split| split.id).collect::<BTreeSet<_>>().len(), count);
        if self.under_way.iter().all(|(_, splits)| splits.is_empty()) {
            let (whole, [one, two]) = (open(all), &self.tasks);
            let lag = one.lag_records(now_ms).zip(two.lag_records(now_ms)).map(|(one, two)| one + two);
            assert_eq!(lag, whole.lag_records(now_ms));
            let offered = one.offered_per_s(now_ms).zip(two.offered_per_s(now_ms)).map(|(one, two)| one + two);
            let difference = offered.unwrap_or_default() - whole.offered_per_s(now_ms).unwrap_or_default();
            assert!(difference.abs() < 1e-6, "{offered:?} is offered");
        }
    }
}

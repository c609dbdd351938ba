//! Strided splits of a numbered stream: split k of S has the events with n mod S = k. A task reads all its splits
//! merged in order of n, so that what it emits is ordered however splits were assigned to it before.
use serde::{Deserialize, Serialize};

use crate::source::{Error, Split, twice};

/// Splits of a table. Above any sensible parallelism of a source, and prime: coprime with the length of any pattern
/// in the stream (Nexmark's 50), so that every split has every kind of event in the same proportion.
pub const SPLITS: u32 = 257;

#[derive(Serialize, Deserialize)]
struct Descriptor {
    stride: u64,
    offset: u64,
}

struct Stride {
    split: Split,
    stride: u64,
    /// Number of the next event.
    next: u64,
}

/// The strided splits of one task.
pub struct Strides {
    /// In order of offset; all have the same stride.
    strides: Vec<Stride>,
}

/// All splits of a stream cut into `count`.
pub fn splits(count: u32) -> Vec<Split> {
    let descriptor = |offset| serde_json::json!({ "stride": count, "offset": offset });
    (0..count)
        .map(|id| Split { id, descriptor: descriptor(id), position: serde_json::Value::Null, finished: false })
        .collect()
}

impl Strides {
    /// Opens splits where they stand.
    pub fn open(splits: Vec<Split>) -> Result<Self, Error> {
        let mut strides = Self { strides: Vec::new() };
        strides.add(splits)?;
        Ok(strides)
    }

    /// Reads these splits too. Those that are behind the others catch up first.
    pub fn add(&mut self, splits: Vec<Split>) -> Result<(), Error> {
        for split in splits {
            self.strides.push(open_one(split)?);
        }
        self.strides.sort_by_key(|stride| stride.split.id);
        for pair in self.strides.windows(2) {
            if pair[0].stride != pair[1].stride {
                return Err(Error::User("splits of different strides cannot be read together".into()));
            }
            if pair[0].split.id == pair[1].split.id {
                return Err(twice(pair[0].split.id));
            }
        }
        Ok(())
    }

    /// Stops reading these splits and gives them where they stand.
    pub fn give(&mut self, splits: &[u32]) -> Vec<Split> {
        let given = self.strides.extract_if(.., |stride| splits.contains(&stride.split.id));
        given.map(|stride| at(&stride)).collect()
    }

    /// Takes event numbers in ascending order into `numbers` until it holds `most`, or none below `limit` is left.
    /// Those that are not `wanted` are passed over.
    pub fn take(&mut self, limit: u64, most: usize, wanted: impl Fn(u64) -> bool, numbers: &mut Vec<u64>) {
        while numbers.len() < most {
            let Some(lowest) = self.lowest() else { return };
            if lowest >= limit {
                return;
            }
            // Splits that stand in the lowest round advance together, round by round, until they reach the others.
            let round = |stride: &Stride| stride.next / stride.stride;
            let first = self.strides.iter().map(round).min().unwrap_or(0);
            let end = self.strides.iter().map(round).filter(|round| *round > first).min().unwrap_or(u64::MAX);
            let mut active: Vec<&mut Stride> =
                self.strides.iter_mut().filter(|stride| round(stride) == first).collect();
            for _ in first..end {
                for stride in &mut active {
                    let number = stride.next;
                    if number >= limit || numbers.len() >= most {
                        return;
                    }
                    stride.next += stride.stride;
                    if wanted(number) {
                        numbers.push(number);
                    }
                }
            }
        }
    }

    /// The lowest event number not yet taken.
    pub fn lowest(&self) -> Option<u64> {
        self.strides.iter().map(|stride| stride.next).min()
    }

    /// Events below `limit` that are not yet taken.
    pub fn left(&self, limit: u64) -> u64 {
        self.strides.iter().map(|stride| limit.saturating_sub(stride.next).div_ceil(stride.stride)).sum()
    }

    /// This task's share of the whole stream.
    #[allow(clippy::cast_precision_loss, reason = "both numbers are small")]
    pub fn share(&self) -> f64 {
        self.strides.first().map_or(0.0, |first| self.strides.len() as f64 / first.stride as f64)
    }

    /// Marks one split finished that has nothing left below `end`, and says which.
    pub fn finish_one(&mut self, end: u64) -> Option<u32> {
        let stride = self.strides.iter_mut().find(|stride| !stride.split.finished && stride.next >= end)?;
        stride.split.finished = true;
        Some(stride.split.id)
    }

    /// Whether all splits are finished.
    pub fn all_finished(&self) -> bool {
        self.strides.iter().all(|stride| stride.split.finished)
    }

    /// The splits with their present positions.
    pub fn splits(&self) -> Vec<Split> {
        self.strides.iter().map(at).collect()
    }
}

fn at(stride: &Stride) -> Split {
    Split { position: stride.next.into(), ..stride.split.clone() }
}

fn open_one(split: Split) -> Result<Stride, Error> {
    let bad =
        || Error::User(format!("split {} has an unknown descriptor or position: is it of another table?", split.id));
    let descriptor: Descriptor = serde_json::from_value(split.descriptor.clone()).map_err(|_| bad())?;
    let next = match &split.position {
        serde_json::Value::Null => descriptor.offset,
        position => position.as_u64().ok_or_else(bad)?,
    };
    if descriptor.stride == 0 || next % descriptor.stride != descriptor.offset {
        return Err(bad());
    }
    Ok(Stride { stride: descriptor.stride, next, split })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn take(strides: &mut Strides, limit: u64, most: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        strides.take(limit, most, |_| true, &mut numbers);
        numbers
    }

    proptest! {
        /// Any assignment of splits, any batch size, any hand-over of positions gives every event once, in order.
        #[test]
        fn the_union_is_the_stream(count in 1u32..40, owners in prop::collection::vec(0usize..3, 40),
                                   first in 0u64..300, most in 1usize..70, limit in 0u64..400) {
            let assign = |all: Vec<Split>, shift: usize| {
                let mut tasks: Vec<Vec<Split>> = vec![vec![]; 3];
                for split in all {
                    tasks[(owners[split.id as usize] + shift * split.id as usize) % 3].push(split);
                }
                tasks.into_iter().map(|splits| Strides::open(splits).unwrap()).collect::<Vec<_>>()
            };
            let mut seen: Vec<u64> = vec![];
            let mut moved = vec![];
            for (task, mut strides) in assign(splits(count), 0).into_iter().enumerate() {
                // Tasks stop at different places.
                seen.extend(take(&mut strides, first / (task as u64 + 1), most * (task + 1)));
                moved.extend(strides.splits());
            }
            for mut strides in assign(moved, 1) {
                let left = strides.left(limit);
                let mut mine = vec![];
                loop {
                    let some = take(&mut strides, limit, most);
                    if some.is_empty() { break; }
                    mine.extend(some);
                }
                prop_assert_eq!(mine.len() as u64, left);
                prop_assert!(mine.is_sorted());
                seen.extend(mine);
            }
            seen.sort_unstable();
            let all: Vec<u64> = (0..seen.len() as u64).collect();
            let enough = seen.iter().copied().filter(|n| *n < limit).collect::<Vec<_>>();
            prop_assert_eq!(enough, (0..limit).collect::<Vec<_>>());
            prop_assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "nothing twice");
            prop_assert!(all.len() >= usize::try_from(limit).unwrap());
        }
    }

    #[test]
    fn splits_end_one_by_one() {
        let mut strides = Strides::open(splits(3)).unwrap();
        assert_eq!(take(&mut strides, 4, 10), [0, 1, 2, 3]);
        let finished: Vec<_> = std::iter::from_fn(|| strides.finish_one(4)).collect();
        assert_eq!(finished, [0, 1, 2]);
        assert!(strides.all_finished());
    }

    #[test]
    fn a_foreign_position_is_refused() {
        let mut foreign = splits(4);
        foreign[1].position = 6.into();
        assert!(Strides::open(foreign).is_err());
    }
}

//! What a rescale is expected to take. Measured rates come from the caller; where there is none yet, a guess on the safe side.
use millstream_api::id::TaskId;
use millstream_api::owner::OwnerTable;
use millstream_api::wire::{RescaleEstimate, RescaleStrategy};

use super::plan::{Limits, batches_left, whole_batch};

/// Bytes a second from one store through the network into another: what an exporter and an importer on one core did at
/// least, until a rescale has measured it.
pub const RATE_BYTES_PER_S: u64 = 50_000_000;
/// A batch without any state: markers through windows of about 50 ms, acknowledgements, one table version.
const BATCH_MS: u64 = 100;
/// The part of it in which groups are held: from the first marker to the last.
const FLIP_MS: u64 = 30;
/// A restart without any state: savepoint, cancellation, deployment.
const RESTART_MS: u64 = 1000;

/// What is known besides tables and sizes.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How.
    pub strategy: RescaleStrategy,
    /// Of the strategy `incremental`.
    pub limits: Limits,
    /// Bytes a second of a transfer.
    pub rate_bytes_per_s: u64,
}

/// What it takes from `current` to `target`, whose tasks are `tasks`. The pause is an upper bound: as if all state of a
/// transfer changed while it is copied.
pub fn estimate(
    current: &OwnerTable,
    target: &OwnerTable,
    tasks: &[TaskId],
    bytes: &[u64],
    load: &[f64],
    pace: &Pace,
) -> RescaleEstimate {
    let whole = whole_batch(current, target, bytes);
    let groups = current.moved(target) as u64;
    let groups_min = current.minimum_moves(tasks) as u64;
    let moved = whole.as_ref().map_or(0, |batch| batch.bytes);
    let total = bytes.iter().fold(0u64, |sum, bytes| sum.saturating_add(*bytes));
    let bytes_min = share(total, groups_min, current.owners.len() as u64);
    let copy_ms = |bytes: u64| share(bytes, 1000, pace.rate_bytes_per_s.max(1));
    let (duration_ms, pause_ms) = match pace.strategy {
        RescaleStrategy::Restart => {
            let all = RESTART_MS.saturating_add(copy_ms(moved));
            (all, all)
        }
        RescaleStrategy::AllAtOnce => {
            let largest = whole.as_ref().map_or(0, |batch| per_task(batch, bytes));
            let copy = if groups == 0 { 0 } else { copy_ms(largest) };
            (if groups == 0 { 0 } else { BATCH_MS + copy }, if groups == 0 { 0 } else { FLIP_MS + copy })
        }
        RescaleStrategy::Incremental => {
            let batches = batches_left(current, target, bytes, load, &pace.limits);
            let duration = batches.iter().map(|largest| BATCH_MS + copy_ms(*largest)).sum();
            let pause = batches.iter().map(|largest| FLIP_MS + copy_ms(*largest)).max();
            (duration, pause.unwrap_or(0))
        }
    };
    let count = |groups: u64| u32::try_from(groups).unwrap_or(u32::MAX);
    RescaleEstimate {
        groups: count(groups),
        groups_min: count(groups_min),
        bytes: moved,
        bytes_min,
        duration_ms,
        pause_ms,
    }
}

/// Several stages: live ones one after the other, while a restart is one for all.
pub fn total(stages: &[RescaleEstimate], strategy: RescaleStrategy) -> RescaleEstimate {
    let sum = stages.iter().fold(RescaleEstimate::default(), |sum, one| RescaleEstimate {
        groups: sum.groups.saturating_add(one.groups),
        groups_min: sum.groups_min.saturating_add(one.groups_min),
        bytes: sum.bytes.saturating_add(one.bytes),
        bytes_min: sum.bytes_min.saturating_add(one.bytes_min),
        duration_ms: sum.duration_ms.saturating_add(one.duration_ms),
        pause_ms: sum.pause_ms.max(one.pause_ms),
    });
    match strategy {
        RescaleStrategy::Restart => RescaleEstimate { duration_ms: sum.pause_ms, ..sum },
        RescaleStrategy::Incremental | RescaleStrategy::AllAtOnce => sum,
    }
}

/// Most bytes that one task sends or receives.
fn per_task(batch: &super::plan::Batch, bytes: &[u64]) -> u64 {
    let mut sums = std::collections::BTreeMap::<TaskId, u64>::new();
    for one in &batch.moves {
        let sum: u64 = one.groups.iter().filter_map(|group| bytes.get(usize::from(*group))).sum();
        *sums.entry(one.from).or_default() += sum;
        *sums.entry(one.to).or_default() += sum;
    }
    sums.into_values().max().unwrap_or(0)
}

/// `value * part / whole`.
fn share(value: u64, part: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(value) * u128::from(part) / u128::from(whole.max(1))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

//! What a live rescale shows of itself: where it is, and what each batch took.
use millstream_api::id::TaskId;
use millstream_api::wire::{GroupMove, RescaleBatch, RescaleStatus, RescaleStrategy};

use super::Coordinator;
use crate::rescale::plan::{self, Batch, Limits};

fn passed_ms(from_ms: i64, to_ms: i64) -> u64 {
    u64::try_from(to_ms.saturating_sub(from_ms)).unwrap_or(0)
}

impl Coordinator {
    pub(super) fn log_batch(&mut self, now_ms: i64, stage: usize, batch: &Batch, bytes: &[u64]) {
        let Some(live) = &mut self.live else { return };
        let moved =
            |give: &plan::Move| GroupMove { from: give.from, to: give.to, groups: give.groups.clone(), pause_ms: 0 };
        live.entry = RescaleBatch {
            stage: self.deployment[stage].name.clone(),
            version: batch.version,
            moves: batch.moves.iter().map(moved).collect(),
            started_at_ms: now_ms,
            ..RescaleBatch::default()
        };
        let limits = Limits { batching: live.plan.batching, budget_bytes: live.budget.bytes() };
        let left = match live.plan.strategy {
            RescaleStrategy::AllAtOnce => 0,
            _ => {
                let target = &live.plan.target[stage].table;
                plan::batches_left(&batch.table, target, bytes, live.plan.load(stage), &limits).len()
            }
        };
        let groups: usize = batch.moves.iter().map(|give| give.groups.len()).sum();
        let step = format!("{groups} key groups of {} move", live.entry.stage);
        if let Some(status) = self.rescales.front_mut() {
            status.step = step;
            status.batches = Some(status.batches_done.saturating_add(1).saturating_add(left as u32));
        }
    }

    pub(super) fn log_copied(&mut self, now_ms: i64) {
        if let Some(live) = &mut self.live {
            live.entry.copy_ms = passed_ms(live.entry.started_at_ms, now_ms);
        }
    }

    pub(super) fn log_bytes(&mut self, bytes: u64) {
        if let Some(live) = &mut self.live {
            live.entry.bytes += bytes;
        }
        if let Some(status) = self.rescales.front_mut() {
            status.bytes_moved += bytes;
        }
    }

    pub(super) fn log_pause(&mut self, receiver: TaskId, pause_ms: u64) {
        let Some(live) = &mut self.live else { return };
        live.pauses_ms.push(pause_ms);
        live.entry.moves.iter_mut().filter(|one| one.to == receiver).for_each(|one| one.pause_ms = pause_ms);
        let mut sorted = live.pauses_ms.clone();
        sorted.sort_unstable();
        if let Some(status) = self.rescales.front_mut() {
            status.pause_ms_max = sorted.last().copied();
            status.pause_ms_p50 = sorted.get(sorted.len() / 2).copied();
        }
    }

    /// A batch is over, which was flipped when the rescale came to where it is.
    pub(super) fn log_settled(&mut self, now_ms: i64) {
        let Some(live) = &mut self.live else { return };
        let mut entry = std::mem::take(&mut live.entry);
        entry.flip_ms = passed_ms(live.since_ms, now_ms);
        let groups: usize = entry.moves.iter().map(|one| one.groups.len()).sum();
        let Some(status) = self.rescales.front_mut() else { return };
        status.batches_done += 1;
        status.groups_moved += groups as u32;
        if status.history.len() >= RescaleStatus::HISTORY {
            status.history.remove(0);
        }
        status.history.push(entry);
    }

    /// Splits have changed their readers.
    pub(super) fn log_splits(&mut self) {
        if let Some(status) = self.rescales.front_mut() {
            status.batches_done += 1;
        }
    }
}

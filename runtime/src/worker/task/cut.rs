//! A task's part of a checkpoint: when it is due, and its synchronous half.
use std::sync::atomic::Ordering::Relaxed;

use millstream_api::id::{Epoch, Term};

use super::{Input, Task};
use crate::checkpoint::paths::ManifestId;
use crate::stage::Flow;
use crate::worker::{Failed, TaskCut, TaskEvent};

/// Everything that is held has its turn to be written ahead once in this time. What is dirty at two turns is written, so that a barrier
/// finds what has changed within twice this time; an entry costs at most one write in as long, however often it changes.
const ROUND_US: u64 = 100_000;
/// Each time a part of it: long enough to be worth a batch, short enough to be no pause.
const PART_US: u64 = 20_000;

impl Task {
    /// Writes ahead what a barrier would have to.
    pub(super) fn write_ahead(&mut self, now_us: u64) -> Result<(), Failed> {
        let passed_us = now_us.saturating_sub(self.written_us);
        if passed_us < PART_US {
            return Ok(());
        }
        self.written_us = now_us;
        let share = passed_us.min(2 * PART_US) as f64 / ROUND_US as f64;
        self.run(|chain, env| chain.write_ahead(share, env).map(|()| Flow::Done))
    }

    pub(super) fn cut_if_aligned(&mut self) -> Result<(), Failed> {
        if let Some(epoch) = self.inputs.aligned() {
            self.cut(epoch)?;
            self.inputs.settle(epoch);
            self.unblock();
        }
        Ok(())
    }

    /// Barriers of the epoch, and of those before, count no more.
    pub(super) fn give_up(&mut self, epoch: Epoch) {
        self.inputs.settle(epoch);
        self.unblock();
    }

    /// There is a new coordinator. What the last one had begun is given up.
    pub(super) fn serve_under(&mut self, term: Term, through: Epoch) {
        self.parts.term = term;
        self.give_up(through);
    }

    pub(super) fn unblock(&self) {
        if let Input::Gate(gate) = &self.parts.input {
            gate.unblock_all();
            for channel in self.inputs.blocked().chain(self.full_channels()) {
                gate.block(channel);
            }
        }
    }

    /// The synchronous part of a checkpoint: everything before the barrier is in it, nothing after.
    fn cut(&mut self, epoch: Epoch) -> Result<(), Failed> {
        let span = tracing::debug_span!("write back for a cut", task = self.parts.task, epoch).entered();
        self.run(|chain, env| chain.barrier(env).map(|()| Flow::Done))?;
        drop(span);
        let span = tracing::debug_span!("cut a store", task = self.parts.task, epoch).entered();
        let committables = self.parts.output.barrier(epoch)?;
        let folder = self.parts.cuts.join(ManifestId { epoch, term: self.parts.term }.to_string());
        let cut = self.parts.store.cut(&folder)?;
        self.parts.gauge.state_bytes.store(cut.state_bytes, Relaxed);
        drop(span);
        let splits = match &self.parts.input {
            Input::Source(source) => source.splits(),
            Input::Gate(_) => Vec::new(),
        };
        let operator_state = self.parts.chain.operator_states();
        let (task, ended) = (self.parts.task, self.ended);
        let groups = self.parts.groups.clone();
        let arriving = self.receiver.iter().flat_map(|receiver| receiver.arrived.iter().copied()).collect();
        self.tell(TaskEvent::Cut(Box::new(TaskCut {
            task,
            epoch,
            groups,
            arriving,
            cut,
            folder,
            operator_state,
            splits,
            committables,
            ended,
        })));
        Ok(())
    }
}

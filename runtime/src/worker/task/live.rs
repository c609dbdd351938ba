//! What a task is told while it runs: channels that come and go, and units that change their owner.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millstream_api::id::{TableVersion, TaskId};
use millstream_api::owner::OwnerTable;

use super::{Input, Task};
use crate::batch::Element;
use crate::exchange::{ChannelId, Outlet};
use crate::message::live::{HandOver, MovingSplit, Step};
use crate::worker::inputs::Opened;
use crate::worker::{Failed, TaskEvent};

/// A change of a running task.
pub enum Change {
    /// Its gate has these channels.
    Inlets(Vec<(usize, ChannelId)>),
    /// It sends on these channels as well. Answered by `TaskEvent::Linked`.
    Outlets(Vec<Outlet>),
    /// These channels are gone.
    Forget(Vec<usize>),
    /// See `message::live::Order`.
    Await(Arc<HandOver>),
    /// See there.
    Copy(Arc<HandOver>),
    /// See there.
    Drop(TableVersion),
    /// See there.
    Flip(usize, Arc<OwnerTable>),
    /// Whether splits will come.
    Expect(TableVersion, bool),
    /// See there.
    Give(TableVersion, BTreeMap<u32, TaskId>),
    /// See there.
    Take(TableVersion, Vec<MovingSplit>),
    /// See there.
    Close(usize, Arc<[TaskId]>),
}

impl Change {
    /// Whether it has to wait while a watermark is on its way through the chain. Those that wait keep their order.
    pub(super) fn concerns_chain(&self) -> bool {
        matches!(
            self,
            Self::Await(_) | Self::Copy(_) | Self::Drop(_) | Self::Expect(..) | Self::Give(..) | Self::Take(..)
        )
    }
}

impl Task {
    pub(super) fn change(&mut self, change: Change) -> Result<(), Failed> {
        match change {
            Change::Inlets(inlets) => self.open_inlets(&inlets),
            Change::Outlets(outlets) => return self.open_outlets(outlets),
            Change::Forget(channels) => {
                for channel in channels {
                    self.inputs.close(channel);
                    self.donors.remove(&channel);
                }
            }
            Change::Await(order) => self.await_groups(order),
            Change::Copy(order) => return self.copy(order),
            Change::Drop(version) => {
                self.keep(version)?;
                return self.stop_awaiting(version);
            }
            Change::Flip(stage, table) => {
                let _span = tracing::debug_span!("flip routers", task = self.parts.task, table.version).entered();
                self.parts.output.switch(stage, &table)?;
                self.flipped(stage, table.version);
            }
            Change::Expect(version, comes) => self.expect(version, comes),
            Change::Give(version, splits) => return self.give(version, &splits),
            Change::Take(version, splits) => return self.take_splits(version, splits),
            Change::Close(stage, tasks) => {
                self.parts.output.close(stage, &tasks)?;
                if tasks.contains(&self.parts.task) {
                    self.vacant = false; // Without a split, the source is at its end.
                }
            }
        }
        Ok(())
    }

    fn open_inlets(&mut self, inlets: &[(usize, ChannelId)]) {
        for (index, id) in inlets {
            match id.is_transfer() {
                true => drop(self.donors.insert(*index, id.from)),
                false => self.inputs.open(*index, id.edge, id.from),
            }
            if self.ending {
                // Whoever joins behind the end of all input has nothing to send, and this task reads no more.
                self.inputs.end(*index);
            }
        }
        self.tell(TaskEvent::Linked { task: self.parts.task });
    }

    fn open_outlets(&mut self, outlets: Vec<Outlet>) -> Result<(), Failed> {
        for outlet in outlets {
            match outlet.id().is_transfer() {
                true => drop(self.transfers.insert(outlet.id().to, outlet)),
                false => self.parts.output.open(outlet)?,
            }
        }
        self.tell(TaskEvent::Linked { task: self.parts.task });
        Ok(())
    }

    /// Splits will come, so that the end of its own is not the end; or none will any more.
    fn expect(&mut self, version: TableVersion, comes: bool) {
        let Input::Source(source) = &self.parts.input else { return };
        if comes && self.ending {
            self.moved(version, Step::Declined);
        } else if comes {
            self.vacant = true;
            self.moved(version, Step::Awaiting);
        } else if !source.splits().is_empty() {
            self.vacant = false;
        }
    }

    /// Stops reading splits: what has been read of them leaves before the closing.
    fn give(&mut self, version: TableVersion, gifts: &BTreeMap<u32, TaskId>) -> Result<(), Failed> {
        let Input::Source(source) = &mut self.parts.input else { return Ok(()) };
        if self.ending {
            self.moved(version, Step::Declined);
            return Ok(());
        }
        let ids: Vec<u32> = gifts.keys().copied().collect();
        let given = source.give(&ids);
        let active = source.active_splits();
        self.vacant = source.splits().is_empty();
        let times = self.parts.chain.give_splits(&ids, &active);
        let receivers: BTreeSet<TaskId> = gifts.values().copied().collect();
        let receivers: Arc<[TaskId]> = receivers.into_iter().collect();
        self.parts.output.control(&Element::Closing { version, receivers })?;
        let task = self.parts.task;
        let moving = given.into_iter().filter_map(|split| {
            let (to, event_time_ms) = (*gifts.get(&split.id)?, times.get(&split.id).copied().flatten());
            Some(MovingSplit { from: task, to, split, event_time_ms })
        });
        self.moved(version, Step::Gave { splits: moving.collect() });
        self.quiet = false;
        self.run(|chain, env| chain.splits(&active, env))
    }

    /// Reads splits of other tasks from now on, from where those stopped.
    fn take_splits(&mut self, version: TableVersion, splits: Vec<MovingSplit>) -> Result<(), Failed> {
        if self.ending {
            self.moved(version, Step::Declined);
            return Ok(());
        }
        let Input::Source(source) = &mut self.parts.input else { return Ok(()) };
        let donors: BTreeSet<TaskId> = splits.iter().map(|moving| moving.from).collect();
        let times = splits.iter().map(|moving| (moving.split.id, moving.event_time_ms)).collect();
        let taken = source.take(splits.into_iter().map(|moving| moving.split).collect());
        taken.map_err(|error| Failed::from_source(&error))?;
        self.vacant = false;
        let active = source.active_splits();
        let watermark_ms = self.parts.chain.take_splits(&times, &active);
        let donors = donors.into_iter().collect();
        self.parts.output.control(&Element::Opening { version, donors, watermark_ms })?;
        self.moved(version, Step::Adopted { pause_us: 0 });
        self.quiet = false;
        self.run(|chain, env| chain.splits(&active, env))
    }

    /// Openings that were passed: their channels are read again.
    pub(super) fn opened(&mut self, passed: &[Opened]) {
        for Opened { edge, from, version, .. } in passed {
            self.moved(*version, Step::Opened { edge: *edge, from: *from });
        }
        self.unblock();
    }
}

//! A task that takes key groups over. What arrives for them before they are here is held, then replayed in a chain of its
//! own, the *guest*, with the groups' own event time; once the guest is level with the task, the task goes on with them.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use arrow::array::UInt32Array;
use bytes::Bytes;
use millstream_api::id::{KeyGroup, TaskId};

use super::{Input, Step, Task};
use crate::batch::{Batch, Element, PartKind, StatePart};
use crate::message::live::{self, HandOver};
use crate::stage::chain::{Chain, Env, Item};
use crate::stage::{self, Flow};
use crate::state::Arrival;
use crate::worker::Failed;
use crate::worker::inputs::{Inputs, Progress};
use crate::worker::meter::Activity;

/// So many parts may wait for the store to take them in.
const PARTS_WAITING: usize = 8;
/// Parts that rows wait for are sent, and read, together between two batches: as many as have so many bytes.
pub(super) const TOGETHER_BYTES: usize = 32 << 10;

/// The receiver's side of a hand-over.
pub(super) struct Receiver {
    order: Arc<HandOver>,
    /// Groups that come, ascending.
    groups: Vec<KeyGroup>,
    /// Those of which something is in the store already.
    pub arrived: BTreeSet<KeyGroup>,
    donors: Arc<[TaskId]>,
    /// Donors that have more to send ahead of the flip.
    sending_ahead: BTreeSet<TaskId>,
    /// What they sent ahead is in the store, and the coordinator knows.
    stored: bool,
    /// Donors that have more to send.
    sending: BTreeSet<TaskId>,
    /// The store has as much to take in as it may.
    full: bool,
    /// What the channels have said to the groups.
    inputs: Inputs,
    /// Channels whose marker has not come yet.
    unmarked: BTreeSet<usize>,
    /// Channels that have said last that they are idle.
    asleep: BTreeSet<usize>,
    held: VecDeque<Held>,
    /// Bytes of the rows among it.
    held_bytes: usize,
    flipped_at_us: Option<u64>,
    guest: Option<Guest>,
    /// Keys that the donors had in memory.
    hot: Vec<Bytes>,
}

/// What waits for the groups, in the order it came, with its channel.
enum Held {
    Rows(usize, usize, Batch),
    Watermark(usize, i64),
    Idle(usize),
    /// Rows of other groups have come, which end idleness.
    Awake(usize),
    End(usize),
}

struct Guest {
    chain: Chain,
    flowing: bool,
}

impl Receiver {
    fn new(order: Arc<HandOver>, task: TaskId, inputs: &Inputs) -> Self {
        let gifts = || order.moves.iter().filter(|give| give.to == task);
        let mut groups: Vec<KeyGroup> = gifts().flat_map(|give| give.groups.iter().copied()).collect();
        groups.sort_unstable();
        let sending: BTreeSet<TaskId> = gifts().map(|give| give.from).collect();
        Self {
            groups,
            arrived: BTreeSet::new(),
            donors: sending.iter().copied().collect(),
            sending_ahead: sending.clone(),
            stored: false,
            sending,
            full: false,
            inputs: inputs.for_arrivals(),
            unmarked: inputs.live().collect(),
            asleep: BTreeSet::new(),
            held: VecDeque::new(),
            held_bytes: 0,
            flipped_at_us: None,
            guest: None,
            hot: Vec::new(),
            order,
        }
    }

    pub fn groups(&self) -> &[KeyGroup] {
        &self.groups
    }

    /// Takes the rows of the groups out of a batch; gives the others. Before its marker no channel has any.
    fn hold(&mut self, (channel, port): (usize, usize), batch: Batch) -> Result<Batch, Failed> {
        let Some(groups) = batch.groups.clone() else { return Ok(batch) };
        let comes = |group: &KeyGroup| self.groups.binary_search(group).is_ok();
        if self.unmarked.contains(&channel) {
            return Ok(batch);
        }
        if self.asleep.remove(&channel) {
            self.held.push_back(Held::Awake(channel));
        }
        if !groups.iter().any(comes) {
            return Ok(batch);
        }
        let rows = || (0u32..).zip(groups.iter());
        let held: UInt32Array = rows().filter(|(_, group)| comes(group)).map(|(row, _)| row).collect::<Vec<_>>().into();
        let rest: UInt32Array =
            rows().filter(|(_, group)| !comes(group)).map(|(row, _)| row).collect::<Vec<_>>().into();
        let held = batch.take(&held).map_err(crate::exchange::Error::from)?;
        self.held_bytes += held.bytes();
        self.held.push_back(Held::Rows(channel, port, held));
        Ok(batch.take(&rest).map_err(crate::exchange::Error::from)?)
    }

    /// Whether what the channel says counts for the groups.
    fn listens(&self, channel: usize) -> bool {
        !self.unmarked.contains(&channel)
    }
}

impl Task {
    /// Groups will come.
    pub(super) fn await_groups(&mut self, order: Arc<HandOver>) {
        if self.ending || self.receiver.is_some() {
            self.moved(order.version, live::Step::Declined);
            return;
        }
        let version = order.version;
        self.receiver = Some(Receiver::new(order, self.parts.task, &self.inputs));
        self.moved(version, live::Step::Awaiting);
    }

    /// They will not. What has come of them goes.
    pub(super) fn stop_awaiting(&mut self, version: u64) -> Result<(), Failed> {
        let Some(receiver) = self.receiver.take_if(|receiver| receiver.order.version == version) else { return Ok(()) };
        self.parts.store.forsake();
        self.parts.store.drop_groups(&receiver.arrived.into_iter().collect::<Vec<_>>())?;
        self.unblock();
        self.end_of_input()
    }

    /// Rows: those of groups that are on their way are held.
    pub(super) fn hold(&mut self, channel: usize, port: usize, batch: Batch) -> Result<Batch, Failed> {
        match &mut self.receiver {
            Some(receiver) => receiver.hold((channel, port), batch),
            None => Ok(batch),
        }
    }

    /// What a channel says of event time is said to the groups as well, in its place among their rows.
    pub(super) fn overhear(&mut self, channel: usize, element: &Element) {
        let Some(receiver) = &mut self.receiver else { return };
        match element {
            Element::Marker { version, watermark_ms } if *version == receiver.order.version => {
                receiver.unmarked.remove(&channel);
                receiver.flipped_at_us.get_or_insert(self.parts.clock.now_us());
                receiver.held.push_back(Held::Watermark(channel, *watermark_ms));
            }
            Element::End => {
                receiver.unmarked.remove(&channel);
                receiver.held.push_back(Held::End(channel));
            }
            Element::Watermark(watermark_ms) if receiver.listens(channel) => {
                receiver.asleep.remove(&channel);
                receiver.held.push_back(Held::Watermark(channel, *watermark_ms));
            }
            Element::Idle if receiver.listens(channel) => {
                receiver.asleep.insert(channel);
                receiver.held.push_back(Held::Idle(channel));
            }
            _ => {}
        }
    }

    /// A part of a group.
    pub(super) fn arrive(&mut self, channel: usize, state: StatePart) -> Result<(), Failed> {
        let from = self.donors.get(&channel).copied();
        let Some(receiver) = self.receiver.as_mut().filter(|receiver| receiver.order.version == state.version) else {
            return Ok(()); // Of a hand-over that was given up.
        };
        let arrival = match state.kind {
            PartKind::Snapshot => Arrival::Entries(state.group, state.entries),
            PartKind::Changes => Arrival::Changes(state.entries),
            PartKind::Hot => {
                receiver.hot.push(state.entries);
                return Ok(());
            }
            PartKind::Ahead => {
                receiver.sending_ahead.retain(|donor| Some(*donor) != from);
                return Ok(());
            }
            PartKind::Last => {
                receiver.sending.retain(|donor| Some(*donor) != from);
                return Ok(());
            }
        };
        receiver.arrived.insert(state.group);
        let urgency = receiver.order.urgency();
        self.parts.store.take_in(from.unwrap_or_default().into(), arrival, urgency, &self.parts.wake)?;
        self.pace_intake();
        Ok(())
    }

    /// Reads no more parts while the store has enough of them to take in.
    pub(super) fn pace_intake(&mut self) {
        let Some(receiver) = &mut self.receiver else { return };
        let full = self.parts.store.waiting_bytes() >= self.parts.part_bytes.saturating_mul(PARTS_WAITING);
        if std::mem::replace(&mut receiver.full, full) != full {
            self.unblock();
        }
    }

    /// Says once that all that was sent ahead is in the store, so that nothing of it is waited for behind the flip.
    pub(super) fn tell_stored(&mut self) -> Result<(), Failed> {
        let is_due = |receiver: &&mut Receiver| !receiver.stored && receiver.sending_ahead.is_empty();
        let Some(receiver) = self.receiver.as_mut().filter(is_due) else { return Ok(()) };
        if self.parts.store.settle()? {
            receiver.stored = true;
            let version = receiver.order.version;
            self.moved(version, live::Step::Stored);
        }
        Ok(())
    }

    /// Channels that are not read since the store has enough of their parts.
    pub(super) fn full_channels(&self) -> impl Iterator<Item = usize> {
        let full = self.receiver.as_ref().is_some_and(|receiver| receiver.full);
        self.donors.keys().copied().filter(move |_| full)
    }

    /// Whether as much is held as may be. Then nothing but state is read until the groups are here, which depends on nothing that
    /// waits to be read: markers were sent without credit, and state has channels of its own.
    pub(super) fn is_full(&self) -> bool {
        self.receiver.as_ref().is_some_and(|receiver| receiver.held_bytes > self.parts.held_bytes_max)
    }

    /// Bytes of rows that are held for groups on their way, and with how many it reads no more: the last batch may exceed them.
    pub fn held_bytes(&self) -> (usize, usize) {
        (self.receiver.as_ref().map_or(0, |receiver| receiver.held_bytes), self.parts.held_bytes_max)
    }

    /// Behind the flip, rows wait for the parts of their groups: these are read first. Says whether there were any.
    pub(super) fn take_awaited(&mut self) -> Result<bool, Failed> {
        let is_awaited = |receiver: &Receiver| receiver.flipped_at_us.is_some() && !receiver.sending.is_empty();
        let (mut taken, mut taken_bytes) = (false, 0);
        while taken_bytes < TOGETHER_BYTES
            && self.receiver.as_ref().is_some_and(is_awaited)
            && let Some((channel, element)) = self.take_state()
        {
            taken_bytes += if let Element::State(part) = &element { part.entries.len() } else { 0 };
            self.take(channel, element)?;
            taken = true;
        }
        Ok(taken)
    }

    fn take_state(&self) -> Option<(usize, Element)> {
        let Input::Gate(gate) = &self.parts.input else { return None };
        gate.take_from(|channel| self.donors.contains_key(&channel))
    }

    /// Waits, but for groups on their way: they are taken in also by who cannot take rows.
    pub(super) fn wait_unless_state(&mut self, activity: Activity, until_us: Option<u64>) -> Result<Step, Failed> {
        if self.receiver.is_some()
            && let Some((channel, element)) = self.take_state()
        {
            return self.take(channel, element).map(|()| Step::Worked);
        }
        Ok(self.wait(activity, until_us))
    }

    /// When all of the groups is here, what was held can be replayed. Says whether they have just come.
    pub(super) fn welcome_if_due(&mut self) -> Result<bool, Failed> {
        let is_due = |receiver: &&mut Receiver| receiver.sending.is_empty() && receiver.guest.is_none();
        let Some(receiver) = self.receiver.as_mut().filter(is_due) else { return Ok(false) };
        if !self.parts.store.settle()? {
            return Ok(false);
        }
        let mut chain = (self.parts.make_chain)()?;
        let mut output = Vec::new();
        let mut env = Env { store: self.parts.store.as_mut(), groups: &receiver.groups, output: &mut output };
        chain.restore(&BTreeMap::new(), &mut env)?;
        let (version, donors) = (receiver.order.version, Arc::clone(&receiver.donors));
        let _span = tracing::debug_span!("welcome key groups", task = self.parts.task, version).entered();
        receiver.guest = Some(Guest { chain, flowing: false });
        self.parts.output.control(&Element::Opening { version, donors, watermark_ms: i64::MIN })?;
        Ok(true)
    }

    /// Whether what is said downstream about event time must wait: it would not hold for the groups.
    pub(super) fn is_behind(&self) -> bool {
        self.receiver.as_ref().is_some_and(|receiver| receiver.guest.is_some())
    }

    /// Replays one thing that was held. Says whether it did anything.
    pub(super) fn replay(&mut self) -> Result<bool, Failed> {
        let Some(receiver) = &mut self.receiver else { return Ok(false) };
        let Some(guest) = &receiver.guest else { return Ok(false) };
        if guest.flowing {
            return self.run_guest(|chain, env| chain.resume(env)).map(|()| true);
        }
        let progress = match receiver.held.pop_front() {
            Some(Held::Awake(channel)) => {
                receiver.inputs.rows(channel);
                Progress::None
            }
            Some(Held::Rows(channel, port, batch)) => {
                receiver.inputs.rows(channel);
                receiver.held_bytes -= batch.bytes();
                self.count(batch.num_rows());
                return self.run_guest(|chain, env| chain.push(port, batch, env)).map(|()| true);
            }
            Some(Held::Watermark(channel, watermark_ms)) => receiver.inputs.watermark(channel, watermark_ms),
            Some(Held::Idle(channel)) => receiver.inputs.idle(channel),
            Some(Held::End(channel)) => receiver.inputs.end(channel),
            None if receiver.unmarked.is_empty() && receiver.inputs.is_level(&self.inputs) => {
                // The task may be ahead of all its channels: one may have been set back, or have woken behind the others.
                match receiver.inputs.catch_up_with(&self.inputs) {
                    Progress::None => return self.adopt().map(|()| true),
                    progress => progress,
                }
            }
            None => return Ok(false),
        };
        if let Progress::Watermark(watermark_ms) = progress {
            self.run_guest(|chain, env| chain.watermark(watermark_ms, env))?;
        }
        Ok(true)
    }

    fn run_guest(
        &mut self,
        work: impl FnOnce(&mut Chain, &mut Env<'_>) -> Result<Flow, stage::Error>,
    ) -> Result<(), Failed> {
        let Some(receiver) = &mut self.receiver else { return Ok(()) };
        let Some(guest) = &mut receiver.guest else { return Ok(()) };
        let mut output = Vec::new();
        let store = self.parts.store.as_mut();
        let flow = work(&mut guest.chain, &mut Env { store, groups: &receiver.groups, output: &mut output })?;
        guest.flowing = flow == Flow::More;
        for item in output {
            if let Item::Rows(batch) = item {
                self.emit(batch)?;
            }
        }
        Ok(())
    }

    /// The groups are level with the rest of the task.
    fn adopt(&mut self) -> Result<(), Failed> {
        let version = self.receiver.as_ref().map(|receiver| receiver.order.version);
        let _span = tracing::debug_span!("adopt key groups", task = self.parts.task, version).entered();
        self.run_guest(|chain, env| chain.barrier(env).map(|()| Flow::Done))?;
        let Some(receiver) = self.receiver.take() else { return Ok(()) };
        let late_rows = receiver.guest.map_or(0, |guest| guest.chain.late_rows());
        self.late_rows_of_guests += late_rows;
        let mut groups = [self.parts.groups.as_slice(), &receiver.groups].concat();
        groups.sort_unstable();
        self.own(groups);
        self.run(|chain, env| chain.adopt(&receiver.groups, env).map(|()| Flow::Done))?;
        receiver.hot.iter().try_for_each(|part| self.warming.add(part))?;
        // What was held back meanwhile, and what the opening has set back.
        if let Some(watermark_ms) = self.emitted_ms {
            self.parts.output.control(&Element::Watermark(watermark_ms))?;
        }
        if self.inputs.is_idle() {
            self.parts.output.control(&Element::Idle)?;
        }
        let since_us = receiver.flipped_at_us.unwrap_or(self.parts.clock.now_us());
        let pause_us = self.parts.clock.now_us().saturating_sub(since_us);
        self.moved(receiver.order.version, live::Step::Adopted { pause_us });
        self.end_of_input()
    }
}

//! A task: one parallel instance of a stage, as a synchronous loop over batches. `step` does a bounded piece of work and says
//! what it waits for: a thread drives it in production, a scheduler in simulation.
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use millstream_api::id::TaskId;

use super::inputs::{Alignment, Inputs, Progress};
use super::meter::{Activity, Meter};
use super::{Failed, TaskCommand, TaskEvent};
use crate::batch::{Batch, Element};
use crate::exchange::{Gate, Outlet};
use crate::source::Source;
use crate::stage::chain::{Chain, Env, Item};
use crate::stage::{self, Flow};

mod cut;
mod donor;
mod live;
mod measure;
mod owned;
mod parts;
mod receiver;
mod source;
mod warming;
mod weigh;

use donor::Donor;
pub use live::Change;
pub use parts::{MakeChain, Parts};
use receiver::Receiver;
use warming::Warming;
use weigh::Scale;

/// A batch of so many rows costs little more a row than a larger one.
const GATHERED_ROWS: usize = 512;

/// Where rows come from.
pub enum Input {
    /// A source and its table's name.
    Source(Box<dyn Source>),
    /// Other tasks.
    Gate(Arc<Gate>),
}

/// What a step answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Call again.
    Worked,
    /// Nothing to do before something wakes the task, or before this time (`Clock::now_us`).
    Wait {
        /// At the latest.
        until_us: Option<u64>,
    },
    /// Cancelled: drop the task.
    Stopped,
}

/// See the module.
pub struct Task {
    parts: Parts,
    inputs: Inputs,
    meter: Meter,
    /// Groups are on their way from here.
    donor: Option<Donor>,
    /// Groups are on their way here.
    receiver: Option<Receiver>,
    /// Ways for state, by the task it goes to.
    transfers: BTreeMap<TaskId, Outlet>,
    /// Channels that bring state, with the task it comes from.
    donors: BTreeMap<usize, TaskId>,
    /// A source without a split that may get some.
    vacant: bool,
    /// The last watermark of the chain.
    emitted_ms: Option<i64>,
    late_rows_of_guests: u64,
    /// Changes that wait until no watermark is on its way through the chain.
    changes: VecDeque<Change>,
    /// The chain has a watermark on its way that makes more output than one step may.
    flowing: bool,
    /// All input has been read.
    ending: bool,
    /// ... and processed, and the end sent on.
    ended: bool,
    stopped: bool,
    /// By key group: whether it is this task's.
    owned: Vec<bool>,
    /// Nothing has come since output was last sent off,
    quiet: bool,
    /// which was then.
    sent_off_us: u64,
    /// When state was last written ahead.
    written_us: u64,
    /// Bytes taken and busy time when the gate was last told how far to open,
    paced: (u64, u64),
    /// and how much of it was for key groups that move since.
    aside_us: u64,
    scale: Scale,
    warming: Warming,
}

impl Task {
    /// A task that has not begun. Its operator state and store are restored already.
    pub fn new(parts: Parts) -> Self {
        let inlets = match &parts.input {
            Input::Gate(gate) => gate.inlets(),
            Input::Source(_) => Vec::new(),
        };
        let inputs = Inputs::new(inlets.iter().map(|(index, (id, _, _))| (*index, id.edge, id.from)));
        let meter = Meter::new(parts.clock.now_us());
        let vacant = parts.joins && matches!(parts.input, Input::Source(_));
        let owned = owned::by_group(&parts.groups);
        Self {
            parts,
            inputs,
            meter,
            donor: None,
            receiver: None,
            transfers: BTreeMap::new(),
            donors: BTreeMap::new(),
            vacant,
            emitted_ms: None,
            late_rows_of_guests: 0,
            changes: VecDeque::new(),
            flowing: false,
            ending: false,
            ended: false,
            stopped: false,
            owned,
            quiet: true,
            sent_off_us: 0,
            written_us: 0,
            paced: (0, 0),
            aside_us: 0,
            scale: Scale::default(),
            warming: Warming::default(),
        }
    }

    /// Its id.
    pub fn id(&self) -> TaskId {
        self.parts.task
    }

    /// Does one bounded piece of work. After an error the task must be dropped.
    pub fn step(&mut self) -> Result<Step, Failed> {
        let now_us = self.parts.clock.now_us();
        self.meter.enter(Activity::Busy, now_us, &self.parts.gauge);
        let step = self.work(now_us)?;
        self.pace();
        self.weigh(now_us)?;
        self.publish();
        Ok(step)
    }

    fn work(&mut self, now_us: u64) -> Result<Step, Failed> {
        self.obey()?;
        if self.stopped {
            return Ok(Step::Stopped);
        }
        let more = self.aside(|task| Ok(task.ship()? | task.warm()?))? | self.take_awaited()?;
        self.pace_intake();
        self.tell_stored()?;
        let step = self.go_on(now_us)?;
        Ok(if more { Step::Worked } else { step })
    }

    fn go_on(&mut self, now_us: u64) -> Result<Step, Failed> {
        if !self.parts.output.drain()? {
            return self.wait_unless_state(Activity::Backpressured, None);
        }
        if self.send_off_if_due(now_us)? {
            return Ok(Step::Worked);
        }
        if self.flowing {
            self.run(|chain, env| chain.resume(env))?;
            return Ok(Step::Worked);
        }
        if self.inputs.fall_idle() == Progress::Idle {
            self.progress(Progress::Idle)?;
        }
        if let Some(change) = self.changes.pop_front() {
            self.change(change)?;
            return Ok(Step::Worked);
        }
        // Groups on their way go first: others wait for them.
        if self.hand_over_if_due()? || self.welcome_if_due()? || self.replay()? {
            return Ok(Step::Worked);
        }
        if self.ending {
            self.end()?;
        }
        // The cut of a source, or of a task whose channels have all ended, waits for nothing else.
        self.cut_if_aligned()?;
        if self.ended {
            return self.run_dry(None);
        }
        self.write_ahead(now_us)?;
        if let Some(until_us) = self.parts.limiter.as_ref().and_then(|limiter| limiter.wait_until_us(now_us)) {
            return self.wait_unless_state(Activity::Limited, self.or_send_off(Some(until_us)));
        }
        if self.is_full() {
            return self.wait_unless_state(Activity::Backpressured, self.or_send_off(None));
        }
        match &mut self.parts.input {
            Input::Source(_) => self.read_source(now_us),
            Input::Gate(gate) => match gate.take() {
                Some((channel, element)) => self.take(channel, element).map(|()| Step::Worked),
                None => self.run_dry(None),
            },
        }
    }

    /// Commands of the worker.
    fn obey(&mut self) -> Result<(), Failed> {
        while let Ok(command) = self.parts.commands.try_recv() {
            match command {
                TaskCommand::Cancel => self.stopped = true,
                TaskCommand::Commit(epoch) => {
                    self.parts.output.commit(epoch)?;
                    self.tell(TaskEvent::Committed { task: self.parts.task, epoch });
                }
                TaskCommand::Abort(epoch) => self.give_up(epoch),
                TaskCommand::Adopt(term, through) => self.serve_under(term, through),
                TaskCommand::Trigger(epoch) => self.inputs.trigger(epoch),
                TaskCommand::Change(change) if change.concerns_chain() => self.changes.push_back(*change),
                TaskCommand::Change(change) => self.change(*change)?,
            }
        }
        Ok(())
    }

    fn take(&mut self, channel: usize, element: Element) -> Result<(), Failed> {
        self.overhear(channel, &element);
        match element {
            Element::Rows(batch) => {
                let batch = self.gather(channel, batch)?;
                let port = match &self.parts.input {
                    Input::Gate(gate) => gate.port(channel),
                    Input::Source(_) => 0,
                };
                self.inputs.rows(channel);
                self.parts.gauge.bytes_in.fetch_add(batch.bytes() as u64, Relaxed);
                let batch = self.hold(channel, port, batch)?;
                if batch.num_rows() > 0 {
                    self.refuse_foreign(&batch)?;
                    self.rows(port, batch)?;
                }
            }
            Element::Watermark(watermark_ms) => {
                let progress = self.inputs.watermark(channel, watermark_ms);
                self.progress(progress)?;
            }
            Element::Idle => {
                let progress = self.inputs.idle(channel);
                self.progress(progress)?;
            }
            Element::Barrier(epoch) => match self.inputs.barrier(channel, epoch) {
                Alignment::Ignore => {}
                Alignment::Block | Alignment::Aligned(_) => {
                    // An aligned cut is taken at the beginning of the next step, before any row is read.
                    if let Input::Gate(gate) = &self.parts.input {
                        gate.block(channel);
                    }
                }
            },
            Element::Marker { version, .. } => self.marked(channel, version),
            Element::Closing { version, receivers } => {
                let (passed, progress) = self.inputs.closing(channel, version, &receivers);
                self.opened(&passed);
                self.progress(progress)?;
            }
            Element::Opening { version, donors, watermark_ms } => {
                let (passed, progress) = self.inputs.opening(channel, version, (donors, watermark_ms));
                self.opened(passed.as_slice());
                self.progress(progress)?;
            }
            Element::State(state) => self.aside(|task| task.arrive(channel, state))?,
            Element::End => {
                let progress = self.inputs.end(channel);
                self.progress(progress)?;
                self.end_of_input()?;
            }
        }
        Ok(())
    }

    /// Takes the rows that wait behind a small batch together with it: the less often it has its turn, the less each row costs.
    fn gather(&self, channel: usize, first: Batch) -> Result<Batch, Failed> {
        let Input::Gate(gate) = &self.parts.input else { return Ok(first) };
        let (mut rows, mut more) = (first.num_rows(), Vec::new());
        while rows < GATHERED_ROWS
            && let Some(next) = gate.take_rows(channel)
        {
            rows += next.num_rows();
            more.push(next);
        }
        Ok(first.followed_by(more).map_err(crate::exchange::Error::from)?)
    }

    /// Lets event time run out once all channels have ended, unless groups are on their way.
    fn end_of_input(&mut self) -> Result<(), Failed> {
        let is_over = matches!(self.parts.input, Input::Gate(_)) && self.inputs.all_ended();
        if is_over && !self.ending && self.donor.is_none() && self.receiver.is_none() {
            self.begin_end()?;
        }
        Ok(())
    }

    fn rows(&mut self, port: usize, batch: Batch) -> Result<(), Failed> {
        self.count(batch.num_rows());
        self.run(|chain, env| chain.push(port, batch, env))
    }

    fn count(&mut self, records: usize) {
        self.quiet = false;
        self.parts.gauge.records_in.fetch_add(records as u64, Relaxed);
        if let Some(limiter) = &mut self.parts.limiter {
            limiter.admit(records, self.parts.clock.now_us());
        }
    }

    fn progress(&mut self, progress: Progress) -> Result<(), Failed> {
        match progress {
            Progress::None => Ok(()),
            Progress::Idle if self.is_behind() => Ok(()),
            Progress::Idle => self.parts.output.control(&Element::Idle),
            Progress::Watermark(watermark_ms) => {
                self.quiet = false;
                self.run(|chain, env| chain.watermark(watermark_ms, env))
            }
        }
    }

    /// Lets the chain work, and hands on what comes out of it.
    fn run(&mut self, work: impl FnOnce(&mut Chain, &mut Env<'_>) -> Result<Flow, stage::Error>) -> Result<(), Failed> {
        let Parts { chain, store, groups, .. } = &mut self.parts;
        let mut output = Vec::new();
        let flow = work(chain, &mut Env { store: store.as_mut(), groups, output: &mut output })?;
        self.flowing = flow == Flow::More;
        for item in output {
            match item {
                Item::Rows(batch) => self.emit(batch)?,
                Item::Watermark(i64::MAX) => {} // The end itself says so.
                Item::Watermark(watermark_ms) => {
                    self.parts.gauge.watermark_ms.store(watermark_ms, Relaxed);
                    self.emitted_ms = Some(watermark_ms);
                    if !self.is_behind() {
                        self.parts.output.control(&Element::Watermark(watermark_ms))?;
                    }
                }
                Item::Idle => self.parts.output.control(&Element::Idle)?,
            }
        }
        Ok(())
    }

    fn emit(&mut self, batch: Batch) -> Result<(), Failed> {
        self.quiet = false;
        self.parts.gauge.records_out.fetch_add(batch.num_rows() as u64, Relaxed);
        self.parts.output.rows(batch)
    }

    /// All input is read: let event time run out.
    fn begin_end(&mut self) -> Result<(), Failed> {
        self.ending = true;
        self.run(|chain, env| chain.watermark(i64::MAX, env))
    }

    /// All input is processed: say so, then stay for the final checkpoint.
    fn end(&mut self) -> Result<(), Failed> {
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        self.parts.output.control(&Element::End)?;
        self.tell(TaskEvent::Ended { task: self.parts.task });
        Ok(())
    }

    fn tell(&self, event: TaskEvent) {
        (self.parts.events)(event);
    }
}

#[cfg(test)]
mod tests;

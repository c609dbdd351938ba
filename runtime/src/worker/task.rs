//! A task: one parallel instance of a stage, as a synchronous loop over batches. `step` does a bounded piece of work and says
//! what it waits for: a thread drives it in production, a scheduler in simulation.
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Receiver;

use millstream_api::id::{KeyGroup, TaskId, Term};

use super::inputs::{Alignment, Inputs, Progress};
use super::limit::Limiter;
use super::meter::{Activity, Gauge, Meter};
use super::output::Output;
use super::{Failed, TaskCommand, TaskEvent};
use crate::batch::{Batch, Element};
use crate::clock::Clock;
use crate::exchange::Gate;
use crate::source::{Poll, Source};
use crate::stage::chain::{Chain, Env, Item};
use crate::stage::{self, Flow};
use crate::state::Store;

mod cut;

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

/// What a task is built from.
pub struct Parts {
    /// Its id.
    pub task: TaskId,
    /// Where rows come from.
    pub input: Input,
    /// The fused ops.
    pub chain: Chain,
    /// Where rows go.
    pub output: Output,
    /// Keyed state of all its ops.
    pub store: Box<dyn Store>,
    /// Key groups it owns.
    pub groups: Vec<KeyGroup>,
    /// Bounds its service rate.
    pub limiter: Option<Limiter>,
    /// Folder for its cuts; one sub-folder each.
    pub cuts: PathBuf,
    /// Incarnation of the coordinator, part of a checkpoint's name.
    pub term: Term,
    /// Its counters.
    pub gauge: Arc<Gauge>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// What its worker tells it.
    pub commands: Receiver<TaskCommand>,
    /// What it tells its worker.
    pub events: Box<dyn Fn(TaskEvent) + Send>,
}

/// See the module.
pub struct Task {
    parts: Parts,
    inputs: Inputs,
    meter: Meter,
    /// The chain has a watermark on its way that makes more output than one step may.
    flowing: bool,
    /// All input has been read.
    ending: bool,
    /// ... and processed, and the end sent on.
    ended: bool,
    stopped: bool,
    /// Nothing has come since the last flush.
    quiet: bool,
    /// Bytes taken and busy time when the gate was last told how far to open.
    paced: (u64, u64),
}

/// A source that cannot tell when it has more is asked again after this long.
const POLL_AGAIN_US: u64 = 100_000;
/// Channels are kept about this full, in time of the reader.
const PACE_US: u64 = 50_000;

impl Task {
    /// A task that has not begun. Its operator state and store are restored already.
    pub fn new(parts: Parts) -> Self {
        let channels = match &parts.input {
            Input::Gate(gate) => gate.inlets().len(),
            Input::Source(_) => 0,
        };
        let inputs = Inputs::new(channels, 0);
        let meter = Meter::new(parts.clock.now_us());
        Self {
            parts,
            inputs,
            meter,
            flowing: false,
            ending: false,
            ended: false,
            stopped: false,
            quiet: true,
            paced: (0, 0),
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
        self.publish();
        Ok(step)
    }

    fn work(&mut self, now_us: u64) -> Result<Step, Failed> {
        self.obey()?;
        if self.stopped {
            return Ok(Step::Stopped);
        }
        if !self.parts.output.drain()? {
            return Ok(self.wait(Activity::Backpressured, None));
        }
        if self.flowing {
            self.run(|chain, env| chain.resume(env))?;
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
        if let Some(until_us) = self.parts.limiter.as_ref().and_then(|limiter| limiter.wait_until_us(now_us)) {
            return Ok(self.wait(Activity::Limited, Some(until_us)));
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
                TaskCommand::Abort(epoch) => {
                    self.inputs.settle(epoch);
                    self.unblock();
                }
                TaskCommand::Trigger(epoch) => self.inputs.trigger(epoch),
            }
        }
        Ok(())
    }

    fn read_source(&mut self, now_us: u64) -> Result<Step, Failed> {
        let Input::Source(source) = &mut self.parts.input else { return Ok(Step::Worked) };
        let now_ms = self.parts.clock.now_ms();
        let poll = source.poll(now_ms).map_err(|error| Failed::from_source(&error))?;
        let lag = source.lag_records(now_ms).unwrap_or(u64::MAX);
        self.parts.gauge.lag_records.store(lag, Relaxed);
        let offered = source.offered_per_s(now_ms).map_or(u64::MAX, |rate| (rate * 1000.0) as u64);
        self.parts.gauge.offered_milli_per_s.store(offered, Relaxed);
        self.parts.gauge.bad_records.store(source.bad_records(), Relaxed);
        match poll {
            Poll::Rows { rows, split } => {
                let mut batch = Batch::inserts(rows);
                batch.split = split;
                self.rows(0, batch)?;
                Ok(Step::Worked)
            }
            Poll::Finished { .. } => {
                let active = source.active_splits();
                self.run(|chain, env| chain.splits(&active, env))?;
                Ok(Step::Worked)
            }
            Poll::Pending { until_ms } => {
                self.run(|chain, env| chain.tick(now_us / 1000, env))?;
                let due = until_ms.map_or(POLL_AGAIN_US, |until| (until - now_ms).clamp(0, 100) as u64 * 1000);
                self.run_dry(Some(now_us + due.max(1000)))
            }
            Poll::End => {
                self.begin_end()?;
                Ok(Step::Worked)
            }
        }
    }

    fn take(&mut self, channel: usize, element: Element) -> Result<(), Failed> {
        match element {
            Element::Rows(batch) => {
                let port = match &self.parts.input {
                    Input::Gate(gate) => gate.port(channel),
                    Input::Source(_) => 0,
                };
                self.inputs.rows(channel);
                self.parts.gauge.bytes_in.fetch_add(batch.bytes() as u64, Relaxed);
                self.rows(port, batch)?;
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
                    // An aligned cut is taken at the beginning of the next step, before anything else is read.
                    if let Input::Gate(gate) = &self.parts.input {
                        gate.block(channel);
                    }
                }
            },
            // Owner tables only change between generations so far: there is nothing to switch, and nothing moves.
            Element::Marker { .. } | Element::Closing { .. } | Element::Opening { .. } | Element::State(_) => {}
            Element::End => {
                let progress = self.inputs.end(channel);
                self.progress(progress)?;
                if self.inputs.all_ended() {
                    self.begin_end()?;
                }
            }
        }
        Ok(())
    }

    fn rows(&mut self, port: usize, batch: Batch) -> Result<(), Failed> {
        let records = batch.num_rows();
        self.quiet = false;
        self.parts.gauge.records_in.fetch_add(records as u64, Relaxed);
        if let Some(limiter) = &mut self.parts.limiter {
            limiter.admit(records, self.parts.clock.now_us());
        }
        self.run(|chain, env| chain.push(port, batch, env))
    }

    fn progress(&mut self, progress: Progress) -> Result<(), Failed> {
        match progress {
            Progress::None => Ok(()),
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
                Item::Rows(batch) => {
                    self.parts.gauge.records_out.fetch_add(batch.num_rows() as u64, Relaxed);
                    self.parts.output.rows(batch)?;
                }
                Item::Watermark(i64::MAX) => {} // The end itself says so.
                Item::Watermark(watermark_ms) => {
                    self.parts.gauge.watermark_ms.store(watermark_ms, Relaxed);
                    self.parts.output.control(&Element::Watermark(watermark_ms))?;
                }
                Item::Idle => self.parts.output.control(&Element::Idle)?,
            }
        }
        Ok(())
    }

    /// Nothing to read: send off what was held back for batching, once, then wait.
    fn run_dry(&mut self, until_us: Option<u64>) -> Result<Step, Failed> {
        if !self.quiet {
            self.quiet = true;
            self.run(|chain, env| chain.idle(env).map(|()| Flow::Done))?;
            self.parts.output.flush()?;
            return Ok(Step::Worked);
        }
        Ok(self.wait(Activity::Idle, until_us))
    }

    fn wait(&mut self, activity: Activity, until_us: Option<u64>) -> Step {
        self.meter.enter(activity, self.parts.clock.now_us(), &self.parts.gauge);
        Step::Wait { until_us }
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
        self.run(|chain, env| chain.idle(env).map(|()| Flow::Done))?;
        self.parts.output.control(&Element::End)?;
        self.tell(TaskEvent::Ended { task: self.parts.task });
        Ok(())
    }

    fn tell(&self, event: TaskEvent) {
        (self.parts.events)(event);
    }

    /// Opens the gate as far as this task gets through in `PACE_US`: what has been sent bounds every barrier and flip.
    fn pace(&mut self) {
        let Input::Gate(gate) = &self.parts.input else { return };
        let gauge = &self.parts.gauge;
        let (bytes, busy_us) = (gauge.bytes_in.load(Relaxed), gauge.busy_us.load(Relaxed));
        let (took, worked_us) = (bytes - self.paced.0, busy_us - self.paced.1);
        if worked_us < PACE_US {
            return;
        }
        self.paced = (bytes, busy_us);
        let share = took.saturating_mul(PACE_US) / worked_us / gate.paced_channels().max(1) as u64;
        gate.open(usize::try_from(share).unwrap_or(usize::MAX));
    }

    fn publish(&mut self) {
        let gauge = &self.parts.gauge;
        gauge.late_rows.store(self.parts.chain.late_rows(), Relaxed);
        gauge.bytes_out.store(self.parts.output.bytes(), Relaxed);
        gauge.cpu_us.store(self.parts.clock.thread_cpu_us(), Relaxed);
        gauge.state_bytes.store(self.parts.store.bytes(), Relaxed);
        let operations = self.parts.store.operations();
        gauge.store_reads.store(operations.reads, Relaxed);
        gauge.store_writes.store(operations.writes, Relaxed);
    }
}

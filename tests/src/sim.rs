//! Simulation: a coordinator and its workers under a seed, in one thread. Everything that runs is the product's own (the
//! coordinator's state machine, workers, tasks, exchange, state, checkpoints); only the doors are the simulation's: clock,
//! random numbers, disk, checkpoint store, connections, threads. A scheduler picks what happens next, faults included.
//!
//! ```no_run
//! use millstream_tests::sim::{Faults, Options, Run};
//!
//! let sql = "... 'connector' = 'filesystem', 'path' = '${OUT}', 'format' = 'csv' ...";
//! // The result to compare with: one task per stage, no faults.
//! let straight = Run::new(0, sql, Options::straight()).run()?;
//! // Two workers, two tasks per stage, a checkpoint every few ms of virtual time.
//! let two = Run::new(1, sql, Options::default()).run()?;
//! assert_eq!(two.lines, straight.lines);
//! // The same, restored at three tasks per stage after two checkpoints.
//! let three = Run::new(2, sql, Options { rescales: vec![(2, 3)], ..Options::default() }).run()?;
//! assert!(three.lines == straight.lines && three.rescales == 1 && three.moved_state);
//! // Whatever can go wrong does.
//! let hard = Run::new(3, sql, Options { faults: Faults::all(), ..Options::default() }).run()?;
//! assert_eq!(hard.lines, straight.lines);
//! # Ok::<(), millstream_tests::sim::Failure>(())
//! ```
//!
//! `${OUT}` in the SQL stands for a folder of the run; filesystem sinks write in it or below it. A run ends when the job has completed;
//! anything else, a broken invariant or too many steps, is a [`Failure`] that names seed, check and what happened last.
use std::collections::BTreeMap;

use millstream_api::wire::RescaleStrategy;
use millstream_runtime::job::{JobSpec, Tuning};

pub use strike::{Blow, Strike};

mod books;
mod bugs;
mod control;
mod coordinator;
mod doors;
mod faults;
mod lagging;
mod meet;
mod net;
mod node;
mod output;
mod owners;
mod rng;
mod strike;
mod trace;
mod world;

/// How a run is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Tasks of every stage without an entry in `stages`.
    pub parallelism: u32,
    /// Stage name -> tasks.
    pub stages: BTreeMap<String, u32>,
    /// Workers.
    pub workers: usize,
    /// Tasks of each stage that a worker can host.
    pub slots: u32,
    /// Virtual time between checkpoints; none: only the final one.
    pub checkpoint_interval_ms: Option<u64>,
    /// Key groups of the job.
    pub key_groups: u32,
    /// Rows a source reads at a time. Small, so that there are many steps.
    pub batch_rows: usize,
    /// Credit window of a channel. Small, so that tasks wait for credit.
    pub window_bytes: usize,
    /// After so many checkpoints each, and when the one before is done: rescales of all stages to these parallelisms (of sources
    /// at most their number of splits).
    pub rescales: Vec<(u64, u32)>,
    /// How they are done.
    pub strategy: RescaleStrategy,
    /// Frames are long on their way; otherwise the seed decides what is slow.
    pub slow_network: bool,
    /// What goes wrong.
    pub faults: Faults,
    /// Time a worker has to drain: least and most.
    pub drain_ms: (u64, u64),
    /// One thing more that goes wrong, at one step of a live rescale.
    pub strike: Option<Strike>,
    /// A bug to plant in what carries the protocol.
    pub plant: Option<Plant>,
    /// A run that takes more steps has hung.
    pub steps_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            parallelism: 2,
            stages: BTreeMap::new(),
            workers: 2,
            slots: 8,
            checkpoint_interval_ms: Some(10),
            key_groups: 16,
            batch_rows: 32,
            window_bytes: 2048,
            rescales: Vec::new(),
            strategy: RescaleStrategy::Restart,
            slow_network: false,
            faults: Faults::default(),
            drain_ms: (1, 3_000),
            strike: None,
            plant: None,
            steps_max: 100_000,
        }
    }
}

impl Options {
    /// One worker, one task per stage, no checkpoint but the final one.
    pub fn straight() -> Self {
        Self { parallelism: 1, workers: 1, checkpoint_interval_ms: None, ..Self::default() }
    }
}

/// At most how often each thing happens in a run; when, the seed decides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// A worker is killed and comes back as a new incarnation; half of them with an empty disk.
    pub kill_worker: u32,
    /// The coordinator is killed and comes back with a new term.
    pub kill_coordinator: u32,
    /// A data connection breaks.
    pub cut_link: u32,
    /// A control connection breaks; both ends live on.
    pub cut_control: u32,
    /// A call to the checkpoint store fails, with or without having had its effect.
    pub fail_store: u32,
    /// Someone asks for a rescale to random parallelisms.
    pub rescale: u32,
    /// Someone asks for other owners: by a table, by load, or away from a worker.
    pub spread: u32,
    /// Someone cancels a rescale that is under way.
    pub cancel: u32,
    /// Someone asks for a savepoint.
    pub savepoint: u32,
    /// A worker is told to end, and drains; it comes back as a new incarnation.
    pub drain: u32,
}

impl Faults {
    /// Some of everything.
    pub fn all() -> Self {
        Self {
            kill_worker: 2,
            kill_coordinator: 1,
            cut_link: 1,
            cut_control: 1,
            fail_store: 2,
            rescale: 2,
            spread: 1,
            cancel: 1,
            savepoint: 1,
            drain: 1,
        }
    }

    /// How many there are.
    pub fn total(&self) -> u32 {
        self.kill_worker
            + self.kill_coordinator
            + self.cut_link
            + self.cut_control
            + self.fail_store
            + self.rescale
            + self.spread
            + self.cancel
            + self.savepoint
            + self.drain
    }
}

/// A bug that the simulation must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// Workers are told to commit an epoch before its manifest is stored.
    CommitBeforeStored,
    /// One task's cut is missing in every manifest.
    DropCut,
    /// A barrier passes rows that were sent before it.
    BarrierOvertakes,
    /// Sources go on from the positions of an older epoch than the state.
    OldPositions,
    /// A link loses a batch of rows.
    LoseRows,
    /// A marker passes rows that were sent before it, so that groups are given away before their last rows have come.
    MarkerOvertakes,
    /// Who takes units over says that all their event time is over.
    OpeningTooHigh,
    /// Entries removed between a group's snapshot and its flip are not removed at its next owner.
    KeepRemoved,
    /// What changed between a group's snapshot and its flip does not come to its next owner.
    LoseChanges,
}

/// What a run came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Committed output, all files together, lines sorted.
    pub lines: Vec<String>,
    /// Hash of everything that happened, in order.
    pub trace: u64,
    /// What happened last.
    pub tail: Vec<String>,
    /// Scheduler steps.
    pub steps: u64,
    /// Checkpoints committed, savepoints and the final one included.
    pub epochs: u64,
    /// Task sets that were deployed.
    pub generations: u64,
    /// Times the job went back to its last checkpoint, or may have.
    pub recoveries: u64,
    /// Rescales done.
    pub rescales: u64,
    /// Times a coordinator that came back took over the tasks that ran.
    pub adoptions: u64,
    /// Times it went on with a rescale that another had begun.
    pub resumptions: u64,
    /// Times that tasks went on elsewhere by a checkpoint, because a worker that drained could not be emptied live.
    pub leaves: u64,
    /// Whether key groups of a task with state were restored at another task.
    pub moved_state: bool,
    /// Whether a task has read what the last owner of its groups had in memory.
    pub warmed: bool,
    /// Whether a task has held as many rows as it may for groups on their way.
    pub full: bool,
    /// State in the last checkpoint.
    pub state_bytes: u64,
    /// Rows that source tasks read, those read again included.
    pub source_rows: u64,
    /// What went wrong, as often as it did.
    pub faults: Faults,
    /// Workers that drained and had not the time for it.
    pub expired: u32,
    /// Virtual time.
    pub virtual_ms: u64,
    /// From the strike until no rescale was under way and the job ran; none if it did not happen.
    pub struck_for_ms: Option<u64>,
}

impl Report {
    /// Rows that were read more than once: those beyond what a run without faults reads.
    pub fn replayed_rows(&self, straight: &Report) -> u64 {
        self.source_rows.saturating_sub(straight.source_rows)
    }
}

/// A run that broke an invariant, did not end, or did not end well.
#[derive(Debug)]
pub struct Failure {
    /// Replays it.
    pub seed: u64,
    /// What is wrong.
    pub reason: String,
    /// What happened last.
    pub tail: Vec<String>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seed, reason, tail } = self;
        write!(f, "seed {seed}: {reason}\nlast steps:\n{}", tail.join("\n"))
    }
}

impl std::error::Error for Failure {}

/// A job, a seed, and how to run it.
#[derive(Debug, Clone)]
pub struct Run {
    seed: u64,
    sql: String,
    options: Options,
}

impl Run {
    /// `sql` with `${OUT}` for the folder of its sinks.
    pub fn new(seed: u64, sql: &str, options: Options) -> Self {
        Self { seed, sql: sql.to_owned(), options }
    }

    /// Runs the job to its end.
    pub fn run(&self) -> Result<Report, Failure> {
        world::simulate(self.seed, &self.sql, &self.options)
    }
}

fn job(sql: String, options: &Options) -> JobSpec {
    let tuning = Tuning { batch_rows: options.batch_rows, window_bytes: options.window_bytes, ..Tuning::default() };
    JobSpec {
        name: "simulated".into(),
        sql,
        parallelism: options.parallelism,
        stages: options.stages.clone(),
        key_groups: options.key_groups,
        checkpoint_interval_ms: options.checkpoint_interval_ms,
        table_options: BTreeMap::new(),
        checkpoint_timeout_ms: 200,
        checkpoint_keep: 2,
        // Far more than the faults of a run explain.
        restart_max_failures: 60,
        restart_window_ms: 3_600_000,
        answer_timeout_ms: 600_000,
        state_backend: "memory".into(),
        state_memory_bytes: 1 << 20,
        tuning,
        drop_state: Vec::new(),
    }
}

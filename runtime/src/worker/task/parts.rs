//! What a task is built from.
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;

use millstream_api::id::{KeyGroup, TaskId, Term};

use super::Input;
use crate::clock::Clock;
use crate::exchange::Wake;
use crate::stage;
use crate::stage::chain::Chain;
use crate::state::Store;
use crate::worker::limit::Limiter;
use crate::worker::meter::Gauge;
use crate::worker::output::Output;
use crate::worker::{TaskCommand, TaskEvent};

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
    /// Makes the chain once more, for groups that arrive.
    pub make_chain: MakeChain,
    /// State travels to other tasks in parts of about this size.
    pub part_bytes: usize,
    /// Rows of groups on their way here may take so many bytes.
    pub held_bytes_max: usize,
    /// It has joined a running generation: it has nothing to read yet.
    pub joins: bool,
    /// Makes it step again.
    pub wake: Arc<dyn Wake>,
    /// Its counters.
    pub gauge: Arc<Gauge>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// What its worker tells it.
    pub commands: mpsc::Receiver<TaskCommand>,
    /// What it tells its worker.
    pub events: Box<dyn Fn(TaskEvent) + Send>,
}

/// Makes the fused ops of a stage.
pub type MakeChain = Box<dyn Fn() -> Result<Chain, stage::Error> + Send>;

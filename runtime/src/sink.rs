//! Sinks: tables that are written. Output becomes visible in two phases: at a barrier a sink *prepares* what it has
//! written, and commits it only when the epoch's manifest is committed.
use millstream_api::id::{Epoch, Generation, TaskId};
use millstream_sql::graph::TableSpec;
use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::source::Error;

pub mod bench;
pub mod blackhole;
pub mod filesystem;
pub mod print;

/// Output that is written and not yet visible, as a manifest records it. Commit is idempotent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committable {
    /// What the connector needs to make it visible, opaque to everyone else.
    pub token: serde_json::Value,
}

/// Who writes.
#[derive(Debug, Clone)]
pub struct Context {
    /// The task; with the generation it makes file names unique.
    pub task: TaskId,
    /// Incarnation of the task set.
    pub generation: Generation,
    /// Random number of the job (the same for all its tasks and restarts): tells its uncommitted files from others'.
    pub job_id: u64,
}

/// Writes the rows of one task.
pub trait Sink: Send {
    /// Takes rows; they are buffered or written, never visible yet (print, blackhole and bench excepted).
    fn write(&mut self, batch: &Batch) -> Result<(), Error>;
    /// Input has run dry, or rows have been held back for 10 ms: show what may be shown, without waiting for anything.
    fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }
    /// Everything written since the last call, durable but not visible.
    fn prepare(&mut self, epoch: Epoch) -> Result<Vec<Committable>, Error>;
    /// Makes prepared output visible; a second time, or after a crash in between, it does nothing more.
    fn commit(&mut self, committables: &[Committable]) -> Result<(), Error>;
}

/// Knows a kind of table: checks its options and opens it.
pub trait Connector: Send + Sync {
    /// Whether rows may be retracted. If not, an updating stream is refused at `validate`.
    fn takes_updates(&self) -> bool;
    /// Refuses bad or unknown options and folders that cannot be written.
    fn validate(&self, table: &TableSpec) -> Result<(), Error>;
    /// Removes uncommitted output that this job left behind in generations up to this one and that is not in `keep`. That of later ones
    /// stays: whoever cleans may have been told to by a coordinator that is gone since.
    /// Called once before the tasks of a generation start, and once with nothing to keep when the job has ended.
    fn clean(&self, table: &TableSpec, job: (u64, Generation), keep: &[Committable]) -> Result<(), Error>;
    /// Opens it for one task.
    fn open(&self, table: &TableSpec, context: &Context) -> Result<Box<dyn Sink>, Error>;
}

/// Whether the name of an uncommitted file, behind its prefix, is that of a generation up to this one.
fn is_up_to(rest: &str, generation: Generation) -> bool {
    let number = rest.split('-').next().and_then(|number| number.parse::<Generation>().ok());
    number.is_some_and(|number| number <= generation)
}

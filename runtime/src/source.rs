//! Sources: tables that are read. A table's input is cut into *splits*; a task reads the splits it is given, from the
//! positions it is given, and says where it is when asked. Everything is a function of (split, position, `now_ms`).
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use millstream_sql::graph::TableSpec;
use serde::{Deserialize, Serialize};

pub mod bench;
pub mod datagen;
pub mod filesystem;
pub mod nexmark;
mod paced;
pub mod schedule;
mod strides;
#[cfg(test)]
mod testing;

pub use millstream_sql::graph::DECLARED_COLUMNS;

/// All declared physical columns of a source table, if the planner has said which.
pub fn declared_columns(schema: &Schema) -> Option<Vec<String>> {
    serde_json::from_str(schema.metadata().get(DECLARED_COLUMNS)?).ok()
}

/// A part of a table's input that one task reads. Splits of a table never overlap and together are the whole input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Index among the table's splits; identifies it for the life of the job.
    pub id: u32,
    /// What the connector needs to find it (a path and byte range, a stride, ...), opaque to everyone else.
    pub descriptor: serde_json::Value,
    /// Where to go on; `null` = at its beginning.
    pub position: serde_json::Value,
    /// Whether it has been read to its end.
    pub finished: bool,
}

/// What a poll gives.
#[allow(missing_docs, reason = "fields are named after what the variants say")]
#[derive(Debug)]
pub enum Poll {
    /// Rows (never 0), all of `split` if it is some. If it is none, the task reads all its splits merged in order
    /// of event time: the rows stand for every split of the task.
    Rows { rows: RecordBatch, split: Option<u32> },
    /// This split has ended and holds no watermark any more. Poll again.
    Finished { split: u32 },
    /// Nothing is due before this time (ms since 1970, `Context::now_ms`), or for as long as the source cannot tell: poll
    /// again at the latest after 100 ms.
    Pending { until_ms: Option<i64> },
    /// All splits of this task have ended.
    End,
}

/// What a source is told about its job.
#[derive(Debug, Clone)]
pub struct Context {
    /// First start of the job, ms since 1970: offered-load schedules begin here and run on through restarts.
    pub job_started_at_ms: i64,
    /// Most rows a poll may give.
    pub batch_rows: usize,
}

/// Reads the splits of one task.
pub trait Source: Send {
    /// More rows, if some are due. `now_ms`: ms since 1970 by the clock door.
    fn poll(&mut self, now_ms: i64) -> Result<Poll, Error>;
    /// All splits of this task with their present positions (between two polls), finished ones included.
    fn splits(&self) -> Vec<Split>;
    /// Stops reading these splits and gives them with their present positions (between two polls); ids it does not read are
    /// left out. A task may be left without any.
    fn give(&mut self, splits: &[u32]) -> Vec<Split>;
    /// Reads these splits too, from their positions. Those that are finished stay so. A source that merges its splits in order
    /// of event time first reads what is behind. After an error the source must be dropped.
    fn take(&mut self, splits: Vec<Split>) -> Result<(), Error>;
    /// Ids of the splits that still hold the watermark: not finished.
    fn active_splits(&self) -> Vec<u32> {
        self.splits().iter().filter(|split| !split.finished).map(|split| split.id).collect()
    }
    /// Events due and not taken yet, if the source has a schedule or can count.
    fn lag_records(&self, _now_ms: i64) -> Option<u64> {
        None
    }
    /// Offered rate at this time in rows a second (this task's share), if it has a schedule.
    fn offered_per_s(&self, _now_ms: i64) -> Option<f64> {
        None
    }
    /// Malformed records skipped or put aside so far.
    fn bad_records(&self) -> u64 {
        0
    }
}

/// Knows a kind of table: checks its options, lists its splits, opens it.
pub trait Connector: Send + Sync {
    /// Refuses bad or unknown options, missing files, unreadable folders. Called by `validate` and before a job starts.
    fn validate(&self, table: &TableSpec) -> Result<(), Error>;
    /// All splits of the table, at their beginning. Called once per job, at its first start.
    fn splits(&self, table: &TableSpec) -> Result<Vec<Split>, Error>;
    /// Opens some of them for reading.
    fn open(&self, table: &TableSpec, splits: Vec<Split>, context: &Context) -> Result<Box<dyn Source>, Error>;
}

/// What can go wrong with a source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The person who wrote the job must mend it; names table, option, value and what is allowed.
    #[error("{0}")]
    User(String),
    /// A record does not fit the table's schema under `'on-error' = 'fail'`; names file, line and column.
    #[error("{0}")]
    Record(String),
    /// Reading failed.
    #[error("cannot read {what}")]
    Read {
        /// Which file or position.
        what: String,
        #[source]
        /// Why.
        source: std::io::Error,
    },
    /// Writing failed.
    #[error("cannot write {what}")]
    Write {
        /// Which file.
        what: String,
        #[source]
        /// Why.
        source: std::io::Error,
    },
}

/// A split given to a task that reads it already: its rows would be there twice.
fn twice(split: u32) -> Error {
    Error::User(format!("split {split} is read by this task already"))
}

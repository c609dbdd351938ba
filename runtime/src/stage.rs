//! Ops: the steps fused into a stage. Pure apart from the state they are handed: elements in, elements out.
mod accumulate;
mod build;
pub mod chain;
mod group;
mod group_aggregate;
mod join;
pub mod key;
mod matching;
mod progress;
pub mod row;
mod stateless;
mod table;
#[cfg(test)]
mod testing;
mod watermark;
mod window;
mod window_aggregate;
mod window_join;

pub use build::{OpSettings, build};
use millstream_api::id::KeyGroup;

use crate::batch::Batch;
use crate::state::{self, Store};

/// What an op may use while it runs, and where its output goes. One per op of a task.
pub struct OpContext<'a> {
    /// Keyed state of the task; an op uses only keys made with its own ordinal (see `state::Key`).
    pub store: &'a mut dyn Store,
    /// Rows emitted, in order; the driver hands them to the next op.
    pub output: &'a mut Vec<Batch>,
    /// Key groups this task owns, ascending.
    pub groups: &'a [KeyGroup],
    /// Rows dropped because they were later than the watermark; only add.
    pub late_rows: &'a mut u64,
}

/// What an op answers to a watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// All output that the watermark calls for has been emitted: pass the watermark on.
    Done,
    /// There is more. The driver sends off what was emitted and, when there is credit again, calls `on_watermark` with the
    /// same value once more. An op stops after about `EMIT_ROWS` rows so that memory stays bounded.
    More,
}

/// About how many rows an op emits in one call before it answers `Flow::More`.
pub const EMIT_ROWS: usize = 8192;

/// One step inside a stage. `on_batch` never needs more than a small multiple of its input's memory for output.
pub trait Op: Send {
    /// Rows on input `port` (0, or 1 for the right side of a join).
    fn on_batch(&mut self, port: usize, batch: Batch, context: &mut OpContext<'_>) -> Result<(), Error>;

    /// Event time has reached `watermark_ms` on all inputs (`i64::MAX` at the end of input). Never falls.
    fn on_watermark(&mut self, _watermark_ms: i64, _context: &mut OpContext<'_>) -> Result<Flow, Error> {
        Ok(Flow::Done)
    }

    /// A cut follows: write every dirty cache entry back to the store, emit what is held back.
    fn on_barrier(&mut self, _context: &mut OpContext<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// Writes some of what is dirty back ahead of the barrier, so that little is left for it: this share (0 to 1) of what is held, in
    /// turn.
    fn write_ahead(&mut self, _share: f64, _context: &mut OpContext<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// Writes what is held in memory of these groups to the store and goes on as before: a snapshot of it follows.
    fn flush_groups(&mut self, _groups: &[KeyGroup], _context: &mut OpContext<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// The task gives these groups away: writes all it holds of them to the store, emits what is held back, forgets them.
    /// From now on the op neither reads nor writes their entries, also if the groups are on their way back.
    fn disown(&mut self, _groups: &[KeyGroup], _context: &mut OpContext<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// The task has taken these groups over: their entries are in the store, and they are among `context.groups`.
    fn adopt(&mut self, _groups: &[KeyGroup], _context: &mut OpContext<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// Store keys of these groups of which it has the entries in memory, at most `limit` in all, those used last first. The next owner
    /// of the groups is told them.
    fn hot_keys(&self, _groups: &[KeyGroup], _limit: usize) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// Reads the entries of these keys, of groups that are among `context.groups`, into memory, before there are rows for them: those of
    /// its own states, as far as there is room. They need not be there any more.
    fn warm(&mut self, _keys: &[Vec<u8>], _context: &mut OpContext<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// State of the whole task rather than of a key (watermarks, positions): kept in the manifest.
    /// Restored with the parts of all tasks that had the op, in any order.
    fn operator_state(&self) -> Option<serde_json::Value> {
        None
    }

    /// Called once before the first element with the operator states of the checkpoint, if there is one.
    fn restore(&mut self, _parts: &[serde_json::Value], _context: &mut OpContext<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// The keyed states this op registers: (name, codec version). The op's id comes from the plan.
    fn states(&self) -> Vec<(&'static str, u32)> {
        Vec::new()
    }
}

/// What can go wrong in an op.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An expression failed on a row (division by zero, overflow, bad cast).
    #[error("cannot evaluate an expression of {op}")]
    Evaluate {
        /// Id of the op.
        op: String,
        #[source]
        /// Why.
        source: arrow::error::ArrowError,
    },
    /// The store failed.
    #[error("cannot reach keyed state")]
    State(#[from] state::Error),
    /// Bytes read back from state are not what was written.
    #[error("state of {op} is corrupt: {what}")]
    Corrupt {
        /// Id of the op.
        op: String,
        /// What was found.
        what: String,
    },
    /// The op cannot do what the plan asks of it.
    #[error("{op} cannot run: {what}")]
    Unsupported {
        /// Id of the op.
        op: String,
        /// What is asked too much.
        what: String,
    },
    /// Rows came to a keyed op without their key groups: the plan lacks an exchange in front of it.
    #[error("rows reached {op} without key groups")]
    Unrouted {
        /// Id of the op.
        op: String,
    },
}

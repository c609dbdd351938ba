//! Generated streams: events by number, offered at a scheduled rate, read by strided splits.
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use crate::source::schedule::Schedule;
use crate::source::strides::Strides;
use crate::source::{Context, Error, Poll, Split};

/// A poll that finds nothing waits at least this long, so that batches do not get tiny.
const LEAST_WAIT_MS: i64 = 5;
/// Most rows of a batch: string offsets are 32 bits wide.
const MOST_ROWS: usize = 1 << 16;
/// More events than there will ever be, with room for sums.
const ENDLESS: u64 = 1 << 60;

/// Which events a task may emit, and when.
pub struct Paced {
    strides: Strides,
    end: u64,
    schedule: Option<Schedule>,
    started_at_ms: i64,
    batch_rows: usize,
    /// Caught up: nothing more before this time.
    rest_until_ms: i64,
    /// Scratch: the events of the batch being made.
    numbers: Vec<u64>,
}

impl Paced {
    /// A stream of `events` (none = endless), as fast as it can be read if there is no schedule.
    pub fn open(
        splits: Vec<Split>,
        events: Option<u64>,
        schedule: Option<Schedule>,
        context: &Context,
    ) -> Result<Self, Error> {
        Ok(Self {
            strides: Strides::open(splits)?,
            end: events.unwrap_or(ENDLESS).min(ENDLESS),
            schedule,
            started_at_ms: context.job_started_at_ms,
            batch_rows: context.batch_rows.clamp(1, MOST_ROWS),
            rest_until_ms: i64::MIN,
            numbers: Vec::new(),
        })
    }

    /// The next batch, made of the numbers of events that are due and wanted.
    pub fn poll(
        &mut self,
        now_ms: i64,
        wanted: impl Fn(u64) -> bool,
        make: impl FnOnce(&[u64]) -> Result<RecordBatch, Error>,
    ) -> Result<Poll, Error> {
        let limit = self.due(now_ms);
        if now_ms < self.rest_until_ms && limit < self.end && self.strides.left(limit) < self.batch_rows as u64 {
            return Ok(Poll::Pending { until_ms: Some(self.rest_until_ms) });
        }
        self.numbers.clear();
        self.strides.take(limit, self.batch_rows, wanted, &mut self.numbers);
        if !self.numbers.is_empty() {
            if self.numbers.len() < self.batch_rows {
                self.rest_until_ms = now_ms + LEAST_WAIT_MS;
            }
            return Ok(Poll::Rows { rows: make(&self.numbers)?, split: None });
        }
        if let Some(split) = self.strides.finish_one(self.end) {
            return Ok(Poll::Finished { split });
        }
        Ok(if self.strides.all_finished() { Poll::End } else { self.wait(now_ms) })
    }

    /// Events below this number are due.
    fn due(&self, now_ms: i64) -> u64 {
        let due = |schedule: &Schedule| schedule.due(now_ms.saturating_sub(self.started_at_ms));
        self.schedule.as_ref().map_or(ENDLESS, due).min(self.end)
    }

    fn wait(&mut self, now_ms: i64) -> Poll {
        let next = self.strides.lowest().zip(self.schedule.as_ref());
        // After its last event the stream is due to end.
        let due_at_ms = next.and_then(|(number, schedule)| schedule.due_at_ms(number.min(self.end.saturating_sub(1))));
        let Some(due_at_ms) = due_at_ms else { return Poll::Pending { until_ms: None } };
        self.rest_until_ms = (now_ms + LEAST_WAIT_MS).max(self.started_at_ms.saturating_add(due_at_ms));
        Poll::Pending { until_ms: Some(self.rest_until_ms) }
    }

    /// The splits with their present positions.
    pub fn splits(&self) -> Vec<Split> {
        self.strides.splits()
    }

    /// Stops reading these splits.
    pub fn give(&mut self, splits: &[u32]) -> Vec<Split> {
        self.rest_until_ms = i64::MIN;
        self.strides.give(splits)
    }

    /// Reads these splits too. What they have to offer may be due long before the rest is over.
    pub fn take(&mut self, splits: Vec<Split>) -> Result<(), Error> {
        self.rest_until_ms = i64::MIN;
        self.strides.add(splits)
    }

    /// Events of all kinds that are due and not taken, if there is a schedule.
    pub fn lag_records(&self, now_ms: i64) -> Option<u64> {
        self.schedule.as_ref().map(|_| self.strides.left(self.due(now_ms)))
    }

    /// This task's share of the rate in force, if there is a schedule.
    #[allow(clippy::cast_precision_loss, reason = "a rate for people and controllers")]
    pub fn offered_per_s(&self, now_ms: i64) -> Option<f64> {
        let elapsed_ms = now_ms.saturating_sub(self.started_at_ms);
        self.schedule.as_ref().map(|schedule| {
            let over = schedule.due(elapsed_ms) >= self.end;
            if over { 0.0 } else { schedule.rate_per_s(elapsed_ms) as f64 * self.strides.share() }
        })
    }
}

/// A batch of generated columns; also right when a table has none.
pub fn batch(
    table: &str,
    schema: &SchemaRef,
    columns: Result<Vec<ArrayRef>, ArrowError>,
    rows: usize,
) -> Result<RecordBatch, Error> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    columns
        .and_then(|columns| RecordBatch::try_new_with_options(schema.clone(), columns, &options))
        .map_err(|error| Error::Record(format!("table \"{table}\": cannot make a batch: {error}")))
}

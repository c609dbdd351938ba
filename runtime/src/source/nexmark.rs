//! The Nexmark source: a deterministic auction stream, offered at a scheduled rate.
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use millstream_sql::graph::TableSpec;

use crate::connector::options::{OptionDoc, OptionKind, Options};
use crate::connector::sql_type;
use crate::source::schedule::Schedule;
use crate::source::strides::{self, Strides};
use crate::source::{Connector, Context, Error, Poll, Source, Split};

mod columns;
mod model;

use columns::{Column, Model};
use model::Kind;

/// A poll that finds nothing waits at least this long, so that batches do not get tiny.
const LEAST_WAIT_MS: i64 = 5;
/// Most rows of a batch: string offsets are 32 bits wide.
const MOST_ROWS: usize = 1 << 16;
/// More events than there will ever be, with room for sums.
const ENDLESS: u64 = 1 << 60;

/// The options of a nexmark table.
pub fn options() -> &'static [OptionDoc] {
    const OPTIONS: &[OptionDoc] = &[
        OptionDoc::required(
            "nexmark.table",
            OptionKind::Choice(&["person", "auction", "bid", "all"]),
            "Which events are rows of the table. `all` has all columns, with `event_type` (0 person, 1 auction, 2 bid) \
             and the kind as prefix (`bid_price`); `dateTime` is common.",
        ),
        OptionDoc::with_default(
            "nexmark.event-rate",
            OptionKind::Integer { min: 1 },
            "100000",
            "Events of all kinds in a second of event time: event n has the dateTime 2015-07-15 00:00:00 + n / event \
             rate, whatever the load.",
        ),
        OptionDoc::optional(
            "nexmark.events",
            OptionKind::Integer { min: 0 },
            "Events of all kinds in total, after which the table ends. Endless if absent.",
        ),
        OptionDoc::optional(
            "nexmark.rate",
            OptionKind::Rate,
            "Offered load for the whole table, in events of all kinds a second of real time since the job's first \
             start. As fast as possible if absent.",
        ),
    ];
    OPTIONS
}

/// The connector.
pub struct Nexmark;

impl Connector for Nexmark {
    fn validate(&self, table: &TableSpec) -> Result<(), Error> {
        let options = Options::read(table, options())?;
        columns_of(table, &options).map(|_| ())
    }

    fn splits(&self, _table: &TableSpec) -> Result<Vec<Split>, Error> {
        Ok(strides::splits(strides::SPLITS))
    }

    fn open(&self, table: &TableSpec, splits: Vec<Split>, context: &Context) -> Result<Box<dyn Source>, Error> {
        let options = Options::read(table, options())?;
        Ok(Box::new(Reader {
            table: table.name.clone(),
            schema: table.schema.clone(),
            columns: columns_of(table, &options)?,
            kind: kind_of(&options),
            model: Model { event_rate: options.count("nexmark.event-rate").unwrap_or(1), prices: Default::default() },
            end: options.count("nexmark.events").unwrap_or(ENDLESS),
            schedule: options.text("nexmark.rate").and_then(Schedule::parse),
            strides: Strides::open(splits)?,
            started_at_ms: context.job_started_at_ms,
            batch_rows: context.batch_rows.clamp(1, MOST_ROWS),
            rest_until_ms: i64::MIN,
            numbers: Vec::new(),
        }))
    }
}

fn kind_of(options: &Options) -> Option<Kind> {
    match options.text("nexmark.table") {
        Some("person") => Some(Kind::Person),
        Some("auction") => Some(Kind::Auction),
        Some("bid") => Some(Kind::Bid),
        _ => None,
    }
}

fn columns_of(table: &TableSpec, options: &Options) -> Result<Vec<&'static Column>, Error> {
    let kind = kind_of(options);
    let names = || columns::of_table(kind).map(|(name, _)| name).collect::<Vec<_>>().join(", ");
    let find = |field: &arrow::datatypes::FieldRef| {
        let (name, declared) = (field.name(), field.data_type());
        let Some((_, column)) = columns::of_table(kind).find(|(known, _)| known.eq_ignore_ascii_case(name)) else {
            let of = options.text("nexmark.table").unwrap_or_default();
            return Err(options.user(&format!("column \"{name}\": a nexmark '{of}' table has only {}", names())));
        };
        if *declared != column.data_type() {
            let (is, must) = (sql_type(declared), sql_type(&column.data_type()));
            return Err(options.user(&format!("column \"{name}\" is {is}: expected {must}")));
        }
        Ok(column)
    };
    table.schema.fields().iter().map(find).collect()
}

struct Reader {
    table: String,
    schema: SchemaRef,
    columns: Vec<&'static Column>,
    kind: Option<Kind>,
    model: Model,
    end: u64,
    schedule: Option<Schedule>,
    strides: Strides,
    started_at_ms: i64,
    batch_rows: usize,
    /// Caught up: nothing more before this time.
    rest_until_ms: i64,
    /// Scratch: the events of the batch being made.
    numbers: Vec<u64>,
}

impl Reader {
    /// Events below this number are due.
    fn due(&self, now_ms: i64) -> u64 {
        let due = |schedule: &Schedule| schedule.due(now_ms.saturating_sub(self.started_at_ms));
        self.schedule.as_ref().map_or(ENDLESS, due).min(self.end)
    }

    fn wait(&mut self, now_ms: i64) -> Poll {
        let next = self.strides.lowest().zip(self.schedule.as_ref());
        let due_at_ms = next.and_then(|(number, schedule)| schedule.due_at_ms(number));
        let Some(due_at_ms) = due_at_ms else { return Poll::Pending { until_ms: None } };
        self.rest_until_ms = (now_ms + LEAST_WAIT_MS).max(self.started_at_ms.saturating_add(due_at_ms));
        Poll::Pending { until_ms: Some(self.rest_until_ms) }
    }

    fn batch(&self) -> Result<RecordBatch, Error> {
        let mixed = self.kind.is_none();
        let columns = self.columns.iter().map(|column| column.make(&self.numbers, &self.model, mixed));
        let rows = RecordBatchOptions::new().with_row_count(Some(self.numbers.len()));
        columns
            .collect::<Result<Vec<_>, _>>()
            .and_then(|columns| RecordBatch::try_new_with_options(self.schema.clone(), columns, &rows))
            .map_err(|error| Error::Record(format!("table \"{}\": cannot make a batch: {error}", self.table)))
    }
}

impl Source for Reader {
    fn poll(&mut self, now_ms: i64) -> Result<Poll, Error> {
        let limit = self.due(now_ms);
        if now_ms < self.rest_until_ms && limit < self.end && self.strides.left(limit) < self.batch_rows as u64 {
            return Ok(Poll::Pending { until_ms: Some(self.rest_until_ms) });
        }
        self.numbers.clear();
        let mut numbers = std::mem::take(&mut self.numbers);
        match self.kind {
            Some(kind) => self.strides.take(limit, self.batch_rows, |n| model::kind(n) == kind, &mut numbers),
            None => self.strides.take(limit, self.batch_rows, |_| true, &mut numbers),
        }
        self.numbers = numbers;
        if !self.numbers.is_empty() {
            if self.numbers.len() < self.batch_rows {
                self.rest_until_ms = now_ms + LEAST_WAIT_MS;
            }
            return Ok(Poll::Rows { rows: self.batch()?, split: None });
        }
        if let Some(split) = self.strides.finish_one(self.end) {
            return Ok(Poll::Finished { split });
        }
        Ok(if self.strides.all_finished() { Poll::End } else { self.wait(now_ms) })
    }

    fn splits(&self) -> Vec<Split> {
        self.strides.splits()
    }

    fn lag_records(&self, now_ms: i64) -> Option<u64> {
        self.schedule.as_ref().map(|_| self.strides.left(self.due(now_ms)))
    }

    #[allow(clippy::cast_precision_loss)] // A rate for people and controllers.
    fn offered_per_s(&self, now_ms: i64) -> Option<f64> {
        let elapsed_ms = now_ms.saturating_sub(self.started_at_ms);
        self.schedule.as_ref().map(|schedule| {
            let over = schedule.due(elapsed_ms) >= self.end;
            if over { 0.0 } else { schedule.rate_per_s(elapsed_ms) as f64 * self.strides.share() }
        })
    }
}

#[cfg(test)]
mod tests;

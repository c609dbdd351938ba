//! The bench source: one split of numbered records. Those before the offer's first come as fast as they are taken; from then on
//! each is due at its time, whatever becomes of those before it.
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int64Array};
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use arrow::error::ArrowError;
use millstream_sql::graph::TableSpec;

use crate::bench::stream::{Stream, fill};
use crate::bench::{Due, Offer};
use crate::connector::options::{OptionDoc, OptionKind, Options};
use crate::connector::sql_type;
use crate::source::paced::batch;
use crate::source::{Connector, Context, Error, Poll, Source, Split};

/// The folder of a benchmark is looked at this often.
const LOOK_MS: i64 = 100;
/// A poll that finds nothing waits this long: short against the latencies that are measured, and long enough for batches.
const REST_MS: i64 = 2;
/// Longest value.
const VALUE_BYTES_MAX: u64 = 1 << 20;

const PATH: OptionDoc =
    OptionDoc::required("path", OptionKind::Path, "Folder of the benchmark, where its driver puts the schedule.");
const KEYS: OptionDoc =
    OptionDoc::with_default("bench.keys", OptionKind::Integer { min: 1 }, "1000000", "Number of keys.");
const UNTIMED: OptionDoc = OptionDoc::with_default(
    "bench.untimed",
    OptionKind::Integer { min: 0 },
    "1000000",
    "Records before the schedule begins, as fast as they are taken.",
);

/// The options of a bench table that is read.
pub fn options() -> &'static [OptionDoc] {
    const OPTIONS: &[OptionDoc] = &[
        PATH,
        KEYS,
        UNTIMED,
        OptionDoc::with_default(
            "bench.value-bytes",
            OptionKind::Integer { min: 0 },
            "0",
            "Bytes of the column `payload`: random, the same for the same record.",
        ),
    ];
    OPTIONS
}

/// The connector.
pub struct Bench;

/// The columns there are.
#[derive(Debug, Clone, Copy)]
enum Column {
    /// `k`: the key.
    Key,
    /// `n`: records of the key before this one.
    Before,
    /// `payload`: bytes.
    Payload(usize),
}

impl Connector for Bench {
    fn validate(&self, table: &TableSpec) -> Result<(), Error> {
        let options = Options::read(table, options())?;
        columns(table, &options).map(drop)
    }

    fn splits(&self, _table: &TableSpec) -> Result<Vec<Split>, Error> {
        Ok(vec![Split { id: 0, descriptor: serde_json::Value::Null, position: 0.into(), finished: false }])
    }

    fn open(&self, table: &TableSpec, splits: Vec<Split>, context: &Context) -> Result<Box<dyn Source>, Error> {
        let options = Options::read(table, options())?;
        Ok(Box::new(Reader {
            table: table.name.clone(),
            schema: table.schema.clone(),
            columns: columns(table, &options)?,
            folder: options.text("path").unwrap_or_default().into(),
            stream: Stream::new(options.count("bench.keys").unwrap_or(1)),
            untimed: options.count("bench.untimed").unwrap_or(0),
            next: splits.first().and_then(|split| split.position.as_u64()).unwrap_or(0),
            split: splits.into_iter().next(),
            batch_rows: context.batch_rows.max(1) as u64,
            offer: None,
            looked_at_ms: i64::MIN,
            rest_until_ms: i64::MIN,
        }))
    }
}

fn columns(table: &TableSpec, options: &Options) -> Result<Vec<Column>, Error> {
    let bytes = options.count("bench.value-bytes").unwrap_or(0);
    if bytes > VALUE_BYTES_MAX {
        return Err(options.wrong("bench.value-bytes", &format!("a whole number from 0 to {VALUE_BYTES_MAX}")));
    }
    let find = |field: &FieldRef| {
        let (column, data_type) = match field.name().as_str() {
            "k" => (Column::Key, DataType::Int64),
            "n" => (Column::Before, DataType::Int64),
            "payload" => (Column::Payload(usize::try_from(bytes).unwrap_or(0)), DataType::Binary),
            name => return Err(options.user(&format!("column \"{name}\": a bench table has only k, n, payload"))),
        };
        if *field.data_type() != data_type {
            let (name, is, must) = (field.name(), sql_type(field.data_type()), sql_type(&data_type));
            return Err(options.user(&format!("column \"{name}\" is {is}: expected {must}")));
        }
        Ok(column)
    };
    table.schema.fields().iter().map(find).collect()
}

struct Reader {
    table: String,
    schema: SchemaRef,
    columns: Vec<Column>,
    folder: PathBuf,
    stream: Stream,
    untimed: u64,
    /// None: another task reads it.
    split: Option<Split>,
    /// Number of the next record.
    next: u64,
    batch_rows: u64,
    offer: Option<(Offer, Due)>,
    looked_at_ms: i64,
    rest_until_ms: i64,
}

impl Reader {
    fn look(&mut self, now_ms: i64) -> Result<(), Error> {
        // The end is written down a second ahead, so that it is known in time.
        if now_ms.saturating_sub(self.looked_at_ms) < LOOK_MS {
            return Ok(());
        }
        self.looked_at_ms = now_ms;
        let failed = |source| Error::Read { what: format!("the schedule in '{}'", self.folder.display()), source };
        let offer = Offer::read(&self.folder).map_err(failed)?;
        self.offer = offer.and_then(|offer| Some((offer, offer.due()?)));
        Ok(())
    }

    /// Records before this one may be given.
    fn limit(&self, now_ms: i64) -> u64 {
        self.offer.as_ref().map_or(self.untimed, |(_, due)| due.before(now_ms).max(self.untimed))
    }

    fn is_over(&self) -> bool {
        let records = self.offer.as_ref().and_then(|(offer, _)| offer.records);
        records.is_some_and(|records| self.next >= records)
    }

    fn make(&self, from: u64, to: u64) -> Result<Vec<ArrayRef>, ArrowError> {
        let keys = || (from..to).map(|number| self.stream.record(number));
        let one = |column: &Column| -> ArrayRef {
            match column {
                Column::Key => Arc::new(Int64Array::from_iter_values(keys().map(|(key, _)| key.cast_signed()))),
                Column::Before => Arc::new(Int64Array::from_iter_values(keys().map(|(_, n)| n.cast_signed()))),
                Column::Payload(bytes) => {
                    let mut value = vec![0; *bytes];
                    let made = (from..to).map(|number| {
                        fill(number, &mut value);
                        value.clone()
                    });
                    Arc::new(BinaryArray::from_iter_values(made))
                }
            }
        };
        Ok(self.columns.iter().map(one).collect())
    }
}

impl Source for Reader {
    fn poll(&mut self, now_ms: i64) -> Result<Poll, Error> {
        if self.split.as_ref().is_none_or(|split| split.finished) {
            return Ok(Poll::End);
        }
        self.look(now_ms)?;
        let limit = self.limit(now_ms);
        let (from, left) = (self.next, limit.saturating_sub(self.next));
        if left == 0 && self.is_over() {
            if let Some(split) = &mut self.split {
                split.finished = true;
            }
            return Ok(Poll::Finished { split: 0 });
        }
        if left == 0 || (now_ms < self.rest_until_ms && left < self.batch_rows) {
            return Ok(Poll::Pending { until_ms: Some(self.rest_until_ms.max(now_ms + 1)) });
        }
        self.rest_until_ms = now_ms + REST_MS;
        self.next += left.min(self.batch_rows);
        let rows = usize::try_from(self.next - from).unwrap_or(0);
        let rows = batch(&self.table, &self.schema, self.make(from, self.next), rows)?;
        Ok(Poll::Rows { rows, split: None })
    }

    fn splits(&self) -> Vec<Split> {
        self.split.iter().map(|split| Split { position: self.next.into(), ..split.clone() }).collect()
    }

    fn give(&mut self, splits: &[u32]) -> Vec<Split> {
        let given: Vec<Split> = self.splits().into_iter().filter(|split| splits.contains(&split.id)).collect();
        if !given.is_empty() {
            self.split = None;
        }
        given
    }

    fn take(&mut self, splits: Vec<Split>) -> Result<(), Error> {
        // There is only one.
        if let Some(split) = splits.into_iter().next() {
            self.next = split.position.as_u64().unwrap_or(0);
            self.split = Some(split);
        }
        Ok(())
    }

    fn lag_records(&self, now_ms: i64) -> Option<u64> {
        self.offer.as_ref().map(|_| self.limit(now_ms).saturating_sub(self.next))
    }

    fn offered_per_s(&self, _now_ms: i64) -> Option<f64> {
        #[allow(clippy::cast_precision_loss, reason = "a rate for people and controllers")]
        self.offer.as_ref().map(|(offer, _)| if self.is_over() { 0.0 } else { offer.per_s as f64 })
    }
}

#[cfg(test)]
mod tests;

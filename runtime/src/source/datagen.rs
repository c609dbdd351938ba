//! The datagen source: random or sequential values, each a pure function of row number, column and seed.
use arrow::datatypes::SchemaRef;
use millstream_sql::graph::TableSpec;

use crate::connector::options::{OptionDoc, OptionKind, Options};
use crate::source::paced::{Paced, batch};
use crate::source::schedule::Schedule;
use crate::source::{Connector, Context, Error, Poll, Source, Split, strides};

mod fields;

use fields::Generator;

/// The options of a datagen table.
pub fn options() -> &'static [OptionDoc] {
    const OPTIONS: &[OptionDoc] = &[
        OptionDoc::optional(
            "number-of-rows",
            OptionKind::Integer { min: 0 },
            "Rows after which the table ends. Endless if absent, unless a sequence ends it.",
        ),
        OptionDoc::with_default(
            "rows-per-second",
            OptionKind::Rate,
            "10000",
            "Offered load for the whole table, counted from the job's first start.",
        ),
        OptionDoc::with_default("seed", OptionKind::Integer { min: 0 }, "0", "Another seed gives other random values."),
        OptionDoc::with_default(
            "fields.#.kind",
            OptionKind::Choice(&["random", "sequence"]),
            "random",
            "Random values, or one sequence over the whole table. A sequence that comes to its end ends the table.",
        ),
        OptionDoc::optional("fields.#.min", OptionKind::Number, "Least random number; the type's least if absent."),
        OptionDoc::optional("fields.#.max", OptionKind::Number, "Largest random number; the type's largest if absent."),
        OptionDoc::with_default(
            "fields.#.length",
            OptionKind::Integer { min: 0 },
            "100",
            "Characters of a random text (hexadecimal digits).",
        ),
        OptionDoc::optional(
            "fields.#.max-past",
            OptionKind::Duration,
            "How far a TIMESTAMP may lie before the time at which its row is due.",
        ),
        OptionDoc::optional("fields.#.start", OptionKind::Integer { min: i64::MIN }, "First value of a sequence."),
        OptionDoc::optional("fields.#.end", OptionKind::Integer { min: i64::MIN }, "Last value of a sequence."),
    ];
    OPTIONS
}

/// The connector.
pub struct Datagen;

impl Connector for Datagen {
    fn validate(&self, table: &TableSpec) -> Result<(), Error> {
        let options = Options::read(table, options())?;
        fields::check_names(table, &options)?;
        fields::rows(table, &options)?;
        fields::generators(table, &options, 0).map(|_| ())
    }

    fn splits(&self, _table: &TableSpec) -> Result<Vec<Split>, Error> {
        Ok(strides::splits(strides::SPLITS))
    }

    fn open(&self, table: &TableSpec, splits: Vec<Split>, context: &Context) -> Result<Box<dyn Source>, Error> {
        let options = Options::read(table, options())?;
        let schedule = options.text("rows-per-second").and_then(Schedule::parse);
        Ok(Box::new(Reader {
            table: table.name.clone(),
            schema: table.schema.clone(),
            generators: fields::generators(table, &options, context.job_started_at_ms)?,
            paced: Paced::open(splits, fields::rows(table, &options)?, schedule, context)?,
        }))
    }
}

struct Reader {
    table: String,
    schema: SchemaRef,
    generators: Vec<Generator>,
    paced: Paced,
}

impl Source for Reader {
    fn poll(&mut self, now_ms: i64) -> Result<Poll, Error> {
        let Self { table, schema, generators, paced } = self;
        let make = |numbers: &[u64]| {
            let columns = generators.iter().map(|generator| generator.make(numbers)).collect();
            batch(table, schema, columns, numbers.len())
        };
        paced.poll(now_ms, |_| true, make)
    }

    fn splits(&self) -> Vec<Split> {
        self.paced.splits()
    }

    fn give(&mut self, splits: &[u32]) -> Vec<Split> {
        self.paced.give(splits)
    }

    fn take(&mut self, splits: Vec<Split>) -> Result<(), Error> {
        self.paced.take(splits)
    }

    fn lag_records(&self, now_ms: i64) -> Option<u64> {
        self.paced.lag_records(now_ms)
    }

    fn offered_per_s(&self, now_ms: i64) -> Option<f64> {
        self.paced.offered_per_s(now_ms)
    }
}

#[cfg(test)]
mod tests;

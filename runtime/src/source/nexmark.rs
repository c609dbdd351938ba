//! The Nexmark source: a deterministic auction stream, offered at a scheduled rate.
use arrow::datatypes::SchemaRef;
use millstream_sql::graph::TableSpec;

use crate::connector::options::{OptionDoc, OptionKind, Options};
use crate::connector::sql_type;
use crate::source::paced::{Paced, batch};
use crate::source::schedule::Schedule;
use crate::source::{Connector, Context, Error, Poll, Source, Split, strides};

mod columns;
mod model;

use columns::{Column, Model};
use model::Kind;

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
            paced: Paced::open(
                splits,
                options.count("nexmark.events"),
                options.text("nexmark.rate").and_then(Schedule::parse),
                context,
            )?,
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
    paced: Paced,
}

impl Source for Reader {
    fn poll(&mut self, now_ms: i64) -> Result<Poll, Error> {
        let Self { table, schema, columns, kind, model, paced } = self;
        let make = |numbers: &[u64]| {
            let made = columns.iter().map(|column| column.make(numbers, model, kind.is_none())).collect();
            batch(table, schema, made, numbers.len())
        };
        match *kind {
            Some(kind) => paced.poll(now_ms, |number| model::kind(number) == kind, make),
            None => paced.poll(now_ms, |_| true, make),
        }
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

//! The registry of connectors: which there are, what options they take, and the checks of a table against them.
use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use millstream_sql::graph::TableSpec;

use crate::source::Error;
use crate::{sink, source};

pub mod options;
mod suggest;

use options::OptionDoc;

/// What the reference docs say about a connector.
#[derive(Debug, Clone, Copy)]
pub struct ConnectorDoc {
    /// Value of `'connector'`.
    pub name: &'static str,
    /// One sentence.
    pub doc: &'static str,
    /// Options when it is read; none = it cannot be read.
    pub source: Option<&'static [OptionDoc]>,
    /// Options when it is written; none = it cannot be written.
    pub sink: Option<&'static [OptionDoc]>,
}

/// All connectors, by name.
pub fn all() -> Vec<ConnectorDoc> {
    vec![
        ConnectorDoc {
            name: "bench",
            doc: "Numbered records on schedule, and the check and latency of what becomes of them: for `millstream bench \
                  rescale`.",
            source: Some(source::bench::options()),
            sink: Some(sink::bench::options()),
        },
        ConnectorDoc { name: "blackhole", doc: "Takes rows and forgets them.", source: None, sink: Some(&[]) },
        ConnectorDoc {
            name: "datagen",
            doc: "Generates random or sequential values by row number.",
            source: Some(source::datagen::options()),
            sink: None,
        },
        ConnectorDoc {
            name: "filesystem",
            doc: "Files of csv or json records; written ones appear when their checkpoint commits them.",
            source: Some(source::filesystem::options()),
            sink: Some(sink::filesystem::options()),
        },
        ConnectorDoc {
            name: "nexmark",
            doc: "Deterministic generator of the Nexmark auction stream.",
            source: Some(source::nexmark::options()),
            sink: None,
        },
        ConnectorDoc {
            name: "print",
            doc: "Writes rows with their change kinds to standard output.",
            source: None,
            sink: Some(sink::print::options()),
        },
    ]
}

/// Those that an error may propose: what a benchmark brings along is no answer to a mistyped name.
fn proposed() -> Vec<ConnectorDoc> {
    all().into_iter().filter(|doc| doc.name != "bench").collect()
}

/// How a job uses a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It is read.
    Source,
    /// It is written.
    Sink,
}

/// The source connector of this name.
pub fn source(name: &str) -> Option<Arc<dyn source::Connector>> {
    match name {
        "bench" => Some(Arc::new(source::bench::Bench)),
        "datagen" => Some(Arc::new(source::datagen::Datagen)),
        "filesystem" => Some(Arc::new(source::filesystem::Filesystem)),
        "nexmark" => Some(Arc::new(source::nexmark::Nexmark)),
        _ => None,
    }
}

/// The sink connector of this name.
pub fn sink(name: &str) -> Option<Arc<dyn sink::Connector>> {
    match name {
        "bench" => Some(Arc::new(sink::bench::Bench)),
        "blackhole" => Some(Arc::new(sink::blackhole::Blackhole)),
        "filesystem" => Some(Arc::new(sink::filesystem::Filesystem)),
        "print" => Some(Arc::new(sink::print::Print)),
        _ => None,
    }
}

/// Checks that the connector exists, can play the role, and that options and columns are right.
pub fn validate(table: &TableSpec, role: Role) -> Result<(), Error> {
    match role {
        Role::Source => source_of(table)?.validate(table),
        Role::Sink => sink_of(table)?.validate(table),
    }
}

/// The connector that reads this table, or an error that lists those there are.
pub fn source_of(table: &TableSpec) -> Result<Arc<dyn source::Connector>, Error> {
    source(&table.connector).ok_or_else(|| missing(table, Role::Source))
}

/// The connector that writes this table, or an error that lists those there are.
pub fn sink_of(table: &TableSpec) -> Result<Arc<dyn sink::Connector>, Error> {
    sink(&table.connector).ok_or_else(|| missing(table, Role::Sink))
}

fn missing(table: &TableSpec, role: Role) -> Error {
    let all = proposed();
    let able = |doc: &&ConnectorDoc| if role == Role::Source { doc.source.is_some() } else { doc.sink.is_some() };
    let names: Vec<&str> = all.iter().filter(able).map(|doc| doc.name).collect();
    let verb = if role == Role::Source { "read" } else { "written" };
    let (name, list) = (&table.connector, names.join(", "));
    let text = if all.iter().any(|doc| doc.name == name) {
        format!("connector '{name}' cannot be {verb} (connectors that can: {list})")
    } else {
        let known: Vec<&str> = all.iter().map(|doc| doc.name).collect();
        let hint = suggest::nearest(name, &known).map_or_else(String::new, |near| format!(", did you mean '{near}'?"));
        format!("there is no connector '{name}'{hint} (connectors that can be {verb}: {list})")
    };
    Error::User(format!("table \"{}\": {text}", table.name))
}

/// The SQL name of a column type, as error texts give it.
pub fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INT".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::Float32 => "FLOAT".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Utf8 => "STRING".into(),
        DataType::Binary => "BYTES".into(),
        DataType::Date32 => "DATE".into(),
        DataType::Timestamp(TimeUnit::Millisecond, None) => "TIMESTAMP(3)".into(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;

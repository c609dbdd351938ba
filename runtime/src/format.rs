//! Rows as text: the csv and json formats, and the cells both (and the print sink) share.
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::connector::options::{OptionDoc, OptionKind, Options};

pub mod columns;
pub mod csv;
pub mod json;
pub mod text;
pub mod time;

/// How a table's rows are written as text, one record a line.
#[derive(Debug, Clone)]
pub enum Format {
    /// RFC 4180.
    Csv(csv::Dialect),
    /// One JSON object a line.
    Json,
}

/// The options of every table with a format.
pub const OPTIONS: [OptionDoc; 4] = [
    OptionDoc::required(
        "format",
        OptionKind::Choice(&["csv", "json"]),
        "How rows are written; json is one object a line.",
    ),
    OptionDoc::with_default(
        "csv.header",
        OptionKind::Boolean,
        "false",
        "Whether files begin with a line of column names. If so, columns are found by name (any subset, any order), else \
         by position.",
    ),
    OptionDoc::optional(
        "csv.null-literal",
        OptionKind::Text,
        "Unquoted text that stands for NULL. Empty fields of columns that are not text are NULL in any case.",
    ),
    OptionDoc::with_default(
        "csv.field-delimiter",
        OptionKind::Character,
        ",",
        "What separates fields; `\\t` is a tab.",
    ),
];

impl Format {
    /// The format a table's checked options ask for.
    pub fn of(options: &Options) -> Result<Self, crate::source::Error> {
        if options.text("format") == Some("json") {
            return Ok(Self::Json);
        }
        let delimiter = options.character("csv.field-delimiter").and_then(|it| u8::try_from(it).ok());
        let delimiter = delimiter.filter(|byte| byte.is_ascii() && !b"\"\r\n".contains(byte));
        let wrong = || options.wrong("csv.field-delimiter", "one ASCII character, not a quote or line break");
        Ok(Self::Csv(csv::Dialect {
            delimiter: delimiter.ok_or_else(wrong)?,
            header: options.flag("csv.header"),
            null_literal: options.text("csv.null-literal").map(str::to_owned),
        }))
    }

    /// Ending of file names.
    pub fn extension(&self) -> &'static str {
        match self {
            Self::Csv(_) => "csv",
            Self::Json => "json",
        }
    }

    /// Appends the first lines of a file.
    pub fn append_head(&self, schema: &SchemaRef, text: &mut String) {
        match self {
            Self::Csv(dialect) if dialect.header => csv::append_header(dialect, schema, text),
            _ => {}
        }
    }

    /// Appends rows, a line each.
    pub fn append_rows(&self, rows: &RecordBatch, text: &mut String) {
        match self {
            Self::Csv(dialect) => csv::append_rows(dialect, rows, text),
            Self::Json => json::append_rows(rows, text),
        }
    }
}

//! The filesystem source: files of csv or json records. Splits are byte ranges; a record belongs to the split in which
//! its first byte lies.
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use millstream_sql::graph::TableSpec;
use serde::{Deserialize, Serialize};

use crate::connector::options::{OptionDoc, OptionKind, Options};
use crate::connector::sql_type;
use crate::format::columns::is_readable;
use crate::format::csv::{self, Layout};
use crate::format::{self, Format};
use crate::source::{Connector, Context, Error, Split, declared_columns};

mod dead_letter;
mod reader;
mod records;

/// The options of a filesystem table that is read.
pub fn options() -> &'static [OptionDoc] {
    const OPTIONS: &[OptionDoc] = &[
        OptionDoc::required(
            "path",
            OptionKind::Path,
            "A file, or a folder all of whose files are read, except those whose names begin with `.` or `_`.",
        ),
        format::OPTIONS[0],
        format::OPTIONS[1],
        format::OPTIONS[2],
        format::OPTIONS[3],
        OptionDoc::with_default(
            "csv.allow-multiline",
            OptionKind::Boolean,
            "false",
            "Whether quoted fields may contain line breaks. If so, a file is one split and cannot be read in parallel.",
        ),
        OptionDoc::with_default(
            "on-error",
            OptionKind::Choice(&["fail", "skip", "dead-letter"]),
            "fail",
            "What happens with a malformed record: the job fails, or it is counted and left out, or also written to \
             'dead-letter.path'.",
        ),
        OptionDoc::optional(
            "dead-letter.path",
            OptionKind::Path,
            "Folder for malformed records: JSON lines with file, line, reason and record. After a failure of the job some \
             may be there twice.",
        ),
        OptionDoc::with_default("split-size", OptionKind::Integer { min: 1 }, "4194304", "Bytes of a split."),
    ];
    OPTIONS
}

/// The connector.
pub struct Filesystem;

/// A byte range of a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Range {
    path: PathBuf,
    start: u64,
    end: u64,
}

/// What to do with a malformed record.
#[derive(Debug, Clone, PartialEq, Eq)]
enum OnError {
    Fail,
    Skip,
    DeadLetter(PathBuf),
}

/// A table as its reader needs it.
#[derive(Clone)]
struct Table {
    name: String,
    schema: SchemaRef,
    format: Format,
    multiline: bool,
    on_error: OnError,
    split_bytes: u64,
    path: PathBuf,
}

impl Connector for Filesystem {
    fn validate(&self, table: &TableSpec) -> Result<(), Error> {
        let (table, options) = Table::read(table)?;
        for file in table.files(&options)? {
            let opened = File::open(&file).map_err(|error| {
                options.user(&format!("option 'path': cannot read file '{}': {error}", file.display()))
            })?;
            table.layout(&file, &mut BufReader::new(opened))?;
        }
        Ok(())
    }

    fn splits(&self, table: &TableSpec) -> Result<Vec<Split>, Error> {
        let (table, options) = Table::read(table)?;
        let mut splits = vec![];
        for path in table.files(&options)? {
            let bytes = fs::metadata(&path).map_err(|error| unreadable(&path, error))?.len();
            let step = if table.multiline { bytes.max(1) } else { table.split_bytes };
            let mut start = 0;
            while start < bytes {
                let range = Range { path: path.clone(), start, end: (start + step).min(bytes) };
                let descriptor = serde_json::to_value(&range).map_err(|error| {
                    options.user(&format!("option 'path': file name '{}' is not text: {error}", path.display()))
                })?;
                let id = u32::try_from(splits.len()).unwrap_or(u32::MAX);
                splits.push(Split { id, descriptor, position: serde_json::Value::Null, finished: false });
                start = range.end;
            }
        }
        if u32::try_from(splits.len()).is_err() {
            return Err(options.wrong("split-size", "a size that gives fewer than four thousand million splits"));
        }
        Ok(splits)
    }

    fn open(
        &self,
        table: &TableSpec,
        splits: Vec<Split>,
        context: &Context,
    ) -> Result<Box<dyn crate::source::Source>, Error> {
        let (table, _) = Table::read(table)?;
        Ok(Box::new(reader::Reader::open(table, splits, context.batch_rows)?))
    }
}

fn unreadable(path: &Path, source: std::io::Error) -> Error {
    Error::Read { what: format!("file '{}'", path.display()), source }
}

impl Table {
    fn read(table: &TableSpec) -> Result<(Self, Options), Error> {
        let options = Options::read(table, options())?;
        let format = Format::of(&options)?;
        if let Some(field) = table.schema.fields().iter().find(|field| !is_readable(field.data_type())) {
            let (name, is) = (field.name(), sql_type(field.data_type()));
            return Err(options.user(&format!("column \"{name}\" is {is}, which cannot be read from text")));
        }
        let given = options.text("path").unwrap_or_default();
        let path = std::path::absolute(given).map_err(|_| options.wrong("path", "the path of a file or folder"))?;
        let on_error = match (options.text("on-error"), options.text("dead-letter.path")) {
            (Some("dead-letter"), Some(folder)) if std::path::absolute(folder).ok().as_ref() == Some(&path) => {
                return Err(options.wrong("dead-letter.path", "another folder than 'path'"));
            }
            (Some("dead-letter"), Some(folder)) => OnError::DeadLetter(folder.into()),
            (Some("dead-letter"), None) => {
                return Err(
                    options.user("option 'dead-letter.path' is missing: 'on-error' = 'dead-letter' needs a folder")
                );
            }
            (_, Some(_)) => {
                return Err(options.user("option 'dead-letter.path' has no effect without 'on-error' = 'dead-letter'"));
            }
            (Some("skip"), None) => OnError::Skip,
            _ => OnError::Fail,
        };
        let table = Self {
            name: table.name.clone(),
            schema: table.schema.clone(),
            multiline: matches!(format, Format::Csv(_)) && options.flag("csv.allow-multiline"),
            format,
            on_error,
            split_bytes: options.count("split-size").unwrap_or(1 << 22),
            path,
        };
        Ok((table, options))
    }

    /// The files of the table, sorted by name.
    fn files(&self, options: &Options) -> Result<Vec<PathBuf>, Error> {
        let broken = |error: std::io::Error| {
            let hint = if error.kind() == std::io::ErrorKind::NotFound {
                "no such file or folder".into()
            } else {
                error.to_string()
            };
            options.user(&format!("option 'path': cannot read '{}': {hint}", self.path.display()))
        };
        if !fs::metadata(&self.path).map_err(broken)?.is_dir() {
            return Ok(vec![self.path.clone()]);
        }
        let mut files = vec![];
        for entry in fs::read_dir(&self.path).map_err(broken)? {
            let entry = entry.map_err(broken)?;
            let is_hidden = entry.file_name().to_string_lossy().starts_with(['.', '_']);
            if !is_hidden && fs::metadata(entry.path()).map_err(broken)?.is_file() {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files)
    }

    /// Where the records of a file begin, and which field is which column (csv).
    fn layout(&self, path: &Path, file: &mut impl BufRead) -> Result<(u64, Option<Layout>), Error> {
        let Format::Csv(dialect) = &self.format else { return Ok((0, None)) };
        if !dialect.header {
            let names = declared_columns(&self.schema).unwrap_or_else(|| self.all_names());
            let layout = Layout::by_name(&names, &self.schema);
            return layout.map(|layout| (0, Some(layout))).map_err(|name| self.no_column(path, &name, &names));
        }
        let mut line = vec![];
        file.take(records::MOST_BYTES).read_until(b'\n', &mut line).map_err(|error| unreadable(path, error))?;
        let text = records::without_line_break(records::without_mark(&line));
        let names = csv::header(text, dialect.delimiter)
            .map_err(|reason| Error::User(format!("table \"{}\": {}, line 1: {reason}", self.name, path.display())))?;
        if line.is_empty() {
            // An empty file: no header, no records.
            return Ok((0, Some(Layout::by_name(&self.all_names(), &self.schema).unwrap_or_default())));
        }
        let layout = Layout::by_name(&names, &self.schema).map_err(|name| self.no_column(path, &name, &names))?;
        Ok((line.len() as u64, Some(layout)))
    }

    fn all_names(&self) -> Vec<String> {
        self.schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    fn no_column(&self, path: &Path, name: &str, names: &[String]) -> Error {
        Error::User(format!(
            "table \"{}\": column \"{name}\" is not in the header of {} (it has {})",
            self.name,
            path.display(),
            names.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests;

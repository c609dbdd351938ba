//! The print sink: rows with their change kinds on standard output, visible at once: `+I[1000, apple]`.
use std::io::Write;

use millstream_api::id::{Epoch, Generation};
use millstream_sql::graph::TableSpec;

use crate::batch::{Batch, ChangeKind};
use crate::connector::options::{OptionDoc, OptionKind, Options};
use crate::connector::sql_type;
use crate::format::text::{Cells, is_writable};
use crate::sink::{Committable, Connector, Context, Sink};
use crate::source::Error;

/// The options of a print table.
pub fn options() -> &'static [OptionDoc] {
    const OPTIONS: &[OptionDoc] = &[OptionDoc::optional(
        "print-identifier",
        OptionKind::Text,
        "Text in front of every line, to tell several print tables apart.",
    )];
    OPTIONS
}

/// The connector.
pub struct Print;

impl Connector for Print {
    fn takes_updates(&self) -> bool {
        true
    }

    fn validate(&self, table: &TableSpec) -> Result<(), Error> {
        let options = Options::read(table, options())?;
        match table.schema.fields().iter().find(|field| !is_writable(field.data_type())) {
            Some(field) => {
                let (name, is) = (field.name(), sql_type(field.data_type()));
                Err(options.user(&format!("column \"{name}\" is {is}, which connector 'print' cannot write")))
            }
            None => Ok(()),
        }
    }

    fn clean(&self, _table: &TableSpec, _job: (u64, Generation), _keep: &[Committable]) -> Result<(), Error> {
        Ok(())
    }

    fn open(&self, table: &TableSpec, _context: &Context) -> Result<Box<dyn Sink>, Error> {
        let options = Options::read(table, options())?;
        let identifier = options.text("print-identifier").unwrap_or_default();
        let prefix = if identifier.is_empty() { String::new() } else { format!("{identifier}> ") };
        Ok(Box::new(Printer { prefix, out: std::io::stdout(), text: String::new() }))
    }
}

struct Printer<W> {
    prefix: String,
    out: W,
    /// Scratch.
    text: String,
}

impl<W: Write + Send> Sink for Printer<W> {
    fn write(&mut self, batch: &Batch) -> Result<(), Error> {
        self.text.clear();
        append_rows(batch, &self.prefix, &mut self.text);
        // One write per batch, so that the lines of tasks in one process do not mix.
        let written = self.out.write_all(self.text.as_bytes()).and_then(|()| self.out.flush());
        written.map_err(|source| Error::Write { what: "standard output".into(), source })
    }

    fn prepare(&mut self, _epoch: Epoch) -> Result<Vec<Committable>, Error> {
        Ok(vec![])
    }

    fn commit(&mut self, _committables: &[Committable]) -> Result<(), Error> {
        Ok(())
    }
}

fn append_rows(batch: &Batch, prefix: &str, text: &mut String) {
    // Columns of other types do not pass `validate`.
    let columns: Vec<Cells> = batch.rows.columns().iter().filter_map(Cells::of).collect();
    for row in 0..batch.num_rows() {
        text.push_str(prefix);
        text.push_str(match batch.kind(row) {
            ChangeKind::Insert => "+I[",
            ChangeKind::UpdateBefore => "-U[",
            ChangeKind::UpdateAfter => "+U[",
            ChangeKind::Delete => "-D[",
        });
        for (index, column) in columns.iter().enumerate() {
            if index > 0 {
                text.push_str(", ");
            }
            if column.is_null(row) {
                text.push_str("null");
            } else {
                column.append(row, text);
            }
        }
        text.push_str("]\n");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
        TimestampMillisecondArray,
    };

    use super::*;

    #[test]
    fn rows_are_written_like_flink_does() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("id", Arc::new(Int64Array::from(vec![Some(1), None]))),
            ("name", Arc::new(StringArray::from(vec!["a, \"b\"", "ü"]))),
            ("at", Arc::new(TimestampMillisecondArray::from(vec![0, -1]))),
            ("share", Arc::new(Float64Array::from(vec![1.0, 0.1]))),
            ("ok", Arc::new(BooleanArray::from(vec![true, false]))),
            ("raw", Arc::new(BinaryArray::from_vec(vec![b"\x00\xff", b""]))),
            ("sum", Arc::new(Decimal128Array::from(vec![-5, 12_345]).with_precision_and_scale(10, 2).unwrap())),
        ];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let batch = Batch { kinds: Some(Arc::from([3u8, 2])), ..Batch::inserts(rows) };
        let mut printer = Printer { prefix: "x> ".into(), out: Vec::new(), text: String::new() };
        printer.write(&batch).unwrap();
        assert_eq!(
            String::from_utf8(printer.out).unwrap(),
            "x> -D[1, a, \"b\", 1970-01-01 00:00:00.000, 1.0, true, 00ff, -0.05]\n\
             x> +U[null, ü, 1969-12-31 23:59:59.999, 0.1, false, , 123.45]\n"
        );
    }
}

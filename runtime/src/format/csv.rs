//! CSV as in RFC 4180: fields may be quoted, a quote inside is doubled.
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::columns::Rows;
use super::text::Cells;

/// How a table's CSV looks.
#[derive(Debug, Clone)]
pub struct Dialect {
    /// Between fields.
    pub delimiter: u8,
    /// Whether files begin with column names.
    pub header: bool,
    /// Unquoted text that is null.
    pub null_literal: Option<String>,
}

/// Which field of a record each column is, and how many fields a record has.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    /// For each field: the column it fills, if one does.
    columns: Vec<Option<usize>>,
}

impl Layout {
    /// Fields `names[i]` of a record fill the columns of that name (case does not matter). The error is the name of a
    /// column that no field fills.
    pub fn by_name(names: &[String], schema: &SchemaRef) -> Result<Self, String> {
        let mut columns = vec![None; names.len()];
        for (index, field) in schema.fields().iter().enumerate() {
            let name = field.name();
            let exact = names.iter().position(|it| it.trim() == name);
            let found = exact.or_else(|| names.iter().position(|it| it.trim().eq_ignore_ascii_case(name)));
            columns[found.ok_or_else(|| name.clone())?] = Some(index);
        }
        Ok(Self { columns })
    }
}

/// Splits a record (without its line break) into fields: `each(index, text, quoted)`. The error is the reason why it
/// is not CSV.
pub fn fields<E: From<String>>(
    record: &[u8],
    delimiter: u8,
    mut each: impl FnMut(usize, &[u8], bool) -> Result<(), E>,
) -> Result<usize, E> {
    if !record.contains(&b'"') {
        let mut count = 0;
        for field in record.split(|byte| *byte == delimiter) {
            each(count, field, false)?;
            count += 1;
        }
        return Ok(count);
    }
    let (mut rest, mut count, mut unquoted) = (Some(record), 0, Vec::new());
    while let Some(text) = rest {
        if let Some(inside) = text.strip_prefix(b"\"") {
            unquoted.clear();
            let after =
                unquote(inside, &mut unquoted).ok_or_else(|| format!("field {}: no closing quote", count + 1))?;
            each(count, &unquoted, true)?;
            rest = match after.split_first() {
                None => None,
                Some((byte, after)) if *byte == delimiter => Some(after),
                Some(_) => return Err(format!("field {}: text after the closing quote", count + 1).into()),
            };
        } else {
            let end = text.iter().position(|byte| *byte == delimiter);
            each(count, &text[..end.unwrap_or(text.len())], false)?;
            rest = end.map(|end| &text[end + 1..]);
        }
        count += 1;
    }
    Ok(count)
}

/// Appends what is inside quotes, and returns what follows the closing one.
fn unquote<'t>(mut text: &'t [u8], unquoted: &mut Vec<u8>) -> Option<&'t [u8]> {
    loop {
        let quote = text.iter().position(|byte| *byte == b'"')?;
        unquoted.extend_from_slice(&text[..quote]);
        text = &text[quote + 1..];
        let Some(after) = text.strip_prefix(b"\"") else { return Some(text) };
        unquoted.push(b'"');
        text = after;
    }
}

/// The fields of a header line.
pub fn header(line: &[u8], delimiter: u8) -> Result<Vec<String>, String> {
    let mut names = vec![];
    fields::<String>(line, delimiter, |_, name, _| {
        names.push(String::from_utf8_lossy(name).into_owned());
        Ok(())
    })?;
    Ok(names)
}

/// Reads one record into the present row.
pub fn read(dialect: &Dialect, layout: &Layout, record: &[u8], rows: &mut Rows) -> Result<(), String> {
    let null = dialect.null_literal.as_deref().map(str::as_bytes);
    let count = fields::<String>(record, dialect.delimiter, |index, field, quoted| {
        let Some(column) = layout.columns.get(index).copied().flatten() else { return Ok(()) };
        let is_null = !quoted && (Some(field) == null || (field.is_empty() && !rows.is_text(column)));
        rows.set(column, (!is_null).then_some(field))
    })?;
    if count != layout.columns.len() {
        return Err(format!("{count} fields where {} are expected", layout.columns.len()));
    }
    rows.end_row()
}

/// Appends the line of column names.
pub fn append_header(dialect: &Dialect, schema: &SchemaRef, text: &mut String) {
    for (index, field) in schema.fields().iter().enumerate() {
        if index > 0 {
            text.push(char::from(dialect.delimiter));
        }
        let start = text.len();
        text.push_str(field.name());
        quote_if_needed(dialect, start, text);
    }
    text.push('\n');
}

/// Appends rows, a record each.
pub fn append_rows(dialect: &Dialect, rows: &RecordBatch, text: &mut String) {
    // Columns of other types do not pass `validate`.
    let columns: Vec<Cells> = rows.columns().iter().filter_map(Cells::of).collect();
    for row in 0..rows.num_rows() {
        for (index, column) in columns.iter().enumerate() {
            if index > 0 {
                text.push(char::from(dialect.delimiter));
            }
            if column.is_null(row) {
                text.push_str(dialect.null_literal.as_deref().unwrap_or_default());
            } else {
                let start = text.len();
                column.append(row, text);
                quote_if_needed(dialect, start, text);
                if columns.len() == 1 && text.len() == start {
                    // An empty line is no record.
                    text.push_str("\"\"");
                }
            }
        }
        text.push('\n');
    }
}

/// Quotes the cell at the end of `text` if it would not read back as it is.
fn quote_if_needed(dialect: &Dialect, start: usize, text: &mut String) {
    let cell = &text[start..];
    let special = |byte: &u8| [b'"', b'\n', b'\r', dialect.delimiter].contains(byte);
    if cell.as_bytes().iter().any(special) || Some(cell) == dialect.null_literal.as_deref() {
        let quoted = format!("\"{}\"", cell.replace('"', "\"\""));
        text.truncate(start);
        text.push_str(&quoted);
    }
}

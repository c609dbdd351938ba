//! JSON, one object a line. A thin scanner finds the top-level members; values go to the column builders as their raw
//! text, so that long decimals keep all their digits. Strings with escapes and nested values are checked by serde_json.
use std::borrow::Cow;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::columns::Rows;
use super::text::Cells;

/// Reads one object into the present row. Members without a column are ignored; columns without a member become null.
pub fn read(schema: &SchemaRef, record: &[u8], rows: &mut Rows) -> Result<(), String> {
    let mut scanner = Scanner { text: record, at: 0 };
    scanner.expect(b'{')?;
    if scanner.peek() == Some(b'}') {
        scanner.at += 1;
    } else {
        loop {
            let key = scanner.string()?;
            scanner.expect(b':')?;
            let value = scanner.value()?;
            if let Some(column) = column_of(schema, &key) {
                rows.set(column, value.as_deref())?;
            }
            match scanner.next() {
                Some(b',') => {}
                Some(b'}') => break,
                _ => return Err(scanner.wrong("',' or '}'")),
            }
        }
    }
    match scanner.peek() {
        None => rows.end_row(),
        Some(_) => Err(scanner.wrong("the end of the line")),
    }
}

fn column_of(schema: &SchemaRef, key: &[u8]) -> Option<usize> {
    let fields = schema.fields();
    let exact = fields.iter().position(|field| field.name().as_bytes() == key);
    exact.or_else(|| fields.iter().position(|field| field.name().as_bytes().eq_ignore_ascii_case(key)))
}

struct Scanner<'t> {
    text: &'t [u8],
    at: usize,
}

impl<'t> Scanner<'t> {
    fn wrong(&self, expected: &str) -> String {
        format!("not a JSON object: expected {expected} at character {}", self.at + 1)
    }

    /// The next character that is not blank.
    fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, byte: u8) -> Result<(), String> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(self.wrong(&format!("'{}'", char::from(byte))))
    }

    /// A string, unescaped.
    fn string(&mut self) -> Result<Cow<'t, [u8]>, String> {
        self.expect(b'"')?;
        let start = self.at;
        let mut escaped = false;
        loop {
            match self.text.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                }
                Some(byte) if *byte >= 0x20 => self.at += 1,
                _ => return Err(self.wrong("the end of a string")),
            }
        }
        self.at += 1;
        if !escaped {
            return Ok(Cow::Borrowed(&self.text[start..self.at - 1]));
        }
        let text: Result<String, _> = serde_json::from_slice(&self.text[start - 1..self.at]);
        text.map(|text| Cow::Owned(text.into_bytes())).map_err(|_| self.wrong("a string with valid escapes"))
    }

    /// A value as text; none = null.
    fn value(&mut self) -> Result<Option<Cow<'t, [u8]>>, String> {
        match self.peek() {
            Some(b'"') => self.string().map(Some),
            Some(b'{' | b'[') => {
                let start = self.at;
                let mut values = serde_json::Deserializer::from_slice(&self.text[start..]).into_iter();
                let value: Option<Result<serde::de::IgnoredAny, _>> = values.next();
                if !matches!(value, Some(Ok(_))) {
                    return Err(self.wrong("a valid object or array"));
                }
                self.at += values.byte_offset();
                Ok(Some(Cow::Borrowed(&self.text[start..self.at])))
            }
            _ => {
                let start = self.at;
                let is_bare = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
                while self.text.get(self.at).is_some_and(is_bare) {
                    self.at += 1;
                }
                match &self.text[start..self.at] {
                    b"null" => Ok(None),
                    bare => match serde_json::from_slice::<serde::de::IgnoredAny>(bare) {
                        Ok(_) => Ok(Some(Cow::Borrowed(bare))),
                        Err(_) => {
                            self.at = start;
                            Err(self.wrong("a value"))
                        }
                    },
                }
            }
        }
    }
}

/// Appends rows, an object each.
pub fn append_rows(rows: &RecordBatch, text: &mut String) {
    // Columns of other types do not pass `validate`.
    let columns: Vec<Cells> = rows.columns().iter().filter_map(Cells::of).collect();
    let schema = rows.schema();
    let keys: Vec<String> = schema.fields().iter().map(|field| format!("{}:", quoted(field.name()))).collect();
    let mut cell = String::new();
    for row in 0..rows.num_rows() {
        text.push('{');
        for (index, (column, key)) in columns.iter().zip(&keys).enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(key);
            if column.is_null(row) {
                text.push_str("null");
            } else if column.is_bare(row) {
                column.append(row, text);
            } else {
                cell.clear();
                column.append(row, &mut cell);
                text.push_str(&quoted(&cell));
            }
        }
        text.push_str("}\n");
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

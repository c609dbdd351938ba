//! Reads the splits of one task in order of their ids, one at a time.
use std::fs::File;
use std::io::BufReader;

use super::dead_letter::DeadLetter;
use super::records::Records;
use super::{OnError, Range, Table, unreadable};
use crate::format::columns::Rows;
use crate::format::csv::{self, Layout};
use crate::format::{Format, json};
use crate::source::{Error, Poll, Source, Split, twice};

pub struct Reader {
    table: Table,
    splits: Vec<Split>,
    /// The split being read.
    open: Option<Open>,
    rows: Rows,
    batch_rows: usize,
    bad_records: u64,
    dead_letter: Option<DeadLetter>,
}

struct Open {
    /// Which split.
    id: u32,
    range: Range,
    records: Records,
    layout: Option<Layout>,
}

impl Reader {
    pub fn open(table: Table, splits: Vec<Split>, batch_rows: usize) -> Result<Self, Error> {
        // Invariant: `Table::read` has refused columns that cannot be read.
        let unreadable = || Error::User(format!("table \"{}\": a column cannot be read from text", table.name));
        let rows = Rows::new(table.schema.clone()).ok_or_else(unreadable)?;
        let mut reader = Self {
            table,
            splits: Vec::new(),
            open: None,
            rows,
            batch_rows: batch_rows.max(1),
            bad_records: 0,
            dead_letter: None,
        };
        reader.take(splits)?;
        Ok(reader)
    }

    /// Dead letters go to a file that no other task writes as long as this one has the splits it has now.
    fn address_letters(&mut self) {
        self.dead_letter = match (&self.table.on_error, self.splits.first()) {
            (OnError::DeadLetter(folder), Some(first)) => Some(DeadLetter::new(folder, &self.table.name, first.id)),
            _ => None,
        };
    }

    fn open_split(&self, split: &Split) -> Result<Open, Error> {
        let foreign = || Error::User(format!("table \"{}\": split {} is of another table", self.table.name, split.id));
        let range: Range = serde_json::from_value(split.descriptor.clone()).map_err(|_| foreign())?;
        let position = match &split.position {
            serde_json::Value::Null => None,
            position => Some(position.as_u64().ok_or_else(foreign)?),
        };
        let failed = |error| unreadable(&range.path, error);
        let mut head = BufReader::new(File::open(&range.path).map_err(failed)?);
        let (first, layout) = self.table.layout(&range.path, &mut head)?;
        let records = Records::open(range.clone(), position, first, self.table.multiline).map_err(failed)?;
        Ok(Open { id: split.id, range, records, layout })
    }

    /// Reads until the batch is full or the split ends; whether it ended.
    fn read(&mut self, open: &mut Open) -> Result<bool, Error> {
        let failed = |error| unreadable(&open.range.path, error);
        while self.rows.len_with_bad() < self.batch_rows {
            let Some((line, record)) = open.records.next().map_err(failed)? else { return Ok(true) };
            let read = match (&self.table.format, &open.layout) {
                (Format::Csv(dialect), Some(layout)) => csv::read(dialect, layout, record, &mut self.rows),
                _ => json::read(&self.table.schema, record, &mut self.rows),
            };
            let Err(reason) = read else { continue };
            self.rows.reject_row();
            self.bad_records += 1;
            if self.table.on_error == OnError::Skip {
                continue;
            }
            let record = record.to_vec();
            let line = open.records.line_number(line).map_err(failed)?;
            match &mut self.dead_letter {
                Some(letters) => letters.put(&open.range.path, line, &reason, &record),
                None => return Err(self.bad_record(&open.range, line, &reason)),
            }
        }
        Ok(false)
    }

    fn bad_record(&self, range: &Range, line: u64, reason: &str) -> Error {
        Error::Record(format!(
            "table \"{}\": {}, line {line}: {reason} (mend the record, or set 'on-error' to 'skip' or 'dead-letter')",
            self.table.name,
            range.path.display()
        ))
    }
}

impl Source for Reader {
    fn poll(&mut self, _now_ms: i64) -> Result<Poll, Error> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => match self.splits.iter().find(|split| !split.finished) {
                Some(split) => self.open_split(split)?,
                None => return Ok(Poll::End),
            },
        };
        let (rows, ended) = loop {
            let ended = self.read(&mut open)?;
            if let Some(letters) = &mut self.dead_letter {
                letters.flush()?;
            }
            let rows = self.rows.finish().map_err(|error| {
                Error::Record(format!("table \"{}\": cannot make a batch: {error}", self.table.name))
            })?;
            // A whole batch of malformed records: go on.
            if ended || rows.num_rows() > 0 {
                break (rows, ended);
            }
        };
        let id = open.id;
        let finished = rows.num_rows() == 0 && ended;
        if let Some(split) = self.splits.iter_mut().find(|split| split.id == id) {
            split.position = open.records.position().into();
            split.finished = finished;
        }
        if finished {
            return Ok(Poll::Finished { split: id });
        }
        self.open = Some(open);
        Ok(Poll::Rows { rows, split: Some(id) })
    }

    fn splits(&self) -> Vec<Split> {
        self.splits.clone()
    }

    /// Every poll gives all rows it has read: between two of them the position says it all.
    fn give(&mut self, splits: &[u32]) -> Vec<Split> {
        let given = self.splits.extract_if(.., |split| splits.contains(&split.id)).collect();
        self.open.take_if(|open| splits.contains(&open.id));
        self.address_letters();
        given
    }

    fn take(&mut self, mut splits: Vec<Split>) -> Result<(), Error> {
        self.splits.append(&mut splits);
        self.splits.sort_by_key(|split| split.id);
        if let Some(pair) = self.splits.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return Err(twice(pair[0].id));
        }
        self.address_letters();
        Ok(())
    }

    fn bad_records(&self) -> u64 {
        self.bad_records
    }
}

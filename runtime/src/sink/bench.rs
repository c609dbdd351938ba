//! The bench sink: checks that every record of a bench source arrives once and in order, and writes down how late each is, per
//! 250 ms. What is visible at once are figures, not output: those of a generation that was taken back are left out by the reader.
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Int64Type};
use millstream_api::id::{Epoch, Generation};
use millstream_sql::graph::TableSpec;
use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::bench::line::{EXTENSION, Line};
use crate::bench::seen::Seen;
use crate::bench::stream::Stream;
use crate::bench::{Due, Offer};
use crate::clock::{Clock, SystemClock};
use crate::connector::options::{OptionDoc, OptionKind, Options};
use crate::sink::{Committable, Connector, Context, Sink, is_up_to};
use crate::source::Error;

mod arrivals;

use arrivals::Arrivals;

/// What has arrived up to the checkpoint committed last.
const COMMITTED: &str = "seen.json";
/// What the names of such files begin with before they are committed.
const HIDDEN: &str = ".seen-";
/// Columns, all BIGINT: the key, how many records of it are counted, the highest of their numbers, bytes of the key's value.
const COLUMNS: [&str; 4] = ["k", "counted", "n", "bytes"];

/// The options of a bench table that is written.
pub fn options() -> &'static [OptionDoc] {
    const OPTIONS: &[OptionDoc] = &[
        OptionDoc::required("path", OptionKind::Path, "Folder of the benchmark; what arrives is written down in it."),
        OptionDoc::with_default("bench.keys", OptionKind::Integer { min: 1 }, "1000000", "Number of keys, as read."),
        OptionDoc::with_default(
            "bench.untimed",
            OptionKind::Integer { min: 0 },
            "1000000",
            "Records without a due time, as read.",
        ),
        OptionDoc::with_default(
            "bench.value-bytes",
            OptionKind::Integer { min: 0 },
            "0",
            "What the column `bytes` must be.",
        ),
    ];
    OPTIONS
}

/// The connector.
pub struct Bench;

impl Connector for Bench {
    fn takes_updates(&self) -> bool {
        true
    }

    fn validate(&self, table: &TableSpec) -> Result<(), Error> {
        let options = Options::read(table, options())?;
        let fields = table.schema.fields();
        let fits = fields.len() == COLUMNS.len()
            && fields.iter().zip(COLUMNS).all(|(field, name)| field.name() == name)
            && fields.iter().all(|field| *field.data_type() == DataType::Int64);
        let wrong = || options.user(&format!("a bench table has the columns {}, all BIGINT", COLUMNS.join(", ")));
        fits.then_some(()).ok_or_else(wrong)
    }

    fn clean(&self, table: &TableSpec, (_, generation): (u64, Generation), keep: &[Committable]) -> Result<(), Error> {
        let folder = folder(&Options::read(table, options())?);
        let keep = keep.iter().map(|one| Ok(token(one)?.from)).collect::<Result<BTreeSet<PathBuf>, Error>>()?;
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(|error| unwritable(&folder, error))?,
        };
        for entry in entries {
            let path = entry.map_err(|error| unwritable(&folder, error))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_hidden = name.strip_prefix(HIDDEN).is_some_and(|rest| is_up_to(rest, generation));
            if is_hidden && !keep.contains(&path) {
                fs::remove_file(&path).map_err(|error| unwritable(&path, error))?;
            }
        }
        Ok(())
    }

    fn open(&self, table: &TableSpec, context: &Context) -> Result<Box<dyn Sink>, Error> {
        let options = Options::read(table, options())?;
        let folder = folder(&options);
        fs::create_dir_all(&folder).map_err(|error| unwritable(&folder, error))?;
        Ok(Box::new(Writer {
            stream: Stream::new(options.count("bench.keys").unwrap_or(1)),
            untimed: options.count("bench.untimed").unwrap_or(0),
            value_bytes: options.integer("bench.value-bytes").unwrap_or(0),
            clock: Box::new(SystemClock::default()),
            context: context.clone(),
            due: None,
            open: None,
            folder,
        }))
    }
}

fn folder(options: &Options) -> PathBuf {
    options.text("path").unwrap_or_default().into()
}

fn unwritable(path: &Path, source: io::Error) -> Error {
    Error::Write { what: format!("'{}'", path.display()), source }
}

/// What a committable says.
#[derive(Debug, Serialize, Deserialize)]
struct Token {
    from: PathBuf,
    to: PathBuf,
}

fn token(committable: &Committable) -> Result<Token, Error> {
    serde_json::from_value(committable.token.clone())
        .map_err(|error| Error::User(format!("a checkpoint has output that is not of a bench table: {error}")))
}

/// What is kept with a checkpoint.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    epoch: Option<Epoch>,
    seen: Seen,
}

struct Writer {
    folder: PathBuf,
    stream: Stream,
    untimed: u64,
    value_bytes: i64,
    clock: Box<dyn Clock>,
    context: Context,
    due: Option<Due>,
    /// From the first row on: a sink that only commits must not read what it is about to replace.
    open: Option<Open>,
}

struct Open {
    path: PathBuf,
    file: File,
    seen: Seen,
    arrivals: Arrivals,
    /// The last record without a due time has been written down.
    preloaded: bool,
}

impl Open {
    fn line(&mut self, line: &Line) -> Result<(), Error> {
        let mut text = serde_json::to_vec(line).map_err(|error| unwritable(&self.path, error.into()))?;
        text.push(b'\n');
        self.file.write_all(&text).map_err(|error| unwritable(&self.path, error))
    }

    fn write_window(&mut self) -> Result<(), Error> {
        let (arrived, faults) = (self.seen.arrived(), self.seen.faults());
        match self.arrivals.take(arrived, faults) {
            Some(window) => self.line(&Line::Window(window)),
            None => Ok(()),
        }
    }
}

impl Writer {
    fn opened(&mut self) -> Result<&mut Open, Error> {
        if self.open.is_none() {
            let path = self.folder.join(COMMITTED);
            let kept = match fs::read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::default(),
                read => read
                    .and_then(|text| Ok(serde_json::from_slice(&text)?))
                    .map_err(|source| Error::Read { what: format!("'{}'", path.display()), source })?,
            };
            let path = self.folder.join(format!("{}.{EXTENSION}", self.context.generation));
            // Two tasks would each see only a part of the records.
            let file = File::create_new(&path).map_err(|error| unwritable(&path, error))?;
            let arrivals = Arrivals::default();
            let mut open = Open { path, file, seen: kept.seen, arrivals, preloaded: false };
            open.line(&Line::From { epoch: kept.epoch })?;
            self.open = Some(open);
        }
        // Invariant: opened above.
        self.open.as_mut().ok_or_else(|| Error::User("the bench sink is not open".into()))
    }

    /// When records are due; known before the first of them is offered.
    fn due(&mut self) -> Result<Due, Error> {
        if self.due.is_none() {
            let read = Offer::read(&self.folder).map_err(|error| unwritable(&self.folder, error))?;
            self.due = read.and_then(|offer| offer.due());
        }
        self.due.clone().ok_or_else(|| Error::Record("a record arrived that no schedule offers".into()))
    }
}

impl Sink for Writer {
    fn write(&mut self, batch: &Batch) -> Result<(), Error> {
        let now_ms = self.clock.now_ms();
        let column = |index: usize| batch.rows.column(index).as_primitive::<Int64Type>().values();
        let [key, counted, before, bytes] = [column(0), column(1), column(2), column(3)];
        let (stream, untimed, value_bytes) = (self.stream, self.untimed, self.value_bytes);
        let mut due = self.due.clone();
        for row in (0..batch.num_rows()).filter(|row| !batch.kind(*row).is_retraction()) {
            let open = self.opened()?;
            let result = (counted[row].cast_unsigned(), before[row].cast_unsigned());
            let Some(number) = open.seen.see(&stream, key[row].cast_unsigned(), result) else {
                return Err(Error::Record(format!("a result arrived of key {}, which nobody has sent", key[row])));
            };
            if bytes[row] != value_bytes {
                open.seen.damaged();
            }
            if open.arrivals.is_over(now_ms) {
                open.write_window()?;
            }
            if number < untimed {
                open.arrivals.untimed(now_ms);
                continue;
            }
            let schedule = match &due {
                Some(due) => due,
                None => due.insert(self.due()?),
            };
            // A wrong result may stand for a record that will never be due.
            let due_ms = schedule.at_ms(number).unwrap_or(now_ms);
            let open = self.opened()?;
            open.arrivals.timed(now_ms, now_ms.saturating_sub(due_ms));
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        if !open.preloaded && open.seen.arrived() >= untimed {
            open.preloaded = true;
            open.write_window()?;
        }
        Ok(())
    }

    fn prepare(&mut self, epoch: Epoch) -> Result<Vec<Committable>, Error> {
        let generation = self.context.generation;
        let from = self.folder.join(format!("{HIDDEN}{generation}-{epoch}.json"));
        let to = self.folder.join(COMMITTED);
        let Some(open) = &mut self.open else { return Ok(vec![]) };
        open.write_window()?;
        open.line(&Line::Prepared { epoch })?;
        let kept = Kept { epoch: Some(epoch), seen: open.seen.clone() };
        let failed = |error: serde_json::Error| unwritable(&from, error.into());
        let text = serde_json::to_vec(&kept).map_err(failed)?;
        fs::write(&from, text).map_err(|error| unwritable(&from, error))?;
        let token = serde_json::to_value(Token { from: from.clone(), to }).map_err(failed)?;
        Ok(vec![Committable { token }])
    }

    fn commit(&mut self, committables: &[Committable]) -> Result<(), Error> {
        for committable in committables {
            let Token { from, to } = token(committable)?;
            match fs::rename(&from, &to) {
                // Committed before.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                renamed => renamed.map_err(|error| unwritable(&to, error))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

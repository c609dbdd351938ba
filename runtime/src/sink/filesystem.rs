//! The filesystem sink: csv or json files in a folder. A file is written under a hidden name and renamed when its
//! epoch is committed, so that readers never see a row that might be taken back.
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use millstream_api::id::{Epoch, Generation};
use millstream_sql::graph::TableSpec;
use rustix::fs::{Access, access};
use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::connector::options::{OptionDoc, OptionKind, Options};
use crate::connector::sql_type;
use crate::format::text::is_writable;
use crate::format::{self, Format};
use crate::sink::{Committable, Connector, Context, Sink, is_up_to};
use crate::source::Error;

/// Bytes of text gathered before they are written.
const WRITE_BYTES: usize = 1 << 18;

/// The options of a filesystem table that is written.
pub fn options() -> &'static [OptionDoc] {
    const OPTIONS: &[OptionDoc] = &[
        OptionDoc::required(
            "path",
            OptionKind::Path,
            "The folder; made if it is not there. Files whose names begin with `.` are not committed yet.",
        ),
        format::OPTIONS[0],
        format::OPTIONS[1],
        format::OPTIONS[2],
        format::OPTIONS[3],
    ];
    OPTIONS
}

/// The connector.
pub struct Filesystem;

/// What a committable says.
#[derive(Debug, Serialize, Deserialize)]
struct Token {
    from: PathBuf,
    to: PathBuf,
}

impl Connector for Filesystem {
    fn takes_updates(&self) -> bool {
        false
    }

    fn validate(&self, table: &TableSpec) -> Result<(), Error> {
        let (folder, _, options) = read(table)?;
        if let Some(field) = table.schema.fields().iter().find(|field| !is_writable(field.data_type())) {
            let (name, is) = (field.name(), sql_type(field.data_type()));
            return Err(options.user(&format!("column \"{name}\" is {is}, which cannot be written as text")));
        }
        // The folder itself, or what it would be made in.
        let there = folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let shown = there.display();
        if !there.is_dir() {
            return Err(options.wrong("path", &format!("a folder, but '{shown}' is a file")));
        }
        access(there, Access::WRITE_OK).map_err(|error| {
            options.wrong("path", &format!("a folder that can be written, but '{shown}' cannot: {error}"))
        })
    }

    fn clean(
        &self,
        table: &TableSpec,
        (job_id, generation): (u64, Generation),
        keep: &[Committable],
    ) -> Result<(), Error> {
        let ((folder, ..), prefix) = (read(table)?, hidden_prefix(job_id));
        let keep = keep.iter().map(token).collect::<Result<Vec<_>, _>>()?;
        let failed = |error| unwritable(&folder, error);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_ours = name.strip_prefix(&prefix).is_some_and(|rest| is_up_to(rest, generation));
            if is_ours && !keep.iter().any(|token| token.from == path) {
                fs::remove_file(&path).map_err(|error| unwritable(&path, error))?;
            }
        }
        Ok(())
    }

    fn open(&self, table: &TableSpec, context: &Context) -> Result<Box<dyn Sink>, Error> {
        let (folder, format, _) = read(table)?;
        fs::create_dir_all(&folder).map_err(|error| unwritable(&folder, error))?;
        Ok(Box::new(Writer {
            folder,
            format,
            schema: table.schema.clone(),
            context: context.clone(),
            file: None,
            text: String::new(),
            files: 0,
            prepared: HashSet::new(),
        }))
    }
}

fn read(table: &TableSpec) -> Result<(PathBuf, Format, Options), Error> {
    let options = Options::read(table, options())?;
    let path = std::path::absolute(options.text("path").unwrap_or_default());
    let folder = path.map_err(|_| options.wrong("path", "the path of a folder"))?;
    Ok((folder, Format::of(&options)?, options))
}

fn unwritable(path: &Path, source: io::Error) -> Error {
    Error::Write { what: format!("'{}'", path.display()), source }
}

fn token(committable: &Committable) -> Result<Token, Error> {
    serde_json::from_value(committable.token.clone())
        .map_err(|error| Error::User(format!("a checkpoint has output that is not of a filesystem table: {error}")))
}

/// What the names of this job's uncommitted files begin with.
fn hidden_prefix(job_id: u64) -> String {
    format!(".part-{job_id:016x}-")
}

struct Writer {
    folder: PathBuf,
    format: Format,
    schema: SchemaRef,
    context: Context,
    file: Option<(PathBuf, File)>,
    /// Not yet written.
    text: String,
    /// Files opened so far.
    files: u64,
    /// Prepared here and not committed yet: these must be there.
    prepared: HashSet<PathBuf>,
}

impl Writer {
    fn spill(&mut self) -> Result<(), Error> {
        let (path, file) = match &mut self.file {
            Some(open) => open,
            closed => {
                let Context { task, generation, job_id } = self.context;
                let (prefix, seq, extension) = (hidden_prefix(job_id), self.files, self.format.extension());
                let path = self.folder.join(format!("{prefix}{generation}-{task}-{seq}.{extension}"));
                // Never append to or truncate what another incarnation has written.
                let file = File::create_new(&path).map_err(|error| unwritable(&path, error))?;
                self.files += 1;
                closed.insert((path, file))
            }
        };
        file.write_all(self.text.as_bytes()).map_err(|error| unwritable(path, error))?;
        self.text.clear();
        Ok(())
    }
}

impl Sink for Writer {
    fn write(&mut self, batch: &Batch) -> Result<(), Error> {
        if self.file.is_none() && self.text.is_empty() && batch.num_rows() > 0 {
            self.format.append_head(&self.schema, &mut self.text);
        }
        self.format.append_rows(&batch.rows, &mut self.text);
        if self.text.len() >= WRITE_BYTES { self.spill() } else { Ok(()) }
    }

    fn prepare(&mut self, epoch: Epoch) -> Result<Vec<Committable>, Error> {
        if !self.text.is_empty() {
            self.spill()?;
        }
        let Some((from, file)) = self.file.take() else { return Ok(vec![]) };
        file.sync_all().map_err(|error| unwritable(&from, error))?;
        sync_folder(&self.folder)?;
        let Context { task, generation, job_id } = self.context;
        let (seq, extension) = (self.files - 1, self.format.extension());
        // With the job's id, so that a second run adds to the folder and never replaces what is there.
        let to = self.folder.join(format!("part-{job_id:016x}-{generation}-{task}-{epoch}-{seq}.{extension}"));
        let token = serde_json::to_value(Token { from: from.clone(), to })
            .map_err(|error| unwritable(&from, io::Error::other(error)))?;
        self.prepared.insert(from);
        Ok(vec![Committable { token }])
    }

    fn commit(&mut self, committables: &[Committable]) -> Result<(), Error> {
        for committable in committables {
            let Token { from, to } = token(committable)?;
            let own = self.prepared.remove(&from);
            match fs::rename(&from, &to) {
                // Committed before: the file has its name already, or a reader has moved it away since.
                Err(error) if error.kind() == io::ErrorKind::NotFound && (to.exists() || !own) => {
                    if !to.exists() {
                        let (from, to) = (from.display(), to.display());
                        tracing::warn!("{from} is gone and so is {to}: taken as committed and moved away since");
                    }
                }
                renamed => renamed.map_err(|error| unwritable(&to, error))?,
            }
        }
        if committables.is_empty() { Ok(()) } else { sync_folder(&self.folder) }
    }
}

/// Makes names durable, as `sync_all` makes contents.
fn sync_folder(folder: &Path) -> Result<(), Error> {
    File::open(folder).and_then(|open| open.sync_all()).map_err(|error| unwritable(folder, error))
}

#[cfg(test)]
mod tests;

//! The dead-letter file of a task: malformed records, each with the reason, as JSON lines.
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::source::Error;

/// Appends to one file, made when the first record comes.
pub struct DeadLetter {
    path: PathBuf,
    file: Option<File>,
    text: String,
}

impl DeadLetter {
    /// For the task that reads `first_split` of a table: no other task reads that split at the same time, so no other
    /// writes this file.
    pub fn new(folder: &Path, table: &str, first_split: u32) -> Self {
        let name = format!("dead-letter-{}-{first_split}.json", table.replace(['/', '\\', '\0'], "_"));
        Self { path: folder.join(name), file: None, text: String::new() }
    }

    /// Takes a record.
    pub fn put(&mut self, file: &Path, line: u64, reason: &str, record: &[u8]) {
        let (file, record) = (file.to_string_lossy(), String::from_utf8_lossy(record));
        let letter = serde_json::json!({ "file": file, "line": line, "reason": reason, "record": record });
        self.text.push_str(&letter.to_string());
        self.text.push('\n');
    }

    /// Appends what was taken to the file.
    pub fn flush(&mut self) -> Result<(), Error> {
        if self.text.is_empty() {
            return Ok(());
        }
        let written = self.write();
        self.text.clear();
        written.map_err(|source| Error::Write { what: format!("dead-letter file '{}'", self.path.display()), source })
    }

    fn write(&mut self) -> std::io::Result<()> {
        if self.file.is_none() {
            self.path.parent().map(fs::create_dir_all).transpose()?;
            self.file = Some(OpenOptions::new().create(true).append(true).open(&self.path)?);
        }
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(self.text.as_bytes()))
    }
}

//! Records of one byte range of a file, one after the other.
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use super::Range;

/// Longest record; a longer one means that the file is not what it should be.
pub const MOST_BYTES: u64 = 64 << 20;

/// Reads the records that begin in a range.
pub struct Records {
    file: BufReader<File>,
    range: Range,
    /// Where the next record begins.
    at: u64,
    /// Where this reader began.
    opened_at: u64,
    /// Line breaks between `opened_at` and `at`.
    lines: u64,
    /// Line breaks before `opened_at`, once somebody has asked.
    lines_before: Option<u64>,
    multiline: bool,
    record: Vec<u8>,
}

impl Records {
    /// Opens a range at a position, or (none) at its first record; records begin at `first` in this file.
    pub fn open(range: Range, position: Option<u64>, first: u64, multiline: bool) -> io::Result<Self> {
        let mut file = BufReader::with_capacity(1 << 17, File::open(&range.path)?);
        let at = match position {
            Some(at) => at,
            // The record around the start belongs to the range before, unless it begins just here.
            None if range.start > first => {
                file.seek(SeekFrom::Start(range.start - 1))?;
                range.start - 1 + skip_line(&mut file)?
            }
            None => first,
        };
        file.seek(SeekFrom::Start(at))?;
        Ok(Self { file, range, at, opened_at: at, lines: 0, lines_before: None, multiline, record: vec![] })
    }

    /// Where the next record begins.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The next record without its line break; blank lines are none. None = the range has ended.
    pub fn next(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        while self.at < self.range.end {
            self.record.clear();
            let began_at = self.at;
            let line = self.lines;
            loop {
                let room = MOST_BYTES.saturating_sub(self.record.len() as u64);
                let read = self.file.by_ref().take(room).read_until(b'\n', &mut self.record)?;
                let ended = self.record.ends_with(b"\n");
                self.at += read as u64;
                self.lines += u64::from(ended);
                if self.record.len() as u64 >= MOST_BYTES {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a record is longer than 64 MiB"));
                }
                // Quotes come in pairs, doubled ones too: an odd number means that a quoted field goes on.
                let is_whole = !self.multiline || self.record.iter().filter(|byte| **byte == b'"').count() % 2 == 0;
                if read == 0 || is_whole || !ended {
                    break;
                }
            }
            if self.record.is_empty() {
                // The file has become shorter than it was.
                self.at = self.range.end;
                return Ok(None);
            }
            let start = if began_at == 0 { self.record.len() - without_mark(&self.record).len() } else { 0 };
            let end = start + without_line_break(&self.record[start..]).len();
            if end > start {
                return Ok(Some((line, &self.record[start..end])));
            }
        }
        Ok(None)
    }

    /// The number in the file, from 1, of a line that `next` gave.
    pub fn line_number(&mut self, line: u64) -> io::Result<u64> {
        let before = match self.lines_before {
            Some(before) => before,
            None => count_lines(&self.range, self.opened_at)?,
        };
        self.lines_before = Some(before);
        Ok(before + line + 1)
    }
}

fn skip_line(file: &mut impl BufRead) -> io::Result<u64> {
    let mut skipped = 0;
    loop {
        let some = file.fill_buf()?;
        let line_break = some.iter().position(|byte| *byte == b'\n');
        let (used, done) = line_break.map_or((some.len(), some.is_empty()), |at| (at + 1, true));
        file.consume(used);
        skipped += used as u64;
        if done {
            return Ok(skipped);
        }
    }
}

fn count_lines(range: &Range, end: u64) -> io::Result<u64> {
    let mut head = BufReader::new(File::open(&range.path)?.take(end));
    let mut lines = 0;
    loop {
        let some = head.fill_buf()?;
        if some.is_empty() {
            return Ok(lines);
        }
        lines += some.iter().filter(|byte| **byte == b'\n').count() as u64;
        let used = some.len();
        head.consume(used);
    }
}

/// Without the byte-order mark some programs put in front of UTF-8.
pub fn without_mark(line: &[u8]) -> &[u8] {
    line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line)
}

/// Without LF or CR LF at the end.
pub fn without_line_break(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

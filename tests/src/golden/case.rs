//! A golden job: SQL text with a header of comments that says how it is run and held to its result.
//!
//! ```text
//! -- Any text.
//! -- oracle TABLE: SELECT ...    batch query that gives the rows of this written table; `--   ` continues it
//! -- stateless                   nothing is kept by key
//! -- batch N                     rows a source reads at a time
//! -- late N, -- bad N            rows dropped as late, malformed records
//! -- rate N                      rows a second of a task where it must take some seconds, 700 if not given
//! -- process                     also run as real processes; `process only`: just so
//! -- keys N                      the result is a changelog on standard output, whose first N columns are the key
//! ```
//!
//! `${OUT}` is the folder of the results, `${DATA}` that of the inputs.
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Case {
    /// Name of its file.
    pub name: String,
    /// With `${DATA}` replaced.
    pub sql: String,
    /// Written tables with the batch queries that give their rows.
    pub oracles: Vec<(String, String)>,
    /// Nothing is kept by key.
    pub is_stateless: bool,
    /// Rows a source reads at a time.
    pub batch_rows: Option<usize>,
    /// Rows a second of a task where the job must take some seconds.
    pub rate: Option<u64>,
    /// Rows dropped as late.
    pub late: u64,
    /// Malformed records.
    pub bad: u64,
    /// Run as real processes.
    pub is_real: bool,
    /// Run in simulation.
    pub is_simulated: bool,
    /// Key columns of a changelog.
    pub keys: Option<usize>,
}

impl Case {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(path)?;
        let sql = text.replace("${DATA}", &super::folder().join("data").to_string_lossy());
        let mut case = Self { name, sql, is_simulated: true, ..Self::default() };
        let mut is_oracle = false;
        for line in text.lines().map_while(|line| line.strip_prefix("-- ")) {
            match line.strip_prefix("  ").filter(|_| is_oracle) {
                Some(more) => {
                    let (_, query) = case.oracles.last_mut().context("no oracle to continue")?;
                    query.push(' ');
                    query.push_str(more);
                }
                None => is_oracle = case.read_line(line)?,
            }
        }
        Ok(case)
    }

    /// Takes in a line of the header; whether it begins an oracle.
    fn read_line(&mut self, line: &str) -> Result<bool> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "oracle" => {
                let (table, query) = rest.split_once(": ").context("an oracle is `TABLE: SELECT ...`")?;
                self.oracles.push((table.to_owned(), query.to_owned()));
                return Ok(true);
            }
            "stateless" => self.is_stateless = true,
            "batch" => self.batch_rows = Some(rest.parse()?),
            "rate" => self.rate = Some(rest.parse()?),
            "late" => self.late = rest.parse()?,
            "bad" => self.bad = rest.parse()?,
            "keys" => self.keys = Some(rest.parse()?),
            "process" => {
                self.is_real = true;
                self.is_simulated = rest != "only";
            }
            // A sentence.
            _ if word.starts_with(char::is_uppercase) => {}
            _ => bail!("unknown option in the header: {line}"),
        }
        Ok(false)
    }
}

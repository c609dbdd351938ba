//! Golden SQL: jobs in `tests/golden/NAME.sql` with one result each, `NAME.expected` (sorted lines), however they are run.
//! `MILLSTREAM_BLESS=1` writes the results anew from a run with one task a stage.
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

pub mod case;
pub mod changelog;
pub mod oracle;
pub mod real;

pub use case::Case;

/// Floats that differ by less than this, relative to their size, are the same.
const TOLERANCE: f64 = 1e-9;

/// Folder of the golden jobs.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// All golden jobs, by name.
pub fn cases() -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for entry in fs::read_dir(folder())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            cases.push(Case::read(&path).with_context(|| path.display().to_string())?);
        }
    }
    cases.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(cases)
}

/// Whether expected results are to be written.
pub fn is_blessing() -> bool {
    std::env::var_os("MILLSTREAM_BLESS").is_some()
}

impl Case {
    /// The result every run must have.
    pub fn expected(&self) -> Result<Vec<String>> {
        let path = self.expected_path();
        let text =
            fs::read_to_string(&path).with_context(|| format!("{}: MILLSTREAM_BLESS=1 writes it", path.display()))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Writes the result every run must have.
    pub fn bless(&self, lines: &[String]) -> Result<()> {
        let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        Ok(fs::write(self.expected_path(), text)?)
    }

    /// Refuses a result that is not the expected one.
    pub fn check(&self, lines: &[String], how: &str) -> Result<()> {
        let expected = self.expected()?;
        ensure!(!expected.is_empty(), "{}: the expected result is empty", self.name);
        if let Some((line, (found, wanted))) = first_difference(lines, &expected) {
            let (name, count, all) = (&self.name, lines.len(), expected.len());
            bail!("{name} {how}: {count} lines, {all} expected; line {line} is\n  {found}\nand should be\n  {wanted}");
        }
        Ok(())
    }

    fn expected_path(&self) -> PathBuf {
        folder().join(&self.name).with_extension("expected")
    }
}

/// Number, from 1, of the first line that is not the expected one, and both.
fn first_difference<'a>(lines: &'a [String], expected: &'a [String]) -> Option<(usize, (&'a str, &'a str))> {
    let text = |lines: &'a [String], at: usize| lines.get(at).map_or("(no line)", String::as_str);
    let longest = lines.len().max(expected.len());
    let both = (0..longest).map(|at| (at + 1, (text(lines, at), text(expected, at))));
    both.into_iter().find(|(_, (found, wanted))| !is_same(found, wanted))
}

/// Whether two lines are the same, floats within the tolerance.
pub fn is_same(found: &str, wanted: &str) -> bool {
    if found == wanted {
        return true;
    }
    let split =
        |line: &str| -> Vec<String> { line.split([',', ':', '}', '\t', '[', ']', ' ']).map(str::to_owned).collect() };
    let (found, wanted) = (split(found), split(wanted));
    found.len() == wanted.len()
        && found.iter().zip(&wanted).all(|(found, wanted)| found == wanted || is_near(found, wanted))
}

fn is_near(found: &str, wanted: &str) -> bool {
    // Whole numbers are compared as they are.
    let float =
        |text: &str| Some(text).filter(|text| text.contains(['.', 'e'])).and_then(|text| text.parse::<f64>().ok());
    let (Some(found), Some(wanted)) = (float(found), float(wanted)) else { return false };
    (found - wanted).abs() <= TOLERANCE * wanted.abs().max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_may_differ_a_little_and_nothing_else_at_all() {
        assert!(is_same("a,1.0000000000001,5", "a,1.0,5"));
        assert!(is_same("{\"a\":1.5,\"b\":2e300}", "{\"a\":1.5000000000001,\"b\":2e300}"));
        assert!(!is_same("a,1.00001,5", "a,1.0,5"));
        assert!(!is_same("a,1.0,5", "a,1.0,6"));
        assert!(!is_same("a,1,5", "a,1.0,5"));
        let lines = |lines: &[&str]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(first_difference(&lines(&["a"]), &lines(&["a", "b"])), Some((2, ("(no line)", "b"))));
    }
}

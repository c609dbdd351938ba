//! What the print sink writes, folded into the table it stands for.
use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

/// What became of the rows of each key, in order; the first state is that before all changes.
type History = BTreeMap<Vec<String>, Vec<Option<String>>>;

/// The rows of the final table, sorted, as csv. Every change must fit what was there before.
pub fn fold(text: &str, keys: usize) -> Result<Vec<String>> {
    let history = histories(text, keys)?;
    ensure!(history.values().all(|states| states[0].is_none()), "a row was taken back that was never there");
    Ok(sorted(history.into_values().filter_map(|mut states| states.pop().flatten()).collect()))
}

/// The same for a job that printed `before`, was stopped with a savepoint, and printed `after` when it was restored. What it printed
/// between savepoint and stop is not part of the table, and nobody knows where that begins. So every key must go on from a state
/// that it had; a key that did not change any more may have any of its states, and has the expected one if that is among them.
pub fn fold_restored(before: &str, after: &str, keys: usize, expected: &[String]) -> Result<Vec<String>> {
    let (before, mut after) = (histories(before, keys)?, histories(after, keys)?);
    let mut rows = Vec::new();
    for (key, states) in &before {
        match after.remove(key) {
            Some(mut new) => {
                ensure!(states.contains(&new[0]), "{key:?} goes on from {:?}, which it never was", new[0]);
                rows.extend(new.pop().flatten());
            }
            None => {
                let found = states.iter().find(|state| state.as_ref().is_some_and(|row| expected.contains(row)));
                let is_gone = found.is_none() && states.contains(&None);
                rows.extend(found.or(states.last().filter(|_| !is_gone)).cloned().flatten());
            }
        }
    }
    for (key, mut new) in after {
        ensure!(new[0].is_none(), "{key:?} goes on from {:?}, which it never was", new[0]);
        rows.extend(new.pop().flatten());
    }
    Ok(sorted(rows))
}

fn histories(text: &str, keys: usize) -> Result<History> {
    let mut history = History::new();
    for line in text.lines() {
        let (kind, row) = line.split_once('[').with_context(|| format!("no row: {line}"))?;
        let row = row.strip_suffix(']').with_context(|| format!("no end: {line}"))?;
        let key = row.split(", ").take(keys).map(str::to_owned).collect();
        let row = Some(row.replace(", ", ","));
        let (old, new) = match kind {
            "+I" | "+U" => (None, row),
            "-U" | "-D" => (row, None),
            _ => anyhow::bail!("unknown change: {line}"),
        };
        let states = history.entry(key).or_insert_with(|| vec![old.clone()]);
        ensure!(states.last() == Some(&old), "{line} does not fit what was there before: {:?}", states.last());
        states.push(new);
    }
    Ok(history)
}

fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort();
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_fold_into_the_last_table() {
        let text = "+I[a, 1]\n+I[b, 1]\n-U[a, 1]\n+U[a, 2]\n-D[b, 1]\n";
        assert_eq!(fold(text, 1).unwrap(), ["a,2"]);
        assert!(fold("+I[a, 1]\n-U[a, 2]\n", 1).is_err());
        assert!(fold("+I[a, 1]\n+I[a, 2]\n", 1).is_err());
        assert!(fold("-D[a, 1]\n", 1).is_err());
    }

    #[test]
    fn a_restored_job_goes_on_from_a_state_that_was() {
        let (before, expected) = ("+I[a, 1]\n-U[a, 1]\n+U[a, 2]\n+I[b, 1]\n", ["a,3".to_owned()]);
        let after = |text| fold_restored(before, text, 1, &expected);
        assert_eq!(after("-U[a, 1]\n+U[a, 3]\n").unwrap(), ["a,3"], "b came after the savepoint and not again");
        assert!(after("-U[a, 5]\n+U[a, 3]\n").is_err());
        assert!(after("-U[c, 5]\n").is_err());
        assert_eq!(after("+I[c, 5]\n").unwrap(), ["c,5"], "a may not have been there either");
    }
}

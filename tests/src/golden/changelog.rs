//! What the print sink writes, folded into the table it stands for.
use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

/// The rows of the final table, sorted, as csv. With `is_exact`, every change must fit what was there before; without it, a part of
/// the changelog may have been written twice, as after a restart, and the last change of a key counts.
pub fn fold(text: &str, keys: usize, is_exact: bool) -> Result<Vec<String>> {
    let mut table: BTreeMap<Vec<&str>, &str> = BTreeMap::new();
    for line in text.lines() {
        let (kind, row) = line.split_once('[').with_context(|| format!("no row: {line}"))?;
        let row = row.strip_suffix(']').with_context(|| format!("no end: {line}"))?;
        let key: Vec<&str> = row.split(", ").take(keys).collect();
        let before = match kind {
            "+I" | "+U" => table.insert(key, row),
            "-U" | "-D" => table.remove(&key),
            _ => anyhow::bail!("unknown change: {line}"),
        };
        let fits = if kind.starts_with('+') { before.is_none() } else { before == Some(row) };
        ensure!(fits || !is_exact, "{line} does not fit what was there before: {before:?}");
    }
    let mut rows: Vec<String> = table.values().map(|row| row.replace(", ", ",")).collect();
    rows.sort();
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_fold_into_the_last_table() {
        let text = "+I[a, 1]\n+I[b, 1]\n-U[a, 1]\n+U[a, 2]\n-D[b, 1]\n";
        assert_eq!(fold(text, 1, true).unwrap(), ["a,2"]);
        assert!(fold("+I[a, 1]\n-U[a, 2]\n", 1, true).is_err());
        assert!(fold("+I[a, 1]\n+I[a, 2]\n", 1, true).is_err());
        assert_eq!(fold(&text.repeat(2), 1, false).unwrap(), ["a,2"]);
    }
}

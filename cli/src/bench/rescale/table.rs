//! Medians of several runs, side by side.
use std::collections::BTreeMap;

use super::report::{Figures, Latency};
use crate::progress::thousands;

type Value = fn(&Figures) -> u64;

fn after(figures: &Figures) -> Latency {
    figures.latency_ms.after.clone().unwrap_or_default()
}

const ROWS: &[(&str, Value)] = &[
    ("duration, ms", |one| one.duration_ms),
    ("bytes moved", |one| one.bytes_moved),
    ("least bytes", |one| one.min_bytes),
    ("groups moved", |one| u64::from(one.groups_moved)),
    ("least groups", |one| u64::from(one.min_groups)),
    ("p99 before, ms", |one| one.latency_ms.before.p99),
    ("max before, ms", |one| one.latency_ms.before.max),
    ("p50 during, ms", |one| one.latency_ms.during.p50),
    ("p99 during, ms", |one| one.latency_ms.during.p99),
    ("p99.9 during, ms", |one| one.latency_ms.during.p999),
    ("max during, ms", |one| one.latency_ms.during.max),
    ("p99 after, ms", |one| after(one).p99),
    ("max after, ms", |one| after(one).max),
    ("output gap before, ms", |one| one.output_gap_ms_max.before),
    ("output gap during, ms", |one| one.output_gap_ms_max.during),
    ("plain copy, bytes/s", |one| one.copy_bytes_per_s),
    ("extra memory, bytes", |one| one.rss_peak_extra_bytes),
    ("lost", |one| one.lost),
    ("duplicated", |one| one.duplicated),
    ("reordered", |one| one.reordered),
];

/// One table for each job and direction, a column for each strategy, as Markdown.
pub fn medians(all: &[Figures]) -> String {
    let mut tables: BTreeMap<(u64, u32, u32), Vec<&Figures>> = BTreeMap::new();
    for one in all {
        tables.entry((one.keys, one.from, one.to)).or_default().push(one);
    }
    tables.iter().map(|(job, runs)| table(*job, runs)).collect::<Vec<_>>().join("\n")
}

fn table((keys, from, to): (u64, u32, u32), runs: &[&Figures]) -> String {
    let mut strategies: Vec<&str> = Vec::new();
    for run in runs {
        if !strategies.contains(&run.strategy) {
            strategies.push(run.strategy);
        }
    }
    let head = format!("{} keys, {from} -> {to}, medians", thousands(keys));
    let mut text = format!("| {head} | {} |\n|{}\n", strategies.join(" | "), " --- |".repeat(strategies.len() + 1));
    for (name, value) in ROWS {
        let of = |strategy: &&str| {
            let runs = runs.iter().filter(|run| run.strategy == *strategy);
            thousands(median(runs.map(|run| value(run)).collect()))
        };
        let cells: Vec<String> = strategies.iter().map(of).collect();
        text.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
    }
    text
}

/// The middle one; of an even number the upper of the two.
fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::rescale::report::{Gaps, Latencies};

    fn run(strategy: &'static str, duration_ms: u64) -> Figures {
        Figures {
            strategy,
            keys: 1_000,
            value_bytes: 1,
            rate: 1,
            from: 1,
            to: 2,
            duration_ms,
            state_bytes: 0,
            min_bytes: 0,
            bytes_moved: 0,
            groups_moved: 0,
            min_groups: 0,
            latency_ms: Latencies::default(),
            output_gap_ms_max: Gaps::default(),
            copy_bytes_per_s: 0,
            rss_peak_extra_bytes: 0,
            lost: 0,
            duplicated: 0,
            reordered: 0,
        }
    }

    #[test]
    fn a_column_for_each_strategy() {
        let runs = [run("restart", 5_000), run("incremental", 900), run("restart", 1_000), run("restart", 2_000)];
        let text = medians(&runs);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "| 1,000 keys, 1 -> 2, medians | restart | incremental |");
        assert_eq!(lines[1], "| --- | --- | --- |");
        assert_eq!(lines[2], "| duration, ms | 2,000 | 900 |");
        assert_eq!(lines.len(), 2 + ROWS.len());
    }
}

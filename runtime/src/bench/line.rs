//! What the sink writes down, a JSON line each, and how a reader puts the lines of several generations of tasks together: what a
//! generation has written after the checkpoint that the next one started from did not happen.
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use millstream_api::id::{Epoch, Generation};
use serde::{Deserialize, Serialize};

use super::histogram::Histogram;
use super::seen::Faults;

/// Length of a window.
pub const WINDOW_MS: i64 = 250;
/// How the names of these files end.
pub const EXTENSION: &str = "jsonl";

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// The first line: the epoch that the task has started from.
    From {
        /// None at the job's first start.
        epoch: Option<Epoch>,
    },
    /// All lines before belong to this epoch.
    Prepared {
        /// Its number.
        epoch: Epoch,
    },
    /// Arrivals; there may be several lines of one window.
    Window(Window),
}

/// What arrived in 250 ms.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Its beginning, ms since 1970; a multiple of its length.
    pub at_ms: i64,
    /// Arrivals without a due time: of the preload.
    pub untimed: u64,
    /// First and last arrival.
    pub first_ms: i64,
    /// See `first_ms`.
    pub last_ms: i64,
    /// Longest time without an arrival before one of this window.
    pub gap_ms: i64,
    /// From due to arrival.
    pub latency: Histogram,
    /// Different records that have arrived since the job's first start.
    pub arrived: u64,
    /// What was wrong since then.
    pub faults: Faults,
}

impl Window {
    fn add(&mut self, later: &Self) {
        self.untimed += later.untimed;
        self.gap_ms = self.gap_ms.max(later.gap_ms).max(later.first_ms - self.last_ms);
        self.last_ms = later.last_ms;
        self.latency.merge(&later.latency);
        (self.arrived, self.faults) = (later.arrived, later.faults);
    }
}

/// The windows in a folder, in the order of time.
pub fn read(folder: &Path) -> io::Result<Vec<Window>> {
    let mut files: BTreeMap<Generation, Vec<Line>> = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let generation = path.file_stem().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        let is_ours = path.extension().is_some_and(|extension| extension == EXTENSION);
        if let (Some(generation), true) = (generation, is_ours) {
            files.insert(generation, lines(&fs::read_to_string(&path)?)?);
        }
    }
    Ok(windows(&files))
}

/// Whole lines; the last one may still be written.
fn lines(text: &str) -> io::Result<Vec<Line>> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Lines of each generation to windows, without what was taken back.
fn windows(files: &BTreeMap<Generation, Vec<Line>>) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    let mut next = files.values().skip(1);
    for lines in files.values() {
        // A generation of which nothing arrived has no file and took nothing back.
        let base = next.next().map(|lines| match lines.first() {
            Some(Line::From { epoch }) => epoch.unwrap_or(0),
            _ => 0,
        });
        let mut after: Epoch = 0;
        for line in lines {
            match line {
                Line::From { epoch } => after = epoch.unwrap_or(0),
                Line::Prepared { epoch } => after = *epoch,
                Line::Window(_) if base.is_some_and(|base| after >= base) => {}
                Line::Window(window) => match windows.last_mut() {
                    Some(last) if last.at_ms == window.at_ms => last.add(window),
                    Some(last) => {
                        let gap_ms = window.gap_ms.max(window.first_ms - last.last_ms);
                        windows.push(Window { gap_ms, ..window.clone() });
                    }
                    None => windows.push(window.clone()),
                },
            }
        }
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(at_ms: i64, (first_ms, last_ms): (i64, i64), latencies: &[u64], arrived: u64) -> Window {
        let mut latency = Histogram::default();
        latencies.iter().for_each(|value| latency.add(*value));
        Window { at_ms, first_ms, last_ms, latency, arrived, ..Window::default() }
    }

    #[test]
    fn lines_of_one_window_are_added_up_and_gaps_reach_over_windows() {
        let lines = vec![
            Line::From { epoch: None },
            Line::Window(window(0, (10, 20), &[5], 1)),
            Line::Prepared { epoch: 1 },
            Line::Window(window(0, (60, 90), &[7, 8], 3)),
            Line::Window(window(250, (300, 301), &[9], 4)),
        ];
        let read = windows(&BTreeMap::from([(1, lines)]));
        let (first, second) = (&read[0], &read[1]);
        assert_eq!((first.latency.count(), first.gap_ms, first.last_ms, first.arrived), (3, 40, 90, 3));
        assert_eq!((second.latency.count(), second.gap_ms, read.len()), (1, 210, 2));
    }

    #[test]
    fn what_a_generation_wrote_after_the_checkpoint_of_the_next_did_not_happen() {
        let first = vec![
            Line::From { epoch: None },
            Line::Window(window(0, (10, 10), &[1], 1)),
            Line::Prepared { epoch: 1 },
            Line::Window(window(250, (260, 260), &[1], 2)),
            Line::Prepared { epoch: 2 },
            Line::Window(window(500, (510, 510), &[1], 3)),
        ];
        let second = vec![Line::From { epoch: Some(2) }, Line::Window(window(1_000, (1_010, 1_010), &[500], 3))];
        let read = windows(&BTreeMap::from([(1, first), (3, second)]));
        let seen: Vec<_> = read.iter().map(|window| (window.at_ms, window.gap_ms)).collect();
        assert_eq!(seen, [(0, 0), (250, 250), (1_000, 750)]);
    }

    #[test]
    fn half_a_line_is_not_read() {
        let text = format!("{}\n{{\"prep", serde_json::to_string(&Line::From { epoch: Some(4) }).unwrap());
        assert_eq!(lines(&text).unwrap(), [Line::From { epoch: Some(4) }]);
        assert_eq!(lines("{\"fr").unwrap(), []);
        assert!(lines("what\n").is_err());
    }
}

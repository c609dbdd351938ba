//! The load of tasks, from what they did with their time, and of key groups, from what tasks have sent to each. Pure.
use std::collections::BTreeMap;

use millstream_api::id::TaskId;
use millstream_api::wire::TaskCounters;

use crate::message::TaskReport;

/// Rates are taken over one to two of these: over more than one report, and soon enough for whoever looks at a hot group.
const WINDOW_MS: i64 = 1000;

/// Time spent and rows sent per key group by the tasks of one worker.
#[derive(Debug, Default)]
pub struct Loads {
    tasks: BTreeMap<TaskId, Sent>,
}

/// What a task had counted at three times: now, at least a window before, and at least a window before that.
#[derive(Debug, Clone)]
struct Sent {
    base: Mark,
    middle: Mark,
    latest: Mark,
}

#[derive(Debug, Clone, PartialEq)]
struct Mark {
    at_ms: i64,
    busy_us: u64,
    elapsed_us: u64,
    edges: Vec<(u16, Vec<u64>)>,
}

impl Loads {
    /// Takes the counts by group out of new reports of all tasks.
    pub fn update(&mut self, now_ms: i64, reports: &mut [TaskReport]) {
        self.tasks.retain(|task, _| reports.iter().any(|report| report.task == *task));
        for report in reports {
            let TaskCounters { busy_us, elapsed_us, .. } = report.counters;
            let latest = Mark { at_ms: now_ms, busy_us, elapsed_us, edges: std::mem::take(&mut report.groups) };
            let begin = || Sent { base: latest.clone(), middle: latest.clone(), latest: latest.clone() };
            let sent = self.tasks.entry(report.task).or_insert_with(begin);
            if now_ms.saturating_sub(sent.middle.at_ms) >= WINDOW_MS {
                sent.base = std::mem::replace(&mut sent.middle, latest.clone());
            }
            sent.latest = latest;
        }
    }

    /// Forgets all tasks.
    pub fn clear(&mut self) {
        self.tasks.clear();
    }

    /// The share of its time that a task was busy lately; of one that has reported once, since it began.
    pub fn busy(&self, task: TaskId) -> Option<f64> {
        let Sent { base, latest, .. } = self.tasks.get(&task)?;
        let passed_us = latest.elapsed_us.saturating_sub(base.elapsed_us);
        let (busy_us, passed_us) = match passed_us {
            0 => (latest.busy_us, latest.elapsed_us),
            _ => (latest.busy_us.saturating_sub(base.busy_us), passed_us),
        };
        (passed_us > 0).then(|| busy_us as f64 / passed_us as f64)
    }

    /// Adds rows a second of an edge by group.
    pub fn add_rates(&self, edge: u16, rates: &mut [f64]) {
        for Sent { base, latest, .. } in self.tasks.values() {
            let passed_ms = latest.at_ms.saturating_sub(base.at_ms);
            let (Some(before), Some(after)) = (base.of(edge), latest.of(edge)) else { continue };
            if passed_ms <= 0 {
                continue;
            }
            for (rate, (before, after)) in rates.iter_mut().zip(before.iter().zip(after)) {
                *rate += after.saturating_sub(*before) as f64 * 1000.0 / passed_ms as f64;
            }
        }
    }
}

impl Mark {
    fn of(&self, edge: u16) -> Option<&[u64]> {
        self.edges.iter().find(|(id, _)| *id == edge).map(|(_, groups)| groups.as_slice())
    }
}

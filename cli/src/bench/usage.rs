//! CPU time and memory of processes, as the kernel counts them.
use std::collections::BTreeMap;

/// Kernel ticks a second: fixed at 100 for user space on Linux.
const TICKS_PER_S: f64 = 100.0;

/// CPU seconds (user and system) and peak resident bytes of each process that could be read.
#[derive(Debug, Clone, Default)]
pub struct Usage(BTreeMap<u32, (f64, u64)>);

impl Usage {
    /// Reads these processes; those that are gone keep what they had.
    pub fn read(&mut self, pids: impl IntoIterator<Item = u32>) {
        for pid in pids {
            if let Some(read) = process(pid) {
                self.0.insert(pid, read);
            }
        }
    }

    /// CPU seconds of all.
    pub fn cpu_s(&self) -> f64 {
        self.0.values().map(|(cpu_s, _)| cpu_s).sum()
    }

    /// Sum of the peaks.
    pub fn max_rss_bytes(&self) -> u64 {
        self.0.values().map(|(_, bytes)| bytes).sum()
    }
}

/// Resident bytes now, of all of these processes that there are.
pub fn rss_bytes(pids: impl IntoIterator<Item = u32>) -> u64 {
    let one = |pid: u32| bytes(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmRSS:");
    pids.into_iter().filter_map(one).sum()
}

fn bytes(status: &str, field: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = value.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

fn process(pid: u32) -> Option<(f64, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything: fields count from behind it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let cpu_s = (ticks(11)? + ticks(12)?) as f64 / TICKS_PER_S;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some((cpu_s, bytes(&status, "VmHWM:")?))
}

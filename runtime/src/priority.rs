//! What rows wait for, and what yields to it, when there are more threads than processors. Where it is not allowed, threads are like
//! the others.
use std::time::Duration;

use thread_priority::{
    DeadlineFlags, NormalThreadSchedulePolicy, RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

mod stint;

pub(crate) use stint::Patient;

/// About a tenth of the time of a thread that does not yield.
const BACKGROUND_NICE: i32 = 10;
/// A seventh or less of what others have, and twice the least there is.
const PROMPT_SLICE: Duration = Duration::from_micros(200);
/// Instead of a length: that of everybody.
const USUAL_SLICE: Duration = Duration::ZERO;
/// `SCHED_FLAG_KEEP_POLICY` of sched_setattr(2).
const KEEP_POLICY: u64 = 0x08;
/// For the kernel: the one that asks.
const PRESENT_THREAD: u64 = 0;

/// Makes the present thread, and those that it begins, ones that need not wait until others have had their slice when they wake, as
/// long as they have not had more than their share: for what rows wait for. It is no more of the processors.
pub fn prompt() {
    take_slices(PROMPT_SLICE);
}

/// Makes the present thread, and those that it begins, ones that get little while others work: what they do is not waited for by
/// any row.
pub(crate) fn background() {
    take_slices(USUAL_SLICE);
    let _ = rustix::process::setpriority_process(None, BACKGROUND_NICE);
}

/// How long the present thread may run before others have their turn: a thread that wakes takes the processor from one whose slices are
/// longer than its own (Linux 6.12). Before, and among equals, it waits for the end of that slice, however nice the other is.
fn take_slices(length: Duration) {
    // Nice threads are in no hurry, and this would make them as the others.
    if rustix::process::getpriority_process(None) != Ok(0) {
        return;
    }
    // What is the runtime of a thread with a deadline is the length of a slice of any other, and this flag keeps it what it is.
    let (runtime, none, flags) = (length, Duration::ZERO, DeadlineFlags::from_bits_retain(KEEP_POLICY));
    let slices = ThreadPriority::Deadline { runtime, deadline: none, period: none, flags };
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Deadline);
    let _ = set_thread_priority_and_policy(PRESENT_THREAD, slices, policy);
}

/// Makes the present thread, and those that it begins, ones that get next to nothing while others work. A processor that has only
/// such threads to run counts as idle: whoever wakes is put there at once, where it would wait behind another elsewhere.
pub(crate) fn idle() {
    take_slices(USUAL_SLICE);
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Policy, nice value and, where it says, length of a slice of the present thread, as the kernel has them.
    fn standing() -> (String, String, Option<String>) {
        let line = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let fields: Vec<&str> = line.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let lines = std::fs::read_to_string("/proc/thread-self/sched").unwrap_or_default();
        let slice = lines.lines().find_map(|line| line.strip_prefix("se.slice")?.split_once(':'));
        (fields[38].to_owned(), fields[16].to_owned(), slice.map(|(_, ns)| ns.trim().to_owned()))
    }

    /// Standing of a thread that has been begun by one that has done this.
    fn begun_by(yields: fn()) -> (String, String, Option<String>) {
        let begin = move || {
            yields();
            std::thread::spawn(standing).join().unwrap()
        };
        std::thread::spawn(begin).join().unwrap()
    }

    #[test]
    fn threads_yield_and_so_do_those_they_begin() {
        let (policy, nice, usual) = standing();
        let short = || PROMPT_SLICE.as_nanos().to_string();
        let prompt_slice = usual.as_ref().map(|usual| if nice == "0" { short() } else { usual.clone() });
        assert_eq!(begun_by(prompt), (policy.clone(), nice, prompt_slice));
        let below_prompt = || {
            prompt();
            background();
        };
        assert_eq!(begun_by(below_prompt), (policy, BACKGROUND_NICE.to_string(), usual));
        let below_prompt = || {
            prompt();
            idle();
        };
        assert_eq!(begun_by(below_prompt).0, "5", "SCHED_IDLE");
    }
}

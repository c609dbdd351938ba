//! What yields to the work that rows wait for, when there are more threads than processors. Where it is not allowed, threads are
//! like the others.
mod stint;

pub(crate) use stint::Patient;
use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, thread_native_id};

/// About a tenth of the time of a thread that does not yield.
const BACKGROUND_NICE: i32 = 10;

/// Makes the present thread, and those that it begins, ones that get little while others work: what they do is not waited for by
/// any row.
pub(crate) fn background() {
    let _ = rustix::process::setpriority_process(None, BACKGROUND_NICE);
}

/// Makes the present thread, and those that it begins, ones that get next to nothing while others work. A processor that has only
/// such threads to run counts as idle: whoever wakes is put there at once, where it would wait behind another elsewhere.
pub(crate) fn idle() {
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let _ = thread_priority::set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Policy and nice value of the present thread, as the kernel has them.
    fn standing() -> (String, String) {
        let line = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let fields: Vec<&str> = line.rsplit_once(')').unwrap().1.split_whitespace().collect();
        (fields[38].to_owned(), fields[16].to_owned())
    }

    #[test]
    fn threads_yield_and_so_do_those_they_begin() {
        let begun_by = |yields: fn()| {
            let begin = move || {
                yields();
                std::thread::spawn(standing).join().unwrap()
            };
            std::thread::spawn(begin).join().unwrap()
        };
        let (before, _) = standing();
        assert_eq!(begun_by(idle).0, "5", "SCHED_IDLE");
        assert_eq!(begun_by(background), (before, BACKGROUND_NICE.to_string()));
    }
}

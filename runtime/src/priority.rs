//! What yields to the work that rows wait for, when there are more threads than processors.

/// About a tenth of the time of a thread that does not yield.
const BACKGROUND_NICE: i32 = 10;

/// Makes the present thread one that works when others leave time: what it does is not waited for by any row.
pub(crate) fn background() {
    // Where it is not allowed, the thread is like the others.
    let _ = rustix::process::setpriority_process(None, BACKGROUND_NICE);
}

//! Much work of a thread that yields, in short stints: an upload's. However nice it is, the scheduler takes no processor from it
//! before it has had its slice, some milliseconds: as long waits whoever wakes meanwhile, and has next to nothing to do. So it leaves
//! the processor by itself after a fraction of that, as long as others want it.
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use crate::clock::{Clock, SystemClock, pause};

/// A stint, and a rest after it.
const STINT_US: u64 = 500;
/// Who had to wait so long for a processor since the last stint is not the only one who wants it.
const CONTENDED_US: u64 = 100;
/// So much work takes a small part of a stint.
const LOOK_AFTER_BYTES: usize = 32 << 10;

/// Time of a thread, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Times {
    ran_us: u64,
    waited_us: u64,
}

/// The stints of the thread that has begun them.
pub(crate) struct Stints {
    clock: SystemClock,
    /// What the kernel knows of the thread; none where it does not say.
    times: Option<File>,
    last: Times,
    /// Worked since the clock was last looked at.
    bytes: usize,
}

impl Stints {
    pub(crate) fn begin() -> Self {
        let times = File::open("/proc/thread-self/schedstat").ok();
        let last = times.as_ref().and_then(read).unwrap_or_default();
        Self { clock: SystemClock::default(), times, last, bytes: 0 }
    }

    /// So much work is done. Rests if a stint is over and others wait for processors.
    pub(crate) fn worked(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes < LOOK_AFTER_BYTES {
            return;
        }
        self.bytes = 0;
        let Some(times) = &self.times else { return };
        if self.clock.thread_cpu_us().saturating_sub(self.last.ran_us) < STINT_US {
            return;
        }
        let now = read(times).unwrap_or(self.last);
        if is_contended(self.last, now) {
            pause(Duration::from_micros(STINT_US));
        }
        self.last = read(times).unwrap_or(now);
    }
}

fn is_contended(last: Times, now: Times) -> bool {
    now.waited_us.saturating_sub(last.waited_us) >= CONTENDED_US
}

fn read(times: &File) -> Option<Times> {
    let mut line = [0; 64];
    let read = times.read_at(&mut line, 0).ok()?;
    parse(std::str::from_utf8(line.get(..read)?).ok()?)
}

/// Nanoseconds on a processor, nanoseconds of waiting for one, and how often it was given one.
fn parse(line: &str) -> Option<Times> {
    let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().map(|ns| ns / 1000).ok());
    Some(Times { ran_us: numbers.next()??, waited_us: numbers.next()?? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_understood() {
        assert_eq!(parse("2500000 1999 7\n"), Some(Times { ran_us: 2500, waited_us: 1 }));
        assert_eq!(parse("0 0 0"), Some(Times::default()));
        assert_eq!(["", "12", "one 2 3"].map(parse), [None; 3]);
        let stints = Stints::begin();
        assert!(stints.times.as_ref().is_none_or(|times| read(times).is_some()));
    }

    #[test]
    fn who_did_not_wait_need_not_rest() {
        let last = Times { ran_us: 10, waited_us: 1000 };
        for (waited_us, expected) in [(1000, false), (1099, false), (1100, true), (9000, true)] {
            assert_eq!(is_contended(last, Times { ran_us: 600, waited_us }), expected, "{waited_us}");
        }
    }

    #[test]
    fn a_stint_ends_and_the_next_begins() {
        let mut stints = Stints::begin();
        let first = stints.last;
        let says_nothing = stints.times.is_none() || first.ran_us == 0;
        let mut sum = 0u64;
        while !says_nothing && stints.last == first {
            sum = (0..10_000).fold(sum, u64::wrapping_add);
            stints.worked(LOOK_AFTER_BYTES);
        }
        assert!(says_nothing || stints.last.ran_us >= first.ran_us + STINT_US, "{sum}");
    }
}

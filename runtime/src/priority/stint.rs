//! Much work of a thread that yields, in short stints: an upload's. However nice it is, many a scheduler takes no processor from it
//! before it has had its slice, some milliseconds: as long waits whoever wakes meanwhile, and has next to nothing to do. So it leaves
//! the processor by itself after a fraction of that, as long as others want it. And a disk that gives it all it can has rows wait
//! for theirs behind it: so it leaves the disk alone for most of the time.
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use crate::clock::{Clock, SystemClock, pause};

/// A stint, and a rest after it.
const STINT_US: u64 = 500;
/// Who had to wait so long for a processor since the last stint is not the only one who wants it.
const CONTENDED_US: u64 = 100;
/// So much work takes a small part of a stint.
const PIECE_BYTES: usize = 32 << 10;
/// For each time that it waits for the disk, it lets it alone for so many times as long,
const DISK_RESTS: u64 = 3;
/// but not for longer than makes it as slow as this: it has to end.
const DISK_BYTES_PER_US: u64 = 64;
/// A rest is of several times together.
const DISK_REST_US: u64 = 2_000;

/// Time of a thread, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Times {
    ran_us: u64,
    waited_us: u64,
}

/// Reads, and sees to it that rows need not wait for it. For the thread that makes it.
pub(crate) struct Patient<R> {
    inner: R,
    stints: Stints,
}

impl<R: Read> Patient<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, stints: Stints::begin() }
    }
}

impl<R: Read> Read for Patient<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = buffer.len().min(PIECE_BYTES);
        let begun_us = self.stints.clock.now_us();
        let read = self.inner.read(&mut buffer[..piece])?;
        self.stints.read(read as u64, self.stints.clock.now_us().saturating_sub(begun_us));
        Ok(read)
    }
}

/// The stints of the thread that has begun them.
struct Stints {
    clock: SystemClock,
    /// What the kernel knows of the thread; none where it does not say.
    times: Option<File>,
    last: Times,
    /// For so long the disk is to be let alone.
    owed_us: u64,
}

impl Stints {
    fn begin() -> Self {
        let times = File::open("/proc/thread-self/schedstat").ok();
        let last = times.as_ref().and_then(read).unwrap_or_default();
        Self { clock: SystemClock::default(), times, last, owed_us: 0 }
    }

    /// So much has been read, which took so long, and something is done with it. Rests if that is due.
    fn read(&mut self, bytes: u64, took_us: u64) {
        if let Some(rest_us) = self.owe(bytes, took_us) {
            pause(Duration::from_micros(rest_us));
        }
        self.yield_processor();
    }

    fn owe(&mut self, bytes: u64, took_us: u64) -> Option<u64> {
        self.owed_us += (DISK_RESTS * took_us).min((bytes / DISK_BYTES_PER_US).saturating_sub(took_us));
        (self.owed_us >= DISK_REST_US).then(|| std::mem::take(&mut self.owed_us))
    }

    fn yield_processor(&mut self) {
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
            stints.read(0, 0);
        }
        assert!(says_nothing || stints.last.ran_us >= first.ran_us + STINT_US, "{sum}");
    }

    #[test]
    fn the_disk_is_let_alone_for_three_quarters_of_the_time_unless_it_is_slow() {
        let owed = |bytes: u64, took_us: u64, times: usize| {
            let mut stints = Stints::begin();
            (0..times).filter_map(|_| stints.owe(bytes, took_us)).collect::<Vec<_>>()
        };
        let piece = PIECE_BYTES as u64;
        assert_eq!(owed(piece, 30, 22), [0u64; 0]);
        assert_eq!(owed(piece, 30, 23), [2070]);
        assert_eq!(owed(piece, 128, 12), [2304, 2304], "64 MB/s: 384 us of 512");
        assert_eq!(owed(piece, 256, 16), [2048, 2048], "64 MB/s: 256 us of 512");
        assert_eq!(owed(piece, 600, 100), [0u64; 0], "slower than that");
        assert_eq!(owed(100, 20, 100), [0u64; 0], "little is not read, but waited for");
    }

    #[test]
    fn all_is_read_as_it_is() {
        let (bytes, mut read) = ((0..300_000u32).map(|at| at as u8).collect::<Vec<_>>(), Vec::new());
        Patient::new(bytes.as_slice()).read_to_end(&mut read).unwrap();
        assert!(read == bytes);
    }
}

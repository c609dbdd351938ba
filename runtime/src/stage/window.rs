//! Window arithmetic. Rows are kept by slices as long as the slide; a window is the union of `size / slide` slices. Both
//! are named by where they end (exclusive).
use millstream_sql::graph::{WindowSpec, WindowTime};

/// Times beyond this distance from 1970 are no event times; it keeps window arithmetic within 64 bits.
const LIMIT_MS: u64 = i64::MAX.unsigned_abs() / 4;

/// How rows are cut into slices and slices make windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slicing {
    /// By event time.
    Assign(WindowSpec),
    /// A slice is a window that rows bring with them.
    Attached,
}

impl Slicing {
    pub fn new(time: WindowTime) -> Self {
        match time {
            WindowTime::Assign { window, .. } => Self::Assign(window),
            WindowTime::Attached { .. } => Self::Attached,
        }
    }

    /// End of the last window that a slice is in.
    pub fn last(self, slice: i64) -> i64 {
        match self {
            Self::Assign(window) => slice - window.slide_ms + window.size_ms,
            Self::Attached => slice,
        }
    }

    /// End of the first window of a slice that has not fired at `fired_ms`.
    pub fn next(self, slice: i64, fired_ms: i64) -> i64 {
        match self {
            Self::Assign(window) if slice - 1 <= fired_ms => {
                let passed = fired_ms + 1 - slice;
                slice + (passed / window.slide_ms + 1) * window.slide_ms
            }
            _ => slice,
        }
    }

    /// The first slice end a window may have.
    pub fn first(self, window_end: i64) -> i64 {
        match self {
            Self::Assign(window) => window_end - window.size_ms + window.slide_ms,
            Self::Attached => window_end,
        }
    }
}

/// End of the slice of an event time; none if the time is absurd.
pub(crate) fn slice_end(window: WindowSpec, time_ms: i64) -> Option<i64> {
    if time_ms.unsigned_abs() > LIMIT_MS {
        return None;
    }
    let into = (time_ms - window.offset_ms).rem_euclid(window.slide_ms);
    Some(time_ms - into + window.slide_ms)
}

/// Slice ends of many times.
pub(crate) struct Slicer {
    window: WindowSpec,
    /// The slice of the row before: rows of one slice come in runs.
    end: i64,
    start: i64,
}

impl Slicer {
    pub fn new(window: WindowSpec) -> Self {
        Self { window, end: i64::MIN, start: i64::MAX }
    }

    #[inline]
    pub fn end_of(&mut self, time_ms: i64) -> Option<i64> {
        if time_ms >= self.start && time_ms < self.end {
            return Some(self.end);
        }
        self.end = slice_end(self.window, time_ms)?;
        self.start = self.end - self.window.slide_ms;
        Some(self.end)
    }
}

/// Whether a time a row brought along can be a window bound.
pub(crate) fn is_sane(time_ms: i64) -> bool {
    time_ms.unsigned_abs() <= LIMIT_MS
}

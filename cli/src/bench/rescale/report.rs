//! From what was written down to the figures of a rescale. Pure.
use millstream_runtime::bench::histogram::Histogram;
use millstream_runtime::bench::line::{WINDOW_MS, Window};
use serde::Serialize;

/// A window whose p99 is at most so many times that of the quiet phase is quiet again ...
const QUIET_TIMES: u64 = 2;
/// ... and so is one with a p99 below this, however quiet it was before.
const QUIET_MS: u64 = 20;
/// What was seen for less than this says nothing of a saturation.
const SATURATION_MS: u64 = 1_000;

/// One rescale measured.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    pub strategy: &'static str,
    pub keys: u64,
    pub value_bytes: u64,
    /// Records a second.
    pub rate: u64,
    pub from: u32,
    pub to: u32,
    /// From the request to the last group settled.
    pub duration_ms: u64,
    /// As the store holds it, without the store's own.
    pub state_bytes: u64,
    /// What the least possible number of groups holds of it.
    pub min_bytes: u64,
    pub bytes_moved: u64,
    pub groups_moved: u32,
    pub min_groups: u32,
    pub latency_ms: Latencies,
    pub output_gap_ms_max: Gaps,
    /// A plain file copy and socket, as many bytes as moved.
    pub copy_bytes_per_s: u64,
    pub rss_peak_extra_bytes: u64,
    /// Of the whole run.
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
}

/// Latency by phase.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Latencies {
    pub before: Latency,
    /// Until the rescale is done and its backlog gone.
    pub during: Latency,
    /// None: the backlog never went.
    pub after: Option<Latency>,
}

/// From scheduled time to arrival at the sink task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Latency {
    pub p50: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

/// Longest time without any output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Gaps {
    pub before: u64,
    pub during: u64,
}

/// When the phases of a rescale began, ms since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    pub before_ms: i64,
    pub requested_ms: i64,
    pub done_ms: i64,
    pub end_ms: i64,
}

/// The phases of a rescale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phases {
    pub latency_ms: Latencies,
    pub output_gap_ms_max: Gaps,
    /// End of `during`, ms since 1970; none if the backlog never went.
    pub quiet_ms: Option<i64>,
}

impl From<&Histogram> for Latency {
    fn from(histogram: &Histogram) -> Self {
        let [p50, p99, p999] = [500, 990, 999].map(|share| histogram.quantile_ms(share));
        Self { p50, p99, p999, max: histogram.max_ms() }
    }
}

/// Assigns windows to phases. A window that a phase begins in belongs to `during`.
pub fn phases(windows: &[Window], marks: &Marks) -> Phases {
    let within = |from_ms: i64, to_ms: i64| {
        windows.iter().filter(move |window| window.at_ms >= from_ms && window.at_ms + WINDOW_MS <= to_ms)
    };
    let (before, gap_before) = sum(within(marks.before_ms, marks.requested_ms));
    let quiet = (QUIET_TIMES * before.quantile_ms(990)).max(QUIET_MS);
    let mut later = within(marks.done_ms, marks.end_ms);
    let quiet_ms = later.find(|window| window.latency.quantile_ms(990) <= quiet).map(|window| window.at_ms);
    let until_ms = quiet_ms.unwrap_or(marks.end_ms);
    // The first window of the quiet ends the gap that the rescale made, if there was one.
    let (during, gap_during) = sum(within(marks.requested_ms - WINDOW_MS + 1, until_ms));
    let gap_end = quiet_ms.and_then(|at_ms| windows.iter().find(|window| window.at_ms == at_ms));
    let gap_during = gap_during.max(gap_end.map_or(0, |window| window.gap_ms.unsigned_abs()));
    let after = quiet_ms.map(|at_ms| Latency::from(&sum(within(at_ms, marks.end_ms)).0));
    Phases {
        latency_ms: Latencies { before: (&before).into(), during: (&during).into(), after },
        output_gap_ms_max: Gaps { before: gap_before, during: gap_during },
        quiet_ms,
    }
}

/// All latencies and the longest gap.
fn sum<'a>(windows: impl Iterator<Item = &'a Window>) -> (Histogram, u64) {
    let (mut all, mut gap) = (Histogram::default(), 0);
    for window in windows {
        all.merge(&window.latency);
        gap = gap.max(window.gap_ms.unsigned_abs());
    }
    (all, gap)
}

/// Records a second that the job took when it got them as fast as it took them: those after the first `keys`, which only insert.
pub fn saturation_per_s(windows: &[Window], keys: u64) -> Option<u64> {
    let mut updating = windows.iter().filter(|window| window.untimed > 0 && window.arrived >= keys);
    let first = updating.next()?;
    let last = updating.next_back()?;
    let ms = u64::try_from(last.last_ms - first.last_ms).ok().filter(|ms| *ms >= SATURATION_MS)?;
    Some((last.arrived - first.arrived) * 1000 / ms)
}

/// What of `whole` some of the equal parts are.
pub fn share(whole: u64, some: u32, parts: u32) -> u64 {
    u64::try_from(u128::from(whole) * u128::from(some) / u128::from(parts.max(1))).unwrap_or(u64::MAX)
}

/// Latency over time of one run.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    pub title: String,
    /// ms since the first request; p50, p99 and max.
    pub points: Vec<(i64, [u64; 3])>,
    /// From request to done.
    pub rescales: Vec<(i64, i64)>,
}

impl Trace {
    /// From the begin of the first quiet phase to the end of the last.
    pub fn of(title: String, windows: &[Window], marks: &[Marks]) -> Self {
        let (Some(first), Some(last)) = (marks.first(), marks.last()) else { return Self::default() };
        let zero = first.requested_ms;
        let shown = windows.iter().filter(|window| (first.before_ms..last.end_ms).contains(&window.at_ms));
        let timed = shown.filter(|window| window.latency.count() > 0);
        let point = |window: &Window| {
            let Latency { p50, p99, max, .. } = (&window.latency).into();
            (window.at_ms - zero, [p50, p99, max])
        };
        let rescales = marks.iter().map(|marks| (marks.requested_ms - zero, marks.done_ms - zero));
        Self { title, points: timed.map(point).collect(), rescales: rescales.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A window with these latencies.
    fn window(at_ms: i64, gap_ms: i64, latencies: &[u64]) -> Window {
        let mut latency = Histogram::default();
        latencies.iter().for_each(|value| latency.add(*value));
        Window { at_ms, gap_ms, latency, ..Window::default() }
    }

    /// Quiet, a rescale from 1,100 to 1,600, its backlog until 2,250, quiet.
    fn disturbed() -> (Vec<Window>, Marks) {
        let windows = [(0, 2, 90), (250, 2, 3), (500, 3, 5), (750, 2, 4), (1_000, 2, 60), (1_750, 700, 800)];
        let windows = windows.into_iter().chain([(2_000, 4, 300), (2_250, 30, 10), (2_500, 3, 7), (2_750, 3, 99)]);
        let windows = windows.map(|(at_ms, gap_ms, max)| window(at_ms, gap_ms, &[1, max])).collect();
        (windows, Marks { before_ms: 200, requested_ms: 1_100, done_ms: 1_600, end_ms: 2_750 })
    }

    #[test]
    fn during_lasts_until_the_backlog_is_gone() {
        let (windows, marks) = disturbed();
        let phases = phases(&windows, &marks);
        assert_eq!(phases.quiet_ms, Some(2_250));
        let Latencies { before, during, after } = phases.latency_ms;
        assert_eq!((before.p50, before.max, during.max, after.unwrap().max), (1, 5, 800, 10));
        assert_eq!(phases.output_gap_ms_max, Gaps { before: 3, during: 700 });
    }

    #[test]
    fn a_backlog_that_never_goes_leaves_no_after() {
        let (windows, marks) = disturbed();
        let phases = phases(&windows, &Marks { end_ms: 2_250, ..marks });
        assert_eq!((phases.quiet_ms, phases.latency_ms.after, phases.latency_ms.during.max), (None, None, 800));
    }

    #[test]
    fn saturation_is_of_updates_alone() {
        let at = |last_ms: i64, arrived: u64| Window { untimed: 1, last_ms, arrived, ..Window::default() };
        let windows = [at(1_000, 500), at(2_000, 1_000), at(3_000, 1_400), at(4_000, 1_800)];
        assert_eq!(saturation_per_s(&windows, 1_000), Some(400));
        assert_eq!(saturation_per_s(&windows, 1_800), None);
    }

    #[test]
    fn the_least_bytes_are_those_of_the_least_groups() {
        assert_eq!(share(8 << 30, 85, 256), (8 << 30) / 256 * 85);
        assert_eq!(share(u64::MAX, 1, 1), u64::MAX);
    }

    #[test]
    fn a_trace_counts_from_the_first_request() {
        let (windows, marks) = disturbed();
        let trace = Trace::of("x".into(), &windows, &[marks]);
        assert_eq!((trace.points.len(), trace.rescales), (8, vec![(0, 500)]));
        assert_eq!((trace.points[0], trace.points[4].1[2]), ((-850, [1, 3, 3]), 800));
    }
}

//! Latency over time, one panel a run, all on the same axes: seconds since the request, and milliseconds on a log scale.
use std::fmt::Write;

use super::report::Trace;

const WIDTH: f64 = 900.0;
const PANEL: f64 = 200.0;
/// Room for labels: left of, right of and above each panel's plot.
const LEFT: f64 = 60.0;
const RIGHT: f64 = 15.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 40.0;
/// Lines of p50, p99 and max.
const LINES: [(&str, &str); 3] = [("p50", "#2b8a3e"), ("p99", "#1864ab"), ("max", "#c92a2a")];
/// Windows further apart than this are not joined: nothing arrived between them.
const JOIN_MS: i64 = 250;
/// Seconds between two labels of the time axis, the first that gives few enough.
const STEPS_S: [i64; 9] = [1, 2, 5, 10, 20, 30, 60, 120, 300];
const LABELS_MAX: i64 = 14;

/// The axes that all panels share.
struct Axes {
    from_ms: i64,
    to_ms: i64,
    /// Powers of ten shown.
    decades: i32,
}

impl Axes {
    fn of(traces: &[Trace]) -> Self {
        let times = || traces.iter().flat_map(|trace| &trace.points).map(|(at_ms, _)| *at_ms);
        let most = traces.iter().flat_map(|trace| &trace.points).map(|(_, [_, _, max])| *max).max().unwrap_or(1);
        let decades = i32::try_from(most.max(10).ilog10()).unwrap_or(1) + 1;
        Self { from_ms: times().min().unwrap_or(0), to_ms: times().max().unwrap_or(1), decades }
    }

    fn x(&self, at_ms: i64) -> f64 {
        let length = (self.to_ms - self.from_ms).max(1) as f64;
        LEFT + (at_ms - self.from_ms) as f64 / length * (WIDTH - LEFT - RIGHT)
    }

    /// Below 1 ms is on the axis.
    fn y(&self, value_ms: u64) -> f64 {
        let share = (value_ms.max(1) as f64).log10() / f64::from(self.decades);
        TOP + (1.0 - share.min(1.0)) * (PANEL - TOP)
    }

    fn step_ms(&self) -> i64 {
        let fits = |step: &&i64| (self.to_ms - self.from_ms) / (**step * 1000) <= LABELS_MAX;
        STEPS_S.iter().find(fits).or(STEPS_S.last()).map_or(1000, |step| step * 1000)
    }
}

/// The whole picture.
pub fn draw(traces: &[Trace]) -> String {
    let axes = Axes::of(traces);
    let height = PANEL * traces.len() as f64 + BOTTOM;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (index, trace) in traces.iter().enumerate() {
        let _ = writeln!(svg, "<g transform=\"translate(0 {})\">", PANEL * index as f64);
        panel(&mut svg, &axes, trace);
        svg.push_str("</g>\n");
    }
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">seconds since the request</text>\n</svg>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        height - 6.0
    );
    svg
}

// Writing into a string does not fail.
fn panel(svg: &mut String, axes: &Axes, trace: &Trace) {
    let (right, bottom) = (WIDTH - RIGHT, PANEL);
    for (requested_ms, done_ms) in &trace.rescales {
        let (from, to) = (axes.x(*requested_ms), axes.x(*done_ms));
        let (width, height) = ((to - from).max(1.0), bottom - TOP);
        let _ = writeln!(
            svg,
            "<rect x=\"{from:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height}\" fill=\"#ffe8cc\"/>"
        );
    }
    for decade in 0..=axes.decades {
        let value = 10_u64.pow(decade.unsigned_abs());
        let y = axes.y(value);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#dee2e6\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value} ms</text>",
            LEFT - 6.0,
            y + 4.0
        );
    }
    let step_ms = axes.step_ms();
    let first = axes.from_ms.div_euclid(step_ms) + i64::from(axes.from_ms.rem_euclid(step_ms) > 0);
    for label in first..=axes.to_ms.div_euclid(step_ms) {
        let (x, seconds) = (axes.x(label * step_ms), label * step_ms / 1000);
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {bottom}v4\" stroke=\"#868e96\"/>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{seconds}</text>",
            bottom + 15.0
        );
    }
    let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"26\" font-weight=\"bold\">{}</text>", escape(&trace.title));
    for (line, (name, colour)) in LINES.iter().enumerate() {
        let x = right - 40.0 * (LINES.len() - line) as f64;
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"26\" fill=\"{colour}\">{name}</text>");
        let path = path(axes, trace, line);
        let _ = writeln!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.3\"/>");
    }
}

fn path(axes: &Axes, trace: &Trace, line: usize) -> String {
    let mut path = String::new();
    let mut last = None;
    for (at_ms, values) in &trace.points {
        let joined = last.is_some_and(|last| at_ms - last <= JOIN_MS);
        let command = if joined { 'L' } else { 'M' };
        let _ = write!(path, "{command}{:.1} {:.1}", axes.x(*at_ms), axes.y(values[line]));
        if !joined {
            // A window alone is a dot.
            path.push_str("h1");
        }
        last = Some(*at_ms);
    }
    path
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panel_a_run_with_its_lines_and_rescales() {
        let points = vec![(-250, [1, 2, 3]), (0, [1, 5, 90]), (1_000, [10, 700, 900]), (1_250, [1, 2, 3])];
        let trace = Trace { title: "a < b".into(), points, rescales: vec![(0, 900)] };
        let svg = draw(&[trace.clone(), trace]);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert_eq!((svg.matches("a &lt; b").count(), svg.matches("#ffe8cc").count()), (2, 2));
        assert_eq!((svg.matches("1000 ms").count(), svg.matches("10000 ms").count()), (2, 0));
        assert_eq!(svg.matches("stroke-width").count(), 6);
        let trace = Trace { points: vec![(0, [1, 1, 1]), (250, [1, 1, 1]), (750, [1, 1, 1])], ..Trace::default() };
        let line = path(&Axes::of(std::slice::from_ref(&trace)), &trace, 0);
        assert_eq!((line.matches('M').count(), line.matches('L').count()), (2, 1), "a gap is a gap");
    }

    #[test]
    fn nothing_measured_is_still_a_picture() {
        assert!(draw(&[]).contains("</svg>"));
        assert!(draw(&[Trace::default()]).contains("</svg>"));
    }
}

//! Drawing. A pure function of the model.
use millstream_operator::autoscale::Reason;
use millstream_operator::autoscale::explain::thousands;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, BorderType, Chart, Dataset, GraphType, Paragraph, Wrap};

use super::text::{bytes, ceiling, cells, short, spark};
use crate::job::rescale::progress_text;
use crate::up::model::Model;
use crate::up::summary::clock;

/// Seconds the rate chart shows.
const CHART_SECONDS: f64 = 180.0;
/// Width from which stages show their parallelism over time.
const WIDE: u16 = 96;
const OFFERED: Color = Color::Yellow;
const PROCESSED: Color = Color::Green;
const BUSY: Color = Color::Green;
const BLOCKED: Color = Color::Red;
const QUIET: Color = Color::DarkGray;

/// Draws everything. Sizes below about 60x16 lose the lower parts first.
pub fn draw(frame: &mut Frame<'_>, model: &Model) {
    let area = frame.area();
    let stages = u16::try_from(model.sample.stages.len()).unwrap_or(u16::MAX).clamp(1, area.height / 3 + 1);
    let decisions = (area.height / 4).clamp(4, 12);
    let [head, facts, chart, table, log, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(6),
        Constraint::Length(stages + 3),
        Constraint::Length(decisions),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(heading(model, head.width), head);
    frame.render_widget(numbers(model, facts.width >= WIDE), facts);
    rates(frame, model, chart);
    frame.render_widget(stage_table(model, table), table);
    frame.render_widget(decision_log(model), log);
    frame.render_widget(footer(model), foot);
}

fn heading(model: &Model, width: u16) -> Line<'static> {
    let state = match (model.sample.state, model.answering, model.stopping) {
        (_, _, true) => "stopping".to_owned(),
        (Some(_), false, _) => "coordinator does not answer".to_owned(),
        (None, ..) => "starting".to_owned(),
        // The wire's own words: `running`, `waiting-for-workers`.
        (Some(state), ..) => {
            let word = serde_json::to_value(state).ok();
            word.as_ref().and_then(|word| word.as_str()).unwrap_or_default().replace('-', " ")
        }
    };
    let color = if state == "running" { Color::Green } else { Color::Yellow };
    let left = format!(" Millstream  {}", model.job);
    let right = format!("{state}  {} ", clock((model.seconds() * 1e3) as i64));
    let mode = format!("autoscaling {}  ", model.mode);
    let used = left.chars().count() + mode.chars().count() + right.chars().count();
    let gap = " ".repeat(usize::from(width).saturating_sub(used));
    Line::from(vec![
        Span::styled(left, Style::new().bold()),
        Span::raw(gap),
        Span::styled(mode, Style::new().fg(QUIET)),
        Span::styled(right, Style::new().fg(color).add_modifier(Modifier::BOLD)),
    ])
}

fn numbers(model: &Model, wide: bool) -> Line<'static> {
    let (point, sample) = (model.points.back().copied().unwrap_or_default(), &model.sample);
    let mut spans = Vec::new();
    let mut fact = |name: &str, value: String, color: Color| {
        spans.push(Span::styled(format!("  {name} "), Style::new().fg(QUIET)));
        spans.push(Span::styled(value, Style::new().fg(color)));
    };
    fact("offered", format!("{}/s", short(point.offered)), OFFERED);
    fact("processed", format!("{}/s", short(point.processed)), PROCESSED);
    let late = point.lag > point.offered;
    fact("lag", short(point.lag), if late { BLOCKED } else { Color::Reset });
    fact("workers", format!("{}/{}", sample.workers, sample.workers_desired), Color::Reset);
    if let Some(checkpoint) = &model.checkpoint {
        let took = checkpoint.duration_ms as f64 / 1e3;
        let size = if wide { format!(" {}", bytes(checkpoint.uploaded_bytes)) } else { String::new() };
        fact("epoch", format!("{} {took:.1} s{size}", checkpoint.epoch), Color::Reset);
    }
    if sample.recoveries > 0 {
        fact("recoveries", sample.recoveries.to_string(), BLOCKED);
    }
    Line::from(spans)
}

fn frame_of(title: String) -> Block<'static> {
    let border = Style::new().fg(QUIET);
    Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(border)
        .title(Span::styled(title, Style::new().bold()))
}

fn rates(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let end = model.seconds().max(60.0);
    let start = (end - CHART_SECONDS).max(0.0);
    let seen: Vec<_> = model.points.iter().filter(|point| point.second >= start).collect();
    let line = |value: fn(f64, f64) -> f64| -> Vec<(f64, f64)> {
        seen.iter().map(|point| (point.second, value(point.offered, point.processed))).collect()
    };
    let (offered, processed) = (line(|offered, _| offered), line(|_, processed| processed));
    // A burst of catching up must not squash the rest: the scale follows what is offered, up to twice of it.
    let most = |points: &[(f64, f64)]| points.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
    let (offered_most, processed_most) = (most(&offered), most(&processed));
    let top =
        if offered_most > 0.0 { processed_most.min(2.0 * offered_most).max(offered_most) } else { processed_most };
    let top = ceiling(top * 1.05);
    let set = |color, points| {
        let style = Style::new().fg(color);
        Dataset::default().marker(Marker::Braille).graph_type(GraphType::Line).style(style).data(points)
    };
    let lags: Vec<f64> = seen.iter().map(|point| point.lag).collect();
    let quiet = Style::new().fg(QUIET);
    let time = |second: f64| Span::styled(clock((second * 1e3) as i64), quiet);
    let legend = Line::from(vec![
        Span::styled(" ━ offered", Style::new().fg(OFFERED)),
        Span::styled(" ━ processed ", Style::new().fg(PROCESSED)),
    ]);
    let block = frame_of(" records/s ".to_owned()).title(legend).title_bottom(Line::from(vec![
        Span::styled(" lag ", quiet),
        Span::styled(spark(&lags, usize::from(area.width.saturating_sub(30)), 0.0), Style::new().fg(BLOCKED)),
        Span::styled(format!(" {} ", thousands(lags.last().copied().unwrap_or(0.0))), quiet),
    ]));
    let chart = Chart::new(vec![set(OFFERED, &offered), set(PROCESSED, &processed)])
        .block(block)
        .legend_position(None)
        .x_axis(Axis::default().style(quiet).bounds([start, end]).labels([
            time(start),
            time((start + end) / 2.0),
            time(end),
        ]))
        .y_axis(Axis::default().style(quiet).bounds([0.0, top]).labels([
            Span::raw("0"),
            Span::raw(short(top / 2.0)),
            Span::raw(short(top)),
        ]));
    frame.render_widget(chart, area);
}

fn stage_table(model: &Model, area: Rect) -> Paragraph<'static> {
    let wide = area.width >= WIDE;
    let inner = usize::from(area.width.saturating_sub(2));
    let history = if wide { 16 } else { 0 };
    let name = model.sample.stages.iter().map(|stage| stage.name.chars().count()).max().unwrap_or(0).clamp(8, 24);
    // Name, tasks, rate and three percentages take a fixed width; the bar gets the rest.
    let fixed = (1 + name + 1) + 5 + 11 + 18 + if wide { history + 1 + 14 } else { 0 };
    let bar = inner.saturating_sub(fixed).clamp(4, 60);
    let quiet = Style::new().fg(QUIET);
    let over_time = if wide { format!(" {:history$}", "tasks over time") } else { String::new() };
    let judged = if wide { format!("  {:<12}", "autoscaler") } else { String::new() };
    let title = format!(" {:name$} tasks{over_time} {:>9} {:bar$}  busy  wait  idle{judged}", "stage", "in/s", "");
    let mut lines = vec![Line::styled(title, quiet)];
    let most = model.parallelism.values().flatten().copied().max().map_or(0.0, f64::from);
    for stage in &model.sample.stages {
        let (busy, blocked, idle) = cells(bar, stage.busy, stage.backpressured);
        let percent = |share: f64| format!(" {:>3.0} %", share.clamp(0.0, 1.0) * 100.0);
        let mut spans = vec![
            Span::raw(format!(" {:name$.name$} ", stage.name)),
            Span::styled(format!("{:>5}", stage.parallelism), Style::new().bold()),
        ];
        if wide {
            let counts: Vec<f64> =
                model.parallelism.get(&stage.name).into_iter().flatten().map(|p| f64::from(*p)).collect();
            spans.push(Span::styled(
                format!(" {:history$}", spark(&counts, history, most)),
                Style::new().fg(Color::Cyan),
            ));
        }
        spans.extend([
            Span::raw(format!(" {:>9} ", short(stage.records_in_per_s))),
            Span::styled("█".repeat(busy), Style::new().fg(BUSY)),
            Span::styled("▒".repeat(blocked), Style::new().fg(BLOCKED)),
            Span::styled("·".repeat(idle), quiet),
            Span::styled(percent(stage.busy), Style::new().fg(BUSY)),
            Span::styled(percent(stage.backpressured), Style::new().fg(BLOCKED)),
            Span::styled(percent(stage.idle), quiet),
        ]);
        if wide {
            let said = stage.reason.map(verdict).unwrap_or_default();
            spans.push(Span::styled(format!("  {said:<12.12}"), quiet));
        }
        lines.push(Line::from(spans));
    }
    Paragraph::new(lines).block(frame_of(" stages ".to_owned()))
}

/// What the autoscaler last thought of a stage, in at most 12 characters.
fn verdict(reason: Reason) -> &'static str {
    match reason {
        Reason::RateStep | Reason::BackPressure => "needs more",
        Reason::Backlog => "backlog",
        Reason::Underused => "needs less",
        Reason::OutOfBounds => "out of range",
        Reason::AtMaximum => "at maximum",
        Reason::Skew => "skewed keys",
        Reason::Undone => "undone",
        Reason::Lagging => "lag first",
        Reason::MinorChange | Reason::Steady => "steady",
        Reason::NoInformation => "no data",
        Reason::WarmUp => "warming up",
    }
}

fn decision_log(model: &Model) -> Paragraph<'static> {
    let started = model.started_at_ms.unwrap_or_default();
    let mut lines = Vec::new();
    for decision in &model.decisions {
        let color = if decision.to > decision.from { Color::Yellow } else { Color::Cyan };
        let change = format!("{} {} -> {}", decision.stage, decision.from, decision.to);
        let why = decision.explanation.strip_prefix(&change).unwrap_or(&decision.explanation).to_owned();
        lines.push(Line::from(vec![
            Span::styled(format!(" {} ", clock(decision.at_ms - started)), Style::new().fg(QUIET)),
            Span::styled(change, Style::new().fg(color).bold()),
            Span::raw(format!(" {:?}", decision.reason)),
            Span::styled(why, Style::new().fg(Color::Gray)),
        ]));
    }
    if lines.is_empty() {
        lines.push(Line::styled(" none yet: every stage has what it needs", Style::new().fg(QUIET)));
    }
    let title = match &model.rescale {
        Some(rescale) => match rescale.duration_ms {
            Some(took) => format!(" decisions, last rescale took {:.1} s ", took as f64 / 1e3),
            None => format!(" decisions, {} ", progress_text(rescale)),
        },
        None => " decisions ".to_owned(),
    };
    Paragraph::new(lines).wrap(Wrap { trim: false }).block(frame_of(title))
}

fn footer(model: &Model) -> Line<'static> {
    let text = if model.stopping { " stopping; q again leaves at once" } else { " q or Ctrl-C stops the job" };
    let mut spans = vec![Span::styled(text, Style::new().fg(QUIET))];
    if model.sample.late_rows > 0 {
        let late = format!("   {} late rows", thousands(model.sample.late_rows as f64));
        spans.push(Span::styled(late, Style::new().fg(OFFERED)));
    }
    Line::from(spans)
}

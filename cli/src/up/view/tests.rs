use millstream_api::wire::{CheckpointStatus, JobState};
use millstream_operator::autoscale::decision::{Expectation, Inputs};
use millstream_operator::autoscale::explain::explain;
use millstream_operator::autoscale::{Decision, Reason, StageRecommendation};
use millstream_operator::control::report::{Event, JobSample, Report, StageSample};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;

/// 100 seconds of a job whose load steps up at 40 s and which is rescaled at 46 s.
fn story() -> Model {
    let mut model = Model::new("elastic", "Auto");
    let (mut lag, mut tasks) = (0.0f64, 1);
    for second in 0..100 {
        let at_ms = 1_000_000 + second * 1000;
        let offered = if second < 40 { 20_000.0 } else { 100_000.0 };
        if second == 46 {
            tasks = 6;
            model.update(&Report { at_ms, event: Event::Decision(Box::new(decision(at_ms, lag))) });
        }
        let taken = (lag + offered).min(f64::from(tasks) * 25_000.0);
        lag += offered - taken;
        let busy = taken / (f64::from(tasks) * 25_000.0);
        let stage = |name: &str, parallelism, busy, backpressured| StageSample {
            name: name.into(),
            parallelism,
            busy,
            backpressured,
            idle: 1.0 - busy - backpressured,
            records_in_per_s: taken,
            need: None,
            reason: Some(Reason::Steady),
        };
        let blocked = if lag > 0.0 { 0.75 } else { 0.0 };
        let sample = JobSample {
            state: Some(JobState::Running),
            offered_per_s: Some(offered),
            processed_per_s: taken,
            lag_records: Some(lag as u64),
            workers: tasks,
            workers_desired: tasks,
            stages: vec![
                stage("source-bids", 1, 0.12, blocked),
                stage("window-1", tasks, busy, 0.0),
                stage("sink-counts", 1, 0.02, 0.0),
            ],
            ..JobSample::default()
        };
        model.update(&Report { at_ms, event: Event::Sample(sample) });
    }
    let checkpoint = CheckpointStatus {
        name: None,
        epoch: 12,
        savepoint: false,
        completed_at_ms: 0,
        duration_ms: 130,
        uploaded_bytes: 1_300_000,
        state_bytes: 0,
        path: String::new(),
    };
    model.update(&Report { at_ms: 1_099_500, event: Event::Checkpoint(checkpoint) });
    model
}

fn decision(at_ms: i64, lag: f64) -> Decision {
    let inputs = Inputs {
        offered_per_s: 100_000.0,
        lag_records: lag,
        steady_per_s: Some(92_000.0),
        backlog_rows: Some(lag * 0.92),
        catch_up_s: 30.0,
        true_rate_per_task: Some(24_900.0),
        target_utilization: 0.8,
        need: Some(5.1),
        units: Some(256),
        min: 1,
        max: 8,
        ..Inputs::default()
    };
    let said = StageRecommendation {
        stage: "window-1".into(),
        from: 1,
        to: 6,
        reason: Reason::RateStep,
        binding: None,
        inputs: inputs.clone(),
    };
    Decision {
        at_ms,
        stage: said.stage.clone(),
        from: 1,
        to: 6,
        reason: said.reason,
        binding: None,
        inputs,
        expects: Expectation::default(),
        explanation: explain(&said),
    }
}

fn screen(model: &Model, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model)).unwrap();
    let buffer = terminal.backend().buffer();
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(row).collect()
}

#[test]
fn the_story_fits_two_sizes() {
    let model = story();
    for (width, height) in [(100, 30), (80, 24)] {
        let rows = screen(&model, width, height);
        let text = rows.join("\n");
        println!("{text}"); // Shown with --nocapture, to look at it.
        let row = |part: &str| rows.iter().find(|row| row.contains(part)).unwrap_or_else(|| panic!("{part}\n{text}"));
        assert!(row("Millstream  elastic").contains("autoscaling Auto  running  1:39"), "{text}");
        let facts = row("offered 100.0 k/s");
        assert!(facts.contains("workers 6/6") && facts.contains("epoch 12 0.1 s"), "{text}");
        assert_eq!(facts.contains("1.2 MiB"), width >= 96, "{text}");
        assert!(
            rows.iter().filter(|row| row.chars().any(|c| ('\u{2801}'..'\u{28ff}').contains(&c))).count() >= 3,
            "{text}"
        );
        assert!(row("window-1   ").contains("67 %   0 %  33 %"), "{text}");
        assert!(row("source-bids").contains("·"), "{text}");
        assert_eq!(row("window-1   ").contains('▂'), width >= 96, "parallelism over time where there is room\n{text}");
        assert_eq!(row("window-1   ").contains("  steady"), width >= 96, "{text}");
        assert!(text.contains("0:46 window-1 1 -> 6 RateStep: offered 100,000/s + backlog"), "{text}");
        assert!(row("q or Ctrl-C").starts_with(" q or"), "{text}");
    }
}

#[tokio::test]
async fn the_first_q_asks_and_the_second_leaves() {
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    let (reporter, mut reports) = mpsc::channel(4);
    let (keyboard, mut keys) = mpsc::channel(4);
    let (stop, stopped) = watch::channel(false);
    let mut model = Model::new("a", "Auto");
    reporter.send(Report { at_ms: 5, event: Event::Sample(JobSample::default()) }).await.unwrap();
    for key in [Key::Redraw, Key::Stop, Key::Stop] {
        keyboard.send(key).await.unwrap();
    }
    watch_reports(&mut terminal, &mut model, &mut reports, &mut keys, &stop).await.unwrap();
    assert!(*stopped.borrow() && model.stopping);
    drop(reporter);
    let (stop, stopped) = watch::channel(false);
    watch_reports(&mut terminal, &mut model, &mut reports, &mut keys, &stop).await.unwrap();
    assert!(!*stopped.borrow(), "the end of the reports is the end of the view");
    assert_eq!(model.now_ms, 5);
}

#[test]
fn no_size_and_no_state_panics() {
    for model in [Model::new("a", "Off"), story()] {
        for width in (1..130).step_by(9) {
            for height in [1, 2, 5, 10, 24, 50] {
                screen(&model, width, height);
            }
        }
    }
}

#[test]
fn a_silent_coordinator_and_a_stop_are_visible() {
    let mut model = story();
    model.update(&Report { at_ms: 1_101_000, event: Event::Sample(JobSample::default()) });
    assert!(screen(&model, 80, 24)[0].contains("coordinator does not answer"));
    assert_eq!(model.points.back().unwrap().offered, 100_000.0, "the last known rate goes on");
    model.stopping = true;
    let rows = screen(&model, 80, 24);
    assert!(rows[0].contains("stopping") && rows[23].contains("q again leaves at once"));
}

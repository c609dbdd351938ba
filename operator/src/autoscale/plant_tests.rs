//! The autoscaler against a simulated job: a source that offers, a keyed stage with a capacity curve, a sink.
use millstream_api::wire::{EdgeStatus, StageStatus, TaskCounters, TaskStatus};
use proptest::prelude::*;

use super::oracle_tests::ability;
use super::{Bounds, Decision, History, Policy, Reason, Sample, Window, recommend};

/// A job whose keyed stage `work` is the bottleneck. Time advances in seconds.
struct Plant {
    now_ms: i64,
    generation: u64,
    tasks: u32,
    /// Capacity of all tasks of `work` together, by their number.
    ability: fn(u32) -> f64,
    lag: f64,
    paused_s: u32,
    noise: u64,
    noise_share: f64,
    totals: [TaskCounters; 3],
}

impl Plant {
    fn new(tasks: u32, ability: fn(u32) -> f64) -> Self {
        let totals = [TaskCounters::default(), TaskCounters::default(), TaskCounters::default()];
        let (generation, lag, paused_s, noise, noise_share) = (1, 0.0, 0, 7, 0.0);
        Self { now_ms: 0, generation, tasks, ability, lag, paused_s, noise, noise_share, totals }
    }

    fn random(&mut self) -> f64 {
        self.noise = self.noise.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.noise >> 33) as f64 / f64::from(1u32 << 31)
    }

    fn second(&mut self, offered: f64) -> Sample {
        self.now_ms += 1000;
        let wobble = 1.0 + self.noise_share * (2.0 * self.random() - 1.0);
        self.lag += offered * wobble;
        if self.paused_s > 0 {
            self.paused_s -= 1;
        } else {
            let capacity = (self.ability)(self.tasks);
            let taken = self.lag.min(capacity).floor();
            self.lag -= taken;
            let busy = (taken / capacity).min(1.0);
            let blocked = if self.lag >= 1.0 { 1.0 - taken / 1e7 } else { 0.0 };
            let shares = [(taken / 1e7, blocked), (busy, 0.0), (taken / 1e8, 0.0)];
            for (counters, (busy, blocked)) in self.totals.iter_mut().zip(shares) {
                counters.elapsed_us += 1_000_000;
                counters.busy_us += (busy * 1e6) as u64;
                counters.backpressured_us += (blocked * 1e6) as u64;
                counters.records_in += taken as u64;
                counters.records_out += taken as u64;
            }
        }
        self.sample(offered * wobble)
    }

    fn sample(&self, offered: f64) -> Sample {
        let stage = |at: usize, name: &str, tasks: u32, from: Option<&str>| StageStatus {
            name: name.into(),
            ops: Vec::new(),
            source: from.is_none(),
            splits: from.is_none().then_some(64),
            parallelism: tasks,
            table_version: 0,
            inputs: from.into_iter().map(|from| self.edge(at, from)).collect(),
            tasks: (0..tasks).map(|task| self.task(at, task, tasks, offered)).collect(),
            groups: Vec::new(),
        };
        let stages = vec![
            stage(0, "source", 1, None),
            stage(1, "work", self.tasks, Some("source")),
            stage(2, "sink", 1, Some("work")),
        ];
        Sample { at_ms: self.now_ms, generation: self.generation, stages }
    }

    fn edge(&self, at: usize, from: &str) -> EdgeStatus {
        let partition = if at == 1 { "hash" } else { "forward" };
        EdgeStatus { from: from.into(), partition: partition.into(), records: self.totals[at].records_in, bytes: 0 }
    }

    fn task(&self, at: usize, task: u32, tasks: u32, offered: f64) -> TaskStatus {
        let total = &self.totals[at];
        let part = |value: u64| value / u64::from(tasks);
        TaskStatus {
            id: task,
            worker: "w0".into(),
            counters: TaskCounters {
                records_in: part(total.records_in),
                records_out: part(total.records_out),
                ..total.clone()
            },
            watermark_ms: None,
            lag_records: (at == 0).then_some(self.lag as u64),
            offered_per_s: (at == 0).then_some(offered),
            key_groups: 0,
            state_bytes: 0,
            store_reads: 0,
            store_writes: 0,
            starved_us: 0,
        }
    }

    fn rescale(&mut self, tasks: u32, pause_s: u32) {
        self.tasks = tasks;
        self.generation += 1;
        self.paused_s = pause_s;
        self.totals = Default::default();
    }
}

fn policy(max: u32) -> Policy {
    Policy { others: Bounds { min: 1, max }, ..Policy::default() }
}

/// Runs the loop and returns the decisions about `work`, with the plant.
fn run(mut plant: Plant, policy: &Policy, load: impl Fn(i64) -> f64, seconds: i64) -> (Plant, Vec<Decision>) {
    let (mut window, mut history, mut decisions) = (Window::new(), History::default(), Vec::new());
    for second in 0..seconds {
        let sample = plant.second(load(second));
        window.push(sample, policy.window_ms);
        if second % 5 != 0 {
            continue;
        }
        let said = recommend(&window, policy, plant.now_ms);
        for decision in history.decide(&said, plant.generation, policy) {
            assert!(decision.to >= 1 && decision.to <= policy.bounds(&decision.stage).max, "{decision:?}");
            if decision.stage == "work" {
                plant.rescale(decision.to, 2);
                decisions.push(decision);
            }
        }
    }
    (plant, decisions)
}

fn steps(decisions: &[Decision]) -> Vec<u32> {
    decisions.iter().map(|decision| decision.to).collect()
}

fn linear(tasks: u32) -> f64 {
    25_000.0 * super::capacity::effective(tasks, Some(256))
}

#[test]
fn a_rate_step_grows_in_one_decision_and_a_fall_shrinks_in_one() {
    let load = |second| if (40..140).contains(&second) { 100_000.0 } else { 15_000.0 };
    let (plant, decisions) = run(Plant::new(1, linear), &policy(16), load, 400);
    let up = &decisions[0];
    assert_eq!((up.from, up.reason), (1, Reason::RateStep), "{up:?}");
    assert!((5..=9).contains(&up.to), "{up:?}");
    assert!(up.at_ms <= 60_000, "within 20 s of the step: {}", up.at_ms);
    assert!(up.expects.utilization.unwrap() <= 0.8 && up.expects.caught_up_s.unwrap() < 60.0, "{up:?}");
    let down = decisions.last().unwrap();
    assert_eq!((down.reason, down.to), (Reason::Underused, 1), "{}", down.explanation);
    assert!(down.at_ms >= 140_000 + 60_000, "only after the delay");
    assert!(decisions.len() <= 3, "{:?}", steps(&decisions));
    assert!(plant.lag < 30_000.0);
}

#[test]
fn the_explanation_holds_the_terms() {
    let load = |second| if second < 40 { 20_000.0 } else { 100_000.0 };
    let (_, decisions) = run(Plant::new(1, linear), &policy(16), load, 70);
    let text = &decisions[0].explanation;
    assert!(text.starts_with("work 1 -> ") && text.contains("offered 100,000/s + backlog "), "{text}");
    assert!(text.contains(" tasks at 25,000/s true rate each (target 80 %"), "{text}");
    let json = serde_json::to_value(&decisions[0]).unwrap();
    assert_eq!(json["reason"], "RateStep");
    assert_eq!(serde_json::from_value::<Decision>(json).unwrap(), decisions[0]);
}

#[test]
fn the_measured_curve_converges_in_three_steps() {
    let policy = Policy { target_utilization: 1.0, dead_band: 0.0, ..policy(40) };
    for (rate, least) in [(4e6, 12), (5e6, 16), (6e6, 19)] {
        let (plant, decisions) = run(Plant::new(1, ability), &policy, |_| rate * 0.97, 300);
        let ups: Vec<_> = decisions.iter().filter(|decision| decision.to > decision.from).collect();
        assert!(ups.len() <= 3, "{rate}: {:?}", steps(&decisions));
        assert!(plant.tasks >= least - 1, "{rate}: {} tasks", plant.tasks);
        assert!(plant.lag < rate, "the backlog is gone: {}", plant.lag);
    }
}

#[test]
fn at_the_maximum_nothing_moves_and_the_reason_says_so() {
    let mut plant = Plant::new(4, linear);
    let policy = policy(4);
    let mut window = Window::new();
    for _ in 0..20 {
        window.push(plant.second(500_000.0), policy.window_ms);
    }
    let said = recommend(&window, &policy, plant.now_ms);
    assert_eq!((said.stages[1].to, said.stages[1].reason), (4, Reason::AtMaximum));
}

#[test]
fn without_information_nothing_moves() {
    let policy = policy(16);
    let mut window = Window::new();
    assert!(recommend(&window, &policy, 0).stages.is_empty());
    let mut plant = Plant::new(2, linear);
    for second in 0..20 {
        window.push(plant.second(0.0), policy.window_ms);
        let said = recommend(&window, &policy, plant.now_ms);
        assert!(said.stages.iter().all(|stage| stage.to == stage.from), "second {second}: zero busy time");
    }
    for _ in 0..20 {
        window.push(plant.second(400_000.0), policy.window_ms);
    }
    assert_eq!(recommend(&window, &policy, plant.now_ms).stages[1].reason, Reason::RateStep);
    let stale = recommend(&window, &policy, plant.now_ms + policy.stale_ms + 1);
    assert!(stale.stages.iter().all(|stage| stage.to == stage.from && stage.reason == Reason::NoInformation));
    let mut lost = plant.second(400_000.0);
    lost.stages[0].tasks[0].offered_per_s = Some(f64::NAN);
    window.push(lost, policy.window_ms);
    let blind = recommend(&window, &policy, plant.now_ms);
    assert!(blind.stages.iter().all(|stage| stage.to == stage.from), "NaN: {blind:?}");
    plant.totals = Default::default();
    window.push(plant.second(400_000.0), policy.window_ms);
    let young = recommend(&window, &policy, plant.now_ms);
    assert_eq!(young.stages[1].reason, Reason::WarmUp, "counters that fell are another task set");
}

#[test]
fn a_limit_binds_also_while_nobody_waits_for_it() {
    let mut plant = Plant::new(6, |tasks| 500_000.0 * f64::from(tasks));
    let mut policy = policy(16);
    let said = |plant: &mut Plant, policy: &Policy| {
        let mut window = Window::new();
        for _ in 0..20 {
            window.push(plant.second(100_000.0), policy.window_ms);
        }
        recommend(&window, policy, plant.now_ms).stages[1].clone()
    };
    assert_eq!(said(&mut plant, &policy).to, 1, "the work alone would fit one task");
    policy.rate_limits.insert("work".into(), 25_000.0);
    let limited = said(&mut plant, &policy);
    assert_eq!((limited.to, limited.inputs.true_rate_per_task), (6, Some(25_000.0)), "{limited:?}");
}

#[test]
fn a_recorded_window_can_be_replayed() {
    let (mut plant, policy, mut window) = (Plant::new(2, linear), policy(16), Window::new());
    for _ in 0..20 {
        window.push(plant.second(123_456.0), policy.window_ms);
    }
    let said = recommend(&window, &policy, plant.now_ms);
    let recorded = serde_json::to_string(&(window, policy)).unwrap();
    let (window, policy): (Window, Policy) = serde_json::from_str(&recorded).unwrap();
    assert_eq!(recommend(&window, &policy, plant.now_ms), said);
    assert_eq!(said.stages[1].reason, Reason::RateStep);
}

#[test]
fn nothing_shrinks_while_the_backlog_is_high() {
    let mut plant = Plant::new(8, linear);
    plant.lag = 3e5;
    let policy = policy(16);
    let mut window = Window::new();
    for _ in 0..11 {
        plant.lag = 3e5;
        window.push(plant.second(20_000.0), policy.window_ms);
    }
    let said = recommend(&window, &policy, plant.now_ms);
    assert_eq!((said.stages[1].to, said.stages[1].reason), (8, Reason::Lagging));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn constant_load_with_noise_does_not_oscillate(rate in 10_000.0f64..300_000.0, start in 1u32..17, seed in any::<u64>()) {
        let mut plant = Plant::new(start, linear);
        (plant.noise, plant.noise_share) = (seed, 0.1);
        let (plant, decisions) = run(plant, &policy(16), |_| rate, 1200);
        prop_assert!(decisions.len() <= 3, "{:?}", steps(&decisions));
        // A descent after the backlog of a small start is gone is right; a second climb is not.
        let turns = steps(&decisions).windows(2).filter(|pair| pair[1] > pair[0]).count();
        prop_assert!(turns <= 1, "{:?}", steps(&decisions));
        prop_assert!(linear(plant.tasks) >= rate || plant.tasks == 16);
    }

    #[test]
    fn more_offered_never_means_fewer_tasks(low in 1_000.0f64..300_000.0, more in 1.0f64..4.0, tasks in 1u32..17) {
        let wanted = |rate: f64| {
            let policy = policy(64);
            let (mut plant, mut window) = (Plant::new(tasks, linear), Window::new());
            for _ in 0..20 {
                window.push(plant.second(rate), policy.window_ms);
            }
            let said = recommend(&window, &policy, plant.now_ms);
            (said.stages[1].inputs.need.unwrap(), said.stages[1].to, said.stages[1].reason)
        };
        let (less, more) = (wanted(low), wanted(low * more));
        prop_assert!(more.0 >= less.0 * 0.999, "need {less:?} {more:?}");
        prop_assert!(more.1 >= less.1 || more.2 == Reason::Underused, "{less:?} {more:?}");
    }
}

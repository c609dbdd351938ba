//! What is left on the screen when a job is over.
use std::fmt::Write;

use millstream_operator::autoscale::Decision;
use millstream_operator::autoscale::explain::thousands;
use millstream_operator::control::Outcome;

/// What a comparison with an independent run showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Whether the results are the same.
    pub equal: bool,
    /// Rows of the job's result.
    pub rows: u64,
    /// Rows of the run it is compared with.
    pub oracle_rows: u64,
    /// What that run was, such as `a one-task run without the limiter`.
    pub oracle: String,
}

/// Table of the decisions, pauses, and the proof line.
pub fn summary(outcome: &Outcome, started_at_ms: i64, proof: Option<&Proof>) -> String {
    let mut text = String::new();
    if outcome.decisions.is_empty() {
        text.push_str("No decisions: the parallelism was right all the time.\n");
    } else {
        table(&mut text, &outcome.decisions, started_at_ms);
    }
    let pauses: Vec<u64> = outcome.rescales.iter().filter_map(|rescale| rescale.duration_ms).collect();
    if let (Some(longest), count @ 1..) = (pauses.iter().max(), pauses.len()) {
        let mean = pauses.iter().sum::<u64>() as f64 / count as f64 / 1e3;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{count} rescale{} of {mean:.1} s on average, {:.1} s at most; {} of {} key groups that changed owner had to.",
            if count == 1 { "" } else { "s" },
            *longest as f64 / 1e3,
            outcome.rescales.iter().map(|rescale| rescale.groups_moved_min).sum::<u32>(),
            outcome.rescales.iter().map(|rescale| rescale.groups_moved).sum::<u32>(),
        );
    }
    let _ =
        writeln!(text, "{} failures survived, {} late rows.", outcome.recoveries, thousands(outcome.late_rows as f64));
    if let Some(proof) = proof {
        let rows = thousands(proof.rows as f64);
        let _ = if proof.equal {
            writeln!(text, "Proof: all {rows} result rows are equal to those of {}.", proof.oracle)
        } else {
            let others = thousands(proof.oracle_rows as f64);
            writeln!(text, "NOT EQUAL: {rows} result rows differ from the {others} of {}.", proof.oracle)
        };
    }
    text
}

fn table(text: &mut String, decisions: &[Decision], started_at_ms: i64) {
    let width = decisions.iter().map(|decision| decision.stage.chars().count()).max().unwrap_or(0).max(5);
    let _ = writeln!(
        text,
        "{:>6}  {:width$}  {:>9}  {:<12}  {:>10}  {:>9}  {:>6}  {:>8}",
        "time", "stage", "tasks", "reason", "offered/s", "backlog", "need", "expected"
    );
    for decision in decisions {
        let inputs = &decision.inputs;
        let _ = writeln!(
            text,
            "{:>6}  {:width$}  {:>9}  {:<12}  {:>10}  {:>9}  {:>6}  {:>8}",
            clock(decision.at_ms - started_at_ms),
            decision.stage,
            format!("{} -> {}", decision.from, decision.to),
            format!("{:?}", decision.reason),
            thousands(inputs.offered_per_s),
            thousands(inputs.lag_records),
            inputs.need.map_or("-".to_owned(), |need| format!("{need:.1}")),
            decision.expects.utilization.map_or("-".to_owned(), |share| format!("{:.0} %", share * 100.0)),
        );
    }
}

/// `1:05` for 65 s.
pub fn clock(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use millstream_api::wire::{RescaleState, RescaleStatus};
    use millstream_operator::autoscale::Reason;
    use millstream_operator::autoscale::decision::{Expectation, Inputs};

    use super::*;

    #[test]
    fn the_summary_reads_as_a_table() {
        let decision = |at_ms, from, to, reason| Decision {
            at_ms,
            stage: "window-1".into(),
            from,
            to,
            reason,
            binding: None,
            inputs: Inputs { offered_per_s: 100_000.0, lag_records: 12_000.0, need: Some(5.04), ..Inputs::default() },
            expects: Expectation { utilization: Some(0.67), caught_up_s: None },
            explanation: String::new(),
        };
        let rescale = RescaleStatus {
            id: 1,
            state: RescaleState::Done,
            duration_ms: Some(800),
            groups_moved: 213,
            groups_moved_min: 213,
            ..RescaleStatus::default()
        };
        let outcome = Outcome {
            decisions: vec![decision(41_000, 1, 6, Reason::RateStep), decision(125_000, 6, 1, Reason::Underused)],
            rescales: vec![rescale.clone(), rescale],
            ..Outcome::default()
        };
        let oracle = "a one-task run without the limiter".to_owned();
        let proof = Proof { equal: true, rows: 4321, oracle_rows: 4321, oracle };
        assert_eq!(
            summary(&outcome, 1000, Some(&proof)),
            "  time  stage         tasks  reason         offered/s    backlog    need  expected\n\
             \x20 0:40  window-1     1 -> 6  RateStep         100,000     12,000     5.0      67 %\n\
             \x20 2:04  window-1     6 -> 1  Underused        100,000     12,000     5.0      67 %\n\
             2 rescales of 0.8 s on average, 0.8 s at most; 426 of 426 key groups that changed owner had to.\n\
             0 failures survived, 0 late rows.\n\
             Proof: all 4,321 result rows are equal to those of a one-task run without the limiter.\n"
        );
        let proof = Proof { equal: false, rows: 1, ..proof };
        assert!(
            summary(&Outcome::default(), 0, Some(&proof)).contains("NOT EQUAL: 1 result rows differ from the 4,321 of")
        );
    }
}

//! How far a job is behind, in steps coarse enough not to change at each turn.
use super::Facts;
use crate::control::Event;

/// The steps, in seconds.
const STEPS: [(f64, &str); 10] = [
    (1.0, "0s"),
    (5.0, "1s"),
    (10.0, "5s"),
    (30.0, "10s"),
    (60.0, "30s"),
    (300.0, "1m"),
    (600.0, "5m"),
    (1800.0, "10m"),
    (3600.0, "30m"),
    (21_600.0, "1h"),
];

/// The lag; `None` if the sources cannot say.
pub fn lag(facts: &Facts<'_>) -> Option<String> {
    let sample = facts.decision.reports.iter().find_map(|report| match &report.event {
        Event::Sample(sample) => Some(sample),
        _ => None,
    })?;
    let records = sample.lag_records? as f64;
    let rate =
        sample.offered_per_s.filter(|rate| *rate > 0.0).or(Some(sample.processed_per_s)).filter(|rate| *rate > 0.0);
    match rate {
        Some(rate) => Some(bucket(records / rate)),
        None if records == 0.0 => Some("0s".into()),
        None => facts.before.lag.clone(),
    }
}

fn bucket(seconds: f64) -> String {
    STEPS.iter().find(|(below, _)| seconds < *below).map_or("6h", |(_, text)| text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::bucket;

    #[test]
    fn lags_are_told_in_coarse_steps() {
        for (seconds, text) in [(0.0, "0s"), (0.9, "0s"), (1.0, "1s"), (17.0, "10s"), (299.0, "1m"), (1e9, "6h")] {
            assert_eq!(bucket(seconds), text);
        }
    }
}

//! The settings catalogue: everything `spec.settings` and `--set NAME=VALUE` understand.
use std::collections::BTreeMap;

use super::spec::Setting;
use super::{FieldError, parse_quantity};
use crate::duration::Duration;

/// What a setting's value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A whole number, at least 1.
    Count,
    /// Bytes, such as `256Ki`.
    Bytes,
    /// A duration, such as `5s`.
    Duration,
    /// A duration that may be zero.
    Delay,
    /// Records a second, above 0.
    Rate,
    /// A whole number from 0 to 100.
    Percent,
}

/// One entry of the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// What its value looks like.
    pub kind: Kind,
    /// Value if unset; empty: none.
    pub default: &'static str,
    /// Whether `NAME.STAGE` sets it for one stage.
    pub per_stage: bool,
    /// What it does.
    pub doc: &'static str,
}

const fn entry(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Entry {
    Entry { name, kind, default, per_stage: false, doc }
}

/// Every setting.
pub const CATALOGUE: &[Entry] = &[
    entry("batch.rows", Kind::Count, "4096", "Rows a source puts in one batch at most."),
    entry(
        "exchange.window-bytes",
        Kind::Bytes,
        "256Ki",
        "Bytes in flight on one channel before its sender waits for credit.",
    ),
    Entry {
        per_stage: true,
        ..entry(
            "task.records-per-second",
            Kind::Rate,
            "",
            "Rows a second that one task takes at most: a bounded service rate, for demonstrations and to protect outside \
             systems. Time spent waiting for it counts as busy. task.records-per-second.STAGE is for one stage.",
        )
    },
    entry(
        "worker.answer-timeout",
        Kind::Duration,
        "10m",
        "Time a worker has to start, cancel or end its tasks before it is taken as lost. Starting them includes reading the \
         state they go on from.",
    ),
    entry("state.cache-bytes", Kind::Bytes, "32Mi", "Memory of one task for decoded hot entries of keyed state."),
    entry("autoscaler.interval", Kind::Duration, "5s", "Time from one evaluation to the next."),
    entry("autoscaler.window", Kind::Duration, "10s", "Length of the measurement an evaluation looks at."),
    entry("autoscaler.warm-up", Kind::Delay, "5s", "Time after a rescale or restart that is not measured."),
    entry(
        "autoscaler.activation",
        Kind::Count,
        "2",
        "Consecutive evaluations that must ask for more before a stage grows.",
    ),
    entry(
        "autoscaler.scale-down-delay",
        Kind::Delay,
        "60s",
        "How long less must have been enough before a stage shrinks.",
    ),
    entry("autoscaler.catch-up", Kind::Duration, "30s", "Time in which a backlog should be gone."),
    entry(
        "autoscaler.lag-limit",
        Kind::Delay,
        "2s",
        "Nothing shrinks while the backlog is worth more input than this.",
    ),
    entry(
        "autoscaler.dead-band-percent",
        Kind::Percent,
        "10",
        "How far the need may exceed the capacity before a stage grows.",
    ),
    entry(
        "autoscaler.minor-change-percent",
        Kind::Percent,
        "10",
        "Shrinking by less than this is not worth a rescale.",
    ),
];

/// All settings with their values.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// `batch.rows`.
    pub batch_rows: usize,
    /// `exchange.window-bytes`.
    pub exchange_window_bytes: u64,
    /// `task.records-per-second`.
    pub task_records_per_second: Option<f64>,
    /// `task.records-per-second.STAGE`.
    pub stage_records_per_second: BTreeMap<String, f64>,
    /// `worker.answer-timeout`.
    pub worker_answer_timeout: Duration,
    /// `state.cache-bytes`.
    pub state_cache_bytes: u64,
    /// `autoscaler.*`.
    pub autoscaler: Autoscaler,
}

/// Settings of the autoscaler.
#[derive(Debug, Clone, PartialEq)]
pub struct Autoscaler {
    /// `autoscaler.interval`.
    pub interval: Duration,
    /// `autoscaler.window`.
    pub window: Duration,
    /// `autoscaler.warm-up`.
    pub warm_up: Duration,
    /// `autoscaler.activation`.
    pub activation: u32,
    /// `autoscaler.scale-down-delay`.
    pub scale_down_delay: Duration,
    /// `autoscaler.catch-up`.
    pub catch_up: Duration,
    /// `autoscaler.lag-limit`.
    pub lag_limit: Duration,
    /// `autoscaler.dead-band-percent`.
    pub dead_band_percent: u32,
    /// `autoscaler.minor-change-percent`.
    pub minor_change_percent: u32,
}

impl Settings {
    /// The catalogue's defaults with `given` on top. All that is wrong is reported, by field path below `path` (such as
    /// `spec.settings`).
    pub fn resolve(given: &[Setting], path: &str) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut values: BTreeMap<String, Value> = BTreeMap::new();
        for (at, setting) in given.iter().enumerate() {
            let at = format!("{path}[{at}]");
            match read(setting) {
                Ok(value) if values.insert(setting.name.clone(), value).is_none() => {}
                Ok(_) => errors.push(FieldError::new(format!("{at}.name"), format!("`{}` is set twice", setting.name))),
                Err((field, message)) => errors.push(FieldError::new(format!("{at}.{field}"), message)),
            }
        }
        if errors.is_empty() { Ok(Self::from_values(&values)) } else { Err(errors) }
    }

    fn from_values(given: &BTreeMap<String, Value>) -> Self {
        let value = |name: &str| {
            let default = || {
                let entry = CATALOGUE.iter().find(|entry| entry.name == name)?;
                Value::read(entry.kind, entry.default)
            };
            given.get(name).copied().or_else(default)
        };
        // Only `task.records-per-second` has no default (a test reads them all), so 0 is never what these return.
        let number = |name: &str| value(name).map_or(0, |value| value.0 as u64);
        let duration = |name: &str| Duration::from_ms(number(name));
        let small = |name: &str| u32::try_from(number(name)).unwrap_or(u32::MAX);
        let per_stage = given
            .iter()
            .filter_map(|(name, value)| Some((name.strip_prefix("task.records-per-second.")?.to_owned(), value.0)));
        Self {
            batch_rows: usize::try_from(number("batch.rows")).unwrap_or(usize::MAX),
            exchange_window_bytes: number("exchange.window-bytes"),
            task_records_per_second: value("task.records-per-second").map(|value| value.0),
            stage_records_per_second: per_stage.collect(),
            worker_answer_timeout: duration("worker.answer-timeout"),
            state_cache_bytes: number("state.cache-bytes"),
            autoscaler: Autoscaler {
                interval: duration("autoscaler.interval"),
                window: duration("autoscaler.window"),
                warm_up: duration("autoscaler.warm-up"),
                activation: small("autoscaler.activation"),
                scale_down_delay: duration("autoscaler.scale-down-delay"),
                catch_up: duration("autoscaler.catch-up"),
                lag_limit: duration("autoscaler.lag-limit"),
                dead_band_percent: small("autoscaler.dead-band-percent"),
                minor_change_percent: small("autoscaler.minor-change-percent"),
            },
        }
    }

    /// Rows a second a task of `stage` takes at most.
    pub fn records_per_second(&self, stage: &str) -> Option<f64> {
        self.stage_records_per_second.get(stage).copied().or(self.task_records_per_second)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::from_values(&BTreeMap::new())
    }
}

/// A value in its kind's base unit (rows, bytes, ms, rows a second, percent); all are below 2^53.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Value(f64);

impl Value {
    fn read(kind: Kind, text: &str) -> Option<Self> {
        let value = match kind {
            Kind::Count => text.parse::<u32>().ok().filter(|count| *count >= 1)?.into(),
            Kind::Bytes => parse_quantity(text).filter(|bytes| *bytes >= 1)? as f64,
            Kind::Duration => text.parse::<Duration>().ok().filter(|duration| duration.ms >= 1)?.ms as f64,
            Kind::Delay => text.parse::<Duration>().ok()?.ms as f64,
            Kind::Rate => text.parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate > 0.0)?,
            Kind::Percent => text.parse::<u32>().ok().filter(|percent| *percent <= 100)?.into(),
        };
        Some(Self(value))
    }
}

impl Kind {
    fn wanted(self) -> &'static str {
        match self {
            Self::Count => "a whole number of at least 1",
            Self::Bytes => "a number of bytes such as 256Ki",
            Self::Duration => "a duration above 0 such as 5s or 500ms",
            Self::Delay => "a duration such as 5s or 500ms",
            Self::Rate => "a number of records a second above 0",
            Self::Percent => "a whole number from 0 to 100",
        }
    }
}

/// The value of one setting, or the field that is wrong with what is wrong.
fn read(setting: &Setting) -> Result<Value, (&'static str, String)> {
    let fits = |entry: &&Entry| {
        entry.name == setting.name
            || entry.per_stage
                && setting
                    .name
                    .strip_prefix(entry.name)
                    .and_then(|rest| rest.strip_prefix('.'))
                    .is_some_and(|stage| !stage.is_empty())
    };
    let Some(entry) = CATALOGUE.iter().find(fits) else {
        let names = CATALOGUE.iter().map(|entry| entry.name);
        let hint = match super::parse::closest(&setting.name, names) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("there are {}", CATALOGUE.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ")),
        };
        return Err(("name", format!("unknown setting `{}`; {hint}", setting.name)));
    };
    Value::read(entry.kind, &setting.value)
        .ok_or_else(|| ("value", format!("`{}` of {} must be {}", setting.value, setting.name, entry.kind.wanted())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pairs: &[(&str, &str)]) -> Result<Settings, Vec<FieldError>> {
        let settings: Vec<Setting> =
            pairs.iter().map(|(name, value)| Setting { name: (*name).into(), value: (*value).into() }).collect();
        Settings::resolve(&settings, "spec.settings")
    }

    #[test]
    fn every_default_is_readable() {
        for entry in CATALOGUE {
            assert_eq!(Value::read(entry.kind, entry.default).is_some(), !entry.default.is_empty(), "{}", entry.name);
        }
        let settings = Settings::default();
        assert_eq!((settings.batch_rows, settings.exchange_window_bytes), (4096, 256 << 10));
        assert_eq!((settings.autoscaler.interval.ms, settings.autoscaler.activation), (5000, 2));
        assert_eq!(settings.records_per_second("any"), None);
    }

    #[test]
    fn a_rate_holds_for_one_stage_or_all() {
        let settings =
            set(&[("task.records-per-second", "1000"), ("task.records-per-second.window-1", "250.5")]).unwrap();
        assert_eq!(settings.records_per_second("window-1"), Some(250.5));
        assert_eq!(settings.records_per_second("other"), Some(1000.0));
    }

    #[test]
    fn mistakes_name_their_field() {
        let said = |pairs: &[(&str, &str)]| set(pairs).unwrap_err()[0].to_string();
        assert_eq!(
            said(&[("batch.row", "1")]),
            "spec.settings[0].name: unknown setting `batch.row`; did you mean `batch.rows`?"
        );
        assert_eq!(
            said(&[("batch.rows", "4096"), ("autoscaler.interval", "5")]),
            "spec.settings[1].value: `5` of autoscaler.interval must be a duration above 0 such as 5s or 500ms"
        );
        assert_eq!(
            said(&[("batch.rows", "0")]),
            "spec.settings[0].value: `0` of batch.rows must be a whole number of at least 1"
        );
        assert_eq!(
            said(&[("batch.rows", "1"), ("batch.rows", "2")]),
            "spec.settings[1].name: `batch.rows` is set twice"
        );
        assert!(said(&[("task.records-per-second.", "1")]).contains("did you mean `task.records-per-second`?"));
    }
}

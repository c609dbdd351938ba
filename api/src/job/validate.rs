//! Rules across fields. Each message names the field path and says what to do.
use std::collections::BTreeSet;
use std::fmt;

use super::bound::{JOB_NAME_MAX, KEY_GROUPS_MAX, SQL_BYTES_MAX, STAGES_MAX};
use super::setting::Settings;
use super::spec::{Spec, Stage, StartMode};
use super::{StreamJob, parse_quantity};
use crate::duration::Duration;

/// One thing wrong with a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct FieldError {
    /// Such as `spec.stages[1].maxParallelism`.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl FieldError {
    pub(crate) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

/// Everything wrong with a job, one line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Invalid {
    /// At least one.
    pub errors: Vec<FieldError>,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.errors.iter().enumerate() {
            let newline = if at > 0 { "\n" } else { "" };
            write!(f, "{newline}{error}")?;
        }
        Ok(())
    }
}

impl StreamJob {
    /// Checks every rule that needs no more than the job itself and answers its settings.
    pub fn validate(&self) -> Result<Settings, Invalid> {
        let mut errors = Errors(Vec::new());
        errors.name(&self.metadata.name);
        errors.spec(&self.spec);
        match Settings::resolve(&self.spec.settings, "spec.settings") {
            Ok(settings) if errors.0.is_empty() => return Ok(settings),
            Ok(_) => {}
            Err(more) => errors.0.extend(more),
        }
        Err(Invalid { errors: errors.0 })
    }
}

struct Errors(Vec<FieldError>);

impl Errors {
    fn check(&mut self, fine: bool, path: &str, message: impl FnOnce() -> String) {
        if !fine {
            self.0.push(FieldError::new(path, message()));
        }
    }

    fn name(&mut self, name: &str) {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let fine = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(inner)
            && !name.ends_with('-')
            && name.len() <= JOB_NAME_MAX;
        self.check(fine, "metadata.name", || {
            let shown: String = name.chars().take(60).flat_map(char::escape_debug).collect();
            format!(
                "`{shown}` must be 1 to {JOB_NAME_MAX} lower-case letters, digits and dashes, from a letter to a letter or digit"
            )
        });
    }

    fn spec(&mut self, spec: &Spec) {
        self.sql(spec);
        let groups = spec.key_groups;
        self.check((1..=KEY_GROUPS_MAX).contains(&groups), "spec.keyGroups", || {
            format!("{groups} must be from 1 to {KEY_GROUPS_MAX}")
        });
        self.tasks("spec.parallelism", spec.parallelism, groups);
        self.check(spec.slots_per_worker >= 1, "spec.slotsPerWorker", || "0 must be at least 1".into());
        self.autoscaling(spec);
        self.stages(spec);
        self.durations(spec);
        for (path, text) in [("spec.state.memory", &spec.state.memory), ("spec.state.disk", &spec.state.disk)] {
            self.check(parse_quantity(text).is_some_and(|bytes| bytes > 0), path, || {
                format!("`{text}` is not a quantity of bytes; write one such as 256Mi")
            });
        }
        self.check(spec.checkpoint.keep >= 1, "spec.checkpoint.keep", || "0 must be at least 1".into());
        self.store(spec);
        self.start_from(spec);
        self.variables(spec);
    }

    fn sql(&mut self, spec: &Spec) {
        let given = [spec.sql.inline.is_some(), spec.sql.config_map.is_some(), spec.sql.image_path.is_some()];
        let count = given.iter().filter(|given| **given).count();
        self.check(count == 1, "spec.sql", || {
            format!("{count} of inline, configMap and imagePath are given; give exactly one")
        });
        if let Some(inline) = &spec.sql.inline {
            self.check(!inline.trim().is_empty(), "spec.sql.inline", || "is empty; write the job's SQL here".into());
            self.check(inline.len() <= SQL_BYTES_MAX, "spec.sql.inline", || {
                format!("{} bytes are more than {SQL_BYTES_MAX}; use a configMap or imagePath", inline.len())
            });
        }
    }

    fn tasks(&mut self, path: &str, tasks: u32, groups: u32) {
        self.check(tasks >= 1, path, || "0 must be at least 1".into());
        self.check(tasks <= groups.max(1), path, || {
            format!("{tasks} is more than the {groups} key groups there are to share (spec.keyGroups)")
        });
    }

    fn autoscaling(&mut self, spec: &Spec) {
        let scaling = &spec.autoscaling;
        self.tasks("spec.autoscaling.minParallelism", scaling.min_parallelism, spec.key_groups);
        self.bounds("spec.autoscaling", scaling.min_parallelism, scaling.max_parallelism);
        let percent = scaling.target_utilization_percent;
        self.check((1..=100).contains(&percent), "spec.autoscaling.targetUtilizationPercent", || {
            format!("{percent} must be from 1 to 100")
        });
    }

    fn bounds(&mut self, path: &str, min: u32, max: u32) {
        self.check(max >= 1, &format!("{path}.maxParallelism"), || "0 must be at least 1".into());
        self.check(max == 0 || min <= max, &format!("{path}.maxParallelism"), || {
            format!("{max} is below minParallelism {min}")
        });
    }

    fn stages(&mut self, spec: &Spec) {
        let count = spec.stages.len();
        self.check(count <= STAGES_MAX, "spec.stages", || format!("{count} entries are more than {STAGES_MAX}"));
        let mut names = BTreeSet::new();
        for (at, stage) in spec.stages.iter().enumerate() {
            let path = format!("spec.stages[{at}]");
            self.check(!stage.name.is_empty(), &format!("{path}.name"), || "is empty".into());
            self.check(names.insert(&stage.name), &format!("{path}.name"), || {
                format!("`{}` has an entry already", stage.name)
            });
            self.stage(&path, stage, spec);
        }
    }

    fn stage(&mut self, path: &str, stage: &Stage, spec: &Spec) {
        let fields = [("parallelism", stage.parallelism), ("minParallelism", stage.min_parallelism)];
        for (field, tasks) in fields {
            if let Some(tasks) = tasks {
                self.tasks(&format!("{path}.{field}"), tasks, spec.key_groups);
            }
        }
        let min = stage.min_parallelism.unwrap_or(spec.autoscaling.min_parallelism);
        let max = stage.max_parallelism.unwrap_or(spec.autoscaling.max_parallelism);
        if stage.max_parallelism.is_some() {
            self.bounds(path, min, max);
        } else {
            self.check(min <= max, &format!("{path}.minParallelism"), || {
                format!("{min} is above spec.autoscaling.maxParallelism {max}")
            });
        }
    }

    fn durations(&mut self, spec: &Spec) {
        let mut positive = |path: &str, duration: Duration| {
            self.check(duration.ms > 0, path, || format!("{duration} must be longer than 0"));
        };
        positive("spec.checkpoint.interval", spec.checkpoint.interval);
        positive("spec.checkpoint.timeout", spec.checkpoint.timeout);
        positive("spec.restart.window", spec.restart.window);
        positive("spec.upgrade.healthTimeout", spec.upgrade.health_timeout);
        positive("spec.rescale.podTimeout", spec.rescale.pod_timeout);
    }

    fn store(&mut self, spec: &Spec) {
        let Some(store) = &spec.store else { return };
        self.check(store.uri.is_some() != store.claim_name.is_some(), "spec.store", || {
            "give exactly one of uri and claimName".into()
        });
    }

    fn start_from(&mut self, spec: &Spec) {
        let start = &spec.start_from;
        for (path, field, given, mode) in [
            ("spec.startFrom.snapshotName", "snapshotName", &start.snapshot_name, StartMode::Snapshot),
            ("spec.startFrom.path", "path", &start.path, StartMode::Path),
        ] {
            self.check(given.is_some() == (start.mode == mode), path, || {
                if given.is_some() {
                    format!("is only for mode {mode:?}, not {:?}", start.mode)
                } else {
                    format!("mode {mode:?} needs {field}")
                }
            });
        }
    }

    fn variables(&mut self, spec: &Spec) {
        let mut names = BTreeSet::new();
        for (at, variable) in spec.variables.iter().enumerate() {
            let path = format!("spec.variables[{at}]");
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let fine = !variable.name.is_empty()
                && variable.name.chars().all(word)
                && !variable.name.starts_with(|c: char| c.is_ascii_digit());
            self.check(fine, &format!("{path}.name"), || {
                "must be letters, digits and _, not beginning with a digit".into()
            });
            self.check(names.insert(&variable.name), &format!("{path}.name"), || {
                format!("`{}` is there already", variable.name)
            });
            self.check(variable.value.is_some() != variable.secret_key_ref.is_some(), &path, || {
                "give exactly one of value and secretKeyRef".into()
            });
        }
    }
}

//! The job that is rescaled.
use std::path::Path;

use anyhow::{Context, Result};
use millstream_sql::OpKind;

use super::scenario::Scenario;
use crate::load::{self, Loaded};

const SQL: &str = include_str!("job.sql");
/// Checkpoints are on: two in a quiet phase, within these bounds.
const CHECKPOINT_INTERVAL_MS: (u64, u64) = (1_000, 10_000);
/// A first checkpoint of all state must not be given up.
const CHECKPOINT_TIMEOUT_MS: u64 = 1_800_000;

/// The job, with the folder in which it and its driver meet.
pub fn load(scenario: &Scenario, folder: &Path) -> Result<Loaded> {
    // A value is kept and never shipped on: what arrives is whether it is there.
    let bytes = match scenario.value_bytes {
        0 => "CAST(0 AS BIGINT)".to_owned(),
        bytes => format!("CASE WHEN MAX(payload) IS NULL THEN CAST(0 AS BIGINT) ELSE CAST({bytes} AS BIGINT) END"),
    };
    let values = [
        ("FOLDER", folder.display().to_string().replace('\'', "''")),
        ("KEYS", scenario.keys.to_string()),
        ("UNTIMED", scenario.untimed().to_string()),
        ("VALUE_BYTES", scenario.value_bytes.to_string()),
        ("BYTES", bytes),
    ];
    let sql = values.iter().fold(SQL.to_owned(), |sql, (name, value)| sql.replace(&format!("${{{name}}}"), value));
    let mut loaded = load::from_sql("bench-rescale", &sql)?;
    let stage = keyed_stage(&loaded)?;
    let spec = &mut loaded.spec;
    spec.parallelism = 1;
    spec.stages.insert(stage, scenario.from);
    spec.key_groups = scenario.key_groups;
    spec.state_backend = scenario.state.name().to_owned();
    let (least_ms, most_ms) = CHECKPOINT_INTERVAL_MS;
    spec.checkpoint_interval_ms = Some(scenario.seconds.saturating_mul(500).clamp(least_ms, most_ms));
    spec.checkpoint_timeout_ms = CHECKPOINT_TIMEOUT_MS;
    spec.tuning.batch_rows = usize::try_from(scenario.batch_rows())?;
    Ok(loaded)
}

/// Name of the stage with the state.
pub fn keyed_stage(loaded: &Loaded) -> Result<String> {
    let is_keyed = |kind: &OpKind| matches!(kind, OpKind::GroupAggregate { .. });
    let found = loaded.graph.stages.iter().find(|stage| stage.ops.iter().any(|op| is_keyed(&op.kind)));
    Ok(found.context("the benchmark's job has no keyed stage")?.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Batching, State};

    #[test]
    fn the_keyed_stage_alone_has_the_tasks_and_the_sink_is_another_one() {
        let (state, batch, seconds) = (State::Memory, Batching::Auto, 1);
        let (keys, rate, from, to) = (10_000, 100, 2, 3);
        for value_bytes in [0, 64] {
            let (half_of_saturation, back, key_groups) = (false, false, 128);
            let shape = Scenario {
                keys,
                value_bytes,
                rate,
                half_of_saturation,
                from,
                to,
                back,
                state,
                key_groups,
                batch,
                seconds,
            };
            let loaded = load(&shape, Path::new("it's here")).unwrap();
            assert_eq!(keyed_stage(&loaded).unwrap(), "aggregate-1");
            let tasks: Vec<_> =
                loaded.graph.stages.iter().map(|stage| loaded.spec.parallelism_of(&stage.name)).collect();
            assert_eq!((tasks.len(), tasks.iter().sum::<u32>()), (4, 5), "{:?}", loaded.graph.stages);
            assert_eq!((loaded.spec.key_groups, loaded.spec.tuning.batch_rows), (128, 833));
        }
    }
}

//! `millstream validate`, and the checks every command makes before it runs a job.
use anyhow::Result;
use millstream_runtime::connector::{self, Role};
use millstream_sql::{OpKind, StageGraph};

use crate::args::ValidateArgs;
use crate::{load, say};

/// Checks a job and says what it found.
pub fn validate(args: &ValidateArgs) -> Result<()> {
    let loaded = load::load(&args.file)?;
    let stages: Vec<&str> = loaded.graph.stages.iter().map(|stage| stage.name.as_str()).collect();
    if args.json {
        let fingerprint = format!("{:016x}", loaded.graph.fingerprint);
        let found =
            serde_json::json!({"valid": true, "job": loaded.spec.name, "stages": stages, "fingerprint": fingerprint});
        say::line(&found.to_string())
    } else {
        let (file, job) = (args.file.file.display(), &loaded.spec.name);
        say::line(&format!("{file} is valid: job {job}, stages {}", stages.join(", ")))
    }
}

/// Every table's connector and options, and whether sinks can take what they are given.
pub fn tables(graph: &StageGraph) -> Result<(), String> {
    for stage in &graph.stages {
        let mut updating =
            graph.edges.iter().any(|edge| graph.stages[edge.to].name == stage.name && emits_updates(graph, edge.from));
        for op in &stage.ops {
            let (table, role) = match &op.kind {
                OpKind::Source(table) => (table, Role::Source),
                OpKind::Sink(table) => (table, Role::Sink),
                _ => {
                    updating = op.updating;
                    continue;
                }
            };
            let place = |message: String| format!("line {}, column {}: {message}", table.line, table.column);
            connector::validate(table, role).map_err(|error| place(millstream_api::error::chain(&error)))?;
            if role == Role::Sink && updating {
                let sink = connector::sink_of(table).map_err(|error| place(error.to_string()))?;
                if !sink.takes_updates() {
                    return Err(place(format!(
                        "table \"{}\": its {} connector only takes inserts, and stage {} updates rows it has emitted; \
                         aggregate by window, or write to a connector that takes updates (print, blackhole)",
                        table.name, table.connector, stage.name
                    )));
                }
            }
        }
    }
    Ok(())
}

fn emits_updates(graph: &StageGraph, stage: usize) -> bool {
    graph.stages[stage].ops.last().is_some_and(|op| op.updating)
}

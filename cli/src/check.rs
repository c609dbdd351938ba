//! `millstream validate`, and the checks every command makes before it runs a job.
use anyhow::Result;
use millstream_runtime::connector::{self, Role};
use millstream_sql::{OpKind, StageGraph};

use crate::args::{FileArgs, ValidateArgs};
use crate::fail::user;
use crate::{load, say};

mod against;

pub use against::Refused;

/// Checks a job and says what it found.
pub fn validate(args: &ValidateArgs) -> Result<()> {
    match &args.termination_log {
        Some(file) => crate::pod::check(args, file),
        // What a person can mend ends with their exit code.
        None => found(args, &args.file).map_err(|error| match error.downcast_ref::<Refused>() {
            Some(Refused::State(why) | Refused::Checkpoint(why)) => user(why.clone()),
            _ => error,
        }),
    }
}

/// Checks the job in this file.
pub fn found(args: &ValidateArgs, file: &FileArgs) -> Result<()> {
    let loaded = load::load(file)?;
    let fits = args.against.as_deref().map(|path| against::check(&loaded, path, args.required)).transpose()?;
    let stages: Vec<&str> = loaded.graph.stages.iter().map(|stage| stage.name.as_str()).collect();
    if args.json {
        let fingerprint = format!("{:016x}", loaded.graph.fingerprint);
        let mut found =
            serde_json::json!({"valid": true, "job": loaded.spec.name, "stages": stages, "fingerprint": fingerprint});
        if let Some(fits) = &fits {
            found["against"] = fits.json();
        }
        return say::line(&found.to_string());
    }
    let (shown, job) = (file.file.display(), &loaded.spec.name);
    say::line(&format!("{shown} is valid: job {job}, stages {}", stages.join(", ")))?;
    fits.map_or(Ok(()), |fits| say::line(&fits.to_string()))
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

//! Which state of a checkpoint is whose in a job that was planned anew. Pure.
//!
//! State is kept where it means the same as before: the op has the same id, all that its rows come through is the same, and its
//! entries are encoded alike. Positions are kept where the table is the same. Everything else has no place, and is given up only if
//! `upgrade.dropState` names its op. Ops that the checkpoint does not know start empty.
use std::fmt;

use super::manifest::{Manifest, StageManifest, StateRegistration};

/// A job as planned now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Planned {
    /// Of the stage graph. A checkpoint that was made with the same graph fits as a whole.
    pub fingerprint: u64,
    /// In the order of the graph.
    pub stages: Vec<PlannedStage>,
}

/// One stage of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlannedStage {
    /// Stable name.
    pub name: String,
    /// Hash of the table it reads; 0 if it reads none.
    pub input: u64,
    /// The keyed states of its ops.
    pub states: Vec<StateRegistration>,
}

/// What becomes of the state of a checkpoint; by the id of its op.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    /// Goes on.
    pub kept: Vec<String>,
    /// Is given up, as `upgrade.dropState` says.
    pub dropped: Vec<String>,
    /// Begins without any.
    pub new: Vec<String>,
}

/// State that has no place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Number of the checkpoint.
    pub epoch: u64,
    /// Id of the op, name of its state, and why.
    pub states: Vec<(String, String, &'static str)>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "state of checkpoint {} has no place in this job: ", self.epoch)?;
        for (op, state, why) in &self.states {
            write!(formatter, "{op}/{state} ({why}); ")?;
        }
        let mut ops: Vec<&str> = self.states.iter().map(|(op, ..)| op.as_str()).collect();
        ops.dedup();
        write!(
            formatter,
            "leave these parts of the SQL as they were, or give their state up: upgrade.dropState: [{}]",
            ops.join(", ")
        )
    }
}

/// A state of a checkpoint and whether it has a place.
type Found = (String, String, Result<(), &'static str>);

/// What becomes of each state.
pub fn map(saved: &Manifest, planned: &Planned, drop_state: &[String]) -> Result<Mapping, Mismatch> {
    let is_same = saved.fingerprint == planned.fingerprint;
    let found = saved.stages.iter().flat_map(|stage| states(stage, planned, is_same));
    let mut mapping = Mapping::default();
    let mut mismatch = Mismatch { epoch: saved.epoch, states: Vec::new() };
    for (op, state, fits) in found {
        let (list, known) = match fits {
            Ok(()) => (&mut mapping.kept, op),
            Err(_) if drop_state.contains(&op) => (&mut mapping.dropped, op),
            Err(why) => {
                mismatch.states.push((op, state, why));
                continue;
            }
        };
        if !list.contains(&known) {
            list.push(known);
        }
    }
    if !mismatch.states.is_empty() {
        return Err(mismatch);
    }
    let with_state = planned.stages.iter().flat_map(|stage| {
        let reads = (stage.input != 0).then(|| source(&stage.name));
        reads.into_iter().chain(stage.states.iter().map(|state| state.op.clone()))
    });
    for op in with_state.filter(|op| !mapping.kept.contains(op)) {
        if !mapping.new.contains(&op) {
            mapping.new.push(op);
        }
    }
    Ok(mapping)
}

/// Whether a stage goes on with its state. Those that do not have been consented to.
pub fn keeps_state(saved: &StageManifest, states: &[StateRegistration]) -> bool {
    // A checkpoint of before lineages were written down: what it is used for is the same graph.
    let old = |state: &StateRegistration| StateRegistration { lineage: 0, ..state.clone() };
    let same = |(saved, now): (&StateRegistration, &StateRegistration)| saved == now || *saved == old(now);
    saved.states.len() == states.len() && saved.states.iter().zip(states).all(same)
}

/// Whether a stage goes on with its positions.
pub fn keeps_positions(saved: &StageManifest, input: u64) -> bool {
    // A checkpoint of before inputs were written down: what it is used for is the same graph.
    saved.input == input || saved.input == 0
}

/// Id of the op that reads the table of a stage.
fn source(stage: &str) -> String {
    format!("{stage}.source")
}

fn states(saved: &StageManifest, planned: &Planned, is_same: bool) -> Vec<Found> {
    let now = planned.stages.iter().find(|stage| stage.name == saved.name);
    let mut found = Vec::new();
    if saved.tasks.iter().any(|task| !task.splits.is_empty()) {
        let fits = match now {
            _ if is_same => Ok(()),
            Some(now) if now.input != 0 && keeps_positions(saved, now.input) => Ok(()),
            Some(now) if now.input != 0 => Err("another input"),
            _ => Err("nothing reads it any more"),
        };
        found.push((source(&saved.name), "positions".to_owned(), fits));
    }
    // One state of a stage that has changed is all of it: its entries are in one store, by ordinal.
    let whole = now.is_some_and(|now| keeps_state(saved, &now.states));
    for state in &saved.states {
        let same_op =
            now.and_then(|now| now.states.iter().find(|other| other.op == state.op && other.name == state.name));
        let fits = match same_op {
            _ if is_same || (whole && state.lineage != 0) => Ok(()),
            None => Err("there is no such op any more"),
            Some(other) if other.lineage != state.lineage => Err("it, or what comes before it, is another one now"),
            Some(_) => Err("it is stored in another way now"),
        };
        found.push((state.op.clone(), state.name.clone(), fits));
    }
    found
}

#[cfg(test)]
mod tests;

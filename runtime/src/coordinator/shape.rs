//! From a job to what its coordinator must know of it.
use sha2::{Digest, Sha256};

use millstream_sql::StageGraph;
use millstream_sql::graph::{OpKind, Partition};

use super::place::{HASH, StageShape};
use crate::checkpoint::manifest::StateRegistration;
use crate::checkpoint::mapping::{Planned, PlannedStage};
use crate::connector;
use crate::job::JobSpec;
use crate::worker::build::{build_chain, registrations};
use millstream_api::error::chain;

/// A planned job.
pub struct Shape {
    /// By stage.
    pub stages: Vec<StageShape>,
    /// Keyed states by stage.
    pub states: Vec<Vec<StateRegistration>>,
    /// Of the stage graph.
    pub fingerprint: u64,
    /// Of the SQL text.
    pub sql_hash: String,
}

/// Plans a job and lists the splits of its sources.
pub fn shape(job: &JobSpec) -> Result<Shape, String> {
    let graph = job.plan().map_err(|error| error.to_string())?;
    let count = 0..graph.stages.len();
    let stages = count.clone().map(|index| stage(&graph, index)).collect::<Result<_, _>>()?;
    let states = |index| {
        let chain = build_chain(&graph, index, job.tuning.op_cache_bytes).map_err(|error| chain(&error))?;
        Ok(registrations(&chain, &graph))
    };
    let states = count.map(states).collect::<Result<_, String>>()?;
    let digest = Sha256::digest(job.sql.as_bytes());
    let sql_hash = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Shape { stages, states, fingerprint: graph.fingerprint, sql_hash })
}

impl Shape {
    /// What checkpoints have to fit.
    pub fn planned(&self) -> Planned {
        let stages = self.stages.iter().zip(&self.states);
        let stages = stages.map(|(stage, states)| PlannedStage {
            name: stage.name.clone(),
            input: stage.input,
            states: states.clone(),
        });
        Planned { fingerprint: self.fingerprint, stages: stages.collect() }
    }
}

fn stage(graph: &StageGraph, index: usize) -> Result<StageShape, String> {
    let stage = &graph.stages[index];
    let splits = match stage.ops.first().map(|op| &op.kind) {
        Some(OpKind::Source(table)) => {
            let connector = connector::source_of(table).map_err(|error| chain(&error))?;
            Some(connector.splits(table).map_err(|error| chain(&error))?)
        }
        _ => None,
    };
    let edges = graph.edges.iter().enumerate().filter(|(_, edge)| edge.to == index);
    let inputs = edges.map(|(id, edge)| {
        let partition = match edge.partition {
            Partition::Hash { .. } => HASH,
            Partition::Rebalance => "rebalance",
        };
        (id as u16, edge.from, partition)
    });
    let ops = stage.ops.iter().map(|op| op.id.clone()).collect();
    Ok(StageShape { name: stage.name.clone(), ops, splits, input: graph.input(index), inputs: inputs.collect() })
}

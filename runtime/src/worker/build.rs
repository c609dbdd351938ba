//! From a deployment to tasks, in two steps: `prepare` plans, restores state and registers every input; `connect`, once all
//! workers are prepared, opens the channels and makes the tasks.
mod connect;
mod extend;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use millstream_api::error::chain;
use millstream_api::id::{Epoch, Generation, KeyGroup, TaskId};
use millstream_sql::graph::{OpKind, Partition, StageGraph, TableSpec};

use super::meter::Gauge;
use super::task::{Change, Input};
use super::upload::{Ledger, Origin};
use super::{Doors, Failed, TaskCommand};
use crate::checkpoint::manifest::{Manifest, StateRegistration};
use crate::connector;
use crate::exchange::{ChannelId, EdgeCounters, Gate, Hub, Wake};
use crate::message::live::Progress;
use crate::message::{Deploy, Failure};
use crate::sink::{self, Committable};
use crate::source;
use crate::stage::chain::{Chain, ChainInput, Env};
use crate::state::{Backend, Store};

/// Makes the exchange of a generation: TCP in production, queues in simulation.
pub trait Hubs: Send {
    /// The hub of this generation on this worker, ready for gates.
    fn create(&self, deploy: &Deploy) -> Arc<Hub>;
    /// All gates are registered: lets peers connect.
    fn serve(&self, hub: &Arc<Hub>, deploy: &Deploy);
    /// Opens a connection to every other peer of the deployment that has none yet.
    fn connect(&self, hub: &Arc<Hub>, deploy: &Deploy) -> Result<(), String>;
    /// The generation has ended.
    fn retire(&self, generation: Generation);
}

/// What can be said of a task from outside while it runs.
pub struct Running {
    /// Index of its stage.
    pub stage: usize,
    /// Key groups it owns.
    pub groups: Vec<KeyGroup>,
    /// Its counters.
    pub gauge: Arc<Gauge>,
    /// Rows and bytes by output edge.
    pub edges: Vec<(u16, Arc<EdgeCounters>)>,
    /// Identifies its store among all that ever were.
    pub incarnation: u64,
    gate: Option<Arc<Gate>>,
    commands: Sender<TaskCommand>,
    wake: Arc<dyn Wake>,
}

impl Running {
    fn tell(&self, command: TaskCommand) {
        // A task that is gone has said why.
        let _ = self.commands.send(command);
        self.wake.wake();
    }

    fn change(&self, change: Change) {
        self.tell(TaskCommand::Change(Box::new(change)));
    }
}

/// A generation on this worker.
pub struct Deployment {
    /// Incarnation of the task set.
    pub generation: Generation,
    /// As the coordinator described it.
    pub deploy: Deploy,
    /// Its tasks here.
    pub tasks: BTreeMap<TaskId, Running>,
    /// The epoch being made visible and the tasks that have not done so.
    pub committing: Option<(Epoch, BTreeSet<TaskId>)>,
    /// What another coordinator would have to know.
    pub standing: Standing,
    graph: Arc<StageGraph>,
    hub: Arc<Hub>,
    unconnected: Vec<Unconnected>,
    /// Tasks, here or elsewhere, that join a running generation and are not connected yet.
    joining: BTreeSet<TaskId>,
    /// Channels that bring state here.
    transfers: BTreeSet<ChannelId>,
    /// Channels that take state away.
    sending: BTreeSet<ChannelId>,
}

/// Where a generation stands on this worker.
#[derive(Default)]
pub struct Standing {
    /// Tasks that have processed all their input.
    pub ended: BTreeSet<TaskId>,
    /// Highest epoch whose barrier was asked for.
    pub epoch: Epoch,
    /// The tasks have been started.
    pub started: bool,
    /// One of them has failed.
    pub broken: bool,
    /// Peers whose connection has broken. One that hosts nothing any more is none.
    pub lost: BTreeSet<String>,
    /// How far it has come with rescales.
    pub progress: Progress,
}

/// A task without its output channels.
struct Unconnected {
    task: TaskId,
    stage: usize,
    input: Input,
    chain: Chain,
    store: Box<dyn Store>,
    commands: std::sync::mpsc::Receiver<TaskCommand>,
}

fn fail(message: impl Into<String>) -> Failed {
    Failed(Failure { message: message.into(), user: false })
}

/// Builds everything that does not need the other workers. `joins`: the generation runs already elsewhere.
pub fn prepare(
    worker: &str,
    (deploy, joins): (&Deploy, bool),
    backend: &Arc<dyn Backend>,
    doors: &mut Doors,
    uploads: &mut Ledger,
) -> Result<Deployment, Failed> {
    let planned = deploy.job.plan().map_err(|error| fail(error.to_string()))?;
    if planned.fingerprint != deploy.fingerprint {
        return Err(fail("this worker plans the job differently than its coordinator: they are of different versions"));
    }
    let manifest = match &deploy.restore {
        _ if joins => None,
        Some(from) => Some(super::upload::load_manifest(doors, from).map_err(fail)?),
        None => None,
    };
    let mut deployment = Deployment {
        generation: deploy.generation,
        deploy: deploy.clone(),
        tasks: BTreeMap::new(),
        committing: None,
        standing: Standing::default(),
        graph: Arc::new(planned),
        hub: doors.hubs.create(deploy),
        unconnected: Vec::new(),
        joining: BTreeSet::new(),
        transfers: BTreeSet::new(),
        sending: BTreeSet::new(),
    };
    for (index, stage) in deploy.stages.iter().enumerate() {
        for placed in stage.tasks.iter().filter(|placed| placed.worker == worker) {
            if joins {
                deployment.joining.insert(placed.task);
            }
            deployment.prepare_task(index, placed.task, manifest.as_ref(), (backend, doors, uploads))?;
        }
        let first = stage.tasks.first().is_some_and(|placed| placed.worker == worker);
        if first && !joins {
            deployment.settle_sink(index, manifest.as_ref())?;
        }
    }
    doors.hubs.serve(&deployment.hub, deploy);
    Ok(deployment)
}

impl Deployment {
    fn prepare_task(
        &mut self,
        index: usize,
        task: TaskId,
        manifest: Option<&Manifest>,
        (backend, doors, uploads): (&Arc<dyn Backend>, &mut Doors, &mut Ledger),
    ) -> Result<(), Failed> {
        let deployed = &self.deploy.stages[index];
        let groups = if self.is_keyed(index) { deployed.table.groups_of(task) } else { Vec::new() };
        let old = manifest.and_then(|manifest| manifest.stages.iter().find(|old| old.name == deployed.name));
        let mut chain = self.chain(index)?;
        let origin = Origin {
            old: old.zip(self.deploy.restore.as_ref()),
            states: &registrations(&chain, &self.graph),
            groups: &groups,
        };
        let (mut store, incarnation) = uploads.open(backend.as_ref(), doors, (task, self.generation), &origin)?;
        if let Some(old) = old {
            let mut parts: BTreeMap<String, Vec<serde_json::Value>> = BTreeMap::new();
            for (op, state) in old.tasks.iter().flat_map(|task| task.operator_state.iter()) {
                parts.entry(op.clone()).or_default().push(state.clone());
            }
            let mut output = Vec::new();
            chain.restore(&parts, &mut Env { store: store.as_mut(), groups: &groups, output: &mut output })?;
        }
        let wake = doors.host.wake(task);
        let input = match self.source(index) {
            Some(table) => self.open_source(table.clone(), index, task, &mut chain, store.as_mut())?,
            None => {
                let window = self.deploy.job.tuning.window_bytes;
                let gate = Gate::new(task, self.inlets(index, task), window, Arc::clone(&wake));
                self.hub.register(&gate)?;
                Input::Gate(gate)
            }
        };
        let (sender, commands) = channel();
        let gauge = Arc::new(Gauge::new());
        let gate = match &input {
            Input::Gate(gate) => Some(Arc::clone(gate)),
            Input::Source(_) => None,
        };
        let edges = Vec::new();
        let running = Running { stage: index, groups, gauge, edges, incarnation, gate, commands: sender, wake };
        self.tasks.insert(task, running);
        self.unconnected.push(Unconnected { task, stage: index, input, chain, store, commands });
        Ok(())
    }

    /// The fused ops of a stage, with the schemas of what comes in.
    fn chain(&self, index: usize) -> Result<Chain, Failed> {
        Ok(build_chain(&self.graph, index, self.deploy.job.tuning.op_cache_bytes)?)
    }

    /// Whether rows come to the stage by key, so that its tasks own key groups.
    fn is_keyed(&self, index: usize) -> bool {
        let mut edges = self.graph.edges.iter().filter(|edge| edge.to == index);
        edges.any(|edge| matches!(edge.partition, Partition::Hash { .. }))
    }

    fn source(&self, index: usize) -> Option<&TableSpec> {
        match self.graph.stages[index].ops.first().map(|op| &op.kind) {
            Some(OpKind::Source(table)) => Some(table),
            _ => None,
        }
    }

    fn sink(&self, index: usize) -> Option<&TableSpec> {
        match self.graph.stages[index].ops.last().map(|op| &op.kind) {
            Some(OpKind::Sink(table)) => Some(table),
            _ => None,
        }
    }

    fn open_source(
        &self,
        table: TableSpec,
        index: usize,
        task: TaskId,
        chain: &mut Chain,
        store: &mut dyn Store,
    ) -> Result<Input, Failed> {
        let splits = self.deploy.stages[index].splits.iter().filter(|(reader, _)| *reader == task);
        let context = source::Context {
            job_started_at_ms: self.deploy.started_at_ms,
            batch_rows: self.deploy.job.tuning.batch_rows,
        };
        let connector = connector::source_of(&table).map_err(|error| Failed::from_source(&error))?;
        let splits = splits.map(|(_, split)| split.clone()).collect();
        let source = connector.open(&table, splits, &context).map_err(|error| Failed::from_source(&error))?;
        // Without splits it is idle, and says so when it runs.
        let (active, mut output) = (source.active_splits(), Vec::new());
        if !active.is_empty() {
            chain.splits(&active, &mut Env { store, groups: &[], output: &mut output })?;
        }
        Ok(Input::Source(source))
    }

    /// All channels into a task: from every task of every stage with an edge to its own.
    fn inlets(&self, index: usize, task: TaskId) -> Vec<crate::exchange::Inlet> {
        let edges = self.graph.edges.iter().enumerate().filter(|(_, edge)| edge.to == index);
        edges
            .flat_map(|(id, edge)| {
                let schema = output_schema(&self.graph, edge.from);
                let senders = self.deploy.stages[edge.from].tasks.iter();
                senders.map(move |from| {
                    let channel = ChannelId { edge: id as u16, from: from.task, to: task };
                    (channel, edge.port, Arc::clone(&schema))
                })
            })
            .collect()
    }

    /// Removes output that earlier generations left behind, and makes visible what the checkpoint says is written. Done once per
    /// sink, on the worker of the stage's first task, before any task starts.
    fn settle_sink(&self, index: usize, manifest: Option<&Manifest>) -> Result<(), Failed> {
        let Some(table) = self.sink(index) else { return Ok(()) };
        let name = &self.deploy.stages[index].name;
        let old = manifest.and_then(|manifest| manifest.stages.iter().find(|old| old.name == *name));
        let keep: Vec<Committable> =
            old.iter().flat_map(|old| old.tasks.iter().flat_map(|task| task.committables.clone())).collect();
        let own = manifest.is_none_or(|manifest| manifest.job_id == self.deploy.job_id);
        // Another job's savepoint: its output is that job's to show.
        let keep = if own { keep } else { Vec::new() };
        self.sweep(table, &keep).map_err(|error| Failed::from_source(&error))?;
        if keep.is_empty() {
            return Ok(());
        }
        let mut sink = self.open_sink(table, self.deploy.stages[index].tasks[0].task)?;
        sink.commit(&keep).map_err(|error| Failed::from_source(&error))
    }

    fn sweep(&self, table: &TableSpec, keep: &[Committable]) -> Result<(), source::Error> {
        connector::sink_of(table)?.clean(table, (self.deploy.job_id, self.generation), keep)
    }

    fn open_sink(&self, table: &TableSpec, task: TaskId) -> Result<Box<dyn sink::Sink>, Failed> {
        let context = sink::Context { task, generation: self.generation, job_id: self.deploy.job_id };
        let connector = connector::sink_of(table).map_err(|error| Failed::from_source(&error))?;
        connector.open(table, &context).map_err(|error| Failed::from_source(&error))
    }

    /// Removes whatever uncommitted output is left of the job.
    pub fn clean(&self) -> Result<(), String> {
        for index in 0..self.graph.stages.len() {
            if let Some(table) = self.sink(index) {
                self.sweep(table, &[]).map_err(|error| chain(&error))?;
            }
        }
        Ok(())
    }

    /// Says something to every task.
    pub fn tell(&self, command: impl Fn() -> TaskCommand) {
        self.tasks.values().for_each(|task| task.tell(command()));
    }

    /// Ends all connections of the generation.
    pub fn close(&self) {
        self.hub.close();
    }

    /// A task has made its output of an epoch visible; true once all have.
    pub fn committed(&mut self, task: TaskId, epoch: Epoch) -> bool {
        let Some((committing, waiting)) = &mut self.committing else { return false };
        *committing == epoch && waiting.remove(&task) && waiting.is_empty()
    }
}

/// Schema of what a stage sends.
pub fn output_schema(graph: &StageGraph, stage: usize) -> arrow::datatypes::SchemaRef {
    // Invariant: the planner never makes a stage without ops.
    graph.stages[stage]
        .ops
        .last()
        .map_or_else(|| Arc::new(arrow::datatypes::Schema::empty()), |op| Arc::clone(&op.output))
}

/// The fused ops of a stage, with the schemas of what comes in.
pub fn build_chain(graph: &StageGraph, index: usize, cache_bytes: usize) -> Result<Chain, crate::stage::Error> {
    let stage = &graph.stages[index];
    let from_port = |port: usize| graph.edges.iter().filter(move |edge| edge.to == index && edge.port == port);
    let schema_of = |port| from_port(port).next().map(|edge| output_schema(graph, edge.from));
    let updating_of =
        |port| from_port(port).any(|edge| graph.stages[edge.from].ops.last().is_some_and(|op| op.updating));
    let own = stage.ops.first().map(|op| Arc::clone(&op.output));
    let input = ChainInput {
        schema: schema_of(0).or(own).unwrap_or_else(|| Arc::new(arrow::datatypes::Schema::empty())),
        schema2: schema_of(1),
        updating: [updating_of(0), updating_of(1)],
    };
    Chain::new(&stage.ops, &input, cache_bytes)
}

/// The keyed states of a chain, as manifests name them.
pub fn registrations(chain: &Chain, graph: &StageGraph) -> Vec<StateRegistration> {
    let register = |(ordinal, state): (u16, &crate::stage::chain::Registration)| StateRegistration {
        ordinal,
        op: state.op.clone(),
        name: state.name.to_owned(),
        codec_version: state.version,
        lineage: graph.lineage(&state.op),
    };
    (0u16..).zip(chain.registrations()).map(register).collect()
}

//! Channels and tasks of a generation whose workers are all prepared.
use std::sync::Arc;

use millstream_api::id::TaskId;

use super::{Deployment, Unconnected, build_chain, fail};
use crate::exchange::{ChannelId, Error, Outlet, Router, RouterOptions};
use crate::worker::limit::Limiter;
use crate::worker::output::{Output, Route};
use crate::worker::task::{Parts, Task};
use crate::worker::{Doors, Event, Failed, upload};

/// Rows of groups on their way may take as many windows of a channel as this: some hundred milliseconds of a fast stream. A task that
/// holds more reads no rows until the groups are there.
const HELD_WINDOWS: usize = 32;
/// State travels between tasks in parts of at most about this size: large enough to cost little each, small enough to be sent between
/// two batches.
const PART_BYTES_MAX: usize = 256 << 10;

impl Deployment {
    /// Opens all output channels and makes the tasks. Every worker of the deployment is prepared.
    pub fn connect(&mut self, doors: &mut Doors) -> Result<Vec<Task>, Failed> {
        doors.hubs.connect(&self.hub, &self.deploy).map_err(fail)?;
        let mut tasks = Vec::new();
        for unconnected in std::mem::take(&mut self.unconnected) {
            tasks.push(self.make_task(unconnected, doors)?);
        }
        Ok(tasks)
    }

    pub(super) fn make_task(&mut self, unconnected: Unconnected, doors: &Doors) -> Result<Task, Failed> {
        let Unconnected { task, stage, input, chain, store, commands } = unconnected;
        let output = match self.sink(stage) {
            Some(table) => Output::sink(self.open_sink(table, task)?),
            None => Output::Routes(self.routes(stage, task)?),
        };
        let generation = self.generation;
        let name = &self.deploy.stages[stage].name;
        let tuning = &self.deploy.job.tuning;
        let rate = tuning.stage_records_per_second.get(name).copied().or(tuning.records_per_second);
        let running = &self.tasks[&task];
        let events = doors.events.clone();
        let (graph, cache_bytes) = (Arc::clone(&self.graph), tuning.op_cache_bytes);
        Ok(Task::new(Parts {
            task,
            input,
            chain,
            output,
            store,
            groups: running.groups.clone(),
            limiter: rate.and_then(Limiter::new),
            cuts: upload::cut_folder(&doors.folder, running.incarnation),
            term: self.deploy.term,
            make_chain: Box::new(move || build_chain(&graph, stage, cache_bytes)),
            part_bytes: tuning.window_bytes.min(PART_BYTES_MAX),
            held_bytes_max: tuning.window_bytes.saturating_mul(HELD_WINDOWS),
            joins: self.joining.contains(&task),
            wake: Arc::clone(&running.wake),
            gauge: Arc::clone(&running.gauge),
            clock: Arc::clone(&doors.clock),
            commands,
            events: Box::new(move |event| {
                // A worker that no longer listens is going down.
                let _ = events.send(Event::Task(generation, event));
            }),
        }))
    }

    fn routes(&mut self, stage: usize, task: TaskId) -> Result<Vec<Route>, Failed> {
        let mut routes = Vec::new();
        let graph = Arc::clone(&self.graph);
        for (id, edge) in graph.edges.iter().enumerate().filter(|(_, edge)| edge.from == stage) {
            let to: Vec<TaskId> = self.deploy.stages[edge.to].tasks.iter().map(|placed| placed.task).collect();
            let channels = to.into_iter().map(|to| ChannelId { edge: id as u16, from: task, to });
            let outlets = channels.map(|channel| self.outlet(channel)).collect::<Result<_, _>>()?;
            let options = RouterOptions { batch_rows: self.deploy.job.tuning.batch_rows };
            let (table, groups) = (&self.deploy.stages[edge.to].table, self.deploy.job.key_groups);
            let router = Router::new(edge.partition.clone(), outlets, table, groups, options)?;
            if let Some(running) = self.tasks.get_mut(&task) {
                running.edges.push((id as u16, router.counters()));
            }
            routes.push(Route { edge: id as u16, stage: edge.to, router });
        }
        Ok(routes)
    }

    /// The sending end of a channel of a task that is here.
    pub(super) fn outlet(&self, channel: ChannelId) -> Result<Outlet, Failed> {
        let mut placed = self.deploy.stages.iter().flat_map(|stage| &stage.tasks);
        let there = placed.find(|placed| placed.task == channel.to);
        let there = there.filter(|_| !self.tasks.contains_key(&channel.to)).map(|placed| placed.worker.as_str());
        let own = self.tasks.get(&channel.from).ok_or(Error::NoSuchChannel(channel))?;
        Ok(self.hub.outlet(channel, there, Arc::clone(&own.wake))?)
    }
}

//! Tasks and channels that come into a running generation, and leave it.
use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::Schema;
use millstream_api::id::{TableVersion, TaskId};

use super::{Deployment, fail};
use crate::exchange::ChannelId;
use crate::message::Deploy;
use crate::message::live::{HandOver, MovingSplit};
use crate::state::Backend;
use crate::worker::task::{Change, Task};
use crate::worker::upload::Ledger;
use crate::worker::{Doors, Failed, TaskCommand};

impl Deployment {
    /// Builds the tasks that join here, and makes room for the channels from those that join anywhere. Answers which tasks
    /// have been told of new channels.
    pub fn extend(
        &mut self,
        worker: &str,
        deploy: &Deploy,
        (backend, doors, uploads): (&Arc<dyn Backend>, &mut Doors, &mut Ledger),
    ) -> Result<BTreeSet<TaskId>, Failed> {
        let before = std::mem::replace(&mut self.deploy, deploy.clone());
        let known: BTreeSet<TaskId> =
            before.stages.iter().flat_map(|stage| &stage.tasks).map(|placed| placed.task).collect();
        let here: Vec<TaskId> = self.tasks.keys().copied().collect();
        for (index, stage) in deploy.stages.iter().enumerate() {
            for placed in stage.tasks.iter().filter(|placed| !known.contains(&placed.task)) {
                self.joining.insert(placed.task);
                if placed.worker == worker {
                    self.prepare_task(index, placed.task, None, (backend, doors, uploads))?;
                }
            }
        }
        let mut told = BTreeSet::new();
        for task in here {
            if self.open_inlets(task)? {
                told.insert(task);
            }
        }
        doors.hubs.serve(&self.hub, deploy);
        Ok(told)
    }

    /// The receiving ends of channels from tasks that join. Says whether there are any.
    fn open_inlets(&self, task: TaskId) -> Result<bool, Failed> {
        let Some((running, gate)) = self.tasks.get(&task).and_then(|task| Some((task, task.gate.as_ref()?))) else {
            return Ok(false);
        };
        let inlets = self.inlets(running.stage, task).into_iter();
        let mut opened = Vec::new();
        for inlet in inlets.filter(|(id, _, _)| self.joining.contains(&id.from)) {
            let id = inlet.0;
            opened.push((self.hub.add_inlet(gate, inlet)?, id));
        }
        let is_some = !opened.is_empty();
        if is_some {
            running.change(Change::Inlets(opened));
        }
        Ok(is_some)
    }

    /// Connects the tasks that join. Gives those that start here, and which others have been told of new channels.
    pub fn link(&mut self, doors: &mut Doors) -> Result<(Vec<Task>, BTreeSet<TaskId>), Failed> {
        doors.hubs.connect(&self.hub, &self.deploy).map_err(fail)?;
        let starting: BTreeSet<TaskId> = self.unconnected.iter().map(|task| task.task).collect();
        let mut told = BTreeSet::new();
        let graph = Arc::clone(&self.graph);
        for (task, running) in self.tasks.iter().filter(|(task, _)| !starting.contains(task)) {
            let mut outlets = Vec::new();
            for (id, edge) in graph.edges.iter().enumerate().filter(|(_, edge)| edge.from == running.stage) {
                let joining = self.deploy.stages[edge.to].tasks.iter().map(|placed| placed.task);
                for to in joining.filter(|to| self.joining.contains(to)) {
                    outlets.push(self.outlet(ChannelId { edge: id as u16, from: *task, to })?);
                }
            }
            if !outlets.is_empty() {
                running.change(Change::Outlets(outlets));
                told.insert(*task);
            }
        }
        let mut tasks = Vec::new();
        for unconnected in std::mem::take(&mut self.unconnected) {
            tasks.push(self.make_task(unconnected, doors)?);
        }
        self.joining.clear();
        Ok((tasks, told))
    }

    /// Receivers of a hand-over: opens the channels that bring the state.
    pub fn await_groups(&mut self, order: &Arc<HandOver>) -> Result<(), Failed> {
        let receivers: BTreeSet<TaskId> = order.moves.iter().map(|give| give.to).collect();
        for to in receivers {
            let mut inlets = Vec::new();
            for give in order.moves.iter().filter(|give| give.to == to) {
                let id = ChannelId::transfer(give.from, to);
                let gate = self.tasks.get(&to).and_then(|task| task.gate.as_ref());
                if let Some(gate) = gate.filter(|_| !self.transfers.contains(&id)) {
                    inlets.push((self.hub.add_inlet(gate, (id, 0, Arc::new(Schema::empty())))?, id));
                    self.transfers.insert(id);
                }
            }
            if let Some(task) = self.tasks.get(&to) {
                if !inlets.is_empty() {
                    task.change(Change::Inlets(inlets));
                }
                task.change(Change::Await(Arc::clone(order)));
            }
        }
        Ok(())
    }

    /// Donors of a hand-over: opens the channels that take the state away.
    pub fn copy(&mut self, order: &Arc<HandOver>) -> Result<(), Failed> {
        let donors: BTreeSet<TaskId> = order.moves.iter().map(|give| give.from).collect();
        for from in donors.into_iter().filter(|from| self.tasks.contains_key(from)).collect::<Vec<_>>() {
            let mut outlets = Vec::new();
            for give in order.moves.iter().filter(|give| give.from == from) {
                let id = ChannelId::transfer(from, give.to);
                // Receiver and donor may be of one worker: then the channel is known by its inlet.
                if self.sending.insert(id) {
                    outlets.push(self.outlet(id)?);
                }
            }
            if let Some(task) = self.tasks.get(&from) {
                if !outlets.is_empty() {
                    task.change(Change::Outlets(outlets));
                }
                task.change(Change::Copy(Arc::clone(order)));
            }
        }
        Ok(())
    }

    /// A change for every task.
    pub fn change(&self, change: impl Fn() -> Change) {
        self.tasks.values().for_each(|task| task.change(change()));
    }

    /// A change for one task, if it is here.
    pub fn change_one(&self, task: TaskId, change: Change) {
        if let Some(task) = self.tasks.get(&task) {
            task.change(change);
        }
    }

    /// Tasks that have ended and are needed no more.
    pub fn remove(&mut self, gone: &[TaskId], peers: &[String], uploads: &mut Ledger) {
        for stage in &mut self.deploy.stages {
            stage.tasks.retain(|placed| !gone.contains(&placed.task));
        }
        for task in gone {
            if let Some(running) = self.tasks.remove(task) {
                running.tell(TaskCommand::Cancel);
                self.standing.ended.remove(task);
                uploads.forget(*task);
            }
            self.hub.forget_task(*task);
        }
        for running in self.tasks.values() {
            let Some(gate) = &running.gate else { continue };
            let inlets = gate.inlets().into_iter().filter(|(_, (id, _, _))| gone.contains(&id.from));
            let channels: Vec<usize> = inlets.map(|(index, _)| index).collect();
            if !channels.is_empty() {
                channels.iter().for_each(|index| gate.free(*index));
                running.change(Change::Forget(channels));
            }
        }
        self.standing.lost.retain(|peer| peers.contains(peer));
        let (stay, leave) =
            std::mem::take(&mut self.deploy.peers).into_iter().partition(|peer| peers.contains(&peer.name));
        self.deploy.peers = stay;
        let leave: Vec<crate::message::Peer> = leave;
        leave.iter().for_each(|peer| self.hub.detach(&peer.name));
        self.transfers.retain(|id| !gone.contains(&id.from) && !gone.contains(&id.to));
        self.sending.retain(|id| !gone.contains(&id.from) && !gone.contains(&id.to));
    }

    /// Splits have other readers from now on.
    pub fn note_readers(&mut self, version: TableVersion, splits: &[MovingSplit]) {
        for stage in &mut self.deploy.stages {
            let reads = |moving: &MovingSplit| stage.tasks.iter().any(|placed| placed.task == moving.to);
            if !splits.iter().any(reads) {
                continue;
            }
            stage.table.version = version;
            for (reader, split) in &mut stage.splits {
                if let Some(moving) = splits.iter().find(|moving| moving.split.id == split.id) {
                    *reader = moving.to;
                }
            }
        }
    }
}

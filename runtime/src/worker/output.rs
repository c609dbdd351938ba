//! Where the rows of a task go: to other tasks over its out-edges, or into a sink in two phases.
use std::collections::BTreeMap;

use millstream_api::id::{Epoch, TaskId};
use millstream_api::owner::OwnerTable;

use super::Failed;
use crate::batch::{Batch, Element};
use crate::exchange::{Outlet, Router};
use crate::sink::{Committable, Sink};

/// An out-edge.
pub struct Route {
    /// Index of the edge.
    pub edge: u16,
    /// Index of the stage it leads to.
    pub stage: usize,
    /// Spreads rows over that stage's tasks.
    pub router: Router,
}

/// See the module.
pub enum Output {
    /// One per out-edge.
    Routes(Vec<Route>),
    /// A sink, and what it has written and not yet made visible, by epoch.
    Sink(Box<dyn Sink>, BTreeMap<Epoch, Vec<Committable>>),
}

impl Output {
    /// Output into a sink.
    pub fn sink(sink: Box<dyn Sink>) -> Self {
        Self::Sink(sink, BTreeMap::new())
    }

    /// Rows, on every out-edge.
    pub fn rows(&mut self, batch: Batch) -> Result<(), Failed> {
        match self {
            Self::Sink(sink, _) => Ok(sink.write(&batch).map_err(|error| Failed::from_source(&error))?),
            Self::Routes(routes) => {
                let Some((last, others)) = routes.split_last_mut() else { return Ok(()) };
                for route in others {
                    route.router.push(batch.clone())?;
                }
                Ok(last.router.push(batch)?)
            }
        }
    }

    /// An element for every channel, behind all rows before it.
    pub fn control(&mut self, element: &Element) -> Result<(), Failed> {
        for route in self.routes() {
            route.router.broadcast(element)?;
        }
        Ok(())
    }

    fn routes(&mut self) -> &mut [Route] {
        match self {
            Self::Routes(routes) => routes,
            Self::Sink(..) => &mut [],
        }
    }

    /// Another task receives on an out-edge from now on.
    pub fn open(&mut self, outlet: Outlet) -> Result<(), Failed> {
        let edge = outlet.id().edge;
        match self.routes().iter_mut().find(|route| route.edge == edge) {
            Some(route) => Ok(route.router.add(outlet)?),
            None => Ok(()), // Never: outlets are opened along the edges of the plan.
        }
    }

    /// Routes into a stage by another owner table from now on.
    pub fn switch(&mut self, stage: usize, table: &OwnerTable) -> Result<(), Failed> {
        for route in self.routes().iter_mut().filter(|route| route.stage == stage) {
            route.router.switch(table)?;
        }
        Ok(())
    }

    /// Sends nothing more to these tasks of a stage but the end.
    pub fn close(&mut self, stage: usize, tasks: &[TaskId]) -> Result<(), Failed> {
        for route in self.routes().iter_mut().filter(|route| route.stage == stage) {
            for task in tasks {
                route.router.remove(*task)?;
            }
        }
        Ok(())
    }

    /// The barrier: what is written so far and not yet visible belongs to this epoch (epochs given up before it included).
    pub fn barrier(&mut self, epoch: Epoch) -> Result<Vec<Committable>, Failed> {
        self.control(&Element::Barrier(epoch))?;
        let Self::Sink(sink, uncommitted) = self else { return Ok(Vec::new()) };
        let prepared = sink.prepare(epoch).map_err(|error| Failed::from_source(&error))?;
        uncommitted.insert(epoch, prepared);
        Ok(uncommitted.values().flatten().cloned().collect())
    }

    /// The epoch's manifest is stored: show what belongs to it.
    pub fn commit(&mut self, epoch: Epoch) -> Result<(), Failed> {
        let Self::Sink(sink, uncommitted) = self else { return Ok(()) };
        let later = uncommitted.split_off(&(epoch + 1));
        let due: Vec<Committable> = std::mem::replace(uncommitted, later).into_values().flatten().collect();
        sink.commit(&due).map_err(|error| Failed::from_source(&error))
    }

    /// Sends what waits for credit; true if nothing does any more.
    pub fn drain(&mut self) -> Result<bool, Failed> {
        let mut free = true;
        for route in self.routes() {
            free &= route.router.drain()?;
        }
        Ok(free)
    }

    /// Sends what was held back for batching.
    pub fn flush(&mut self) -> Result<(), Failed> {
        match self {
            Self::Sink(sink, _) => Ok(sink.flush().map_err(|error| Failed::from_source(&error))?),
            Self::Routes(routes) => {
                for route in routes {
                    route.router.flush()?;
                }
                Ok(())
            }
        }
    }

    /// Bytes sent so far on all edges.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Sink(..) => 0,
            Self::Routes(routes) => routes.iter().map(|route| route.router.counters().bytes()).sum(),
        }
    }
}

//! Where the rows of a task go: to other tasks over its out-edges, or into a sink in two phases.
use std::collections::BTreeMap;

use millstream_api::id::Epoch;

use super::Failed;
use crate::batch::{Batch, Element};
use crate::exchange::Router;
use crate::sink::{Committable, Sink};

/// See the module.
pub enum Output {
    /// One router per out-edge.
    Routers(Vec<Router>),
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
            Self::Routers(routers) => {
                let Some((last, others)) = routers.split_last_mut() else { return Ok(()) };
                for router in others {
                    router.push(batch.clone())?;
                }
                Ok(last.push(batch)?)
            }
        }
    }

    /// An element for every channel, behind all rows before it.
    pub fn control(&mut self, element: &Element) -> Result<(), Failed> {
        if let Self::Routers(routers) = self {
            for router in routers {
                router.broadcast(element)?;
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
        let Self::Routers(routers) = self else { return Ok(true) };
        let mut free = true;
        for router in routers {
            free &= router.drain()?;
        }
        Ok(free)
    }

    /// Input has run dry: send what was held back for batching.
    pub fn flush(&mut self) -> Result<(), Failed> {
        match self {
            Self::Sink(sink, _) => Ok(sink.flush().map_err(|error| Failed::from_source(&error))?),
            Self::Routers(routers) => {
                for router in routers {
                    router.flush()?;
                }
                Ok(())
            }
        }
    }

    /// Bytes sent so far on all edges.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Sink(..) => 0,
            Self::Routers(routers) => routers.iter().map(|router| router.counters().bytes()).sum(),
        }
    }
}

//! What arrives at workers: looked at, and spoilt if that is planted.
use millstream_runtime::checkpoint::history;
use millstream_runtime::message::Command;
use millstream_runtime::message::live::Order;
use millstream_runtime::worker::Event as WorkerEvent;

use super::{ConnId, Plant, World};

impl World {
    pub fn down(&mut self, id: ConnId) -> Result<(), String> {
        let Some(conn) = self.seats.conns.get_mut(&id) else { return Ok(()) };
        let (place, Some(mut command)) = (conn.place, conn.down.pop_front()) else { return Ok(()) };
        if let Command::Deploy(deploy) | Command::Extend { deploy, .. } = &command {
            self.books.owners.told(deploy);
        }
        if let Command::Order { generation, order: Order::Remove { tasks, .. }, .. } = &command {
            self.books.owners.removed(*generation, tasks, &self.places)?;
        }
        if let Command::Deploy(deploy) = &mut command {
            let from = deploy.restore.as_ref();
            let from = from.map(|from| self.quietly(|store| history::load(store, &from.prefix, from.id)));
            let from = from.transpose().map_err(|error| format!("a job restores what is not there: {error}"))?;
            self.books.deploy(deploy, from.as_ref())?;
            if self.options.plant == Some(Plant::OldPositions)
                && let Some(from) = &from
                && let Some((_, older)) = self.seats.positions.range(..from.epoch).next_back()
            {
                for (stage, older) in deploy.stages.iter_mut().zip(older) {
                    for (_, split) in &mut stage.splits {
                        let known = older.splits.iter().find(|(_, other)| other.id == split.id);
                        known.into_iter().for_each(|(_, other)| split.clone_from(other));
                    }
                }
            }
        }
        if let Some(node) = &mut self.places[place].node {
            node.inbox.push_back(WorkerEvent::Command(command));
        }
        Ok(())
    }
}

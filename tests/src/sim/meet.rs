//! How workers and connections meet: looking for the coordinator, and what arrives on data connections.
use millstream_runtime::message::Command;
use millstream_runtime::worker::Event;

use super::net::{Arrival, LinkId};
use super::trace::hash;
use super::world::World;

/// Time after which a worker looks for its coordinator again.
const LOOK_AGAIN_US: u64 = 2_000;
/// Without its coordinator for longer than this, a worker stops its tasks.
const LEASE_US: u64 = 40_000;

impl World {
    /// A worker looks for the coordinator; without it for too long, it stops its tasks.
    pub fn dial(&mut self, index: usize) {
        let now_us = self.now_us();
        let Some(node) = &mut self.places[index].node else { return };
        node.collect();
        let register = millstream_runtime::message::Register {
            name: format!("w{index}"),
            incarnation: node.incarnation,
            pid: 0,
            data_address: format!("w{index}"),
            admin_address: String::new(),
            slots: self.options.slots,
            draining_ms: node.leave_at_us.map(|at_us| at_us.saturating_sub(now_us) / 1000),
            released: false,
        };
        match self.seats.open(index, register) {
            Some(conn) => {
                node.control = Some(conn);
                node.measure_at_us = now_us;
                self.note(format!("w{index} dials"));
            }
            None if node.leave_at_us.is_some() && !node.worker.hosts() => self.leave(index, 4),
            None => {
                node.dial_at_us = now_us + LOOK_AGAIN_US;
                if now_us.saturating_sub(node.alone_since_us) > LEASE_US {
                    let generation = u64::MAX;
                    node.inbox.push_back(Event::Command(Command::Cancel { generation }));
                    node.alone_since_us = now_us;
                    self.note(format!("w{index} has been alone for too long"));
                }
            }
        }
    }

    /// The worker has no coordinator any more.
    pub fn alone(&mut self, index: usize) {
        let now_us = self.now_us();
        if let Some(node) = &mut self.places[index].node {
            node.control = None;
            node.alone_since_us = now_us;
            node.dial_at_us = now_us + LOOK_AGAIN_US;
        }
    }

    pub fn data(&mut self, id: LinkId, to: usize, arrival: Arrival) -> Result<(), String> {
        if arrival == Arrival::Loss {
            if let Some((from, receiver, hub)) = self.ground.net.loss(id, to) {
                hub.lost(&from, "it hung up");
                self.note(format!("{receiver} lost {from}"));
            }
            return Ok(());
        }
        let Some((from, receiver, hub, frame)) = self.ground.net.take(id, to) else { return Ok(()) };
        self.books.frame(2 * id + to as u64, &frame)?;
        let shown = hash(0, &frame);
        self.note(format!("{from} to {receiver}: {:?} {shown:x}", &frame[..16]));
        match hub.receive(&from, frame) {
            Ok(()) => Ok(()),
            Err(millstream_runtime::exchange::Error::Closed) => Ok(()),
            Err(error) => Err(format!("{receiver} cannot take a frame from {from}: {error}")),
        }
    }
}

//! Input ports by channel number, read without a lock while channels come and go.
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Enough for all numbers of channels that a task can have.
const BLOCKS: usize = 32;

/// Blocks of 1, 2, 4 ... places, which never move once they are there.
#[derive(Default)]
pub(super) struct Ports([OnceLock<Box<[AtomicUsize]>>; BLOCKS]);

impl Ports {
    /// The port of a channel; 0 if it has none.
    pub(super) fn get(&self, channel: usize) -> usize {
        let (block, place) = locate(channel);
        let places = self.0.get(block).and_then(OnceLock::get);
        // What a channel carries is taken under the gate's lock, after its port was set.
        places.map_or(0, |places| places[place].load(Ordering::Relaxed))
    }

    pub(super) fn set(&self, channel: usize, port: usize) {
        let (block, place) = locate(channel);
        if let Some(places) = self.0.get(block) {
            let places = places.get_or_init(|| (0..1usize << block).map(|_| AtomicUsize::new(0)).collect());
            places[place].store(port, Ordering::Relaxed);
        }
    }
}

fn locate(channel: usize) -> (usize, usize) {
    let block = (channel + 1).ilog2() as usize;
    (block, channel + 1 - (1 << block))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_channel_has_a_place_of_its_own() {
        let ports = Ports::default();
        assert_eq!(ports.get(5), 0);
        for channel in 0..1000 {
            ports.set(channel, channel + 7);
        }
        ports.set(3, 1);
        assert!((0..1000).all(|channel| ports.get(channel) == if channel == 3 { 1 } else { channel + 7 }));
    }
}

//! What the last owner of a key group had in memory is read before the first rows of its keys come.
use std::collections::VecDeque;

use super::{Failed, Task};
use crate::stage::Flow;
use crate::state;
use crate::state::part::Entries;

/// Keys are read so many at a time, between two batches: some tenths of a millisecond if none is in memory.
const AT_A_TIME: usize = 32;

/// More keys do not wait: a task that cannot keep up with them has none to spare for what may never be asked for.
const WAITING_MAX: usize = 65_536;

/// Keys that are to be read.
#[derive(Debug, Default)]
pub(super) struct Warming {
    keys: VecDeque<Vec<u8>>,
    /// How many have been.
    read: u64,
}

impl Warming {
    /// Keys of a part that a donor has sent.
    pub fn add(&mut self, part: &[u8]) -> Result<(), state::Error> {
        let room = WAITING_MAX.saturating_sub(self.keys.len());
        let mut entries = Entries::of(part);
        for _ in 0..room {
            let Some((key, _)) = entries.read()? else { break };
            self.keys.push_back(key.to_vec());
        }
        Ok(())
    }
}

impl Task {
    /// Reads some keys into the memory of ops, unless a watermark is on its way through these. Says whether it did.
    pub(super) fn warm(&mut self) -> Result<bool, Failed> {
        if self.flowing || self.warming.keys.is_empty() {
            return Ok(false);
        }
        let count = AT_A_TIME.min(self.warming.keys.len());
        let keys: Vec<Vec<u8>> = self.warming.keys.drain(..count).collect();
        self.warming.read += count as u64;
        self.run(|chain, env| chain.warm(keys, env).map(|()| Flow::Done))?;
        Ok(true)
    }

    /// Keys that it was told by the last owners of its groups and has read so far.
    pub fn warmed(&self) -> u64 {
        self.warming.read
    }
}

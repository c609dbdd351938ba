//! What happened: a hash of everything, and the last lines of it.
use std::collections::VecDeque;

const TAIL: usize = 60;

/// FNV-1a, 64 bits.
pub fn hash(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// See the module.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    tail: VecDeque<String>,
    all: bool,
}

impl Default for Trace {
    fn default() -> Self {
        let all = std::env::var_os("MILLSTREAM_SIM_TRACE").is_some();
        Self { hash: 0xcbf2_9ce4_8422_2325, tail: VecDeque::new(), all }
    }
}

impl Trace {
    /// Something has happened. With `MILLSTREAM_SIM_TRACE` set, no line is ever forgotten.
    pub fn add(&mut self, line: String) {
        self.hash = hash(self.hash, line.as_bytes());
        if self.tail.len() == TAIL && !self.all {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    /// Hash of all lines.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The last lines.
    pub fn tail(&self) -> Vec<String> {
        self.tail.iter().cloned().collect()
    }
}

//! The randomness door: the only place of the runtime that draws random numbers.

/// Random numbers for identities (job ids, incarnations, tokens). Simulation brings a seeded one.
pub trait Random: Send + Sync {
    /// Fills the buffer.
    fn fill(&self, bytes: &mut [u8]);

    /// One number.
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// The operating system's generator.
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        // Invariant: the system's generator is there from early boot on; a process without it can have no identity.
        getrandom::fill(bytes).unwrap_or_else(|error| panic!("no system randomness: {error}"));
    }
}

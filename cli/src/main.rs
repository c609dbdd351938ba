//! Millstream.
#[allow(dead_code)] // Wired by the command line that is still to come.
mod up;

fn main() {}

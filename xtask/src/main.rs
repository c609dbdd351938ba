//! Generates what is derived from the code. There is nothing to generate yet.
fn main() {}

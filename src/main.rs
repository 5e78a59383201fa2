//! Faythe.
fn main() {}

//! Simulations: one order with every crash there can be, and a whole cluster over months of virtual time.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod closed_loop;
mod dice;
mod exhaustive;
mod laws;
mod outside;
mod shell;

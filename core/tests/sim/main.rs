//! Simulations: one order with every crash there can be, and a whole cluster over months of virtual time.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod exhaustive;

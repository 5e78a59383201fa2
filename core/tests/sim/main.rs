//! Simulations: one order with every crash there can be, and a whole cluster over months of virtual time.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "fresh seeds come from the clock, chosen ones from the environment"
)]

mod certificates;
mod closed_loop;
mod dice;
mod exhaustive;
mod fleet;
mod laws;
mod limits;
mod outside;
mod scenarios;
mod shell;
mod urgency;

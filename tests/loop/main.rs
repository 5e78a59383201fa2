//! The real loop on paused time, with everything outside in memory: sequences, back-off, crashes, shutdown.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should end at once")]

mod place;
mod rig;

mod budget;
mod clock;
mod crashes;
mod faults;
mod leaders;
mod orders;
mod renewals;
mod routes;
mod sequence;
mod sweep;

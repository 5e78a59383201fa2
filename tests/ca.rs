//! The ACME adapter against a real Pebble, and against a CA that misbehaves.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has to stop")]
#![expect(
    clippy::disallowed_methods,
    reason = "the real clock is what a real CA goes by"
)]

#[path = "ca/hostile.rs"]
mod hostile;
#[path = "ca/memory.rs"]
mod memory;
#[path = "ca/pebble.rs"]
mod pebble;
#[path = "ca/tunnel.rs"]
mod tunnel;

#[path = "ca/faults.rs"]
mod faults;
#[path = "ca/leave.rs"]
mod leave;
#[path = "ca/accounts.rs"]
mod accounts;
#[path = "ca/issuance.rs"]
mod issuance;
#[path = "ca/services.rs"]
mod services;

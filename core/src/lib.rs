//! Faythe's vocabulary and decisions.
//!
//! Synchronous and pure: no clock, no files, no sockets, no randomness, no unordered maps. Time comes in as a
//! parameter, and what should be done goes out as data.

pub mod cert;
pub mod name;
pub mod order;
pub mod problem;
pub mod schedule;
pub mod want;
pub mod zone;

/// Points in time, as the field writes them (RFC 3339).
pub use jiff::Timestamp;

//! Faythe's vocabulary and decisions.
//!
//! Synchronous and pure: no clock, no files, no sockets, no randomness, no unordered maps. Time comes in as a
//! parameter, and what should be done goes out as data. In reading order: names and zones; what is wanted and what is
//! held; when things are due; the next step of one order; the world as it was seen last; and the plan made from it.

pub mod ari;
pub mod audit;
pub mod budget;
pub mod caa;
pub mod cas;
pub mod cert;
pub mod hash;
pub mod name;
pub mod order;
pub mod plan;
pub mod policy;
pub mod problem;
pub mod renewal;
pub mod route;
pub mod schedule;
pub mod turns;
pub mod verdict;
pub mod visibility;
pub mod want;
pub mod activity;
pub mod world;
pub mod zone;

/// Points in time, as the field writes them (RFC 3339).
pub use jiff::Timestamp;

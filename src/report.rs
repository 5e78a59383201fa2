//! How what is decided reaches people and machines.

pub mod events;

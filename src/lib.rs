//! Faythe's shell: it watches, talks, stores and reports; what to do is decided in `faythe-core`.
//!
//! In reading order: the command line and the configuration; the loop and what it starts; the contracts with the
//! outside, each with its adapters; and what is told of it all. `ARCHITECTURE.md` has the picture.

pub mod cli;
pub mod config;
mod daemon;
mod check;
pub mod run;
pub mod act;
pub mod neighbors;
pub mod clock;
pub mod cluster;
pub mod watch;
pub mod source;
pub mod store;
pub mod ca;
pub mod dns;
pub mod report;
pub mod x509;
pub mod sealed;

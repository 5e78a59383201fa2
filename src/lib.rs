//! Faythe's shell: it watches, talks, stores and reports; what to do is decided in `faythe-core`.
//!
//! In reading order: the command line and the configuration; the loop and what it starts; the contracts with the
//! outside, each with its adapters; and what is told of it all. `ARCHITECTURE.md` has the picture.

pub mod act;
pub mod ca;
mod account;
mod check;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
mod daemon;
pub mod dns;
#[doc(hidden)]
pub mod fuzzing;
pub mod lease;
pub mod neighbors;
mod recall;
pub mod report;
pub mod run;
pub mod sealed;
pub mod source;
pub mod store;
pub mod sweep;
pub mod watch;
pub mod x509;

//! The real servers that Faythe's tests, demo and bench run against, started and stopped from Rust.
//!
//! One [`Bed`] is what one test needs: a kube-apiserver with etcd (shared by the whole test program),
//! its own BIND with a zone of its own, its own Pebble, and [`Bed::faythe`] to run the daemon under test.
//!
//! ```no_run
//! # async fn test() -> anyhow::Result<()> {
//! use std::time::Duration;
//! let bed = faythe_bed::Bed::start().await?;
//! let host = bed.host("www"); // www.<zone of this bed>
//! bed.ingress("web", &[&host]).await?;
//! let faythe = bed.faythe("target/debug/faythe", bed.config()).await?;
//! let held = bed.certificate_for(&host, Duration::from_secs(10)).await?;
//! faythe.terminate();
//! # Ok(()) }
//! ```
//!
//! Nothing is left behind: children die with the process that started them, even when that is killed, and
//! all files are in one directory that goes away with it. A test that panics prints the tails of its
//! servers' logs, so tests `unwrap` what the bed returns. Nothing here is skipped when a program is
//! missing: starting the bed then fails and says what to do.

mod bed;
pub mod bind;
pub mod certificate;
pub mod dice;
pub mod dns_proxy;
pub mod faythe;
pub mod http;
pub mod kube;
pub mod names;
pub mod pebble;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod scratch;
pub mod step_ca;
pub mod tls;
pub mod tools;
pub mod wait;

pub use bed::{Bed, Server, Setup, secret_name};
pub use wait::until;

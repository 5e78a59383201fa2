//! Faythe's shell: it watches, talks, stores and reports; what to do is decided in `faythe-core`.

pub mod ca;
pub mod cluster;
pub mod dns;
pub mod report;
pub mod sealed;
pub mod source;
pub mod store;
pub mod watch;
pub mod x509;

//! When a certificate is due and when a failed attempt may be repeated.

use std::time::Duration;

use jiff::Timestamp;

/// What the CA has seen fail in a row for one host; kept over restarts (S13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failures {
    /// How many attempts in a row; at least 1.
    pub count: u32,
    /// When the last one ended.
    pub last: Timestamp,
    /// Stable code of the last one.
    pub code: String,
    /// The CA's words about the last one.
    pub text: String,
    /// The CA's own bound for the next attempt, if it named one.
    pub not_before: Option<Timestamp>,
    /// Whether it needs a change by a person; then it is tried daily at most.
    pub parked: bool,
}

/// The operator's rule for renewal (S05, P2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threshold {
    /// 30 days or a third of the lifetime, whichever is less.
    Default,
    /// This long before expiry.
    Set(Duration),
}

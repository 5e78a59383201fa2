//! The operator's validated choices that decisions need.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::schedule::Threshold;
use crate::zone::Zones;

/// What the operator wants.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The zones that are served.
    pub zones: Zones,
    /// When a certificate is renewed.
    pub threshold: Threshold,
    /// Over how many thousandths of their lifetime renewals are spread where the CA names no window (P20).
    pub spread: u32,
    /// How many routine renewals begin in a minute at most; `None` for no bound and no pace.
    pub renewals_per_minute: Option<NonZeroU32>,
    /// How far apart two orders for one name are after the CA has seen one fail.
    pub issue_grace: Duration,
    /// How many orders may be worked on at once; those that rest do not count.
    pub orders_at_once: usize,
}

//! The operator's validated choices that decisions need.

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
    /// How far apart two orders for one name are after the CA has seen one fail.
    pub issue_grace: Duration,
    /// How many orders may be worked on at once; those that rest do not count.
    pub orders_at_once: usize,
}

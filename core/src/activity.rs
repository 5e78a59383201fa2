//! What is going on for a certificate, and what keeps it waiting.

use jiff::Timestamp;

use crate::order::Stage;
use crate::schedule::{Demand, GivenUp};

/// A place that is somebody else's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Whose it is and what to do, for people.
    pub reason: String,
    /// Since when this has been known.
    pub since: Timestamp,
    /// When it was last seen so.
    pub seen: Timestamp,
}

/// What is going on for a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Activity {
    /// A note of an earlier process, not yet taken up.
    Noted,
    /// It is being worked on.
    Running(Stage),
    /// It rests after a fault that the CA did not see, with or without a note.
    Resting(Rest),
}

/// Why and until when an order rests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// Whether there is a note, so that something has to be cleaned up even when nobody asks any more.
    pub noted: bool,
    /// Which step failed.
    pub stage: Stage,
    /// Stable code of the fault.
    pub code: String,
    /// The fault and its remedy, for people.
    pub text: String,
    /// How often in a row it has come to rest.
    pub tries: u32,
    /// When it goes on.
    pub until: Timestamp,
}

/// The CA has asked us to wait, or cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Until when.
    pub until: Timestamp,
    /// Stable code.
    pub code: String,
    /// Why, for people.
    pub text: String,
    /// How often in a row.
    pub tries: u32,
    /// Whether the CA named the time itself; then it stands whatever else the CA answers.
    pub told: bool,
}

impl Rest {
    /// The rest after orders that were of no use: nothing is left of them, and another has to be made.
    pub(crate) fn after(given_up: &GivenUp, demand: Option<Demand>) -> Self {
        Self {
            noted: false,
            stage: Stage::Ordering,
            code: given_up.code.clone(),
            text: given_up.text.clone(),
            tries: given_up.count,
            until: given_up.next_order(demand),
        }
    }
}

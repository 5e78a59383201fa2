//! What goes wrong, as tests want it.

use std::collections::BTreeSet;
use std::time::Duration;

use faythe::store::StoreError;
use faythe_core::Timestamp;
use faythe_core::name::{Hostname, RecordName};
use faythe_core::order::OrderStatus;
use faythe_core::problem::Problem;

/// How the parts misbehave.
#[derive(Default)]
pub(crate) struct Faults {
    /// Updates of these records are refused.
    pub(crate) refuse_updates: BTreeSet<RecordName>,
    /// No server shows anything.
    pub(crate) hide: bool,
    /// The secondary shows nothing.
    pub(crate) lag: bool,
    /// The CA does not answer.
    pub(crate) ca_is_away: bool,
    /// The CA does not answer the next calls that begin so.
    pub(crate) ca_misses: Vec<&'static str>,
    /// There is no leave for the next calls of the CA that begin so.
    pub(crate) without_leave: Vec<&'static str>,
    /// The CA answers a new order with this.
    pub(crate) refuse_orders: Option<Problem>,
    /// Orders whose number is less stay as they are once the CA has the CSR, and it asks for this wait.
    pub(crate) stall: Option<(usize, Duration)>,
    /// The CA does not find the certificates that it has made.
    pub(crate) lose_certificates: bool,
    /// When all orders expire.
    pub(crate) expires: Option<Timestamp>,
    /// When certificates begin: at the beginning of this day of January 2026.
    pub(crate) begins: Option<u8>,
    /// How many CSRs the CA takes without doing anything.
    pub(crate) shrugs: usize,
    /// The CA answers a CSR with this.
    pub(crate) refuse_requests: Option<Problem>,
    /// The CA answers a question about a renewal with this.
    pub(crate) refuse_questions: Option<Problem>,
    /// What state the next orders are in from the start, where it is another than pending.
    pub(crate) born: Vec<OrderStatus>,
    /// The CA answers to finalize for these orders with a failure inside, and asks for a minute's patience.
    pub(crate) poisoned: BTreeSet<usize>,
    /// The CA does not believe what it sees.
    pub(crate) fail_validation: bool,
    /// The store does not take certificates.
    pub(crate) store_is_away: bool,
    /// The store takes no notes, though it can be read.
    pub(crate) refuse_notes: bool,
    /// Whose notes cannot be read, and so not be written over.
    pub(crate) spoilt_notes: BTreeSet<Hostname>,
    /// How many of the next notes are saved or removed without an answer.
    pub(crate) mute_notes: usize,
}

impl Faults {
    /// What comes of a note that has been saved or removed.
    pub(super) fn answer_note(&mut self, host: &Hostname) -> Result<(), StoreError> {
        let Some(left) = self.mute_notes.checked_sub(1) else {
            return Ok(());
        };
        self.mute_notes = left;
        Err(StoreError::Unavailable {
            object: format!("the note of {host}"),
            retry_after: None,
            source: "no answer".into(),
        })
    }
}

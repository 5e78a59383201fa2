//! An order under way (RFC 8555 §7.1.6): what is noted, what the CA says, what the DNS shows, and the next step.

use std::time::Duration;

use jiff::Timestamp;

use crate::name::{Hostname, RecordName};
use crate::problem::Problem;

/// What was saved about an order before anything was done for it; its private key is known to the store alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The certificate that was ordered.
    pub host: Hostname,
    /// The order's URL at the CA.
    pub order_url: String,
    /// What has to stand in the DNS while the order lives, and has to go when it has ended.
    pub values: Vec<ChallengeValue>,
    /// When the order was made.
    pub created: Timestamp,
    /// When the CA will forget it.
    pub expires: Option<Timestamp>,
}

/// One TXT record of an order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChallengeValue {
    /// Owner name.
    pub record: RecordName,
    /// The key authorization's digest, base64url (RFC 8555 §8.4).
    pub value: String,
}

/// An order as the CA showed it last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaView {
    /// State of the order.
    pub status: OrderStatus,
    /// Its DNS-01 challenges that are not yet valid; empty once the order is ready.
    pub challenges: Vec<Challenge>,
    /// Why it is invalid: the order's own error, or that of the first challenge that failed.
    pub problem: Option<Problem>,
    /// When the CA will forget it.
    pub expires: Option<Timestamp>,
    /// How long the CA asked us to wait before looking again.
    pub retry_after: Option<Duration>,
}

/// A DNS-01 challenge of an authorization that is not yet valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Where the value goes, and the value.
    pub value: ChallengeValue,
    /// State of the challenge.
    pub status: ChallengeStatus,
}

/// States of an order (RFC 8555 §7.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OrderStatus {
    /// Authorizations are missing.
    Pending,
    /// All authorizations are valid; the CSR is awaited.
    Ready,
    /// The certificate is being made.
    Processing,
    /// The certificate can be fetched.
    Valid,
    /// The order has failed.
    Invalid,
}

/// States of a challenge (RFC 8555 §7.1.6) that matter before it is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChallengeStatus {
    /// The CA waits for our word.
    Pending,
    /// The CA is looking.
    Processing,
}

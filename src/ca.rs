//! The contract with a CA: one method per ACME exchange (RFC 8555).
//!
//! Implementations neither retry nor poll: each call is one step, bounded in time and size, and whoever drives an order
//! decides what comes next. What concerns nobody above is settled here: a stale nonce (RFC 8555 §6.5), a predecessor, a
//! contact or a reason for a revocation that the CA does not want, an account that has moved, and the turn of a request
//! where the CA limits their pace.

use std::sync::Arc;
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::ari::{CertificateId, RenewalInfo};
use faythe_core::budget::Grant;
use faythe_core::caa::Issuer;
use faythe_core::order::CaView;
use faythe_core::problem::Problem;
use futures::future::BoxFuture;
use jiff::SignedDuration;
use thiserror::Error;

pub mod acme;
mod account;
#[doc(hidden)]
pub mod fuzzing;
mod change;
mod order;
mod authorization;
mod chain;
mod renewal;
mod directory;
mod exchange;
mod jws;
mod nonce;
mod problem;
mod shared;
mod http;
mod body;
mod retry_after;
mod connect;
mod trust;

/// Whether the CA may be sent what costs or changes something; asked right before each such request is sent. One that has
/// waited here, for its turn, a nonce or a connection, while somebody else came to lead would cost what theirs costs (P38).
pub type Leave = Arc<dyn Fn() -> bool + Send + Sync>;

/// A certification authority and our account there.
pub trait Ca: Send + Sync {
    /// Makes an order and reads its authorizations (RFC 8555 §7.4, §7.5). It uses up the ledger's leave for it, which
    /// says for whom it is; there is no other way to an order (P17).
    ///
    /// The CA may hand out an order that it still holds for the same name.
    ///
    /// # Errors
    /// [`CaError::Unread`] when the order is made, and its authorizations cannot be read.
    fn open<'a>(
        &'a self,
        grant: Grant,
        order: NewOrder<'a>,
    ) -> BoxFuture<'a, Result<Box<dyn CaOrder>, CaError>>;

    /// Takes up the order at `url` again, reading it and its authorizations.
    ///
    /// # Errors
    /// [`CaError::Gone`] when the CA does not know it any more.
    fn resume<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Box<dyn CaOrder>, CaError>>;

    /// The URL of its directory, by which it is told from others.
    fn directory(&self) -> &str;

    /// How far our clock is ahead of its clock, as its last answer told; asks nobody. `None` where that is not known.
    fn clock_ahead(&self) -> Option<SignedDuration> {
        None
    }

    /// Reads the directory without touching the account: could we work?
    fn probe(&self) -> BoxFuture<'_, Result<(), CaError>>;

    /// Asks when a certificate should be renewed (RFC 9773 §4); `None` where the CA has no ARI.
    ///
    /// An answer whose window is none counts as an error, as the CA's words are not to be followed then.
    fn renewal_info<'a>(
        &'a self,
        certificate: &'a CertificateId,
    ) -> BoxFuture<'a, Result<Option<RenewalInfo>, CaError>>;

    /// How CAA records know it, and what they may say of our account; makes no account.
    fn issuer(&self) -> BoxFuture<'_, Result<Issuer, CaError>>;

    /// Revokes a certificate, given in DER, with the account that it was issued to (RFC 8555 §7.6). One that is revoked
    /// already is no error, and where the CA does not take the reason it is revoked without.
    fn revoke<'a>(&'a self, certificate: &'a [u8], reason: Revocation) -> BoxFuture<'a, Result<(), CaError>>;
}

/// What is to be ordered for the host of a grant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewOrder<'a> {
    /// The profile to ask for (draft-ietf-acme-profiles); `None` leaves it to the settings of the CA.
    pub profile: Option<&'a str>,
    /// The certificate that this one takes the place of (RFC 9773 §5). It is left out where the CA has no ARI.
    pub replaces: Option<&'a CertificateId>,
}

/// Why a certificate is revoked: those reasons of RFC 5280 §5.3.1 that Let's Encrypt takes from a subscriber (2026-08).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// No reason is given.
    Unspecified = 0,
    /// Somebody else may have the private key.
    KeyCompromise = 1,
    /// Another certificate has taken its place.
    Superseded = 4,
    /// The name is not ours any more.
    CessationOfOperation = 5,
}

/// An order at the CA.
pub trait CaOrder: Send + Sync {
    /// The order's URL.
    fn url(&self) -> &str;

    /// The profile that it is made with, where that is known; asks nobody.
    fn profile(&self) -> Option<&str> {
        None
    }

    /// What the CA showed last; asks nobody.
    fn view(&self) -> &CaView;

    /// Reads the order again, and its authorizations while it is pending and its challenges have been answered.
    fn refresh(&mut self) -> BoxFuture<'_, Result<(), CaError>>;

    /// Tells the CA that every pending DNS-01 challenge can be validated (RFC 8555 §7.5.1).
    fn answer(&mut self) -> BoxFuture<'_, Result<(), CaError>>;

    /// Sends the certificate signing request (RFC 8555 §7.4); `csr` is DER.
    fn finalize<'a>(&'a mut self, csr: &'a [u8]) -> BoxFuture<'a, Result<(), CaError>>;

    /// Downloads the chain of a valid order as PEM, leaf first (RFC 8555 §7.4.2).
    fn certificate(&mut self) -> BoxFuture<'_, Result<String, CaError>>;
}

/// Why an exchange with the CA failed.
#[derive(Debug, Error)]
pub enum CaError {
    /// The order or another object is not known to the CA any more (HTTP 404).
    #[error("the CA does not know {url} any more")]
    Gone {
        /// The object's URL.
        url: String,
    },
    /// The answer was too long, not JSON, or not what RFC 8555 says.
    #[error("the answer of {url} cannot be used: {what}")]
    Garbled {
        /// Where it came from.
        url: String,
        /// What was wrong with it.
        what: String,
        /// How long the CA asked us to wait.
        retry_after: Option<Duration>,
        /// The HTTP status of a refusal; `None` where it was none.
        status: Option<u16>,
    },
    /// There is no leave: the request was not sent, so that the CA has done nothing.
    #[error("the CA was not asked: another instance may lead by now")]
    NoLeave,
    /// Our account could not be read or saved.
    #[error("the ACME account cannot be kept")]
    Account(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Our account has another key by now, or is another: the request was signed in vain.
    #[error("our account at the CA was changed meanwhile")]
    Moved(#[source] Arc<Self>),
    /// The CA has made an order, but its authorizations could not be read: it is there, and can be taken up by its URL.
    #[error("the CA has made an order, but does not let it be read")]
    Unread {
        /// The order's URL.
        url: String,
        /// When the CA will forget it.
        expires: Option<Timestamp>,
        /// Why it could not be read.
        #[source]
        source: Arc<Self>,
    },
    /// The CA does not take the order in the place of the certificate that it has to replace; without that it would be one that
    /// counts, for which its grant gives no leave.
    #[error("the CA does not take the order in the place of another certificate: {0}")]
    Irreplaceable(Problem),
    /// The CA refused, with its reason.
    #[error("the CA refused: {0}")]
    Refused(Problem),
    /// The CA does not make an account with our key, with its reason.
    #[error("the CA makes no account: {0}")]
    Unregistered(Problem),
    /// No answer: connection, TLS or time-out.
    #[error("{url} cannot be reached")]
    Unreachable {
        /// What was asked.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl CaError {
    /// Whether the CA has answered about the very thing that it was asked, rather than not at all, or that it is busy.
    #[must_use]
    pub fn is_about_order(&self) -> bool {
        match self {
            Self::Refused(problem) => {
                problem.status != Some(503) && problem.kind != faythe_core::problem::ProblemKind::RateLimited
            }
            Self::Account(_)
            | Self::Garbled { .. }
            | Self::Gone { .. }
            | Self::Irreplaceable(_)
            | Self::Moved(_)
            | Self::NoLeave
            | Self::Unread { .. }
            | Self::Unreachable { .. }
            | Self::Unregistered(_) => false,
        }
    }
}

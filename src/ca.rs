//! The contract with a CA: one method per ACME exchange (RFC 8555).
//!
//! Implementations neither sleep nor retry nor poll: each call is one step, bounded in time and size, and whoever
//! drives an order decides what comes next. The single exception is a stale nonce, which concerns nobody above
//! (RFC 8555 §6.5).

use std::time::Duration;

use faythe_core::name::Hostname;
use faythe_core::order::CaView;
use faythe_core::problem::Problem;
use futures::future::BoxFuture;
use thiserror::Error;

mod account;
pub mod acme;
mod authorization;
mod fault;
mod http;
mod order;

/// A certification authority and our account there.
pub trait Ca: Send + Sync {
    /// Makes an order for `host` and reads its authorizations (RFC 8555 §7.4, §7.5).
    ///
    /// The CA may hand out an order that it still holds for the same name.
    fn open<'a>(&'a self, host: &'a Hostname) -> BoxFuture<'a, Result<Box<dyn CaOrder>, CaError>>;

    /// Takes up the order at `url` again, reading it and its authorizations.
    ///
    /// # Errors
    /// [`CaError::Gone`] when the CA does not know it any more.
    fn resume<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Box<dyn CaOrder>, CaError>>;

    /// Reads the directory without touching the account: could we work?
    fn probe(&self) -> BoxFuture<'_, Result<(), CaError>>;
}

/// An order at the CA.
pub trait CaOrder: Send + Sync {
    /// The order's URL.
    fn url(&self) -> &str;

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
    },
    /// Our account could not be read or saved.
    #[error("the ACME account cannot be kept")]
    Account(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The CA refused, with its reason.
    #[error("the CA refused: {0}")]
    Refused(Problem),
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

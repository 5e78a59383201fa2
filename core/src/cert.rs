//! Facts about a certificate that is held, and how it falls short of the one that is wanted (S05).
//!
//! Deliberately absent: DER and PEM. Whoever reads bytes reduces them to [`CertFacts`].

use std::fmt;

use jiff::Timestamp;
use thiserror::Error;

use crate::name::Hostname;

/// What is known of a certificate whose private key belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertFacts {
    /// The DNS names it is good for; names that are no hostname are left out.
    pub names: Vec<Hostname>,
    /// Start of its validity.
    pub not_before: Timestamp,
    /// End of its validity.
    pub not_after: Timestamp,
    /// Serial number in lower-case hexadecimal.
    pub serial: String,
    /// The issuer's common name, or its whole distinguished name where there is none.
    pub issuer: String,
}

/// Why the content of a Secret is no certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// The entry `cert` holds something else.
    #[error("its entry `cert` is not a PEM certificate: {0}")]
    BadCert(String),
    /// The entry `key` holds something else.
    #[error("its entry `key` is not a PEM private key")]
    BadKey,
    /// The key is another certificate's.
    #[error("its `key` does not belong to its `cert`")]
    KeyMismatch,
    /// There is no entry `cert`.
    #[error("it has no entry `cert`")]
    NoCert,
    /// There is no entry `key`.
    #[error("it has no entry `key`")]
    NoKey,
}

/// A Secret that claims to hold the certificate of a hostname, reduced to facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The Secret's name.
    pub secret: Box<str>,
    /// The Secret's `resourceVersion` when it was seen.
    pub version: Box<str>,
    /// What it holds.
    pub content: Result<CertFacts, Unreadable>,
    /// When Faythe stored it, from the annotation `faythe/issued-at`; `None` for certificates of other hands.
    pub issued_at: Option<Timestamp>,
}

/// How a held certificate falls short of the wanted one, most basic fault first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shortfall {
    /// No Secret claims the hostname.
    Missing,
    /// The Secret's content is not a certificate with its key.
    Unreadable(Unreadable),
    /// The certificate is for other names.
    OtherNames(Vec<Hostname>),
    /// Its validity has not begun.
    NotYetValid(Timestamp),
    /// Its validity has ended.
    Expired(Timestamp),
    /// It is valid, and the time to renew it has come.
    Due(Timestamp),
}

impl CertFacts {
    /// Whether it serves `host`.
    #[must_use]
    pub fn covers(&self, host: &Hostname) -> bool {
        self.names.iter().any(|name| name.covers(host))
    }
}

impl Shortfall {
    /// Stable code for metrics and Events.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unreadable(_) => "unreadable",
            Self::OtherNames(_) => "other-names",
            Self::NotYetValid(_) => "not-yet-valid",
            Self::Expired(_) => "expired",
            Self::Due(_) => "due",
        }
    }
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no certificate yet"),
            Self::Unreadable(why) => write!(f, "the Secret holds no usable certificate: {why}"),
            Self::OtherNames(names) => {
                f.write_str("the certificate held is for other names")?;
                for (i, name) in names.iter().take(3).enumerate() {
                    write!(f, "{}{name}", if i == 0 { ": " } else { ", " })?;
                }
                if names.len() > 3 {
                    write!(f, " and {} more", names.len() - 3)?;
                }
                Ok(())
            }
            Self::NotYetValid(from) => write!(f, "the certificate held is valid only from {from}"),
            Self::Expired(at) => write!(f, "the certificate held expired at {at}"),
            Self::Due(until) => write!(f, "the certificate held is due for renewal; it expires at {until}"),
        }
    }
}

//! Words of ARI (RFC 9773): how a certificate is named to its CA, and when the CA wants it renewed.
//!
//! When a certificate is renewed on the strength of this is decided elsewhere. Deliberately absent: DER, which the edge
//! reduces to a [`CertificateId`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;

/// A certificate's name at its CA: its issuer's key and its serial number (RFC 9773 §4.1).
///
/// Two parts in base64url without padding, with a dot between them; safe in a URL as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateId(Arc<str>);

/// A text that names no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a certificate's identifier is two parts in base64url with a dot between them")]
pub struct NoCertificateId;

/// A span of time in which the CA wants a certificate to be renewed; never empty (RFC 9773 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    start: Timestamp,
    end: Timestamp,
}

/// What a CA says about the renewal of one certificate (RFC 9773 §4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalInfo {
    /// When it wants the certificate to be renewed.
    pub window: Window,
    /// A page that says why, for people.
    pub explanation: Option<String>,
    /// When it wants to be asked again, as it said it; bounds are the business of who polls (RFC 9773 §4.3.2).
    pub retry_after: Option<Duration>,
}

impl CertificateId {
    /// Reads an identifier as [`Display`](fmt::Display) writes it.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, NoCertificateId> {
        let is_part = |part: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            !part.is_empty() && part.bytes().all(fits)
        };
        match text.split_once('.') {
            Some((issuer, serial)) if is_part(issuer) && is_part(serial) => Ok(Self(text.into())),
            Some(_) | None => Err(NoCertificateId),
        }
    }

    /// The identifier as the CA reads it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CertificateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Window {
    /// The window from `start` to `end`; `None` where the end is not after the start, which counts as no answer
    /// (RFC 9773 §4.2).
    #[must_use]
    pub fn new(start: Timestamp, end: Timestamp) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    /// Its first moment.
    #[must_use]
    pub fn start(self) -> Timestamp {
        self.start
    }

    /// The first moment after it.
    #[must_use]
    pub fn end(self) -> Timestamp {
        self.end
    }

    /// Its start and end as they are saved, in seconds from 1970: no later and no shorter.
    #[must_use]
    pub fn in_seconds(self) -> (i64, i64) {
        let up = i64::from(self.end.subsec_nanosecond() > 0);
        (self.start.as_second(), self.end.as_second().saturating_add(up))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p21_an_identifier_has_two_parts() {
        let id = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE";
        assert_eq!(CertificateId::parse(id).unwrap().as_str(), id);
        for wrong in ["", ".", "a.", ".a", "a", "a.b.c", "a/b.c", "a.b=", "a. b"] {
            assert_eq!(CertificateId::parse(wrong), Err(NoCertificateId), "{wrong:?}");
        }
    }

    #[test]
    fn p21_a_window_has_an_end_after_its_start() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert!(Window::new(at(1), at(2)).is_some());
        assert_eq!(Window::new(at(1), at(1)), None);
        assert_eq!(Window::new(at(2), at(1)), None);
    }
}

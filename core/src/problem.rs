//! What a CA's refusal means and what we do about it: one table (RFC 8555 §6.7), no exceptions elsewhere.

use std::fmt;
use std::time::Duration;

/// A refusal or failure reported by the CA, reduced to what decisions need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status of the answer; `None` when the problem came inside an order or authorization object.
    pub status: Option<u16>,
    /// The problem's type.
    pub kind: ProblemKind,
    /// The CA's own words, without anything secret.
    pub detail: String,
    /// How long the CA asked us to wait (`Retry-After`).
    pub retry_after: Option<Duration>,
}

/// ACME problem types (RFC 8555 §6.7, RFC 9773 §7.4, draft-ietf-acme-profiles), without the URN's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ProblemKind {
    /// The account is not known to the CA.
    AccountDoesNotExist,
    /// The certificate named in `replaces` has been replaced.
    AlreadyReplaced,
    /// The certificate was revoked before.
    AlreadyRevoked,
    /// The CSR is not acceptable.
    BadCsr,
    /// The nonce was stale.
    BadNonce,
    /// The public key is not acceptable.
    BadPublicKey,
    /// The revocation reason is not allowed.
    BadRevocationReason,
    /// The JWS algorithm is not supported.
    BadSignatureAlgorithm,
    /// CAA records forbid issuance.
    Caa,
    /// Several problems, told in subproblems.
    Compound,
    /// The object is being changed by another request (in no RFC; Boulder since 2026-07).
    Conflict,
    /// The CA could not connect to the validation target.
    Connection,
    /// The CA's DNS query failed.
    Dns,
    /// The account needs an external account binding.
    ExternalAccountRequired,
    /// A response did not match the challenge.
    IncorrectResponse,
    /// The contact's address is not valid.
    InvalidContact,
    /// The profile is not known.
    InvalidProfile,
    /// The request was malformed, or the object is gone.
    Malformed,
    /// Finalization was asked for an order that is not ready.
    OrderNotReady,
    /// A limit was reached, or the CA is busy.
    RateLimited,
    /// The CA does not issue for the identifier.
    RejectedIdentifier,
    /// The CA failed inside.
    ServerInternal,
    /// The CA's TLS validation failed.
    Tls,
    /// Not allowed, or a challenge that did not validate.
    Unauthorized,
    /// A type this version does not know, or none at all.
    Unknown,
    /// The contact's scheme is not supported.
    UnsupportedContact,
    /// The identifier's type is not supported.
    UnsupportedIdentifier,
    /// A person must visit the CA's `instance` URL.
    UserActionRequired,
}

impl ProblemKind {
    /// Every kind with its name in `urn:ietf:params:acme:error:`.
    const NAMES: [(Self, &str); 28] = [
        (Self::AccountDoesNotExist, "accountDoesNotExist"),
        (Self::AlreadyReplaced, "alreadyReplaced"),
        (Self::AlreadyRevoked, "alreadyRevoked"),
        (Self::BadCsr, "badCSR"),
        (Self::BadNonce, "badNonce"),
        (Self::BadPublicKey, "badPublicKey"),
        (Self::BadRevocationReason, "badRevocationReason"),
        (Self::BadSignatureAlgorithm, "badSignatureAlgorithm"),
        (Self::Caa, "caa"),
        (Self::Compound, "compound"),
        (Self::Conflict, "conflict"),
        (Self::Connection, "connection"),
        (Self::Dns, "dns"),
        (Self::ExternalAccountRequired, "externalAccountRequired"),
        (Self::IncorrectResponse, "incorrectResponse"),
        (Self::InvalidContact, "invalidContact"),
        (Self::InvalidProfile, "invalidProfile"),
        (Self::Malformed, "malformed"),
        (Self::OrderNotReady, "orderNotReady"),
        (Self::RateLimited, "rateLimited"),
        (Self::RejectedIdentifier, "rejectedIdentifier"),
        (Self::ServerInternal, "serverInternal"),
        (Self::Tls, "tls"),
        (Self::Unauthorized, "unauthorized"),
        (Self::Unknown, "unknown"),
        (Self::UnsupportedContact, "unsupportedContact"),
        (Self::UnsupportedIdentifier, "unsupportedIdentifier"),
        (Self::UserActionRequired, "userActionRequired"),
    ];

    /// Reads the `type` member of a problem document; anything unknown is [`Self::Unknown`].
    #[must_use]
    pub fn from_urn(urn: &str) -> Self {
        let name = urn.rsplit(':').next().unwrap_or_default();
        Self::NAMES.iter().find(|(_, known)| *known == name).map_or(Self::Unknown, |(kind, _)| *kind)
    }

    /// The name without the URN's prefix; stable, used in codes and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(kind, _)| *kind == self).map_or("unknown", |(_, name)| name)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        if let Some(status) = self.status {
            write!(f, " (HTTP {status})")?;
        }
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

//! What a CA's refusal means and what we do about it: one table (RFC 8555 §6.7), no exceptions elsewhere.

use std::fmt;
use std::time::Duration;

use crate::budget::Exemption;
use crate::name::DnsName;

mod reactions;

/// The code of a name that the CA has paused ([`Problem::is_pause`]).
pub const PAUSED: &str = "paused";

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

/// What was going on when the problem came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// A request for an account.
    NewAccount,
    /// A request about the account or a new order.
    NewOrder,
    /// A request about an order that exists.
    Order,
    /// No request: the problem stands in an order or challenge that has failed.
    Validation,
}

/// What we do about a problem. The words NOW, SOON, LATER and STOP of the table in the operators' guide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Nothing was refused that was not the account's: hold what `scope` says for `wait`; no failure of the name.
    Hold {
        /// What has to wait.
        scope: Scope,
        /// How long; `None` when the CA did not say.
        wait: Option<Duration>,
    },
    /// The key is not acceptable: once more with a new one for the same order, then STOP.
    NewKey,
    /// LATER: the CA has seen the attempt fail; the next order for the name keeps `issue_grace`.
    Later,
    /// The order is of no use any more; a new one may follow after a short rest. Nothing is counted.
    Renew,
    /// The order has moved on: read it and go on by its state.
    Reread,
    /// SOON: the same step of the same order after a rest.
    Soon,
    /// STOP: it will not succeed until somebody changes something; tried daily at most.
    Stop,
}

/// What a limit of the CA holds back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Everything we ask of this CA.
    Account,
    /// All names at or below one, in orders that are no renewal.
    Below(DnsName),
    /// The one name that was asked for.
    Name,
    /// One order that has met trouble which may be its own; `None` for the one that was asked about. Everything is held
    /// once a second one has met trouble too.
    Order(Option<DnsName>),
    /// New orders that are no renewal.
    Orders,
    /// Questions about renewals; no order waits for it.
    Questions,
    /// All names of a zone, which are ordered with the same profile; `None` for that of the name that was asked for.
    Zone(Option<DnsName>),
}

impl Reaction {
    /// How much it keeps from being done, so that of several reasons the one can be obeyed that leaves none of them
    /// unheeded.
    fn gravity(&self) -> u32 {
        match self {
            Self::Hold { scope, .. } => match scope {
                Scope::Account => 11,
                Scope::Zone(_) => 10,
                Scope::Orders => 9,
                Scope::Below(_) => 8,
                Scope::Name => 6,
                Scope::Order(_) | Scope::Questions => 3,
            },
            Self::Stop => 7,
            Self::Later => 5,
            Self::NewKey => 4,
            Self::Renew => 2,
            Self::Reread => 1,
            Self::Soon => 0,
        }
    }
}

impl Scope {
    /// Whether an order for `name` in the zone `apex` is held back. A limit on one name is kept with that name's failures
    /// instead.
    #[must_use]
    pub fn covers(&self, name: &DnsName, apex: Option<&DnsName>, exemption: Exemption) -> bool {
        let counted = exemption == Exemption::Nothing;
        match self {
            Self::Account => true,
            Self::Below(ancestor) => counted && name.is_at_or_below(ancestor),
            Self::Name | Self::Questions => false,
            Self::Order(one) => one.as_ref() == Some(name),
            Self::Orders => counted,
            Self::Zone(zone) => zone.as_ref() == apex,
        }
    }
}

/// Of several problems that one order has at the same time, the one whose reaction keeps most from being done: a new order
/// would meet the others too, and what is tried for the sake of a lesser one would be in vain. The first of equals.
#[must_use]
pub fn gravest(problems: impl IntoIterator<Item = Problem>, during: Exchange) -> Option<Problem> {
    let gravity = |problem: &Problem| problem.reaction(during).gravity();
    problems.into_iter().reduce(|grave, other| {
        if gravity(&other) > gravity(&grave) {
            other
        } else {
            grave
        }
    })
}

impl Problem {
    /// What is done about it: the first row of the table that fits.
    #[must_use]
    pub fn reaction(&self, during: Exchange) -> Reaction {
        // The table has a row for each kind.
        reactions::TABLE
            .iter()
            .find(|row| (row.fits)(self, during))
            .map_or(Reaction::Stop, |row| (row.reaction)(self))
    }

    /// Whether the CA has paused the account or the name: a limit that does not pass, and so names no time (Boulder,
    /// 2026-08). It ends when a person visits the link that the CA's words have. A limit that lacks the time alone is one
    /// like others.
    #[must_use]
    pub fn is_pause(&self) -> bool {
        let words = self.detail.to_ascii_lowercase();
        let is_told = ["paused", "unpause", "temporarily prevented"]
            .iter()
            .any(|told| words.contains(told));
        let is_limit = self.kind == ProblemKind::RateLimited && self.status != Some(503);
        is_limit && self.retry_after.is_none() && is_told
    }

    /// Whether a new order was refused for its profile: the CA does not know it, or not for our account (Boulder, 2026-11).
    #[must_use]
    pub fn is_about_profile(&self) -> bool {
        let is_told = || self.detail.to_ascii_lowercase().contains("profile");
        self.kind == ProblemKind::InvalidProfile || self.kind == ProblemKind::Unauthorized && is_told()
    }

    /// Whether a new order was refused for the certificate that it was to replace: it is replaced already, or the CA does
    /// not take it for one of ours (RFC 9773 §5; Boulder answers 400, 403 or 404 then, Pebble 400, 403 or 500, 2026-11).
    /// Asked for without it, once, the order may do.
    #[must_use]
    pub fn is_about_predecessor(&self) -> bool {
        matches!(self.kind, ProblemKind::AlreadyReplaced | ProblemKind::Malformed)
            || self.status == Some(404)
            || ["replace", "given certificate"]
                .iter()
                .any(|words| self.detail.to_ascii_lowercase().contains(words))
    }
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
        Self::NAMES
            .iter()
            .find(|(_, known)| *known == name)
            .map_or(Self::Unknown, |(kind, _)| *kind)
    }

    /// For how long the table says that what is held for it is held; `None` where the CA says it.
    pub(crate) fn held_as_we_say(self) -> Option<Duration> {
        let silent = Problem {
            status: None,
            kind: self,
            detail: String::new(),
            retry_after: None,
        };
        if let Reaction::Hold { wait, .. } = silent.reaction(Exchange::NewOrder) {
            wait
        } else {
            None
        }
    }

    /// The name without the URN's prefix; stable, used in codes and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or("unknown", |(_, name)| name)
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

#[cfg(test)]
mod tests;

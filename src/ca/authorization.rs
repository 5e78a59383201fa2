//! The authorizations of an order and their DNS-01 challenges (RFC 8555 §7.1.4, §8.4): what to publish, and what failed.
//!
//! Judging is done on plain values, and asks nobody.

use faythe_core::name::Hostname;
use faythe_core::order::{Challenge, ChallengeStatus, ChallengeValue};
use faythe_core::problem::{Problem, ProblemKind};
use serde::Deserialize;

use super::CaError;
use super::http::Answer;
use super::jws::{self, Key};
use super::problem;

/// The one challenge type that is answered.
const DNS_01: &str = "dns-01";

/// An authorization as the CA shows it (RFC 8555 §7.1.4), reduced to what concerns us.
#[derive(Debug)]
pub(super) struct Authorization {
    /// The name, with `*.` for a wildcard.
    name: String,
    status: AuthorizationStatus,
    /// Its DNS-01 challenge, if it has one.
    challenge: Option<Offer>,
    /// Why the first challenge that failed has failed.
    failure: Option<Problem>,
}

/// A DNS-01 challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Offer {
    stage: Stage,
    /// The value to publish.
    value: String,
    /// Where it is answered.
    url: String,
}

/// States of an authorization (RFC 8555 §7.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum AuthorizationStatus {
    Deactivated,
    Expired,
    Invalid,
    Pending,
    Revoked,
    Valid,
}

/// States of a challenge (RFC 8555 §7.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Stage {
    Invalid,
    Pending,
    Processing,
    Valid,
}

/// A challenge that is open, and where it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Open {
    pub(super) challenge: Challenge,
    pub(super) url: String,
}

/// What the authorizations of an order amount to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgment {
    /// These challenges are open; the rest is valid.
    Open(Vec<Open>),
    /// One of them has failed.
    Failed(Problem),
}

/// Judges the authorizations of an order.
pub(super) fn judge(authorizations: &[Authorization]) -> Result<Judgment, CaError> {
    let mut open = Vec::new();
    for authorization in authorizations {
        let Authorization {
            name,
            status,
            challenge,
            ..
        } = authorization;
        let refused = |kind, detail| Problem {
            status: None,
            kind,
            detail,
            retry_after: None,
        };
        match status {
            AuthorizationStatus::Valid => {}
            AuthorizationStatus::Pending => match challenge {
                Some(Offer {
                    stage: stage @ (Stage::Pending | Stage::Processing),
                    value,
                    url,
                }) => {
                    let host = Hostname::parse(name).map_err(|error| {
                        let detail =
                            format!("the CA speaks of a name that was not ordered, {name:?}: {error}");
                        CaError::Refused(refused(ProblemKind::Malformed, detail))
                    })?;
                    let challenge = Challenge {
                        value: ChallengeValue {
                            record: host.challenge_record(),
                            value: value.clone(),
                        },
                        status: if *stage == Stage::Pending {
                            ChallengeStatus::Pending
                        } else {
                            ChallengeStatus::Processing
                        },
                    };
                    let url = url.clone();
                    open.push(Open { challenge, url });
                }
                // The authorization is about to follow its challenge.
                Some(Offer {
                    stage: Stage::Valid, ..
                }) => {}
                Some(Offer {
                    stage: Stage::Invalid,
                    ..
                }) => return Ok(Judgment::Failed(reason(authorization))),
                None => {
                    let detail = format!("the CA offers no DNS-01 challenge for {name}");
                    return Err(CaError::Refused(refused(ProblemKind::RejectedIdentifier, detail)));
                }
            },
            AuthorizationStatus::Deactivated
            | AuthorizationStatus::Expired
            | AuthorizationStatus::Invalid
            | AuthorizationStatus::Revoked => return Ok(Judgment::Failed(reason(authorization))),
        }
    }
    Ok(Judgment::Open(open))
}

/// Why an authorization has failed; where the CA does not say, at least how. One that has expired, or that somebody has
/// taken back, is a part of the order that is gone: the CA has seen nothing fail (RFC 8555 §7.1.6).
fn reason(authorization: &Authorization) -> Problem {
    let gone = match authorization.status {
        AuthorizationStatus::Deactivated | AuthorizationStatus::Expired | AuthorizationStatus::Revoked => {
            true
        }
        AuthorizationStatus::Invalid | AuthorizationStatus::Pending | AuthorizationStatus::Valid => false,
    };
    let (kind, status) = if gone {
        (ProblemKind::Malformed, Some(404))
    } else {
        (ProblemKind::Unknown, None)
    };
    let failure = authorization.failure.clone().filter(|_| !gone);
    failure.unwrap_or_else(|| Problem {
        status,
        kind,
        detail: format!(
            "the authorization of {} is {:?}",
            authorization.name, authorization.status
        )
        .to_lowercase(),
        retry_after: None,
    })
}

impl Authorization {
    /// Reads an answer as an authorization, and makes the value that proves `key`'s hold on the name (RFC 8555 §8.4).
    pub(super) fn read(answer: &Answer, key: &Key) -> Result<Self, CaError> {
        let document: Document = serde_json::from_slice(&answer.body).map_err(|error| CaError::Garbled {
            url: answer.url.clone(),
            what: error.to_string(),
            retry_after: answer.retry_after,
            status: None,
        })?;
        let wildcard = document.wildcard && !document.identifier.value.starts_with("*.");
        let failure = document
            .challenges
            .iter()
            .find_map(|challenge| Some(challenge.error.as_ref()?.problem()));
        let challenge = document
            .challenges
            .into_iter()
            .find(|challenge| challenge.kind == DNS_01)
            .and_then(|challenge| {
                // Authorized by the token and the key together (RFC 8555 §8.1).
                let authorized = format!("{}.{}", challenge.token?, key.thumbprint());
                Some(Offer {
                    stage: challenge.status?,
                    value: jws::encode(jws::sha256(authorized.as_bytes())),
                    url: challenge.url?,
                })
            });
        Ok(Self {
            name: format!(
                "{}{}",
                if wildcard { "*." } else { "" },
                document.identifier.value
            ),
            status: document.status,
            challenge,
            failure,
        })
    }
}

#[derive(Deserialize)]
struct Document {
    identifier: Identifier,
    status: AuthorizationStatus,
    #[serde(default, deserialize_with = "problem::or_none")]
    wildcard: bool,
    challenges: Vec<WrittenChallenge>,
}

#[derive(Deserialize)]
struct Identifier {
    value: String,
}

/// A challenge of any type. Those of other types may lack whatever DNS-01 has.
#[derive(Deserialize)]
struct WrittenChallenge {
    #[serde(rename = "type")]
    kind: String,
    url: Option<String>,
    token: Option<String>,
    #[serde(default, deserialize_with = "known")]
    status: Option<Stage>,
    error: Option<problem::Document>,
}

/// A state that is known; what a challenge of another type is in does not matter.
fn known<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Stage>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

#[cfg(test)]
mod tests;

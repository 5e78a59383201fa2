//! The authorizations of an order and their DNS-01 challenges (RFC 8555 §7.1.4, §8.4): what to publish, and what failed.
//!
//! Reading goes through the library's borrows; judging is done on plain values, and asks nobody.

use faythe_core::name::Hostname;
use faythe_core::order::{Challenge, ChallengeStatus, ChallengeValue};
use faythe_core::problem::{Problem, ProblemKind};
use instant_acme::{AuthorizationStatus, ChallengeStatus as Stage, ChallengeType, Error as AcmeError, Order};

use super::CaError;
use super::fault::problem;

/// An authorization as the CA shows it (RFC 8555 §7.1.4), without the library's borrows.
#[derive(Debug)]
pub(super) struct Authorization {
    /// The name, with `*.` for a wildcard.
    name: String,
    status: AuthorizationStatus,
    /// State of the DNS-01 challenge, and the value to publish for it.
    challenge: Option<(Stage, String)>,
    /// Why the first challenge that failed has failed.
    failure: Option<Problem>,
}

/// What the authorizations of an order amount to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgment {
    /// These challenges are open; the rest is valid.
    Open(Vec<Challenge>),
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
                Some((stage @ (Stage::Pending | Stage::Processing), value)) => {
                    let host = Hostname::parse(name).map_err(|error| {
                        let detail =
                            format!("the CA speaks of a name that was not ordered, {name:?}: {error}");
                        CaError::Refused(refused(ProblemKind::Malformed, detail))
                    })?;
                    open.push(Challenge {
                        value: ChallengeValue {
                            record: host.challenge_record(),
                            value: value.clone(),
                        },
                        status: if *stage == Stage::Pending {
                            ChallengeStatus::Pending
                        } else {
                            ChallengeStatus::Processing
                        },
                    });
                }
                // The authorization is about to follow its challenge.
                Some((Stage::Valid, _)) => {}
                Some((Stage::Invalid, _)) => return Ok(Judgment::Failed(reason(authorization))),
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

/// Why an authorization has failed; where the CA does not say, at least how.
fn reason(authorization: &Authorization) -> Problem {
    authorization.failure.clone().unwrap_or_else(|| Problem {
        status: None,
        kind: ProblemKind::Unknown,
        detail: format!(
            "the authorization of {} is {:?}",
            authorization.name, authorization.status
        )
        .to_lowercase(),
        retry_after: None,
    })
}

/// Reads all authorizations of an order; those read since the order itself was read are not asked for again.
pub(super) async fn read(order: &mut Order) -> Result<Vec<Authorization>, AcmeError> {
    let mut authorizations = Vec::new();
    let mut all = order.authorizations();
    while let Some(next) = all.next().await {
        let mut handle = next?;
        authorizations.push(Authorization {
            name: handle.identifier().to_string(),
            status: handle.status,
            failure: handle
                .challenges
                .iter()
                .find_map(|challenge| challenge.error.as_ref())
                .map(problem),
            challenge: handle
                .challenge(ChallengeType::Dns01)
                .map(|challenge| (challenge.status, challenge.key_authorization().dns_value())),
        });
    }
    Ok(authorizations)
}

/// Tells the CA that the challenge with this value can be validated (RFC 8555 §7.5.1).
pub(super) async fn tell(order: &mut Order, value: &str) -> Result<(), AcmeError> {
    let mut all = order.authorizations();
    while let Some(next) = all.next().await {
        let mut handle = next?;
        let pending = handle.status == AuthorizationStatus::Pending;
        if let Some(mut challenge) = handle.challenge(ChallengeType::Dns01)
            && challenge.key_authorization().dns_value() == value
        {
            // Whatever else has become of it shows in the order.
            return if pending {
                challenge.set_ready().await
            } else {
                Ok(())
            };
        }
    }
    Err(AcmeError::Other(
        "the challenge is not part of the order any more".into(),
    ))
}

#[cfg(test)]
mod tests;

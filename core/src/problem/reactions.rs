//! The one table of reactions to a CA's problems; `docs/problems.md` has the same rows for people, and a test compares them.
//!
//! The first row that fits decides. The HTTP status stands before the type: it tells "busy, come back in seconds" from
//! "limit reached, come back in hours", and a type may come with either.

use std::time::Duration;

use super::{Exchange, Problem, ProblemKind as K, Reaction, Scope};
use crate::name::DnsName;

/// A refused account stays refused until somebody acts; it is tried again daily.
const ACCOUNT_REFUSED: Duration = Duration::from_secs(86_400);

/// One row: what is refused, and what follows.
pub(super) struct Row {
    /// The problem, as the guide names it.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test compares it with the guide"))]
    pub(super) problem: &'static str,
    /// What is done, as the guide says it.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test compares it with the guide"))]
    pub(super) says: &'static str,
    pub(super) fits: fn(&Problem, Exchange) -> bool,
    pub(super) reaction: fn(&Problem) -> Reaction,
}

pub(super) const TABLE: [Row; 27] = [
    Row {
        problem: "any, with HTTP 503",
        says: "HOLD of everything, at Retry-After",
        fits: |problem, _| problem.status == Some(503),
        reaction: busy,
    },
    Row {
        problem: "`rateLimited` with Retry-After",
        says: "exact set or failed authorizations: LATER, at Retry-After at least; a domain: HOLD below it; anything else: HOLD of everything",
        fits: |problem, _| problem.kind == K::RateLimited && !problem.is_pause(),
        reaction: |problem| Reaction::Hold {
            scope: limited_scope(problem),
            wait: problem.retry_after,
        },
    },
    Row {
        problem: "`rateLimited` without Retry-After",
        says: "STOP: the name is paused until a person unpauses it",
        fits: |problem, _| problem.is_pause(),
        reaction: |_| Reaction::Stop,
    },
    Row {
        problem: "`serverInternal`, inside an order",
        says: "RENEW",
        fits: |problem, during| problem.kind == K::ServerInternal && during == Exchange::Validation,
        reaction: |_| Reaction::Renew,
    },
    Row {
        problem: "`serverInternal`, to a request",
        says: "HOLD of everything",
        fits: |problem, _| problem.kind == K::ServerInternal,
        reaction: busy,
    },
    Row {
        problem: "`badNonce`",
        says: "at once, with the fresh nonce of the refusal, some times; then SOON",
        fits: |problem, _| problem.kind == K::BadNonce,
        reaction: |_| Reaction::Soon,
    },
    Row {
        problem: "`dns`",
        says: "LATER",
        fits: |problem, _| problem.kind == K::Dns,
        reaction: |_| Reaction::Later,
    },
    Row {
        problem: "`connection`, `tls`, `incorrectResponse`",
        says: "LATER",
        fits: |problem, _| matches!(problem.kind, K::Connection | K::Tls | K::IncorrectResponse),
        reaction: |_| Reaction::Later,
    },
    Row {
        problem: "`unauthorized`, of a challenge",
        says: "LATER",
        fits: |problem, during| problem.kind == K::Unauthorized && during == Exchange::Validation,
        reaction: |_| Reaction::Later,
    },
    Row {
        problem: "`unauthorized`, to a request about an order",
        says: "RENEW",
        fits: |problem, during| problem.kind == K::Unauthorized && during == Exchange::Order,
        reaction: |_| Reaction::Renew,
    },
    Row {
        problem: "`unauthorized`, to a new order",
        says: "HOLD of everything for a day: the account or the configuration has to change",
        fits: |problem, _| problem.kind == K::Unauthorized,
        reaction: account_refused,
    },
    Row {
        problem: "`caa`",
        says: "STOP",
        fits: |problem, _| problem.kind == K::Caa,
        reaction: |_| Reaction::Stop,
    },
    Row {
        problem: "`rejectedIdentifier`",
        says: "STOP",
        fits: |problem, _| problem.kind == K::RejectedIdentifier,
        reaction: |_| Reaction::Stop,
    },
    Row {
        problem: "`unsupportedIdentifier`",
        says: "STOP",
        fits: |problem, _| problem.kind == K::UnsupportedIdentifier,
        reaction: |_| Reaction::Stop,
    },
    Row {
        problem: "`malformed`, with HTTP 404, or an authorization that has expired",
        says: "RENEW",
        fits: |problem, _| problem.kind == K::Malformed && problem.status == Some(404),
        reaction: |_| Reaction::Renew,
    },
    Row {
        problem: "`malformed`",
        says: "STOP",
        fits: |problem, _| problem.kind == K::Malformed,
        reaction: |_| Reaction::Stop,
    },
    Row {
        problem: "`badCSR`, `badPublicKey`",
        says: "once more with a new key for the same order; then STOP",
        fits: |problem, _| matches!(problem.kind, K::BadCsr | K::BadPublicKey),
        reaction: |_| Reaction::NewKey,
    },
    Row {
        problem: "`badSignatureAlgorithm`",
        says: "HOLD of everything for a day: the account or the configuration has to change",
        fits: |problem, _| problem.kind == K::BadSignatureAlgorithm,
        reaction: account_refused,
    },
    Row {
        problem: "`orderNotReady`",
        says: "the order is read again, and goes on by its state",
        fits: |problem, _| problem.kind == K::OrderNotReady,
        reaction: |_| Reaction::Reread,
    },
    Row {
        problem: "`accountDoesNotExist`",
        says: "the account's key is registered again, then SOON; a warning says so",
        fits: |problem, _| problem.kind == K::AccountDoesNotExist,
        reaction: |_| Reaction::Soon,
    },
    Row {
        problem: "`externalAccountRequired`, `userActionRequired`",
        says: "HOLD of everything for a day: the account or the configuration has to change",
        fits: |problem, _| matches!(problem.kind, K::ExternalAccountRequired | K::UserActionRequired),
        reaction: account_refused,
    },
    Row {
        problem: "`invalidContact`, `unsupportedContact`",
        says: "the account is made without the contact; a warning says so",
        fits: |problem, _| matches!(problem.kind, K::InvalidContact | K::UnsupportedContact),
        reaction: account_refused,
    },
    Row {
        problem: "`alreadyReplaced`",
        says: "asked for once more without naming the certificate that is replaced; then RENEW",
        fits: |problem, _| problem.kind == K::AlreadyReplaced,
        reaction: |_| Reaction::Renew,
    },
    Row {
        problem: "`invalidProfile`",
        says: "the directory is read again; if the profile is not in it, HOLD of the zone whose hosts are ordered with it for a day: the configuration has to change",
        fits: |problem, _| problem.kind == K::InvalidProfile,
        reaction: |_| Reaction::Hold {
            scope: Scope::Zone(None),
            wait: Some(ACCOUNT_REFUSED),
        },
    },
    Row {
        problem: "`conflict`",
        says: "the order is read again, and goes on by its state",
        fits: |problem, _| problem.kind == K::Conflict,
        reaction: |_| Reaction::Reread,
    },
    Row {
        problem: "`alreadyRevoked`, `badRevocationReason`, `compound`",
        says: "with subproblems, what the first of them says; else STOP",
        fits: |problem, _| {
            matches!(
                problem.kind,
                K::AlreadyRevoked | K::BadRevocationReason | K::Compound
            )
        },
        reaction: |_| Reaction::Stop,
    },
    Row {
        problem: "a type that we do not know",
        says: "with HTTP 500 and above, or 429: HOLD of everything; with another: STOP; inside an order: LATER",
        fits: |problem, _| problem.kind == K::Unknown,
        reaction: |problem| match problem.status {
            Some(429 | 500..) => busy(problem),
            Some(_) => Reaction::Stop,
            None => Reaction::Later,
        },
    },
];

/// The CA as a whole is to be left alone for as long as it said, if it said so.
fn busy(problem: &Problem) -> Reaction {
    Reaction::Hold {
        scope: Scope::Account,
        wait: problem.retry_after,
    }
}

/// Nothing can be ordered until somebody acts.
fn account_refused(_: &Problem) -> Reaction {
    Reaction::Hold {
        scope: Scope::Account,
        wait: Some(ACCOUNT_REFUSED),
    }
}

/// What a limit holds back, from the words of Boulder's message (observed 2026-11); unknown words hold everything.
fn limited_scope(problem: &Problem) -> Scope {
    let words = problem.detail.as_str();
    if words.contains("exact set of") || words.contains("failed authorizations") {
        return Scope::Name;
    }
    if words.contains("already issued for") {
        let quoted = words.split('"').nth(1).and_then(|name| DnsName::parse(name).ok());
        if let Some(domain) = quoted {
            return Scope::Below(domain);
        }
    }
    if words.contains("too many new orders") {
        return Scope::Orders;
    }
    Scope::Account
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUIDE: &str = include_str!("../../../docs/problems.md");

    #[test]
    fn p22_the_guide_has_the_same_rows() {
        let rows = GUIDE
            .lines()
            .skip_while(|line| *line != "| problem | reaction |")
            .skip(2)
            .take_while(|line| line.starts_with('|'));
        let ours = TABLE.map(|row| format!("| {} | {} |", row.problem, row.says));
        assert!(
            rows.eq(ours.iter()),
            "docs/problems.md should have\n{}",
            ours.join("\n")
        );
    }

    #[test]
    fn p17_every_problem_has_a_row_and_every_row_a_problem() {
        let mut used = [false; TABLE.len()];
        for (kind, _) in K::NAMES {
            for status in [
                None,
                Some(400),
                Some(403),
                Some(404),
                Some(429),
                Some(500),
                Some(503),
            ] {
                for retry_after in [None, Some(Duration::from_secs(1))] {
                    for during in [Exchange::NewOrder, Exchange::Order, Exchange::Validation] {
                        let problem = Problem {
                            status,
                            kind,
                            detail: String::new(),
                            retry_after,
                        };
                        let row = TABLE.iter().position(|row| (row.fits)(&problem, during));
                        used[row.unwrap_or_else(|| panic!("{problem} has no row"))] = true;
                    }
                }
            }
        }
        assert_eq!(used, [true; TABLE.len()]);
    }
}

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
    /// What a person should do, as the guide says it.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test compares it with the guide"))]
    pub(super) person: &'static str,
    pub(super) fits: fn(&Problem, Exchange) -> bool,
    pub(super) reaction: fn(&Problem) -> Reaction,
}

pub(super) const TABLE: [Row; 32] = [
    Row {
        problem: "any, with HTTP 503",
        says: "HOLD of everything, at Retry-After",
        person: "nothing; if it lasts, see the CA's status page",
        fits: |problem, _| problem.status == Some(503),
        reaction: busy,
    },
    Row {
        problem: "`rateLimited`, a limit",
        says: "exact set or failed authorizations: LATER, at Retry-After at least; a domain: HOLD below it; new orders: HOLD of all but renewals; anything else: HOLD of everything",
        person: "nothing: it goes on by itself. If it comes often, find out who orders so much, or ask the CA for an override and set it in `cas[].limits`",
        fits: |problem, _| problem.kind == K::RateLimited && !problem.is_pause(),
        reaction: |problem| Reaction::Hold {
            scope: limited_scope(problem),
            wait: problem.retry_after,
        },
    },
    Row {
        problem: "`rateLimited` of a paused name: without Retry-After, and with words or a link that say so",
        says: "STOP: the name is paused until a person unpauses it",
        person: "mend what made the name fail so often, then unpause it at the CA's link in its own portal, and run `faythe renew` if it is not to wait for tomorrow; or remove the host",
        fits: |problem, _| problem.is_pause(),
        reaction: |_| Reaction::Stop,
    },
    Row {
        problem: "`serverInternal`, inside an order",
        says: "RENEW",
        person: "nothing; if it lasts, see the CA's status page",
        fits: |problem, during| problem.kind == K::ServerInternal && during == Exchange::Validation,
        reaction: |_| Reaction::Renew,
    },
    Row {
        problem: "`serverInternal`, to a request",
        says: "HOLD of the order, at Retry-After at least; of everything once a second one has met trouble too, for seconds, and for longer the more have",
        person: "nothing; if it lasts, see the CA's status page",
        fits: |problem, _| problem.kind == K::ServerInternal,
        reaction: trouble,
    },
    Row {
        problem: "`badNonce`",
        says: "at once, with the fresh nonce of the refusal, some times; then SOON",
        person: "nothing; if it lasts, look for a cache between here and the CA",
        fits: |problem, _| problem.kind == K::BadNonce,
        reaction: |_| Reaction::Soon,
    },
    Row {
        problem: "`dns`",
        says: "LATER",
        person: "see that the zone's name servers answer everybody, by TCP too, that DNSSEC is sound, and that CAA can be looked up",
        fits: |problem, _| problem.kind == K::Dns,
        reaction: |_| Reaction::Later,
    },
    Row {
        problem: "`connection`, `tls`, `incorrectResponse`",
        says: "LATER",
        person: "see the CA's words; of a DNS challenge, the CA cannot reach a name server",
        fits: |problem, _| matches!(problem.kind, K::Connection | K::Tls | K::IncorrectResponse),
        reaction: |_| Reaction::Later,
    },
    Row {
        problem: "`unauthorized`, of a challenge",
        says: "LATER",
        person: "see that every name server of the zone shows what the update server has, in all networks, and that no other program removes challenges",
        fits: |problem, during| problem.kind == K::Unauthorized && during == Exchange::Validation,
        reaction: |_| Reaction::Later,
    },
    Row {
        problem: "`unauthorized`, to a request about an order",
        says: "RENEW",
        person: "nothing: a new order follows; if it repeats, compare `faythe account` with the CA's records",
        fits: |problem, during| problem.kind == K::Unauthorized && during == Exchange::Order,
        reaction: |_| Reaction::Renew,
    },
    Row {
        problem: "`unauthorized`, to a new order, because of its profile",
        says: "asked for once more with `cas[].profile_fallback`, if that is set; else HOLD of the zone whose hosts are ordered with it for a day: the configuration has to change",
        person: "name a profile that the account may use, then start Faythe anew",
        fits: |problem, during| {
            problem.kind == K::Unauthorized && during == Exchange::NewOrder && problem.is_about_profile()
        },
        reaction: profile_refused,
    },
    Row {
        problem: "`unauthorized`, to a new order",
        says: "HOLD of everything for a day: the account or the configuration has to change",
        person: "see whether the account is deactivated (`faythe account`), then start Faythe anew",
        fits: |problem, _| problem.kind == K::Unauthorized,
        reaction: account_refused,
    },
    Row {
        problem: "`caa`",
        says: "STOP",
        person: "let the domain's CAA records allow this CA, and this account and `dns-01` where they name any; or remove the host",
        fits: |problem, _| problem.kind == K::Caa,
        reaction: |_| Reaction::Stop,
    },
    Row {
        problem: "`rejectedIdentifier`",
        says: "STOP",
        person: "remove the host, or ask the CA why it does not serve it",
        fits: |problem, _| problem.kind == K::RejectedIdentifier,
        reaction: |_| Reaction::Stop,
    },
    Row {
        problem: "`unsupportedIdentifier`",
        says: "STOP",
        person: "remove the host",
        fits: |problem, _| problem.kind == K::UnsupportedIdentifier,
        reaction: |_| Reaction::Stop,
    },
    Row {
        problem: "`badPublicKey`, `malformed` or a type that we do not know, to a new account",
        says: "HOLD of everything for a day: the account or the configuration has to change",
        person: "set `cas[].account_key_type` to one that the CA takes, and have another account made (`faythe account`)",
        fits: |problem, during| {
            let passes = matches!(problem.status, Some(429 | 500..));
            let is_unknown = problem.kind == K::Unknown && !passes;
            during == Exchange::NewAccount
                && (is_unknown || matches!(problem.kind, K::BadPublicKey | K::Malformed))
        },
        reaction: account_refused,
    },
    Row {
        problem: "`malformed`, with HTTP 404, or an authorization that has expired",
        says: "RENEW",
        person: "nothing",
        fits: |problem, _| problem.kind == K::Malformed && problem.status == Some(404),
        reaction: |_| Reaction::Renew,
    },
    Row {
        problem: "`malformed`",
        says: "STOP",
        person: "see the CA's words; report it to us if the hostname is in order",
        fits: |problem, _| problem.kind == K::Malformed,
        reaction: |_| Reaction::Stop,
    },
    Row {
        problem: "`badCSR`, `badPublicKey`",
        says: "once more with a new key for the same order; then STOP",
        person: "set `key_type` to one that the CA takes",
        fits: |problem, _| matches!(problem.kind, K::BadCsr | K::BadPublicKey),
        reaction: |_| Reaction::NewKey,
    },
    Row {
        problem: "`badSignatureAlgorithm`",
        says: "HOLD of everything for a day: the account or the configuration has to change",
        person: "change the account's key to a type that the CA takes (`faythe account rollover`)",
        fits: |problem, _| problem.kind == K::BadSignatureAlgorithm,
        reaction: account_refused,
    },
    Row {
        problem: "`orderNotReady`",
        says: "the order is read again, and goes on by its state",
        person: "nothing",
        fits: |problem, _| problem.kind == K::OrderNotReady,
        reaction: |_| Reaction::Reread,
    },
    Row {
        problem: "`accountDoesNotExist`",
        says: "the account's key is registered again, then SOON; a warning says so",
        person: "see whether CAA records name the account that is gone, and whether its account binding is still good",
        fits: |problem, _| problem.kind == K::AccountDoesNotExist,
        reaction: |_| Reaction::Soon,
    },
    Row {
        problem: "`externalAccountRequired`, `userActionRequired`",
        says: "HOLD of everything for a day: the account or the configuration has to change",
        person: "set `cas[].eab`, or visit the address that the CA's words name; then start Faythe anew",
        fits: |problem, _| matches!(problem.kind, K::ExternalAccountRequired | K::UserActionRequired),
        reaction: account_refused,
    },
    Row {
        problem: "`invalidContact`, `unsupportedContact`",
        says: "the account is made without the contact; a warning says so",
        person: "mend the contact's address",
        fits: |problem, _| matches!(problem.kind, K::InvalidContact | K::UnsupportedContact),
        reaction: account_refused,
    },
    Row {
        problem: "`alreadyReplaced`",
        says: "asked for once more without naming the certificate that is replaced, as one that the limits count; then RENEW",
        person: "nothing",
        fits: |problem, _| problem.kind == K::AlreadyReplaced,
        reaction: |_| Reaction::Renew,
    },
    Row {
        problem: "`invalidProfile`, to a request about an order",
        says: "RENEW",
        person: "nothing: the CA has dropped the profile, and the new order is met with the row below",
        fits: |problem, during| problem.kind == K::InvalidProfile && during == Exchange::Order,
        reaction: |_| Reaction::Renew,
    },
    Row {
        problem: "`invalidProfile`",
        says: "the directory is read again; if the profile is not in it, ordered with `cas[].profile_fallback`, if that is set; else HOLD of the zone whose hosts are ordered with it for a day: the configuration has to change",
        person: "name a profile that the CA's directory offers, then start Faythe anew",
        fits: |problem, _| problem.kind == K::InvalidProfile,
        reaction: profile_refused,
    },
    Row {
        problem: "`conflict`",
        says: "the order is read again, and goes on by its state",
        person: "nothing",
        fits: |problem, _| problem.kind == K::Conflict,
        reaction: |_| Reaction::Reread,
    },
    Row {
        problem: "`alreadyRevoked`",
        says: "to a revocation: it is done; else STOP",
        person: "nothing",
        fits: |problem, _| problem.kind == K::AlreadyRevoked,
        reaction: |_| Reaction::Stop,
    },
    Row {
        problem: "`badRevocationReason`",
        says: "to a revocation: once more without a reason, and a warning says so; else STOP",
        person: "if the key is known to others, tell the CA so, which may want a request signed with that very key",
        fits: |problem, _| problem.kind == K::BadRevocationReason,
        reaction: |_| Reaction::Stop,
    },
    Row {
        problem: "`compound`",
        says: "what the gravest of its subproblems says, of those of a type that we know; without one, STOP",
        person: "see the CA's words",
        fits: |problem, _| problem.kind == K::Compound,
        reaction: |_| Reaction::Stop,
    },
    Row {
        problem: "a type that we do not know",
        says: "with HTTP 429: HOLD of everything; with 500 and above: as `serverInternal`; with another: STOP; inside an order: LATER",
        person: "see the CA's words, and report the type to us",
        fits: |problem, _| problem.kind == K::Unknown,
        reaction: |problem| match problem.status {
            Some(429) => busy(problem),
            Some(500..) => trouble(problem),
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

/// Something inside the CA failed, of the one order or as a whole.
fn trouble(problem: &Problem) -> Reaction {
    Reaction::Hold {
        scope: Scope::Order(None),
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

/// Nothing can be ordered with the zone's profile until somebody acts.
fn profile_refused(_: &Problem) -> Reaction {
    Reaction::Hold {
        scope: Scope::Zone(None),
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
            .skip_while(|line| *line != "| problem | reaction | what to do |")
            .skip(2)
            .take_while(|line| line.starts_with('|'));
        let ours = TABLE.map(|row| format!("| {} | {} | {} |", row.problem, row.says, row.person));
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
                    for during in [
                        Exchange::NewAccount,
                        Exchange::NewOrder,
                        Exchange::Order,
                        Exchange::Validation,
                    ] {
                        for words in ["", "not permitted to use certificate profile \"x\"", "paused"] {
                            let problem = Problem {
                                status,
                                kind,
                                detail: words.to_owned(),
                                retry_after,
                            };
                            let row = TABLE.iter().position(|row| (row.fits)(&problem, during));
                            used[row.unwrap_or_else(|| panic!("{problem} has no row"))] = true;
                        }
                    }
                }
            }
        }
        assert_eq!(used, [true; TABLE.len()]);
    }
}

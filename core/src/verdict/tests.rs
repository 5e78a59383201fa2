//! The words of every verdict.

use jiff::SignedDuration;

use super::*;
use crate::cert::Unreadable;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn failures(count: u32, parked: bool) -> Failures {
    Failures {
        count,
        last: time("2026-01-01T00:00:00Z"),
        clock_ahead: SignedDuration::ZERO,
        code: "dns".into(),
        text: "the CA says dns: NXDOMAIN looking up TXT".into(),
        not_before: None,
        parked,
        refused_by: Vec::new(),
    }
}

fn rest(tries: u32) -> Rest {
    Rest {
        noted: true,
        stage: Stage::Publishing,
        code: "badkey".into(),
        text: "update of zone example.com: BADKEY".into(),
        tries,
        until: time("2026-01-01T00:00:04.56Z"),
    }
}

/// Every reason, its state and code, and what people read.
fn golden() -> Vec<(Reason, &'static str, &'static str)> {
    let next = time("2026-01-01T08:00:00Z");
    let hold = Hold {
        until: next,
        code: "rateLimited".into(),
        text: "the CA says rateLimited (HTTP 429)".into(),
        tries: 1,
        told: true,
    };
    let issuing = |stage| Reason::Issuing {
        stage,
        short: Shortfall::Missing,
    };
    vec![
        (
            Reason::Conflict {
                text: "Secret a.example.com is not ours; label it or remove it".into(),
            },
            "conflict/secret-not-ours",
            "Secret a.example.com is not ours; label it or remove it",
        ),
        (
            Reason::Failed {
                failures: failures(1, false),
                next,
                sooner: None,
            },
            "failed/dns",
            "the CA has seen the attempt fail: the CA says dns: NXDOMAIN looking up TXT; tried again at \
             2026-01-01T08:00:00Z",
        ),
        (
            Reason::Failed {
                failures: failures(3, true),
                next,
                sooner: None,
            },
            "failed/dns",
            "the CA has seen 3 attempts in a row fail: the CA says dns: NXDOMAIN looking up TXT; it will not \
             succeed until something is changed; tried again at 2026-01-01T08:00:00Z, or when `faythe renew` asks \
             for it",
        ),
        (
            Reason::Failed {
                failures: failures(1, true),
                next,
                sooner: Some(Why::Hand),
            },
            "failed/dns",
            "the CA has seen the attempt fail: the CA says dns: NXDOMAIN looking up TXT; it will not succeed until \
             something is changed; it has been asked for by hand; tried again at 2026-01-01T08:00:00Z",
        ),
        (
            Reason::Failed {
                failures: failures(1, true),
                next,
                sooner: Some(Why::Configuration),
            },
            "failed/dns",
            "the CA has seen the attempt fail: the CA says dns: NXDOMAIN looking up TXT; it will not succeed until \
             something is changed; the configuration is another one now; tried again at 2026-01-01T08:00:00Z",
        ),
        (
            Reason::Held {
                hold,
                short: Shortfall::Missing,
            },
            "held/rateLimited",
            "there is no certificate yet; the CA says rateLimited (HTTP 429); goes on at 2026-01-01T08:00:00Z",
        ),
        (
            issuing(Stage::Ordering),
            "issuing/ordering",
            "asking the CA for an order; there is no certificate yet",
        ),
        (
            issuing(Stage::Publishing),
            "issuing/publishing",
            "publishing the challenge in the DNS; there is no certificate yet",
        ),
        (
            issuing(Stage::Checking),
            "issuing/checking-dns",
            "checking that every server shows the challenge; there is no certificate yet",
        ),
        (
            issuing(Stage::Validating),
            "issuing/validating",
            "the CA is validating the challenge; there is no certificate yet",
        ),
        (
            issuing(Stage::Finalizing),
            "issuing/finalizing",
            "the CA is making the certificate; there is no certificate yet",
        ),
        (
            issuing(Stage::Storing),
            "issuing/storing",
            "storing the certificate; there is no certificate yet",
        ),
        (
            issuing(Stage::CleaningUp),
            "issuing/cleaning-up",
            "removing the challenge from the DNS; there is no certificate yet",
        ),
        (
            Reason::Queued(Shortfall::Unreadable(Unreadable::KeyMismatch)),
            "queued/unreadable",
            "waits for its turn; the Secret holds no usable certificate: its `key` does not belong to its `cert`",
        ),
        (
            Reason::Queued(Shortfall::Due(next)),
            "queued/due",
            "waits for its turn; the certificate held is due for renewal; it expires at 2026-01-01T08:00:00Z",
        ),
        (
            Reason::Queued(Shortfall::Expired(next)),
            "queued/expired",
            "waits for its turn; the certificate held expired at 2026-01-01T08:00:00Z",
        ),
        (
            Reason::Queued(Shortfall::NotYetValid(next)),
            "queued/not-yet-valid",
            "waits for its turn; the certificate held is valid only from 2026-01-01T08:00:00Z",
        ),
        (
            Reason::Queued(Shortfall::OtherNames(
                ["b.example.com", "c.example.com", "d.example.com", "e.example.com"]
                    .map(|name| name.parse().unwrap())
                    .to_vec(),
            )),
            "queued/other-names",
            "waits for its turn; the certificate held is for other names: b.example.com, c.example.com, \
             d.example.com and 1 more",
        ),
        (
            Reason::Stalled {
                rest: rest(1),
                short: Shortfall::Missing,
            },
            "stalled/badkey",
            "update of zone example.com: BADKEY; tried once so far; tried again at 2026-01-01T00:00:05Z",
        ),
        (
            Reason::Stalled {
                rest: rest(4),
                short: Shortfall::Missing,
            },
            "stalled/badkey",
            "update of zone example.com: BADKEY; tried 4 times so far; tried again at 2026-01-01T00:00:05Z",
        ),
        (
            Reason::Unwanted,
            "unwanted/unwanted",
            "no Ingress asks for it any more; its order is brought to an end",
        ),
        (
            Reason::Valid {
                secret: "a.example.com".into(),
                not_after: time("2026-04-01T00:00:00Z"),
                renew_at: time("2026-03-02T00:00:00Z"),
            },
            "valid/valid",
            "valid until 2026-04-01T00:00:00Z, in Secret a.example.com; renewed from 2026-03-02T00:00:00Z",
        ),
    ]
}

#[test]
fn p40_every_reason_has_its_words() {
    for (reason, code, words) in golden() {
        assert_eq!(format!("{}/{}", reason.state().code(), reason.code()), code);
        assert_eq!(reason.to_string(), words);
    }
}

#[test]
fn p40_no_state_is_without_words() {
    for state in State::ALL {
        let said = golden().iter().any(|(reason, ..)| reason.state() == state);
        assert!(said, "{}", state.code());
    }
}

#[test]
fn only_what_somebody_should_see_to_is_announced() {
    for (reason, code, words) in golden() {
        let patient = matches!(&reason, Reason::Stalled { rest, .. } if rest.tries < 3);
        let announced = match reason.state() {
            State::Conflict | State::Failed => true,
            State::Stalled => !patient,
            State::Held | State::Issuing | State::Queued | State::Unwanted | State::Valid => false,
        };
        let announcement = reason.announcement();
        assert_eq!(announcement.is_some(), announced, "{code}");
        assert!(announcement.is_none_or(|said| said.severity == Severity::Warning && said.text == words));
    }
}

#[test]
fn the_same_trouble_is_announced_once() {
    let stalled = |tries| Reason::Stalled {
        rest: rest(tries),
        short: Shortfall::Missing,
    };
    let key = |reason: Reason| reason.announcement().map(|said| said.key);
    assert_eq!(key(stalled(3)), key(stalled(9)));
    let failed = |count, last| Reason::Failed {
        failures: Failures {
            last,
            clock_ahead: SignedDuration::ZERO,
            ..failures(count, false)
        },
        next: last,
        sooner: None,
    };
    let first = time("2026-01-01T00:00:00Z");
    let second = time("2026-01-01T08:00:00Z");
    assert_ne!(
        key(failed(1, first)),
        key(failed(2, second)),
        "each attempt counts"
    );
}

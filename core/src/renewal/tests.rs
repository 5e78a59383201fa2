//! When certificates are due, with and without a window of the CA.

use std::time::Duration;

use super::*;
use crate::cert::Standing;
use crate::cert::standing;

const START: Timestamp = Timestamp::UNIX_EPOCH;
const DAY: i64 = 86_400;

fn at(secs: i64) -> Timestamp {
    ahead(START, SignedDuration::from_secs(secs))
}

fn host(number: usize) -> Hostname {
    format!("host-{number}.example.com").parse().unwrap()
}

/// A certificate of one host, of this lifetime.
fn facts(number: usize, secs: i64) -> CertFacts {
    CertFacts {
        names: vec![host(number)],
        not_before: START,
        not_after: at(secs),
        serial: format!("{number:x}"),
        issuer: "Test".into(),
        id: Some(CertificateId::parse(&format!("issuer.serial-{number}")).unwrap()),
    }
}

fn plain() -> Rule {
    Rule {
        threshold: Threshold::Default,
        spread: SPREAD,
        hint: None,
    }
}

fn hinted(facts: &CertFacts, from: i64, to: i64) -> Rule {
    Rule {
        hint: Some(Hint {
            of: key(facts.id.as_ref().unwrap()),
            window: Window::new(at(from), at(to)).unwrap(),
            moved: false,
        }),
        ..plain()
    }
}

fn due(rule: Rule, number: usize, secs: i64) -> i64 {
    START
        .duration_until(rule.due_at(&host(number), &facts(number, secs)))
        .as_secs()
}

#[test]
fn p20_certificates_that_expire_together_are_renewed_one_by_one() {
    for (life, latest) in [
        (90 * DAY, 60 * DAY),
        (64 * DAY, 64 * DAY * 2 / 3),
        (45 * DAY, 30 * DAY),
        (160 * 3_600, 80 * 3_600),
    ] {
        let width = life * i64::from(SPREAD) / 1_000;
        let mut times: Vec<_> = (0..5_000).map(|i| due(plain(), i, life)).collect();
        times.sort_unstable();
        assert!(
            times.iter().all(|at| (latest - width..=latest).contains(at)),
            "{life}"
        );
        // No minute gets more than three times its share, and never many.
        let share = usize::try_from(5_000 * 60 / width).unwrap() + 1;
        let busiest = times
            .iter()
            .map(|from| times.iter().filter(|at| (*from..from + 60).contains(at)).count());
        let busiest = busiest.max().unwrap();
        assert!(
            busiest <= 3 * share + 6,
            "{life}: {busiest} in a minute, {share} on average"
        );
    }
}

#[test]
fn p20_a_fresh_certificate_is_never_due() {
    for life in [
        60,
        3_600,
        6 * DAY,
        160 * 3_600,
        10 * DAY,
        45 * DAY,
        64 * DAY,
        90 * DAY,
        398 * DAY,
    ] {
        for threshold in [
            Threshold::Default,
            Threshold::Set(Duration::from_secs(1_000 * 86_400)),
        ] {
            let rule = Rule { threshold, ..plain() };
            for number in 0..50 {
                assert!(due(rule, number, life) >= life / 3, "{life}");
            }
        }
    }
}

#[test]
fn p20_a_backdated_certificate_is_not_due_when_it_comes() {
    // Backdated by a day of its 90, or an hour of its 160.
    for (life, age) in [(90 * DAY, DAY), (160 * 3_600, 3_600)] {
        assert!(due(plain(), 1, life) > age);
    }
}

#[test]
fn p20_what_is_due_when_it_is_stored_is_used_for_half_of_what_it_has_left() {
    let grace = Duration::from_secs(8 * 3_600);
    let until = |rule: &Rule, life, issued| {
        let settled = rule.settled_at(&host(1), &facts(1, life), at(issued), 0, grace);
        START.duration_until(settled).as_secs()
    };
    // Backdated by 80 days of its 90, or by five of its six; the window that the CA then names makes no difference.
    assert_eq!(until(&plain(), 90 * DAY, 80 * DAY), 85 * DAY);
    assert_eq!(until(&plain(), 6 * DAY, 5 * DAY), 5 * DAY + 12 * 3_600);
    let past = hinted(&facts(1, 90 * DAY), 0, DAY);
    assert_eq!(until(&past, 90 * DAY, 80 * DAY), 85 * DAY);
    // Any other is due long after the grace.
    assert_eq!(until(&plain(), 90 * DAY, DAY), DAY + 8 * 3_600);
}

#[test]
fn p21_inside_the_window_at_a_point_of_its_own() {
    let life = 90 * DAY;
    let (from, to) = (50 * DAY, 52 * DAY);
    let points: Vec<_> = (0..1_000)
        .map(|i| due(hinted(&facts(i, life), from, to), i, life))
        .collect();
    assert!(points.iter().all(|at| (from..to).contains(at)));
    let early = points.iter().filter(|at| **at < from + DAY).count();
    assert!((400..600).contains(&early), "{early} of 1000 in the first half");
    // The same for ever, whoever asks, and moved with the window.
    assert_eq!(due(hinted(&facts(7, life), from, to), 7, life), points[7]);
    assert_eq!(
        due(hinted(&facts(7, life), from - 60, to - 60), 7, life),
        points[7] - 60
    );
}

#[test]
fn p21_a_window_in_the_past_is_due_at_once_and_recalled() {
    let (life, now) = (90 * DAY, at(5 * DAY));
    let facts = facts(1, life);
    let rule = hinted(&facts, 3 * DAY, 3 * DAY + 1_800);
    assert!(rule.due_at(&host(1), &facts) <= now);
    assert!(rule.is_recalled(&host(1), &facts, now));
    // A window that was missed in its due time is no recall.
    let late = hinted(&facts, 59 * DAY, 61 * DAY);
    assert!(!late.is_recalled(&host(1), &facts, at(62 * DAY)));
}

#[test]
fn p21_a_window_of_another_certificate_does_not_count() {
    let life = 90 * DAY;
    assert_eq!(
        due(hinted(&facts(2, life), 0, DAY), 1, life),
        due(plain(), 1, life)
    );
}

#[test]
fn p21_no_window_is_waited_for_until_the_end() {
    let life = 90 * DAY;
    assert_eq!(
        due(hinted(&facts(1, life), 95 * DAY, 96 * DAY), 1, life),
        life - life / 20
    );
}

#[test]
fn s05_a_threshold_that_was_set_is_kept_beside_a_window() {
    let life = 90 * DAY;
    let rule = Rule {
        threshold: Threshold::Set(Duration::from_secs(45 * 86_400)),
        ..hinted(&facts(1, life), 59 * DAY, 61 * DAY)
    };
    assert_eq!(due(rule, 1, life), 45 * DAY);
}

#[test]
fn p17_what_a_renewal_is_exempt_from() {
    let life = 90 * DAY;
    let held = |names: Vec<Hostname>, issued: Option<i64>| Held {
        secret: "s".into(),
        version: "1".into(),
        content: Ok(CertFacts {
            names,
            ..facts(1, life)
        }),
        issued_at: issued.map(at),
        renew: None,
        made_by: None,
        origin: None,
    };
    let hint = hinted(&facts(1, life), 50 * DAY, 52 * DAY).hint;
    let of = |held: Held, day: i64| exemption(&host(1), [held].iter(), hint.as_ref(), at(day * DAY));
    let ours = || held(vec![host(1)], Some(0));
    assert_eq!(of(ours(), 40), Exemption::Renewal);
    assert_eq!(of(ours(), 51), Exemption::Window);
    // The end is exclusive, and an order takes a moment to arrive.
    assert_eq!(of(ours(), 52), Exemption::Renewal);
    // The CA forgets, and another set is another set.
    assert_eq!(of(ours(), 115), Exemption::Nothing);
    assert_eq!(of(held(vec![host(1), host(2)], Some(0)), 51), Exemption::Nothing);
    // Other hands may have had another CA, or another account at this one, which knows its certificate then.
    let theirs = || held(vec![host(1)], None);
    assert_eq!(of(theirs(), 51), Exemption::Renewal);
    assert_eq!(of(theirs(), 115), Exemption::Nothing);
    let untold = exemption(&host(1), [theirs()].iter(), None, at(51 * DAY));
    assert_eq!(untold, Exemption::Nothing);
}

#[test]
fn p20_what_the_operator_wants_later_than_the_ca_is_neither_haste_nor_a_recall() {
    for (life, from, to, threshold) in [
        (90 * DAY, 59 * DAY, 61 * DAY, 10 * DAY),
        (45 * DAY, 29 * DAY, 31 * DAY, 7 * DAY),
        (160 * 3_600, 78 * 3_600, 82 * 3_600, DAY),
        // The industry's longest, for which thirty days are the default.
        (200 * DAY, 131 * DAY, 135 * DAY, 30 * DAY),
    ] {
        let facts = facts(1, life);
        let threshold = Threshold::Set(Duration::from_secs(threshold.unsigned_abs()));
        let rule = Rule {
            threshold,
            ..hinted(&facts, from, to)
        };
        // However often it is renewed inside its window, the next one is not left alone for that.
        assert_eq!(rule.early_after(&host(1), &facts, 3, at(to - 1)), 0, "{life}");
        assert!(!rule.is_recalled(&host(1), &facts, at(to + 1)), "{life}");
        let past = Rule {
            threshold,
            ..hinted(&facts, from / 2, to / 2)
        };
        assert_eq!(past.early_after(&host(1), &facts, 3, at(to / 2)), 4, "{life}");
        assert!(past.is_recalled(&host(1), &facts, at(to / 2)), "{life}");
    }
    // Nor is it haste of the CA where the operator is early.
    let early = Rule {
        threshold: Threshold::Set(Duration::from_secs(80 * 86_400)),
        ..hinted(&facts(1, 90 * DAY), 59 * DAY, 61 * DAY)
    };
    assert_eq!(
        early.early_after(&host(1), &facts(1, 90 * DAY), 0, at(30 * DAY)),
        0
    );
}

#[test]
fn p19_a_certificate_of_any_hand_counts_by_its_content() {
    let held = Held {
        secret: "restored".into(),
        version: "1".into(),
        content: Ok(facts(1, 90 * DAY)),
        issued_at: None,
        renew: None,
        made_by: None,
        origin: None,
    };
    let found = standing(&host(1), [held].iter(), plain(), at(30 * DAY));
    assert!(matches!(found, Standing::Fine { .. }), "{found:?}");
}

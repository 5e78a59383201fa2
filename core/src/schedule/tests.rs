//! The times of `schedule`, case by case.

use super::*;

const START: Timestamp = Timestamp::UNIX_EPOCH;

fn days(count: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * count)
}

/// Age in hours at which a certificate of `lifetime` hours is renewed.
fn renewed_after(lifetime: i64, threshold: Threshold) -> i64 {
    let end = ahead(START, SignedDuration::from_hours(lifetime));
    START.duration_until(renew_at(START, end, threshold)).as_hours()
}

fn set(days: u64) -> Threshold {
    Threshold::Set(Duration::from_secs(days * 86_400))
}

#[test]
fn s05_the_default_is_thirty_days_or_a_third() {
    assert_eq!(renewed_after(90 * 24, Threshold::Default), 60 * 24);
    assert_eq!(renewed_after(365 * 24, Threshold::Default), 335 * 24);
    assert_eq!(renewed_after(45 * 24, Threshold::Default), 30 * 24);
    assert_eq!(renewed_after(160, Threshold::Default), 80);
}

#[test]
fn s05_a_set_threshold_is_kept_but_never_eats_the_first_third() {
    assert_eq!(renewed_after(90 * 24, set(30)), 60 * 24);
    assert_eq!(renewed_after(90 * 24, set(10)), 80 * 24);
    assert_eq!(renewed_after(90 * 24, set(80)), 30 * 24);
    assert_eq!(renewed_after(45 * 24, set(30)), 15 * 24);
    assert_eq!(renewed_after(160, set(30)), 80);
}

#[test]
fn a_fresh_certificate_is_never_due() {
    for hours in 1..2000 {
        for threshold in [Threshold::Default, set(0), set(30), set(100_000)] {
            let end = ahead(START, SignedDuration::from_hours(hours));
            assert!(
                renew_at(START, end, threshold) > START,
                "{hours} h, {threshold:?}"
            );
        }
    }
}

#[test]
fn s13_failures_widen_the_spacing_up_to_a_day() {
    let grace = Duration::from_secs(8 * 3600);
    let wait = |count, parked| {
        let failures = Failures {
            count,
            last: START,
            clock_ahead: SignedDuration::ZERO,
            code: "dns".into(),
            text: String::new(),
            not_before: None,
            parked,
            refused_by: Vec::new(),
        };
        START
            .duration_until(failures.next_attempt(grace, None))
            .as_hours()
    };
    assert_eq!(wait(1, false), 8);
    assert_eq!(wait(2, false), 16);
    assert_eq!(wait(3, false), 24);
    assert_eq!(wait(4_000_000_000, false), 24);
    assert_eq!(wait(1, true), 24);
}

#[test]
fn p17_failures_are_spaced_even_without_a_grace() {
    let wait = |count| {
        let failures = Failures {
            count,
            last: START,
            clock_ahead: SignedDuration::ZERO,
            code: "dns".into(),
            text: String::new(),
            not_before: None,
            parked: false,
            refused_by: Vec::new(),
        };
        START
            .duration_until(failures.next_attempt(Duration::ZERO, None))
            .as_secs()
    };
    assert_eq!(wait(1), 1);
    assert_eq!(wait(10), 512);
}

#[test]
fn a_grace_above_a_day_and_the_cas_own_bound_are_kept() {
    let mut failures = Failures {
        count: 3,
        last: START,
        clock_ahead: SignedDuration::ZERO,
        code: "rateLimited".into(),
        text: String::new(),
        not_before: None,
        parked: false,
        refused_by: Vec::new(),
    };
    let two_days = Duration::from_secs(2 * 86_400);
    assert_eq!(
        START.duration_until(failures.next_attempt(two_days, None)),
        days(2)
    );
    failures.not_before = Some(ahead(START, days(3)));
    assert_eq!(
        START.duration_until(failures.next_attempt(two_days, None)),
        days(3)
    );
}

#[test]
fn p22_a_demand_passes_our_own_waits_once() {
    let hour = |hours| ahead(START, SignedDuration::from_hours(hours));
    let failures = |count, parked| Failures {
        count,
        last: START,
        clock_ahead: SignedDuration::ZERO,
        code: "paused".into(),
        text: String::new(),
        not_before: None,
        parked,
        refused_by: Vec::new(),
    };
    let grace = Duration::from_secs(8 * 3600);
    let why = Why::Hand;
    let next = |failures: &Failures, at, force| failures.next_attempt(grace, Some(Demand { at, force, why }));
    for failures in [failures(1, true), failures(9, false)] {
        // At once, when `issue_grace` is over; else then.
        assert_eq!(next(&failures, hour(9), false), hour(9));
        assert_eq!(next(&failures, hour(1), false), hour(8));
        // By force at once.
        assert_eq!(next(&failures, hour(1), true), hour(1));
        // It came before the failure, or nobody knows when.
        for at in [START, Timestamp::MIN] {
            assert_eq!(next(&failures, at, true), hour(24));
        }
        // What comes by itself is not put off.
        assert_eq!(next(&failures, hour(30), true), hour(24));
        // The CA's own bound stays.
        let bound = Failures {
            not_before: Some(hour(34)),
            ..failures
        };
        assert_eq!(next(&bound, hour(1), true), hour(34));
    }
    // Within a second there is no second attempt.
    let at_once = failures(1, false).next_attempt(
        Duration::ZERO,
        Some(Demand {
            at: ahead(START, SignedDuration::from_millis(1)),
            force: true,
            why,
        }),
    );
    assert_eq!(START.duration_until(at_once).as_secs(), 1);
}

#[test]
fn p38_what_failed_by_a_clock_that_was_ahead_failed_just_now() {
    let failed = |last, bound: Option<Timestamp>| Failures {
        count: 1,
        last,
        clock_ahead: SignedDuration::ZERO,
        code: "dns".into(),
        text: String::new(),
        not_before: bound,
        parked: false,
        refused_by: Vec::new(),
    };
    let year = ahead(START, days(365));
    let told = failed(year, Some(ahead(year, days(2))));
    let none = SignedDuration::ZERO;
    assert_eq!(
        told.clone().by(START, none),
        failed(START, Some(ahead(START, days(2))))
    );
    let earlier = failed(START, Some(ahead(START, days(2))));
    assert_eq!(earlier.clone().by(ahead(START, days(1)), none), earlier);
    // Where it is known how far, it failed when it did, however many processes begin since.
    let told = Failures {
        clock_ahead: days(365),
        ..told
    };
    for day in [0, 1, 2] {
        let truth = failed(START, Some(ahead(START, days(2))));
        assert_eq!(told.clone().by(ahead(START, days(day)), none), truth, "day {day}");
    }
    // A clock that is ahead now, or an API server's, has let no time pass.
    let later = ahead(START, days(10));
    for ahead_by in [days(9), days(-9)] {
        let last = earlier.clone().by(later, ahead_by).last;
        assert_eq!(
            last,
            if ahead_by.is_negative() {
                START
            } else {
                ahead(START, days(9))
            }
        );
    }
}

#[test]
fn p04_no_poll_waits_longer_than_two_seconds() {
    for usual in [0, 1, 50, 3_000, 3_600_000].map(Duration::from_millis) {
        assert!((0..10_000).all(|round| poll(usual, round) <= Duration::from_secs(2)));
        assert!((1..30).all(|round| poll(usual, round) <= poll(usual, round + 1)));
        assert_eq!(poll(usual, u32::MAX), Duration::from_secs(2));
    }
    assert_eq!(poll(Duration::ZERO, 0), Duration::ZERO);
}

/// Polls something that takes `took`; says how often it was asked, when it was found, and what is expected next.
fn polled(expected: Duration, took: Duration) -> (u32, Duration, Duration) {
    let (mut missed, mut found) = (Duration::ZERO, poll(expected, 0));
    let mut asked = 1;
    while found < took {
        missed = found;
        found += poll(expected, asked);
        asked += 1;
    }
    (asked, found, usual(expected, missed, found))
}

/// What is expected after many times.
fn learned(mut expected: Duration, took: Duration) -> Duration {
    for _ in 0..12 {
        expected = polled(expected, took).2;
    }
    expected
}

#[test]
fn p04_a_slow_ca_is_asked_a_few_times_only() {
    let took = Duration::from_millis(1500);
    assert!(polled(Duration::ZERO, took).0 > 10);
    let asked = polled(learned(Duration::ZERO, took), took).0;
    assert!(asked <= 3, "asked {asked} times");
}

#[test]
fn what_was_learned_of_a_busy_ca_is_soon_forgotten() {
    let took = Duration::from_millis(3);
    let (asked, found, _) = polled(learned(Duration::from_millis(300), took), took);
    assert!(asked <= 2, "asked {asked} times");
    assert!(found <= took * 2, "found after {found:?}");
}

#[test]
fn p23_an_order_is_given_up_within_the_hour() {
    let waited: Duration = (0..).take_while(|tries| !is_hopeless(*tries)).map(rest).sum();
    assert!((1200..3600).contains(&waited.as_secs()), "{waited:?}");
}

#[test]
fn p22_orders_of_no_use_come_to_one_a_day() {
    let wait = |count| {
        let given_up = GivenUp {
            count,
            last: START,
            clock_ahead: SignedDuration::ZERO,
            not_before: None,
            code: "order-gone".into(),
            text: String::new(),
        };
        START.duration_until(given_up.next_order(None)).as_secs()
    };
    assert_eq!([1, 4, u32::MAX].map(wait), [60, 480, 86_400]);
}

#[test]
fn p22_orders_that_lapse_keep_the_distance_of_attempts_that_fail() {
    let grace = Duration::from_secs(8 * 3600);
    // When each is made, in minutes, where each lives so long.
    let made = |lives: i64| {
        let mut row: Option<GivenUp> = None;
        let mut at = START;
        let mut made = Vec::new();
        for _ in 0..5 {
            made.push(START.duration_until(at).as_mins());
            let end = ahead(at, SignedDuration::from_mins(lives));
            let code = "order-expired".to_owned();
            let given_up = GivenUp::one_more(row.as_ref(), Some(at), grace, end, code, String::new());
            at = given_up.next_order(None);
            // One that was made while the clock was ahead holds nothing up for longer.
            assert!(given_up.clone().by(START, SignedDuration::ZERO).next_order(None) <= at);
            row = Some(given_up);
        }
        made
    };
    // By the end of the first day one a day.
    assert_eq!(made(60), [0, 61, 541, 1501, 2941]);
    // One that has lived for long is followed soon.
    assert_eq!(made(1440), [0, 1441, 2883, 4327, 5775]);
}

#[test]
fn p22_no_order_rests_longer_than_it_lives_or_an_hour() {
    let [asked, minute] = [86_400, 60].map(Duration::from_secs);
    let at = |seconds| Some(ahead(START, SignedDuration::from_secs(seconds)));
    assert_eq!(order_rest(asked, 0, None, START), Duration::from_secs(3600));
    assert_eq!(order_rest(asked, 0, at(600), START), Duration::from_secs(600));
    assert_eq!(order_rest(asked, 0, at(-5), START), Duration::from_secs(1));
    assert_eq!(order_rest(Duration::from_secs(3), 9, None, START), minute);
}

#[test]
fn p22_rests_grow_from_seconds_to_a_minute() {
    assert_eq!(rest(0), Duration::from_secs(1));
    assert_eq!(rest(2), Duration::from_secs(4));
    assert_eq!(rest(u32::MAX), Duration::from_secs(60));
}

#[test]
fn p22_the_dns_is_looked_at_within_seconds_and_not_by_all_at_once() {
    let waits = [0, 1, 20, 40, 1_000, usize::MAX].map(|waiting| lookout(waiting).as_secs());
    assert_eq!(waits, [5, 5, 5, 10, 60, 60]);
}

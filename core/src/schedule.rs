//! When a certificate is due for renewal, and when something that failed may be tried again.
//!
//! Deliberately absent: why it is asked, and the clock.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

const DAY: SignedDuration = SignedDuration::from_hours(24);
/// The base's own default (S02).
const DEFAULT_THRESHOLD: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Below this lifetime a half stands in for the third (Let's Encrypt's integration guide, 2025-06).
const SHORT_LIVED: SignedDuration = SignedDuration::from_hours(10 * 24);
/// Failures in a row never space attempts wider than this (P2.1).
const WIDEST_SPACING: SignedDuration = DAY;
/// An `issue_grace` of nothing still lets the CA breathe, and failures in a row widen it (P17).
const NARROWEST_SPACING: SignedDuration = SignedDuration::from_secs(1);
/// The first wait after a fault on our side of the CA; it doubles up to [`LONGEST_REST`] (P22).
const FIRST_REST: Duration = Duration::from_secs(1);
/// "Seconds to minutes": a repaired name server is noticed within this.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// The wait after the CA failed inside or could not be reached, where it names none; it doubles (P22).
const FIRST_CA_REST: Duration = Duration::from_secs(2);
/// The CA is asked again at least this often while it has trouble.
const LONGEST_CA_REST: Duration = Duration::from_secs(300);
/// A new order follows one of no use after this at least; it doubles up to [`LONGEST_ORDER_REST`] (P22).
const FIRST_ORDER_REST: Duration = Duration::from_secs(60);
/// One order a day is no burden for any CA, and whatever spoils them may have passed.
const LONGEST_ORDER_REST: Duration = Duration::from_secs(86_400);
/// How long the CA's resolvers may keep a TXT answer: its TTL, of which they honor at most 60 s
/// (observed on Boulder, 2026-11; our TTL is 120).
pub const RESOLVER_CACHE: SignedDuration = SignedDuration::from_secs(60);

/// What the CA has seen fail in a row for one host; kept over restarts (S13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failures {
    /// How many attempts in a row; at least 1.
    pub count: u32,
    /// When the last one ended.
    pub last: Timestamp,
    /// Stable code of the last one.
    pub code: String,
    /// The CA's words about the last one.
    pub text: String,
    /// The CA's own bound for the next attempt, if it named one.
    pub not_before: Option<Timestamp>,
    /// Whether it needs a change by a person; then it is tried daily at most.
    pub parked: bool,
    /// The directories of the CAs that do not issue for the name, as they have said since the last pause; empty where the
    /// last attempt failed otherwise.
    pub refused_by: Vec<String>,
}

/// Orders in a row for one host that were of no use and were given up, though the CA has seen nothing fail; kept over
/// restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// How many in a row; at least 1.
    pub count: u32,
    /// When the last one was given up.
    pub last: Timestamp,
    /// Stable code of what was wrong with the last one.
    pub code: String,
    /// What was wrong with it, for people.
    pub text: String,
}

/// Somebody has asked by hand for another certificate (P22).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Demand {
    /// When; [`Timestamp::MIN`] where that is not known, so that no wait is passed.
    pub at: Timestamp,
    /// Whether `issue_grace` is passed too.
    pub force: bool,
}

/// The operator's rule for renewal (S05, P2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threshold {
    /// 30 days or a third of the lifetime, whichever is less.
    Default,
    /// This long before expiry.
    Set(Duration),
}

/// When a certificate with this validity is to be renewed.
///
/// A threshold set by the operator is kept, but never so that a certificate is renewed before a third of its life has
/// passed; below ten days of lifetime a half stands in for the third (P2.1). So a fresh certificate is never due.
#[must_use]
pub fn renew_at(not_before: Timestamp, not_after: Timestamp, threshold: Threshold) -> Timestamp {
    let share = third(not_before.duration_until(not_after).max(SignedDuration::ZERO));
    match threshold {
        Threshold::Default => back(not_after, share.min(DEFAULT_THRESHOLD)),
        Threshold::Set(set) => {
            let set = SignedDuration::try_from(set).unwrap_or(SignedDuration::MAX);
            back(not_after, set).max(ahead(not_before, share))
        }
    }
}

/// The first share of a lifetime, in which nothing is renewed, and the last, in which it should be: a third, or a half of
/// a short life.
fn third(lifetime: SignedDuration) -> SignedDuration {
    if lifetime <= SHORT_LIVED {
        lifetime / 2
    } else {
        lifetime / 3
    }
}

/// Until when a certificate that Faythe stored at `issued` is left alone though it is due: `issue_grace`, or a quarter of
/// its lifetime where that is less.
///
/// A certificate that is due so soon is one of a clock that is wrong, or backdated by most of its life; another order
/// would bring another like it (P17, P20).
#[must_use]
pub fn settled_at(
    issued: Timestamp,
    not_before: Timestamp,
    not_after: Timestamp,
    issue_grace: Duration,
) -> Timestamp {
    let grace = SignedDuration::try_from(issue_grace).unwrap_or(SignedDuration::MAX);
    let quarter = not_before.duration_until(not_after).max(SignedDuration::ZERO) / 4;
    ahead(issued, grace.max(NARROWEST_SPACING).min(quarter))
}

impl Failures {
    /// The earliest time for another order: `issue_grace` after the last failure, doubling with each further one up to a
    /// day (a longer grace stays as it is), or the CA's own bound; a parked one waits a day at least (P22).
    ///
    /// A demand that came after the last failure passes what is wider than `issue_grace`, and one by force that too; so it
    /// brings one attempt, whose failure comes after it. Nothing passes the CA's own bound.
    #[must_use]
    pub fn next_attempt(&self, issue_grace: Duration, demand: Option<Demand>) -> Timestamp {
        let grace = SignedDuration::try_from(issue_grace)
            .unwrap_or(SignedDuration::MAX)
            .max(NARROWEST_SPACING);
        let doublings = self.count.saturating_sub(1).min(16);
        let grown = grace.checked_mul(1 << doublings).unwrap_or(SignedDuration::MAX);
        let mut wait = grown.min(WIDEST_SPACING.max(grace));
        if self.parked {
            wait = wait.max(WIDEST_SPACING);
        }
        let mut next = ahead(self.last, wait);
        if let Some(demand) = demand.filter(|demand| demand.at > self.last) {
            let apart = if demand.force { NARROWEST_SPACING } else { grace };
            next = next.min(ahead(self.last, apart).max(demand.at));
        }
        self.not_before.map_or(next, |bound| bound.max(next))
    }

    /// The same as far as it can be true by a clock that says `now`. What failed while the clock was ahead, or was saved
    /// then, counts as if it had failed just now, and waits no longer than it would have.
    #[must_use]
    pub fn by(self, now: Timestamp) -> Self {
        Self {
            not_before: self
                .not_before
                .map(|bound| set_back(bound, self.last.max(now), now)),
            last: self.last.min(now),
            ..self
        }
    }

    /// Whether a certificate that serves, and was stored at `issued`, has ended the row.
    #[must_use]
    pub fn is_ended_by(&self, issued: Option<Timestamp>) -> bool {
        issued.is_some_and(|at| at > self.last)
    }
}

impl GivenUp {
    /// The earliest time for another order.
    ///
    /// Nothing is counted by the CA as a failure, so the first follows soon; but a CA that spoils every order, or a clock
    /// that makes each look old, would be asked for ever: the wait doubles, from a minute up to a day. A demand that came
    /// after the last one passes all but the first wait.
    #[must_use]
    pub fn next_order(&self, demand: Option<Demand>) -> Timestamp {
        let before = self.count.saturating_sub(1);
        let next = after(self.last, doubling(FIRST_ORDER_REST, before, LONGEST_ORDER_REST));
        let demand = demand.filter(|demand| demand.at > self.last);
        demand.map_or(next, |demand| {
            next.min(after(self.last, FIRST_ORDER_REST).max(demand.at))
        })
    }

    /// The same as far as it can be true by a clock that says `now`: see [`Failures::by`].
    #[must_use]
    pub fn by(self, now: Timestamp) -> Self {
        Self {
            last: self.last.min(now),
            ..self
        }
    }
}

/// The wait before a step that failed on our side of the CA is tried for the `tries + 1`st time.
#[must_use]
pub fn rest(tries: u32) -> Duration {
    doubling(FIRST_REST, tries, LONGEST_REST)
}

/// Whether an order that the CA has left in one state through `tries` rests is given up for a new one (P23).
///
/// After about half an hour. A CA that lost an order between finalization and issuance never ends it, and a new order for
/// the same names is ready at once (observed on Boulder, 2026-11).
#[must_use]
pub fn is_hopeless(tries: u32) -> bool {
    /// Seven rests that double, then one a minute.
    const TRIES: u32 = 32;
    tries >= TRIES
}

/// For how long an order rests after `tries` rests in a row whose CA has asked to be left alone with it for `asked`.
///
/// As long as that, but not beyond `deadline`, when the order is over; and never so long that a date which a wrong clock has
/// made far costs a day: to look once an hour is no burden.
#[must_use]
pub fn order_rest(asked: Duration, tries: u32, deadline: Option<Timestamp>, now: Timestamp) -> Duration {
    const LONGEST: Duration = Duration::from_secs(3600);
    let left = deadline.map_or(LONGEST, |at| {
        Duration::try_from(now.duration_until(at)).unwrap_or_default()
    });
    asked.min(left).min(LONGEST).max(rest(tries))
}

/// The wait before a CA in trouble is asked for the `tries + 1`st time.
#[must_use]
pub fn ca_rest(tries: u32) -> Duration {
    doubling(FIRST_CA_REST, tries, LONGEST_CA_REST)
}

/// The pause before the `round + 1`st look at something that takes as long as `usual` as a rule: at once, or just before
/// it can be expected, then at short growing intervals (S10, P04).
///
/// `usual` is what was seen lately, zero at first; so a quick CA is asked within milliseconds, and one that takes two
/// seconds is not asked twenty times meanwhile.
#[must_use]
pub fn poll(usual: Duration, round: u32) -> Duration {
    /// About what the quickest CA on a local network needs.
    const SHORTEST: Duration = Duration::from_millis(2);
    /// The longest pause of any poll (P04).
    const LONGEST: Duration = Duration::from_secs(2);
    if round == 0 {
        return usual.mul_f64(0.8).min(LONGEST);
    }
    // One and a half times as long each round: from nothing, twenty looks in the first ten seconds.
    let first = (usual / 8).max(SHORTEST);
    let factor = 1.5_f64.powi(i32::try_from(round - 1).unwrap_or(i32::MAX).min(64));
    first.mul_f64(factor.min(1e6)).min(LONGEST)
}

/// What [`poll`] should expect after something was not done after `missed`, zero where the first look found it done, but
/// was after `found`.
///
/// It was done somewhere in between, and the recent past counts for a quarter. A first look that succeeds only says that
/// it did not come too early: taken for the time that the thing needs, the pause before it would confirm itself, and what
/// was learned while the CA was busy would last.
#[must_use]
pub fn usual(before: Duration, missed: Duration, found: Duration) -> Duration {
    if missed.is_zero() {
        before.min(found) * 3 / 4
    } else {
        (before * 3 + (missed + found) / 2) / 4
    }
}

/// `at` plus `by`, held within what a timestamp can say.
#[must_use]
pub fn ahead(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// `at` plus `by`, held within what a timestamp can say.
#[must_use]
pub fn after(at: Timestamp, by: Duration) -> Timestamp {
    ahead(at, SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX))
}

/// The end of a wait that was to last until `until`, when the clock has been set back from `before` to `now`: no wait
/// becomes longer by that, and what was over stays so.
#[must_use]
pub fn set_back(until: Timestamp, before: Timestamp, now: Timestamp) -> Timestamp {
    let left = before.duration_until(until).max(SignedDuration::ZERO);
    until.min(ahead(now, left))
}

pub(crate) fn back(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_sub(by).unwrap_or(Timestamp::MIN)
}

fn doubling(first: Duration, tries: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << tries.min(20)).min(longest)
}

#[cfg(test)]
mod tests {
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
            code: "paused".into(),
            text: String::new(),
            not_before: None,
            parked,
            refused_by: Vec::new(),
        };
        let grace = Duration::from_secs(8 * 3600);
        let next = |failures: &Failures, at, force| failures.next_attempt(grace, Some(Demand { at, force }));
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
            }),
        );
        assert_eq!(START.duration_until(at_once).as_secs(), 1);
    }

    #[test]
    fn p38_what_failed_by_a_clock_that_was_ahead_failed_just_now() {
        let failed = |last, bound: Option<Timestamp>| Failures {
            count: 1,
            last,
            code: "dns".into(),
            text: String::new(),
            not_before: bound,
            parked: false,
            refused_by: Vec::new(),
        };
        let year = ahead(START, days(365));
        let told = failed(year, Some(ahead(year, days(2))));
        assert_eq!(told.by(START), failed(START, Some(ahead(START, days(2)))));
        let earlier = failed(START, Some(ahead(START, days(2))));
        assert_eq!(earlier.clone().by(ahead(START, days(1))), earlier);
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
                code: "order-expired".into(),
                text: String::new(),
            };
            START.duration_until(given_up.next_order(None)).as_secs()
        };
        assert_eq!([1, 4, u32::MAX].map(wait), [60, 480, 86_400]);
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
}

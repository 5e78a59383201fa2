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
    /// How far the clock that said so was ahead of the API server's.
    pub clock_ahead: SignedDuration,
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
    /// Not before this, where one after the other has lapsed.
    pub not_before: Option<Timestamp>,
    /// How far the clock that said so was ahead of the API server's.
    pub clock_ahead: SignedDuration,
    /// Stable code of what was wrong with the last one.
    pub code: String,
    /// What was wrong with it, for people.
    pub text: String,
}

/// A reason to try again before the usual time (P22).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Demand {
    /// When it arose; [`Timestamp::MIN`] where that is not known, so that no wait is passed.
    pub at: Timestamp,
    /// Whether `issue_grace` is passed too.
    pub force: bool,
    /// What it is.
    pub why: Why,
}

/// Why something is tried again before the usual time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It has failed by another configuration than the one there is now.
    Configuration,
    /// Somebody has asked by hand for another certificate.
    Hand,
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
pub(crate) fn third(lifetime: SignedDuration) -> SignedDuration {
    if lifetime <= SHORT_LIVED {
        lifetime / 2
    } else {
        lifetime / 3
    }
}

/// `issue_grace` after `issued`, or a quarter of the lifetime where that is less.
#[must_use]
pub(crate) fn settled_at(
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
        let grace = at_least(issue_grace);
        let mut wait = spacing(self.count, grace);
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

    /// The same by a clock that has been set by so much since.
    #[must_use]
    pub fn moved(self, by: SignedDuration) -> Self {
        Self {
            not_before: self.not_before.map(|bound| ahead(bound, by)),
            last: ahead(self.last, by),
            clock_ahead: self.clock_ahead.saturating_add(by),
            ..self
        }
    }

    /// The same by a clock that says `now` and is so far ahead of the API server's. What failed while the clock was ahead, or
    /// was saved then, failed as long ago as the API server's clock has let pass, and not just now each time that a process
    /// begins. The CA's own bound goes along.
    #[must_use]
    pub fn by(self, now: Timestamp, clock_ahead: SignedDuration) -> Self {
        let last = told_by(self.last, self.clock_ahead, now, clock_ahead);
        let by = self.last.duration_until(last);
        Self {
            clock_ahead,
            ..self.moved(by)
        }
    }

    /// Whether a certificate that serves, and was stored at `issued`, has ended the row.
    #[must_use]
    pub fn is_ended_by(&self, issued: Option<Timestamp>) -> bool {
        issued.is_some_and(|at| at > self.last)
    }
}

impl GivenUp {
    /// The row with one order more, given up at `now` for what `code` and `text` say; `lapsed` says when it was made, where its
    /// time at the CA was over before anything came of it.
    ///
    /// One that has lapsed is followed by another soon (P23). But where one lapses after the other, the next keeps the
    /// distance of attempts that fail, counted from when the last was made (S13, P22): else a CA whose orders live for an
    /// hour would be asked for one each hour, for a name whose record never shows.
    #[must_use]
    pub fn one_more(
        before: Option<&Self>,
        lapsed: Option<Timestamp>,
        issue_grace: Duration,
        now: Timestamp,
        code: String,
        text: String,
    ) -> Self {
        let before = before.map_or(0, |before| before.count);
        let made = lapsed.filter(|_| before > 0);
        Self {
            count: before.saturating_add(1),
            last: now,
            clock_ahead: SignedDuration::ZERO,
            not_before: made.map(|made| ahead(made, spacing(before, at_least(issue_grace)))),
            code,
            text,
        }
    }

    /// The earliest time for another order.
    ///
    /// Nothing is counted by the CA as a failure, so the first follows soon; but a CA that spoils every order, or a clock
    /// that makes each look old, would be asked for ever: the wait doubles, from a minute up to a day. A demand that came
    /// after the last one passes all but the first wait.
    #[must_use]
    pub fn next_order(&self, demand: Option<Demand>) -> Timestamp {
        let before = self.count.saturating_sub(1);
        let next = after(self.last, doubling(FIRST_ORDER_REST, before, LONGEST_ORDER_REST));
        let next = self.not_before.map_or(next, |bound| bound.max(next));
        let demand = demand.filter(|demand| demand.at > self.last);
        demand.map_or(next, |demand| {
            next.min(after(self.last, FIRST_ORDER_REST).max(demand.at))
        })
    }

    /// The same by a clock that has been set by so much since.
    #[must_use]
    pub fn moved(self, by: SignedDuration) -> Self {
        Self {
            not_before: self.not_before.map(|bound| ahead(bound, by)),
            last: ahead(self.last, by),
            clock_ahead: self.clock_ahead.saturating_add(by),
            ..self
        }
    }

    /// The same by a clock that says `now` and is so far ahead of the API server's: see [`Failures::by`].
    #[must_use]
    pub fn by(self, now: Timestamp, clock_ahead: SignedDuration) -> Self {
        let last = told_by(self.last, self.clock_ahead, now, clock_ahead);
        let by = self.last.duration_until(last);
        Self {
            clock_ahead,
            ..self.moved(by)
        }
    }
}

/// The wait before a step that failed on our side of the CA is tried for the `tries + 1`st time.
#[must_use]
pub fn rest(tries: u32) -> Duration {
    doubling(FIRST_REST, tries, LONGEST_REST)
}

/// The pause between two looks at what others have to mend in the DNS, where so many orders wait: five seconds, so that it is
/// seen soon (P22), and longer where that would be more than four looks a second.
#[must_use]
pub fn lookout(waiting: usize) -> Duration {
    const SHORTEST: Duration = Duration::from_secs(5);
    const EACH: Duration = Duration::from_millis(250);
    let together = EACH.saturating_mul(u32::try_from(waiting).unwrap_or(u32::MAX));
    together.clamp(SHORTEST, LONGEST_REST)
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

/// When something was that `then` tells by a clock which was `then_ahead` of the API server's, told by one that says `now` and
/// is `clock_ahead` of it.
///
/// As much time has passed since as both clocks let pass, ours and the API server's. Where ours says that it is yet to come,
/// ours was ahead, and the API server's alone counts.
fn told_by(
    then: Timestamp,
    then_ahead: SignedDuration,
    now: Timestamp,
    clock_ahead: SignedDuration,
) -> Timestamp {
    let ours = then.duration_until(now);
    let theirs = ours
        .saturating_sub(clock_ahead.saturating_sub(then_ahead))
        .max(SignedDuration::ZERO);
    let passed = if ours.is_negative() {
        theirs
    } else {
        theirs.min(ours)
    };
    if passed == ours { then } else { back(now, passed) }
}

pub(crate) fn back(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_sub(by).unwrap_or(Timestamp::MIN)
}

/// `issue_grace`, which is never nothing.
fn at_least(issue_grace: Duration) -> SignedDuration {
    let grace = SignedDuration::try_from(issue_grace).unwrap_or(SignedDuration::MAX);
    grace.max(NARROWEST_SPACING)
}

/// How far the next attempt is from the last of so many in a row: `grace`, doubling with each further one up to a day; a
/// longer grace stays as it is.
fn spacing(count: u32, grace: SignedDuration) -> SignedDuration {
    let doublings = count.saturating_sub(1).min(16);
    let grown = grace.checked_mul(1 << doublings).unwrap_or(SignedDuration::MAX);
    grown.min(WIDEST_SPACING.max(grace))
}

fn doubling(first: Duration, tries: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << tries.min(20)).min(longest)
}

#[cfg(test)]
mod tests;

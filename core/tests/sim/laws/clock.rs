//! What a clock that was set excuses, and for how long: who sets it ahead has let the time pass, by that clock.

use faythe_core::Timestamp;
use faythe_core::name::Hostname;
use faythe_core::renewal::Hint;
use faythe_core::schedule::ahead;
use jiff::SignedDuration;

use super::{Laws, UNDER_WAY};
use crate::outside::{CaOrder, Outside};

impl Laws {
    /// The CA's clock is set; from now on it is so far ahead of the true time.
    pub(crate) fn ca_clock_is_set(&mut self, by: SignedDuration, now: Timestamp) {
        self.ca_clock_set.push((now, by));
    }

    /// When an order is over by the CA's clock, and whether that was because it was set.
    pub(super) fn lapses(&self, order: &CaOrder) -> (Timestamp, bool) {
        let (mut since, mut by) = (order.created, ahead_at(&self.ca_clock_set, order.created));
        for (set, next) in self.ca_clock_set.iter().filter(|(at, _)| *at > order.created) {
            let end = ahead(order.expires, -by);
            if end < *set {
                return (end.max(since), end < since);
            }
            (since, by) = (*set, *next);
        }
        let end = ahead(order.expires, -by);
        (end.max(since), end < since)
    }

    /// Whether an order has ended by the CA's clock, or seemed to by ours at some time since it was made. What is left of it
    /// is reckoned by both clocks as they are when it is read, and either may be set then.
    pub(crate) fn seemed_over(&self, order: &CaOrder, now: Timestamp) -> bool {
        let (lapses, _) = self.lapses(order);
        let theirs = between(&self.ca_clock_set, order.created, now);
        let skipped = self.skipped(order.created, now);
        let end = theirs.map(|by| ahead(order.expires, -by)).min();
        lapses <= now || end.is_some_and(|end| ahead(end, -skipped) <= now)
    }

    /// A new order is about to be asked for as one that is exempt because the window has come: it has by the CA's clock, as
    /// far as anybody can know.
    pub(crate) fn exempts(&mut self, host: &Hostname, hint: Option<&Hint>, outside: &Outside) {
        let now = outside.now;
        let since = ahead(now, -UNDER_WAY);
        // Its clock has been set, and it has not answered since; or ours was a moment ago; or it says something else by now.
        let window = Self::window(host, outside);
        let known = hint.map(|hint| hint.window) == window
            && outside.ways.ca_clock_ahead == outside.ca.clock_ahead
            && self.ca_clock_set.last().is_none_or(|(at, _)| *at < since)
            && !self.was_clock_set_since(since);
        let clock = outside.ca.clock(now);
        let inside = window.is_none_or(|window| window.start() <= clock && clock < window.end());
        let words =
            format!("{host} is ordered as exempt, and its window is {window:?} by the CA's clock, {clock}");
        self.law(inside || !known || self.has_crossed(host, now), now, &words);
    }

    /// Our clock is set; from now on it is so far ahead of the true time.
    pub(crate) fn clock_is_set(&mut self, by: SignedDuration, now: Timestamp) {
        self.clock_wrong = Some(now);
        self.clock_set.push((now, by));
    }

    /// Whether our clock was set after `from`.
    pub(super) fn was_clock_set_since(&self, from: Timestamp) -> bool {
        self.clock_set.last().is_some_and(|(at, _)| *at >= from)
    }

    /// Whether it was set back while an order went on, so that a certificate that was due by it is not due any more: the
    /// order is given up then.
    pub(super) fn was_set_back(&self, created: Timestamp, until: Timestamp) -> bool {
        let most = self.ahead_between(created, until).max().unwrap_or_default();
        self.ahead_between(created, until).any(|by| by < most)
    }

    /// How far it was ahead at some time.
    fn ahead_at(&self, time: Timestamp) -> SignedDuration {
        ahead_at(&self.clock_set, time)
    }

    /// How far it was ahead from one time to another, as that changed.
    fn ahead_between(&self, from: Timestamp, until: Timestamp) -> impl Iterator<Item = SignedDuration> {
        between(&self.clock_set, from, until)
    }

    /// Whether `wait` has passed since `from`, by the true time or by our clock, however late that was looked at.
    pub(super) fn has_passed(&self, wait: SignedDuration, from: Timestamp, now: Timestamp) -> bool {
        ahead(from, wait - self.skipped(from, now)) <= now
    }

    /// How much time our clock has let pass from one time to another that has not passed.
    fn skipped(&self, from: Timestamp, until: Timestamp) -> SignedDuration {
        let (mut least, mut skipped) = (SignedDuration::MAX, SignedDuration::ZERO);
        for by in self.ahead_between(from, until) {
            least = least.min(by);
            skipped = skipped.max(by - least);
        }
        skipped
    }

    /// Whether our clock was behind at some time.
    pub(super) fn was_behind_at(&self, time: Timestamp) -> bool {
        self.ahead_at(time).is_negative()
    }
}

/// How far a clock was ahead at some time, by when it was set.
fn ahead_at(set: &[(Timestamp, SignedDuration)], time: Timestamp) -> SignedDuration {
    let before = set.iter().rev().find(|(at, _)| *at <= time);
    before.map_or(SignedDuration::ZERO, |(_, by)| *by)
}

/// The same from one time to another, as that changed.
fn between(
    set: &[(Timestamp, SignedDuration)],
    from: Timestamp,
    until: Timestamp,
) -> impl Iterator<Item = SignedDuration> {
    let within = set.iter().filter(move |(at, _)| *at > from && *at <= until);
    [ahead_at(set, from)].into_iter().chain(within.map(|(_, by)| *by))
}

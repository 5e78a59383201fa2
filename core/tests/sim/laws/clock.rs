//! What a clock that was set excuses, and for how long: who sets it ahead has let the time pass, by that clock.

use faythe_core::Timestamp;
use faythe_core::schedule::ahead;
use jiff::SignedDuration;

use super::Laws;

impl Laws {
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
        let before = self.clock_set.iter().rev().find(|(at, _)| *at <= time);
        before.map_or(SignedDuration::ZERO, |(_, by)| *by)
    }

    /// How far it was ahead from one time to another, as that changed.
    fn ahead_between(&self, from: Timestamp, until: Timestamp) -> impl Iterator<Item = SignedDuration> {
        let between = move |at: &Timestamp| *at > from && *at <= until;
        let set = self.clock_set.iter().filter(move |(at, _)| between(at));
        [self.ahead_at(from)].into_iter().chain(set.map(|(_, by)| *by))
    }

    /// Whether `wait` has passed since `from`, by the true time or by our clock, however late that was looked at.
    pub(super) fn has_passed(&self, wait: SignedDuration, from: Timestamp, now: Timestamp) -> bool {
        let (mut least, mut skipped) = (SignedDuration::MAX, SignedDuration::ZERO);
        for by in self.ahead_between(from, now) {
            least = least.min(by);
            skipped = skipped.max(by - least);
        }
        ahead(from, wait - skipped) <= now
    }

    /// Whether what began at `from` has ended at `end`, by the true time or by our clock at some time since.
    pub(super) fn seemed_over(&self, from: Timestamp, end: Timestamp, now: Timestamp) -> bool {
        let most = self.ahead_between(from, now).max().unwrap_or_default();
        ahead(end, -most.max(SignedDuration::ZERO)) <= now
    }

    /// Whether our clock was behind at some time.
    pub(super) fn was_behind_at(&self, time: Timestamp) -> bool {
        self.ahead_at(time).is_negative()
    }
}

//! How fast renewals that have time begin: at an even pace that follows from the fleet itself (P20).
//!
//! Each certificate is renewed at a point of its own, but chance brings points together, and an outage brings many. So
//! those that have time go one by one. The pace is a little more than what the fleet takes on the average, so that a line
//! that chance has made is gone soon. Where more wait, each of them adds what it takes to begin within its room: until its
//! window or its time before the threshold ends, and some hours at most. Never slower than one a minute, which small
//! clusters do not notice, and never faster than the operator lets it be.
//!
//! All of it follows from what is held and who waits; a restart loses when the last one began, and nothing else.

use std::num::NonZeroU32;

use jiff::{SignedDuration, Timestamp};

use crate::cert::CertFacts;
use crate::name::Hostname;
use crate::renewal::Rule;

/// How many in how much time: so many in 10^15 milliseconds. Whole numbers, so that a sum that follows changes is the sum
/// made anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Flow(u64);

/// What keeps a candidate from all beginning at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pace {
    /// Nothing: it is urgent.
    Free,
    /// The operator's bound alone: it should have begun by now (S05).
    Bounded,
    /// The pace of the fleet, to which it adds this while it waits.
    Even(Flow),
}

/// The sums over all certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flows {
    /// Renewals that the fleet takes on the average.
    pub(super) usual: Flow,
    /// What it takes for all who wait to begin in time.
    pub(super) waiting: Flow,
}

/// The pauses between two renewals at each pace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pauses {
    pub(super) bounded: SignedDuration,
    pub(super) even: SignedDuration,
}

/// The time over which a [`Flow`] is counted.
const WHOLE_MS: u64 = 1_000_000_000_000_000;
/// The pace in tenths of the average. Orders take some seconds more or less, and still no minute sees twice the average;
/// and lines that chance has made are gone in less than a minute where there are two renewals a minute.
const MORE: u64 = 14;
/// Who has time begins within this, or within a hundredth of the lifetime where that is less.
const ROOM: SignedDuration = SignedDuration::from_hours(6);
const ROOM_SHARE: i32 = 100;
/// The point of some lies close to the end of their time.
const LEAST_ROOM: SignedDuration = SignedDuration::from_mins(1);

impl Flow {
    fn once_in(time: SignedDuration) -> Self {
        let ms = u64::try_from(time.as_millis()).unwrap_or(1).max(1);
        Self(WHOLE_MS / ms)
    }

    fn pause(self) -> SignedDuration {
        SignedDuration::from_millis(i64::try_from(WHOLE_MS / self.0.max(1)).unwrap_or(i64::MAX))
    }

    pub(super) fn add(&mut self, other: Self) {
        self.0 = self.0.saturating_add(other.0);
    }

    pub(super) fn take(&mut self, other: Self) {
        self.0 = self.0.saturating_sub(other.0);
    }
}

impl Flows {
    /// The pauses from now on; `None` where the operator wants none.
    pub(super) fn pauses(self, bound: Option<NonZeroU32>) -> Option<Pauses> {
        let minute = SignedDuration::from_mins(1);
        let bounded = minute / i32::try_from(bound?.get()).unwrap_or(i32::MAX);
        let more = Flow(self.usual.0 / 10 * MORE);
        let even = more.max(self.waiting).max(Flow::once_in(minute));
        Some(Pauses {
            bounded,
            even: even.pause().max(bounded),
        })
    }

    /// About how long it takes until `count` of `all` that keep the even pace have begun: the fewer wait, the slower they go.
    ///
    /// It is reckoned as if all had the same room, and as if of those that become due meanwhile, as many as the fleet takes
    /// on the average, half went first: they have as little left as those who wait, or more.
    pub(super) fn time_for(self, count: usize, all: usize, bound: Option<NonZeroU32>) -> SignedDuration {
        let alone = Self {
            waiting: Flow(0),
            ..self
        };
        let Some(alone) = alone.pauses(bound) else {
            return SignedDuration::ZERO;
        };
        let per_second = |flow: Flow| flow.0 as f64 * 1e3 / WHOLE_MS as f64;
        let pace = |pause: SignedDuration| 1.0 / pause.as_secs_f64().max(1e-3);
        let (slowest, fastest) = (pace(alone.even), pace(alone.bounded));
        // The operator's bound may be less than what the fleet takes; then nobody knows.
        let others = (per_second(self.usual) / 2.0).min(slowest / 2.0);
        // What each adds.
        let each = per_second(self.waiting).max(1e-12) / all.max(1) as f64;
        let (count, all) = (count.min(all) as f64, all as f64);
        // So many begin as fast as may be, then so many at a pace that falls, and the rest at the least.
        let fast = (all - fastest / each).clamp(0.0, count);
        let falling = (all - slowest / each).clamp(fast, count);
        let mut secs = fast / (fastest - others) + (count - falling) / (slowest - others);
        if falling > fast {
            let left = |begun: f64| (all - begun) * each - others;
            secs += (left(fast) / left(falling)).ln() / each;
        }
        SignedDuration::try_from_secs_f64(secs).unwrap_or(SignedDuration::MAX)
    }
}

impl Pace {
    /// The pace of a renewal that has time, and when that changes.
    pub(super) fn of(
        host: &Hostname,
        facts: &CertFacts,
        rule: Rule,
        now: Timestamp,
    ) -> (Self, Option<Timestamp>) {
        let (due, end) = (rule.due_at(host, facts), rule.begins_by(facts));
        let most = ROOM.min(facts.lifetime() / ROOM_SHARE);
        let room = due.duration_until(end).max(LEAST_ROOM).min(most);
        match rule.latest(facts) {
            Some(latest) if latest <= now => (Self::Bounded, None),
            latest => (Self::Even(Flow::once_in(room)), latest),
        }
    }

    /// What it adds to the pace of the fleet.
    pub(super) fn flow(self) -> Flow {
        match self {
            Self::Free | Self::Bounded => Flow::default(),
            Self::Even(flow) => flow,
        }
    }
}

/// What a certificate takes on the average.
pub(super) fn usual(facts: &CertFacts, rule: Rule) -> Flow {
    Flow::once_in(rule.usual_time(facts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flows(hosts: u64, waiting: u64) -> Flows {
        let each = Flow::once_in(SignedDuration::from_hours(30 * 24));
        let room = Flow::once_in(ROOM);
        Flows {
            usual: Flow(each.0 * hosts),
            waiting: Flow(room.0 * waiting),
        }
    }

    fn pause(flows: Flows) -> f64 {
        flows.pauses(NonZeroU32::new(60)).unwrap().even.as_secs_f64()
    }

    #[test]
    fn p20_the_pace_follows_from_the_fleet() {
        // A small one goes once a minute.
        assert!((pause(flows(100, 1)) - 60.0).abs() < 0.1);
        // 100,000 take 2.3 a minute, and go at 3.2.
        assert!((pause(flows(100_000, 3)) - 18.5).abs() < 0.1);
        // What an outage of three days leaves behind is spread over hours.
        assert!((pause(flows(100_000, 10_000)) - 2.16).abs() < 0.01);
        // And never goes faster than the operator says.
        assert!((pause(flows(100_000, 100_000)) - 1.0).abs() < 0.01);
        assert!(flows(100_000, 0).pauses(None).is_none());
    }

    #[test]
    fn p17_who_keeps_the_pace_is_told_how_long_it_takes() {
        for (hosts, all) in [
            (100, 1),
            (100, 50),
            (100_000, 100),
            (100_000, 10_000),
            (100_000, 40_000),
        ] {
            let mut secs = 0.0;
            for count in 1..=all {
                // Half of those that become due meanwhile go first.
                let others = hosts as f64 / (30.0 * 86_400.0) / 2.0;
                secs += 1.0 / (1.0 / pause(flows(hosts, all + 1 - count)) - others);
                if count % (all / 4).max(1) == 0 {
                    let whole = |number: u64| usize::try_from(number).unwrap();
                    let told = flows(hosts, all).time_for(whole(count), whole(all), NonZeroU32::new(60));
                    let told = told.as_secs_f64();
                    assert!(
                        (told - secs).abs() <= 1.0 + secs / 50.0,
                        "{count} of {all}: {told}, {secs}"
                    );
                }
            }
        }
    }
}

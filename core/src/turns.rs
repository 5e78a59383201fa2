//! Whose turn it is: fairness between namespaces, and an even pace for what has time.
//!
//! New hosts go in order of arrival, but a namespace that asks for thousands at once does not hold up the one that asks
//! for a single one: each host gets a turn when it joins the queue, one more than the last of its namespace and never
//! earlier than the turn that is being served (start-time fair queueing). Questions about renewal are asked at a steady
//! pace, and when the last routine renewal began is kept here, so that an outage or a mass event is not followed by a herd
//! (P20).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::name::Hostname;
use crate::schedule::ahead;

/// The turns of those who wait, and the times of those who went last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turns {
    /// The turn that was served last.
    served: u64,
    /// The turns of each namespace's hosts that wait.
    namespaces: BTreeMap<Arc<str>, BTreeSet<u64>>,
    of: BTreeMap<Hostname, Place>,
    /// Those who are worked on.
    under_way: BTreeMap<Hostname, UnderWay>,
    /// How long work on one takes until it ends or comes to rest, as was seen lately.
    usual: Option<SignedDuration>,
    /// When the last routine renewal began, and for how many the next one has to pause.
    last_renewal: Option<(Timestamp, i32)>,
    polls: Batch,
}

/// The turn of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    turn: u64,
    /// Among whose turns it counts; none where its turn has come already.
    namespace: Option<Arc<str>>,
}

/// Work that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
struct UnderWay {
    since: Timestamp,
    /// After a rest.
    again: bool,
    /// The turn that it had.
    place: Option<Place>,
}

/// So many that begin together, once in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Batch {
    /// When the next second begins.
    next: Option<Timestamp>,
    /// How many have begun in this one.
    begun: u32,
}

/// Questions about renewal in a second: all certificates of a large cluster four times a day, and far below what any CA
/// allows (Let's Encrypt: 1,000 a second and address, 2026-08). They are asked together, so that nobody wakes up for each.
const POLLS_PER_SECOND: u32 = 8;
/// How long work on an order takes as far as nothing has been seen yet: about what Let's Encrypt and quick name servers need.
const FIRST_USUAL: SignedDuration = SignedDuration::from_secs(10);

/// What took longer was no work on an order: the clock was set meanwhile.
const LONGEST: SignedDuration = SignedDuration::from_mins(30);

impl Turns {
    /// The turn of `host`, if it has one.
    #[must_use]
    pub fn of(&self, host: &Hostname) -> Option<u64> {
        self.of.get(host).map(|place| place.turn)
    }

    /// Gives `host` its turn, behind the others of its namespace.
    pub(crate) fn join(&mut self, host: &Hostname, namespace: &str) {
        let known = self.namespaces.get_key_value(namespace);
        let namespace = known.map_or_else(|| namespace.into(), |(namespace, _)| Arc::clone(namespace));
        let turns = self.namespaces.entry(Arc::clone(&namespace)).or_default();
        let turn = turns.last().copied().unwrap_or(0).max(self.served) + 1;
        turns.insert(turn);
        let namespace = Some(namespace);
        self.of.insert(host.clone(), Place { turn, namespace });
    }

    /// It was the turn of `host`, and nothing came of it: it is its turn still, and not the next one of its namespace.
    pub(crate) fn rejoin(&mut self, host: &Hostname) {
        let place = Place {
            turn: self.served,
            namespace: None,
        };
        self.of.insert(host.clone(), place);
    }

    /// How many are worked on again after a rest.
    pub(crate) fn under_way_again(&self) -> usize {
        self.under_way.values().filter(|work| work.again).count()
    }

    /// It is the turn of `host`, and work on it begins.
    pub(crate) fn begin(&mut self, host: &Hostname, again: bool, now: Timestamp) {
        let place = self.of.get(host).cloned();
        self.leave(host, true);
        let work = UnderWay {
            since: now,
            again,
            place,
        };
        self.under_way.insert(host.clone(), work);
    }

    /// The CA whose turn it was may not issue for `host`: another goes on from the same place.
    pub(crate) fn give_back(&mut self, host: &Hostname) {
        let work = self.under_way.get_mut(host);
        let Some(place) = work.and_then(|work| work.place.take()) else {
            return;
        };
        if let Some(namespace) = &place.namespace {
            let turns = self.namespaces.entry(Arc::clone(namespace)).or_default();
            turns.insert(place.turn);
        }
        self.of.insert(host.clone(), place);
    }

    /// Work on `host` has ended, or has come to rest, if there was any; `ordered` where there was an order, so that it tells
    /// how long one takes.
    pub(crate) fn end(&mut self, host: &Hostname, ordered: bool, now: Timestamp) {
        let work = self.under_way.remove(host);
        if let Some(UnderWay { since, .. }) = work.filter(|_| ordered) {
            let took = since.duration_until(now).clamp(SignedDuration::ZERO, LONGEST);
            self.usual = Some(self.usual.map_or(took, |usual| (usual * 7 + took) / 8));
        }
    }

    /// How long work on one takes as a rule.
    pub(crate) fn usual(&self) -> SignedDuration {
        self.usual.unwrap_or(FIRST_USUAL)
    }

    /// It was the turn of `host`, or it does not wait any more.
    pub(crate) fn leave(&mut self, host: &Hostname, served: bool) {
        let Some(Place { turn, namespace }) = self.of.remove(host) else {
            return;
        };
        if let Some(namespace) = namespace
            && let Some(turns) = self.namespaces.get_mut(&namespace)
        {
            turns.remove(&turn);
            if turns.is_empty() {
                self.namespaces.remove(&namespace);
            }
        }
        if served {
            self.served = self.served.max(turn);
        }
    }

    /// When the next routine renewal may begin, `pause` after the last one.
    pub(crate) fn next_renewal(&self, pause: SignedDuration) -> Option<Timestamp> {
        let (last, count) = self.last_renewal?;
        let pause = pause.checked_mul(count).unwrap_or(SignedDuration::MAX);
        Some(ahead(last, pause))
    }

    /// A routine renewal begins. Where two begin together, a name's and its wildcard's, the next one pauses for both.
    pub(crate) fn renew(&mut self, pause: SignedDuration, now: Timestamp) {
        let early = self.next_renewal(pause).is_some_and(|next| next > now);
        let before = self.last_renewal.filter(|_| early);
        let count = before.map_or(1, |(_, count)| count.saturating_add(1));
        self.last_renewal = Some((now, count));
    }

    /// When the next question about renewal may be asked; `None` for at once.
    pub(crate) fn next_poll(&self) -> Option<Timestamp> {
        self.polls.next.filter(|_| self.polls.begun >= POLLS_PER_SECOND)
    }

    /// A question about renewal is asked.
    pub(crate) fn poll(&mut self, now: Timestamp) {
        if self.polls.next.is_none_or(|next| next <= now) {
            self.polls = Batch {
                next: Some(ahead(now, SignedDuration::from_secs(1))),
                begun: 0,
            };
        }
        self.polls.begun += 1;
    }

    /// A clock that was set back makes nobody wait for long.
    pub(crate) fn mend(&mut self, now: Timestamp) {
        self.last_renewal = self.last_renewal.map(|(last, count)| (last.min(now), count));
        self.polls = Batch::default();
        for work in self.under_way.values_mut() {
            work.since = work.since.min(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets hosts join, written as `namespace/host`, and says in which order their turns come.
    fn order(turns: &Turns) -> Vec<String> {
        let mut all: Vec<_> = turns
            .of
            .iter()
            .map(|(host, place)| (place.turn, host.to_string()))
            .collect();
        all.sort();
        all.into_iter()
            .map(|(_, host)| host.replace(".example.com", ""))
            .collect()
    }

    /// Lets so many join, those who wait already aside.
    fn join(turns: &mut Turns, namespace: &str, count: usize) {
        for i in 0..count {
            let host = format!("{namespace}{i}.example.com").parse().unwrap();
            if turns.of(&host).is_none() {
                turns.join(&host, namespace);
            }
        }
    }

    #[test]
    fn p20_questions_are_asked_together_once_in_a_second() {
        let mut turns = Turns::default();
        let start = Timestamp::UNIX_EPOCH;
        let mut now = start;
        for _ in 0..100 {
            now = turns.next_poll().unwrap_or(now).max(now);
            turns.poll(now);
        }
        // The last of a hundred begin with the thirteenth second.
        assert_eq!(start.duration_until(now).as_secs(), 12);
        turns.mend(start);
        assert!(turns.next_poll().unwrap_or(start) <= ahead(start, SignedDuration::from_mins(1)));
    }

    #[test]
    fn p17_who_asks_for_much_does_not_hold_up_who_asks_for_little() {
        let mut turns = Turns::default();
        join(&mut turns, "a", 5);
        join(&mut turns, "b", 2);
        assert_eq!(order(&turns), ["a0", "b0", "a1", "b1", "a2", "a3", "a4"]);
        for host in ["a0", "b0", "a1", "b1", "a2"] {
            turns.leave(&format!("{host}.example.com").parse().unwrap(), true);
        }
        // Whoever comes later does not go before those who have waited since.
        join(&mut turns, "c", 2);
        assert_eq!(order(&turns), ["a3", "c0", "a4", "c1"]);
        // Whom one CA may not issue for waits at the next one from where it stood.
        let first: Hostname = "a3.example.com".parse().unwrap();
        turns.begin(&first, false, Timestamp::UNIX_EPOCH);
        assert_eq!(order(&turns), ["c0", "a4", "c1"]);
        join(&mut turns, "d", 1);
        turns.give_back(&first);
        turns.end(&first, false, Timestamp::UNIX_EPOCH);
        turns.give_back(&first);
        assert_eq!(order(&turns), ["a3", "c0", "a4", "c1", "d0"]);
        turns.leave(&"d0.example.com".parse().unwrap(), false);
        // Whose turn came to nothing has it still.
        let last: Hostname = "a2.example.com".parse().unwrap();
        turns.rejoin(&last);
        assert_eq!(order(&turns), ["a2", "a3", "c0", "a4", "c1"]);
        turns.leave(&last, true);
        assert_eq!(order(&turns), ["a3", "c0", "a4", "c1"]);
    }

    #[test]
    fn p17_who_asks_no_more_holds_up_nobody_of_its_namespace() {
        let mut turns = Turns::default();
        join(&mut turns, "a", 5);
        join(&mut turns, "b", 3);
        for host in ["a1", "a2", "a3", "a4"] {
            turns.leave(&format!("{host}.example.com").parse().unwrap(), false);
        }
        // A team that has asked for too many, or makes its Ingresses anew, is not behind hosts that are gone.
        join(&mut turns, "a", 3);
        assert_eq!(order(&turns), ["a0", "b0", "a1", "b1", "a2", "b2"]);
        for host in ["a0", "a1", "a2", "b0", "b1", "b2"] {
            turns.leave(&format!("{host}.example.com").parse().unwrap(), false);
        }
        assert_eq!(turns, Turns::default());
    }

    #[test]
    fn p17_how_long_an_order_takes_is_learned_from_orders() {
        let mut turns = Turns::default();
        let (host, start) = ("a.example.com".parse().unwrap(), Timestamp::UNIX_EPOCH);
        let mut work = |secs, ordered| {
            turns.begin(&host, false, start);
            turns.end(&host, ordered, ahead(start, SignedDuration::from_secs(secs)));
            turns.usual().as_secs()
        };
        assert_eq!(work(0, false), 10);
        assert_eq!(work(30, true), 30);
        // What fails before there is an order tells nothing.
        assert_eq!(work(0, false), 30);
        assert_eq!(work(38, true), 31);
        // Nor does a clock that was set meanwhile, by a year or back.
        assert!(work(31_536_000, true) < 600);
        assert!(work(-31_536_000, true) < 600);
    }
}

//! Who else has a value at the same challenge record, and when the CA may have looked there (P15).
//!
//! A name and its wildcard share `_acme-challenge.<name>`. Orders tell this board how far they are, and read from it what
//! `core::order` needs to decide. Deliberately absent: any decision.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::name::{Hostname, RecordName};
use faythe_core::order::{CaLook, Neighbors};
use faythe_core::schedule::{RESOLVER_CACHE, ahead};
use tokio::sync::Notify;
use tokio::time::Instant;

/// An order that has not published its value by then is waited for no longer.
const PREPARING_AT_MOST: Duration = Duration::from_secs(10);

/// All challenge records with orders under way, and those at which the CA may have looked lately.
#[derive(Debug, Default)]
pub struct Board {
    state: Mutex<State>,
    changed: Arc<Notify>,
    /// When it was pruned last.
    pruned: Mutex<Option<Timestamp>>,
}

#[derive(Debug, Default)]
struct State {
    records: BTreeMap<RecordName, Record>,
    /// Where the challenges of orders really stand, if not at the name that the CA looks up: two hosts whose aliases lead
    /// to one record are neighbors too.
    elsewhere: BTreeMap<Hostname, RecordName>,
}

#[derive(Debug, Default)]
struct Record {
    preparing: BTreeMap<Hostname, Instant>,
    looks: BTreeMap<Hostname, CaLook>,
    /// Those that an earlier process may have caused, while it is not known whether it did.
    inherited: BTreeMap<Hostname, CaLook>,
}

impl Board {
    /// An order is about to publish a value at its record.
    pub fn prepare(&self, host: &Hostname) {
        self.state()
            .record(host)
            .preparing
            .insert(host.clone(), Instant::now());
    }

    /// The order's value goes to this record, as was just found out.
    pub fn place(&self, host: &Hostname, record: &RecordName) {
        let mut state = self.state();
        if state.place_of(host) == *record {
            return;
        }
        let preparing = state.record(host).preparing.remove(host);
        if *record == host.challenge_record() {
            state.elsewhere.remove(host);
        } else {
            state.elsewhere.insert(host.clone(), record.clone());
        }
        if let Some(since) = preparing {
            state.record(host).preparing.insert(host.clone(), since);
            self.changed.notify_waiters();
        }
    }

    /// The order's value stands, or it will publish none for now.
    pub fn prepared(&self, host: &Hostname) {
        if self.state().record(host).preparing.remove(host).is_some() {
            self.changed.notify_waiters();
        }
    }

    /// The CA is about to be told that it may look for the order, or has been at some time after `from`.
    pub fn told(&self, host: &Hostname, from: Timestamp) {
        let mut state = self.state();
        let looks = &mut state.record(host).looks;
        looks
            .entry(host.clone())
            .or_insert(CaLook { from, until: None })
            .until = None;
    }

    /// An earlier process has noted an order at `noted` and is gone by `now`: nobody knows whether it told the CA.
    pub fn inherit(&self, host: &Hostname, noted: Timestamp, now: Timestamp) {
        let look = CaLook {
            from: noted,
            until: Some(now),
        };
        self.state().record(host).inherited.insert(host.clone(), look);
    }

    /// The CA has shown the order that was noted, and that it has not looked for it to the end: whether it is looking is
    /// known from here on.
    pub fn disclosed(&self, host: &Hostname) {
        self.state().record(host).inherited.remove(host);
    }

    /// The CA has finished looking for the order.
    pub fn settled(&self, host: &Hostname, now: Timestamp) {
        if let Some(look) =
            (self.state().record(host).looks.get_mut(host)).filter(|look| look.until.is_none())
        {
            look.until = Some(now);
        }
    }

    /// Whatever was under way is so no more, as far as this instance knows: somebody else may have gone on with it.
    pub fn let_go(&self, now: Timestamp) {
        for record in self.state().records.values_mut() {
            record.preparing.clear();
            for look in record.looks.values_mut() {
                look.until.get_or_insert(now);
            }
        }
    }

    /// What the order has to know; `earlier` is a look of another process.
    #[must_use]
    pub fn of(&self, host: &Hostname, earlier: Option<Timestamp>) -> Neighbors {
        let mut neighbors = Neighbors::default();
        neighbors.looks.extend(earlier.map(|at| CaLook {
            from: at,
            until: Some(at),
        }));
        let state = self.state();
        if let Some(record) = state.records.get(&state.place_of(host)) {
            neighbors.preparing = record
                .preparing
                .iter()
                .any(|(other, since)| other != host && since.elapsed() < PREPARING_AT_MOST);
            let looks = record.looks.values().chain(record.inherited.values());
            neighbors.looks.extend(looks.copied());
        }
        neighbors
    }

    /// Waits while a neighbor of the order is about to publish, at most `patience` or until any order has published.
    pub async fn wait(&self, host: &Hostname, patience: Duration) {
        let mut changed = pin!(self.changed.notified());
        // What changes from here on is heard of, and what has changed before shows in the look that follows.
        changed.as_mut().enable();
        if self.of(host, None).preparing {
            let _ = tokio::time::timeout(patience, changed).await;
        }
    }

    /// Forgets what can matter no more: every now and then, since it looks at every record, and the loop turns often.
    pub fn prune(&self, now: Timestamp) {
        let mut pruned = self.pruned.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back counts as time that has passed.
        if pruned.is_some_and(|at| (at..ahead(at, RESOLVER_CACHE)).contains(&now)) {
            return;
        }
        *pruned = Some(now);
        drop(pruned);
        let State { records, elsewhere } = &mut *self.state();
        records.retain(|_, record| {
            for looks in [&mut record.looks, &mut record.inherited] {
                looks.retain(|_, look| look.until.is_none_or(|until| ahead(until, RESOLVER_CACHE) > now));
            }
            !record.looks.is_empty() || !record.inherited.is_empty() || !record.preparing.is_empty()
        });
        elsewhere.retain(|_, record| records.contains_key(record));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing here panics while it holds the lock, and the maps are sound after every statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Where the order's value stands, as far as is known.
    fn place_of(&self, host: &Hostname) -> RecordName {
        let known = self.elsewhere.get(host).cloned();
        known.unwrap_or_else(|| host.challenge_record())
    }

    fn record(&mut self, host: &Hostname) -> &mut Record {
        let place = self.place_of(host);
        self.records.entry(place).or_default()
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[tokio::test]
    async fn p15_a_pair_sees_each_other_and_strangers_do_not() {
        let board = Board::default();
        let [name, wildcard, stranger] =
            ["example.com", "*.example.com", "a.example.com"].map(|host| host.parse::<Hostname>().unwrap());
        let now = Timestamp::UNIX_EPOCH;
        board.prepare(&name);
        assert!(board.of(&wildcard, None).preparing);
        assert!(
            !board.of(&name, None).preparing,
            "an order is no neighbor of its own"
        );
        assert!(!board.of(&stranger, None).preparing);
        board.prepared(&name);
        assert!(!board.of(&wildcard, None).preparing);
        board.told(&name, now);
        assert_eq!(
            board.of(&wildcard, None).looks,
            [CaLook {
                from: now,
                until: None
            }]
        );
        board.settled(&name, now);
        board.prune(ahead(now, RESOLVER_CACHE));
        assert_eq!(board.of(&wildcard, None), Neighbors::default());
    }

    #[tokio::test]
    async fn p15_hosts_whose_challenges_lead_to_one_record_are_neighbors() {
        let board = Board::default();
        let [one, two] = ["a.example.com", "b.test"].map(|host| host.parse::<Hostname>().unwrap());
        let target = RecordName::parse("x.auth.test").unwrap();
        let now = Timestamp::UNIX_EPOCH;
        for host in [&one, &two] {
            board.prepare(host);
            board.place(host, &target);
        }
        assert!(board.of(&one, None).preparing);
        board.prepared(&two);
        assert!(!board.of(&one, None).preparing);
        board.told(&two, now);
        assert_eq!(board.of(&one, None).looks.len(), 1);
        // The alias is gone: they have nothing to do with each other any more.
        board.place(&one, &one.challenge_record());
        assert!(board.of(&one, None).looks.is_empty());
        board.settled(&two, now);
        board.prepared(&one);
        board.prune(ahead(now, RESOLVER_CACHE));
        let state = board.state();
        assert!(
            state.records.is_empty() && state.elsewhere.is_empty(),
            "{state:?}"
        );
    }

    #[test]
    fn p15_an_order_of_an_earlier_process_counts_as_a_look_until_it_is_known_better() {
        let board = Board::default();
        let [name, wildcard] = ["example.com", "*.example.com"].map(|host| host.parse::<Hostname>().unwrap());
        let at = |secs| ahead(Timestamp::UNIX_EPOCH, SignedDuration::from_secs(secs));
        let (noted, started) = (at(0), at(100));
        let look = |from, until| [CaLook { from, until }];
        board.inherit(&name, noted, started);
        assert_eq!(board.of(&wildcard, None).looks, look(noted, Some(started)));
        // It was not told.
        board.disclosed(&name);
        assert_eq!(board.of(&wildcard, None).looks, []);
        // It was told, and is looking still.
        board.inherit(&name, noted, started);
        board.disclosed(&name);
        board.told(&name, noted);
        assert_eq!(board.of(&wildcard, None).looks, look(noted, None));
        board.settled(&name, at(103));
        assert_eq!(board.of(&wildcard, None).looks, look(noted, Some(at(103))));
        // It is not heard of again.
        board.inherit(&wildcard, noted, started);
        board.prune(at(164));
        assert_eq!(board.of(&wildcard, None), Neighbors::default());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_what_has_happened_already() {
        let board = Board::default();
        let [name, wildcard] = ["example.com", "*.example.com"].map(|host| host.parse::<Hostname>().unwrap());
        let began = Instant::now();
        board.wait(&wildcard, Duration::from_secs(1)).await;
        board.prepare(&name);
        let waiting = board.wait(&wildcard, Duration::from_secs(1));
        futures::join!(waiting, async { board.prepared(&name) });
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}

//! What must hold however the simulation goes, seen from outside: what the CA, the DNS and the users would complain of.

use std::collections::{BTreeMap, BTreeSet};

use faythe_core::Timestamp;
use faythe_core::cert::{Shortfall, Standing, standing};
use faythe_core::name::Hostname;
use faythe_core::order::OrderStatus;
use faythe_core::schedule::{GivenUp, RESOLVER_CACHE, Threshold, ahead};
use jiff::SignedDuration;

use crate::outside::{CaOrder, Outside, Saved};

mod backups;
mod clock;
mod expiry;
mod hopeless;
mod limits;
mod renewal;
mod rest;
mod restraint;
mod urgency;
mod verdicts;

/// The `issue_grace` of every simulation.
pub(crate) const GRACE: SignedDuration = SignedDuration::from_hours(8);
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// So late may the shell learn of a wish, when the API server is down.
const LATE: SignedDuration = SignedDuration::from_mins(20);
/// A change in the cluster may cross an order on its way.
const CROSSING: SignedDuration = SignedDuration::from_secs(5);

/// An order that begins knows of all that was written before, however late its request is.
const UNDER_WAY: SignedDuration = SignedDuration::from_secs(90);
/// So long before an order is made its place is looked at, when the request is late.
const LOOKED_AT: SignedDuration = SignedDuration::from_secs(60);
/// So long before its end an order cannot be brought to its end any more.
const LAST_MINUTE: SignedDuration = SignedDuration::from_mins(10);

/// The books of a simulation, and every law that was broken.
#[derive(Default)]
pub(crate) struct Laws {
    pub(crate) broken: Vec<String>,
    pub(crate) turns: u64,
    pub(crate) steps: u64,
    pub(crate) works: u64,
    pub(crate) opened: usize,
    pub(crate) issued: usize,
    pub(crate) crashes: usize,
    /// Orders that were noted, by URL.
    pub(crate) noted: BTreeSet<usize>,
    /// Orders by the plain rule, from before the CA wanted one: once it says so they may be given up.
    premature: BTreeSet<usize>,
    /// Orders of which the shell was not told.
    pub(crate) untold: BTreeSet<usize>,
    /// Since when somebody has asked for it without a break.
    pub(crate) wanted: BTreeMap<Hostname, Timestamp>,
    /// How far watches may lag behind.
    pub(crate) stale: SignedDuration,
    /// Names that can never succeed, and when an order was asked for.
    pub(crate) hopeless: BTreeMap<Hostname, Vec<Timestamp>>,
    /// When an Ingress last began to ask for it.
    pub(crate) asked_anew: BTreeMap<Hostname, Timestamp>,
    /// When somebody else last meddled with the Secret or its place.
    pub(crate) meddled: BTreeMap<Hostname, Timestamp>,
    pub(crate) last_crash: Option<Timestamp>,
    /// How many orders a process may work on.
    pub(crate) orders_at_once: usize,
    /// When processes began.
    pub(crate) starts: Vec<Timestamp>,
    /// How many instances lead, all but one of them by accident.
    pub(crate) leaders: usize,
    /// Orders that were made while another one for the host was under way.
    pub(crate) doubled: usize,
    /// When the shell was last told that the CA makes no order.
    refused: BTreeMap<Hostname, Timestamp>,
    /// When an order of no use was given up last, and until when none was to follow.
    given_up: BTreeMap<Hostname, (Timestamp, Timestamp)>,
    /// When the certificate of each order was stored last.
    stored: BTreeMap<usize, Timestamp>,
    pub(crate) stored_at: BTreeMap<Hostname, Timestamp>,
    /// Which processes have told the CA of an order while its value stood, and which one has finalized it.
    told: BTreeMap<usize, BTreeSet<u64>>,
    finalized: BTreeMap<usize, u64>,
    /// Since when something is left behind of a host on which nobody works.
    left: BTreeMap<Hostname, Timestamp>,
    /// Secrets of others, as they left them.
    foreign: BTreeMap<String, String>,
    /// When a certificate was last put back from a backup, a note, and the ledger.
    put_back: BTreeMap<Hostname, Timestamp>,
    note_put_back: BTreeMap<Hostname, (Timestamp, Saved)>,
    pub(crate) ledger_put_back: Option<Timestamp>,
    /// Certificates that are held, and what stood in the way of their renewal.
    pub(crate) expiry: expiry::Watch,
    renewal: renewal::Watch,
    pub(crate) urgency: urgency::Watch,
    /// Answers 429, and until when whom each limit was said to hold.
    pub(crate) limited: usize,
    limits_told: BTreeMap<(u64, String), limits::Told>,
    /// When a clock was last wrong.
    pub(crate) clock_wrong: Option<Timestamp>,
    /// When ours was set, and how far ahead of the true time it was from then on.
    clock_set: Vec<(Timestamp, SignedDuration)>,
    /// When the CA's was set, in the same way.
    ca_clock_set: Vec<(Timestamp, SignedDuration)>,
}

impl Laws {
    pub(crate) fn law(&mut self, holds: bool, now: Timestamp, words: &str) {
        if !holds {
            self.break_law(now, words);
        }
    }

    pub(crate) fn break_law(&mut self, now: Timestamp, words: &str) {
        self.broken.push(format!("{now}: {words}"));
    }

    fn is_wanted_since(&self, host: &Hostname, time: Timestamp) -> bool {
        self.wanted
            .get(host)
            .is_some_and(|since| ahead(*since, LATE + self.stale) <= time)
    }

    fn was_meddled_with_since(&self, host: &Hostname, time: Timestamp) -> bool {
        self.meddled.get(host).is_some_and(|at| *at >= time)
    }

    /// Whether another leader can have stored it since this one looked.
    fn stored_lately(&self, host: &Hostname, now: Timestamp) -> bool {
        self.stored_at
            .get(host)
            .is_some_and(|at| ahead(*at, CROSSING) > now)
    }

    /// An order is about to be asked for.
    pub(crate) fn opens(&mut self, host: &Hostname, outside: &Outside) {
        let now = outside.now;
        self.opened += 1;
        self.is_tried(host, now);
        self.urgency.ordered.insert(host.clone());
        let served = Self::is_fresh(host, outside);
        // The place was looked at before somebody wrote there, or the clock was set.
        let crossed = self.has_crossed(host, now);
        let set = self.was_clock_set_since(ahead(now, -LOOKED_AT));
        self.law(
            !served || crossed || set || (self.leaders > 1 && self.stored_lately(host, now)),
            now,
            &format!("{host} is ordered though a certificate serves"),
        );

        let held = outside.cluster.held(host).filter(|held| held.issued_at.is_some());
        let by = |time| standing(host, held.into_iter(), Threshold::Default, time);
        let unripe = matches!(by(outside.clock()), Standing::Short(Shortfall::NotYetValid(_)));
        let unripe = unripe && matches!(by(now), Standing::Fine { .. });
        let words = format!("{host} is ordered though its certificate only seems not to be valid yet");
        self.law(!unripe || crossed || set, now, &words);

        let unfound = self.is_unfound(host, outside);
        self.law(
            outside.cluster.noted(host).is_none() || self.leaders > 1 || unfound,
            now,
            &format!("{host} is ordered while an order is noted"),
        );

        let failed = outside
            .ca
            .orders
            .iter()
            .filter(|order| order.host == *host)
            .filter_map(|order| Some((order.failed?, order.created)));
        let failed = failed.max();
        if let Some((failed, created)) = failed.filter(|(failed, _)| self.is_wanted_since(host, *failed)) {
            // Nothing but its note tells of it.
            let forgotten = self.was_note_put_back_since(host, created);
            self.law(
                self.has_passed(GRACE, failed, now) || forgotten,
                now,
                &format!("{host} is ordered within issue_grace"),
            );
        }
        if let Some((at, until)) = self.given_up.get(host) {
            // A process that dies before it is saved starts afresh.
            let forgotten = self.last_crash.is_some_and(|crash| crash >= *at)
                || self.leaders > 1
                || self.was_note_put_back_since(host, *at);
            let words = format!("{host} is ordered before {until}, after one of no use");
            let over = self.has_passed(at.duration_until(*until), *at, now);
            self.law(over || forgotten, now, &words);
        }
        if outside.ca.rejected.contains(host) {
            let before = self.refused.get(host).copied();
            let before = before.filter(|before| self.is_wanted_since(host, *before));
            // A process that dies before it has saved the refusal asks once more.
            let excused = before.is_some_and(|before| {
                self.last_crash.is_some_and(|crash| crash >= before)
                    || self.was_note_put_back_since(host, before)
            });
            let spaced = before.is_none_or(|before| self.has_passed(DAY, before, now));
            self.law(
                spaced || excused,
                now,
                &format!("{host} is refused more than once a day"),
            );
        }
    }

    /// The CA has refused to make an order, and the shell is told.
    pub(crate) fn is_refused(&mut self, host: &Hostname, outside: &Outside) {
        if self.is_unfound(host, outside) {
            // It cannot be saved in the place of what is noted: that comes first.
            self.refused.remove(host);
        } else {
            self.refused.insert(host.clone(), outside.now);
        }
    }

    /// An order of no use was given up.
    pub(crate) fn gives_up(&mut self, host: &Hostname, given_up: &GivenUp, outside: &Outside) {
        let until = ahead(given_up.next_order(None), -outside.clock_ahead);
        self.given_up.insert(host.clone(), (outside.now, until));
    }

    /// The CA has made an order, or handed one out again.
    pub(crate) fn ordered(&mut self, order: usize, fresh: bool, outside: &Outside) {
        let (now, host) = (outside.now, &outside.ca.orders[order].host);
        if Self::is_premature(host, outside) {
            self.premature.insert(order);
        }
        let is_open = |other: &CaOrder| {
            use OrderStatus::{Invalid, Pending, Processing, Ready, Valid};
            let open = match other.status {
                Pending | Ready | Processing => true,
                Valid => !other.fetched,
                Invalid => false,
            };
            let over = self.seemed_over(other, now);
            other.host == *host && open && !other.stuck && !over
        };
        let others = outside.ca.orders.iter().enumerate();
        let beside: Vec<usize> = others
            .filter(|(url, other)| *url != order && is_open(other))
            .map(|(url, _)| url)
            .collect();
        if !fresh || beside.is_empty() {
            return;
        }
        self.doubled += 1;
        // One that a process which died had not noted yet is left to expire; so is that of whoever lost a race.
        let lost = beside.iter().all(|url| !self.noted.contains(url));
        let dead = self.last_crash.is_some() || beside.iter().all(|url| self.untold.contains(url));
        // A wish that was given up leaves its order to the CA.
        let whim = !self.is_wanted_since(host, outside.ca.orders[beside[0]].created);
        // And so does a certificate that was due by a clock that was ahead, and has been set.
        let created = outside.ca.orders[beside[0]].created;
        let due_no_more = self.was_set_back(created, now);
        // And one whose note was written over, or in whose place a certificate was put back.
        let put_back = self.was_put_back_since(host, created);
        let two = self.leaders > 1;
        self.law(
            two || due_no_more
                || put_back
                || whim
                || (lost && dead)
                || beside.iter().all(|url| self.premature.contains(url)),
            now,
            &format!("{host} has two orders under way: {order} and {beside:?}"),
        );
    }

    /// An order is about to be finalized: the one that is noted, and no other. Of two leaders the slower may come to it
    /// when the other has finalized it and removed the note.
    pub(crate) fn finalizes(&mut self, life: u64, order: usize, outside: &Outside) {
        let host = &outside.ca.orders[order].host;
        let noted = outside.cluster.noted(host);
        let noted = noted.is_some_and(|note| note.order_url == order.to_string());
        let words = format!("order {order} for {host} is finalized and not noted");
        let by = *self.finalized.entry(order).or_insert(life);
        // Nobody looks at a note that he has written.
        let put_back = self.was_note_put_back_since(host, outside.ca.orders[order].created);
        self.law(noted || by != life || put_back, outside.now, &words);
        self.replaces_once(order, outside);
    }

    /// The CA is about to be told that it may look for the value of `order`.
    ///
    /// Of two leaders the slower may find that the other has told it rightly and finalized the order, and has withdrawn the
    /// value: what it says then has no effect.
    pub(crate) fn tells(&mut self, life: u64, order: usize, outside: &Outside) {
        let visible = outside.dns.shows(&outside.ca.value(order), outside.now);
        let told = self.told.entry(order).or_default();
        let other = told.iter().any(|other| *other != life);
        if visible {
            told.insert(life);
        }
        let is_done = other && self.finalized.get(&order).is_some_and(|by| *by != life);
        self.law(
            visible || is_done,
            outside.now,
            "the CA is told before the value is visible",
        );
    }

    /// The CA has looked for the value of `order` and did not see it.
    pub(crate) fn unseen(&mut self, order: usize, outside: &Outside) {
        let order = &outside.ca.orders[order];
        // A process that finds out at its start that nobody wants an order takes its value away without asking the CA.
        // And a wish that came back a moment ago has left no trace of the order before it when the process died since.
        let wanted = self.is_wanted_since(&order.host, order.created);
        let steady = self.is_wanted_since(&order.host, ahead(order.created, -RESOLVER_CACHE));
        let died = self.last_crash.is_some_and(|crash| crash >= order.created);
        let words = format!("P15: the CA looked for {} and did not see its value", order.host);
        // Who reckons by a clock that was set takes what a resolver remembers for forgotten.
        let set = self.was_clock_set_since(ahead(outside.now, -RESOLVER_CACHE * 2));
        self.law(!wanted || (died && !steady) || set, outside.now, &words);
    }

    pub(crate) fn stored(&mut self, host: &Hostname, order: usize, outside: &Outside) {
        let now = outside.now;
        self.issued += 1;
        let before = self.stored.insert(order, now);
        self.stored_at.insert(host.clone(), now);
        let again = self.was_meddled_with_since(host, ahead(now, -CROSSING));
        // What stood there before was put back in its place, and the order can still be fetched: it costs none.
        let put_back = before.is_some_and(|before| self.was_put_back_since(host, before));
        self.law(
            before.is_none() || again || put_back,
            now,
            &format!("the certificate of {host} is stored twice"),
        );
    }

    /// What must hold every day: nothing goes on and on.
    pub(crate) fn check_day(&mut self, now: Timestamp, works_before: u64, steps_before: u64) {
        let works = self.works - works_before;
        let hosts = u64::try_from(self.wanted.len()).unwrap() + 20;
        self.law(
            works <= hosts * 1_600,
            now,
            &format!("{works} works for {hosts} hosts in a day"),
        );
        let steps = self.steps - steps_before;
        self.law(
            steps <= works * 60 + 100,
            now,
            &format!("{steps} steps in {works} works"),
        );
    }

    /// What must hold after days of quiet.
    pub(crate) fn check_end(&mut self, outside: &Outside, verdicts: &BTreeMap<Hostname, String>) {
        let now = outside.now;
        for (host, since) in &self.wanted.clone() {
            if self.hopeless.contains_key(host) {
                continue;
            }
            let served = Self::is_served(host, outside);
            let verdict = verdicts.get(host).map_or("no verdict", String::as_str);
            self.law(
                served,
                now,
                &format!("{host}, wanted since {since}, has no certificate: {verdict}"),
            );
            self.law(verdict.starts_with("valid"), now, &format!("{host} is {verdict}"));
        }
        let left = outside
            .cluster
            .notes
            .iter()
            .filter(|(host, (_, saved))| saved.order.is_some() && !self.hopeless.contains_key(*host))
            .count();
        self.law(left == 0, now, &format!("{left} notes are left behind"));
        let ends = |value| {
            outside
                .ca
                .order_of(value)
                .is_none_or(|order| !self.hopeless.contains_key(&order.host))
        };
        let left = outside.dns.values().filter(|(_, value)| ends(value)).count();
        self.law(left == 0, now, &format!("{left} values are left in the DNS"));
        let failures = outside
            .cluster
            .notes
            .keys()
            .filter(|host| !self.wanted.contains_key(*host))
            .count();
        self.law(
            failures == 0,
            now,
            &format!("{failures} failures of unwanted hosts are kept for ever"),
        );
        self.check_orders(outside);
    }

    /// Every order came to something, or there is a good reason why not.
    fn check_orders(&mut self, outside: &Outside) {
        for (url, order) in outside.ca.orders.iter().enumerate() {
            let lost =
                !self.noted.contains(&url) && self.last_crash.is_some_and(|crash| crash >= order.created);
            // It lapsed while the CA was away.
            let (end, cut_short) = self.lapses(order);
            let last_minute = ahead(end, -LAST_MINUTE);
            let lapsed =
                end <= outside.now && (cut_short || outside.ca.was_there(last_minute, end) < LAST_MINUTE);
            let excused = order.status == OrderStatus::Invalid
                || lapsed
                // Or seemed to, or its certificate was not to be used yet, by a clock that was wrong.
                || self.seemed_over(order, last_minute)
                || self.was_behind_at(last_minute)
                || self.was_set_back(order.created, end.min(outside.now))
                || self.stored.contains_key(&url)
                || !self.is_wanted_since(&order.host, order.created)
                || self.was_meddled_with_since(&order.host, order.created)
                || order.stuck
                || self.premature.contains(&url)
                || self.hopeless.contains_key(&order.host)
                || lost
                || self.untold.contains(&url)
                || (self.leaders > 1 && !self.noted.contains(&url));
            let words = format!(
                "order {url} for {}, {:?}, came to nothing",
                order.host, order.status
            );
            self.law(excused, order.created, &words);
        }
    }
}

//! The part of the world that concerns money, so to speak: the ledger, and what becomes of orders in it.

use jiff::{SignedDuration, Timestamp};

use super::World;
use crate::activity::Activity;
use crate::budget::{Grant, Ledger, Record, Spending};
use crate::cas::CaId;
use crate::name::Hostname;
use crate::problem::Scope;
use crate::schedule::ahead;

/// Clocks are told to the second, and telling takes its time.
const CLOCKS_ALIKE: SignedDuration = SignedDuration::from_secs(10);

impl World {
    /// Everything that a CA counts.
    #[must_use]
    pub fn ledger(&self, ca: CaId) -> &Ledger {
        &self.desks.at(ca).ledger
    }

    /// The ledger, to be saved and to be told what has been saved.
    pub fn ledger_mut(&mut self, ca: CaId) -> &mut Ledger {
        &mut self.desks.at_mut(ca).ledger
    }

    /// Puts a ledger in the place of the one without limits; before the notes are told.
    pub fn set_ledger(&mut self, ca: CaId, mut ledger: Ledger) {
        ledger.set_clock_ahead(self.desks.clock_ahead);
        self.desks.at_mut(ca).ledger = ledger;
        self.holds_changed = true;
    }

    /// Takes in what an earlier process, or another instance meanwhile, has saved: what is counted, and what the CA has
    /// told us to leave alone.
    pub fn load_ledger(&mut self, ca: CaId, record: &Record, now: Timestamp) {
        let desk = self.desks.at_mut(ca);
        let moved = desk.ledger.load(record, now);
        desk.load_holds(record, moved, now);
        // Less may be left than those have been let through for who wait.
        self.holds_changed = true;
    }

    /// Makes the record of a ledger that is to be saved now; the ledger must be told how that went.
    pub fn record(&mut self, ca: CaId, now: Timestamp) -> Record {
        let desk = self.desks.at_mut(ca);
        let record = desk.ledger.record(now);
        desk.with_holds(record, now)
    }

    /// The record for the end of the process; `None` where there is nothing to save.
    pub fn last_record(&mut self, ca: CaId, now: Timestamp) -> Option<Record> {
        let desk = self.desks.at_mut(ca);
        let record = desk.ledger.last_record(now)?;
        Some(desk.with_holds(record, now))
    }

    /// How far our clock is ahead of the API server's.
    #[must_use]
    pub fn clock_ahead(&self) -> SignedDuration {
        self.desks.clock_ahead
    }

    /// Our clock is so far ahead of the API server's.
    pub fn set_clock_ahead(&mut self, by: SignedDuration) {
        self.desks.clock_ahead = by;
        for desk in self.desks.iter_mut() {
            desk.ledger.set_clock_ahead(by);
        }
    }

    /// Our clock is so far ahead of a CA's.
    pub fn set_ca_clock_ahead(&mut self, ca: CaId, by: SignedDuration) {
        let known = &mut self.desks.at_mut(ca).clock_ahead;
        // That it is told to the second changes nothing for anybody.
        self.holds_changed |= (by - *known).abs() > CLOCKS_ALIKE;
        *known = by;
    }

    /// Our clock, which says `now`, has been set by so much since it was read last: what is counted, what a CA has told us
    /// to leave alone, what has failed, and orders that rest go along with it. So no jump ends `issue_grace` (S13).
    pub fn clock_set(&mut self, by: SignedDuration, now: Timestamp) {
        for desk in self.desks.iter_mut() {
            desk.clock_set(by, now);
        }
        for (host, activity) in &mut self.activities {
            if let Activity::Resting(rest) = activity {
                rest.until = ahead(rest.until, by);
                self.dirty.insert(host.clone());
            }
        }
        for (host, failures) in &mut self.failures {
            *failures = failures.clone().moved(by);
            self.dirty.insert(host.clone());
        }
        for (host, given_up) in &mut self.given_up {
            *given_up = given_up.clone().moved(by);
            self.dirty.insert(host.clone());
        }
        for demand in self.demands.values_mut() {
            demand.at = ahead(demand.at, by);
        }
        self.passed = ahead(self.passed, by);
        self.holds_changed = true;
    }

    /// Hands out the leave to order that a plan has set aside for `host`.
    pub fn grant(&mut self, host: &Hostname) -> Option<Grant> {
        self.ledger_mut(self.ca_of(host)).grant(host)
    }

    /// Takes in what has become of an order.
    pub fn tell(&mut self, host: &Hostname, what: Spending, now: Timestamp) {
        let ca = self.ca_of(host);
        self.ledger_mut(ca).tell(host, what, now);
        self.spent.insert((ca, host.clone()));
        self.dirty.insert(host.clone());
    }

    /// The CA has said that a limit is reached.
    pub fn limit_reached(&mut self, host: &Hostname, scope: &Scope, until: Timestamp, now: Timestamp) {
        let ca = self.ca_of(host);
        self.ledger_mut(ca).learn(host, scope, until, now);
        self.spent.insert((ca, host.clone()));
        self.dirty.insert(host.clone());
    }

    /// Time has passed; whether it went backwards.
    pub(crate) fn pass(&mut self, now: Timestamp) -> bool {
        let mut set_back = now < self.passed;
        for desk in self.desks.iter_mut() {
            set_back |= desk.ledger.pass(now);
        }
        if set_back {
            self.turns.mend(now);
            self.mend_hints(now);
            self.mend_times(now);
        }
        self.passed = now;
        set_back
    }

    /// Once everything has been seen for the first time: counts what the last record of the ledger does not have, and
    /// sets aside what the noted orders may still cost.
    pub(crate) fn settle(&mut self, now: Timestamp) {
        if !self.desks.iter_mut().any(|desk| desk.ledger.has_to_recall()) {
            return;
        }
        let mut issued: Vec<_> = self
            .held
            .values()
            .filter_map(|(host, held)| {
                let host = host.as_ref()?;
                let maker = match held.made_by {
                    Some(key) => self.desks.cas.find(key),
                    None => self.maker(host),
                };
                Some((held.issued_at?, host.clone(), maker?))
            })
            .collect();
        issued.sort();
        for (at, host, ca) in issued {
            let ledger = self.ledger_mut(ca);
            if ledger.has_to_recall() {
                ledger.recall_issued(&host, at, now);
            }
        }
        let Self { desks, failures, .. } = self;
        for desk in desks.iter_mut().filter(|desk| desk.ledger.has_to_recall()) {
            // A note does not say which CA has seen them: each may have.
            for (host, failures) in &*failures {
                desk.ledger
                    .recall_failed(host, failures.count, failures.last, now);
            }
            desk.ledger.recalled(now);
        }
        let noted = self.activities.iter();
        let noted: Vec<_> = noted
            .filter(|(_, activity)| **activity == Activity::Noted)
            .map(|(host, _)| host.clone())
            .collect();
        for host in noted {
            let ca = self.ca_of(&host);
            let exemption = self.exemption(&host, ca, now);
            self.ledger_mut(ca).adopt(&host, exemption);
        }
    }
}

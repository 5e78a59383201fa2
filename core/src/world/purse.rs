//! The part of the world that concerns money, so to speak: the ledger, and what becomes of orders in it.

use jiff::Timestamp;

use super::World;
use crate::activity::Activity;
use crate::budget::{Grant, Ledger, Spending};
use crate::name::Hostname;
use crate::problem::Scope;

impl World {
    /// Everything that the CA counts.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The ledger, to be saved and to be told what has been saved.
    pub fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// Puts a ledger in the place of the one without limits; before the notes are told.
    pub fn set_ledger(&mut self, ledger: Ledger) {
        self.ledger = ledger;
        self.holds_changed = true;
    }

    /// Hands out the leave to order that a plan has set aside for `host`.
    pub fn grant(&mut self, host: &Hostname) -> Option<Grant> {
        self.ledger.grant(host)
    }

    /// Takes in what has become of an order.
    pub fn tell(&mut self, host: &Hostname, what: Spending, now: Timestamp) {
        self.ledger.tell(host, what, now);
        self.spent.insert(host.clone());
        self.dirty.insert(host.clone());
    }

    /// The CA has said that a limit is reached.
    pub fn limit_reached(&mut self, host: &Hostname, scope: &Scope, until: Timestamp, now: Timestamp) {
        self.ledger.learn(host, scope, until, now);
        self.spent.insert(host.clone());
        self.dirty.insert(host.clone());
    }

    /// Time has passed; whether it went backwards.
    pub(crate) fn pass(&mut self, now: Timestamp) -> bool {
        let set_back = self.ledger.pass(now);
        if set_back {
            self.turns.mend(now);
            self.mend_hints(now);
        }
        set_back
    }

    /// Once everything has been seen for the first time: counts what the last record of the ledger does not have, and
    /// sets aside what the noted orders may still cost.
    pub(crate) fn settle(&mut self, now: Timestamp) {
        if !self.ledger.has_to_recall() {
            return;
        }
        let mut issued: Vec<_> = self
            .held
            .values()
            .filter_map(|(host, held)| Some((held.issued_at?, host.as_ref()?)))
            .collect();
        issued.sort();
        for (at, host) in issued {
            self.ledger.recall_issued(host, at);
        }
        for (host, failures) in &self.failures {
            self.ledger.recall_failed(host, failures.count, failures.last);
        }
        self.ledger.recalled(now);
        for (host, activity) in &self.activities {
            if *activity == Activity::Noted {
                let exemption = self.exemption(host, now);
                self.ledger.adopt(host, exemption);
            }
        }
    }
}

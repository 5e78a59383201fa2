//! The part of the world that concerns attempts: what the CA has seen fail, what was of no use, and why something is
//! tried again before the usual time (P22, P23).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::World;
use crate::name::Hostname;
use crate::schedule::{Demand, Failures, GivenUp, Why, ahead};

impl World {
    /// What the CA has seen fail for `host`; `None` after a success.
    pub fn set_failures(&mut self, host: &Hostname, failures: Option<Failures>) {
        let last = failures.as_ref().map(|failures| failures.last);
        // What was asked for before has had its attempt.
        if let Some(demand) = self.demands.get(host)
            && last.is_none_or(|last| demand.at <= last)
        {
            self.demands.remove(host);
        }
        match failures {
            Some(failures) => self.failures.insert(host.clone(), failures),
            None => self.failures.remove(host),
        };
        self.dirty.insert(host.clone());
    }

    /// What the CA has seen fail for it in a row.
    #[must_use]
    pub fn failures(&self, host: &Hostname) -> Option<&Failures> {
        self.failures.get(host)
    }

    /// How many orders in a row for `host` were of no use; `None` after one that was. After [`Self::note_all`].
    pub fn set_given_up(&mut self, host: &Hostname, given_up: Option<GivenUp>) {
        match given_up {
            Some(given_up) => self.given_up.insert(host.clone(), given_up),
            None => self.given_up.remove(host),
        };
        self.dirty.insert(host.clone());
    }

    /// Orders for it in a row that were of no use.
    #[must_use]
    pub fn given_up(&self, host: &Hostname) -> Option<&GivenUp> {
        self.given_up.get(host)
    }

    /// Until when what is saved of earlier orders keeps another one waiting; `None` where nothing is saved.
    pub(crate) fn spaced_until(&self, host: &Hostname, issue_grace: Duration) -> Option<Timestamp> {
        let failed = self.failures(host);
        let failed = failed.map(|failures| failures.next_attempt(issue_grace, None));
        failed.max(self.given_up(host).map(|given_up| given_up.next_order(None)))
    }

    /// Somebody has asked by hand for a certificate of `host`, of which none may be held.
    ///
    /// It is remembered until a certificate is there, or an attempt has failed after it; so whoever takes it off where it
    /// was seen changes nothing.
    pub fn set_demand(&mut self, host: &Hostname, demand: Demand) {
        if self.demands.get(host).is_none_or(|before| *before < demand) {
            self.demands.insert(host.clone(), demand);
            self.dirty.insert(host.clone());
        }
    }

    /// What is known of earlier attempts for `host` came of another configuration than the one there is now, which may have
    /// mended it: all that is wider than `issue_grace` is passed, once, as if somebody had asked by hand.
    pub fn set_changed(&mut self, host: &Hostname) {
        let failed = self.failures(host).map(|failures| failures.last);
        let last = failed.max(self.given_up(host).map(|given_up| given_up.last));
        if let Some(last) = last {
            // It arose while no process ran; nothing that this one has met is passed.
            let demand = Demand {
                at: ahead(last, SignedDuration::from_millis(1)),
                force: false,
                why: Why::Configuration,
            };
            self.set_demand(host, demand);
        }
    }

    /// The last reason to try for a certificate of `host` before the usual time, as long as there has been none.
    #[must_use]
    pub fn demand(&self, host: &Hostname) -> Option<Demand> {
        let held = self
            .claims(host)
            .filter_map(|held| held.renew.as_deref().copied());
        held.chain(self.demands.get(host).copied()).max()
    }
}

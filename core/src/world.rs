//! The world as it was seen last: what is asked for, what is held, which orders are under way, what has failed.
//!
//! A [`World`] only takes in what was seen and notes which certificates that concerns, so that a plan costs what has
//! changed and not what exists. Deliberately absent: any conclusion.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::activity::{Activity, Taken};
use crate::cas::{CaId, Cas};
use crate::cert::Held;
use crate::name::{DnsName, Hostname};
use crate::order::Stage;
use crate::problem::PAUSED;
use crate::schedule::{Demand, Failures, GivenUp};
use crate::turns::Turns;
use crate::want::{Asker, Meaning, Refusal, meaning};
use crate::zone::Zones;

mod attempts;
mod clock;
mod desks;
mod held;
mod hints;
mod left;
mod places;
mod purse;
mod trouble;
mod windows;

use desks::Desks;
pub use hints::{Answer, Question};
use places::Hints;
pub(crate) use places::Pressing;
pub use windows::SavedWindow;
use windows::Windows;

/// One snapshot of everything known.
#[derive(Debug)]
pub struct World {
    zones: Zones,
    asks: BTreeMap<(Box<str>, Box<str>), Ask>,
    wants: BTreeMap<Hostname, Want>,
    arrivals: u64,
    held: BTreeMap<Box<str>, (Option<Hostname>, Held)>,
    claims: BTreeMap<Hostname, BTreeSet<Box<str>>>,
    /// Secrets of which more is known than the watch has told, since the last list began.
    ahead: BTreeSet<Box<str>>,
    taken: BTreeMap<Hostname, Taken>,
    activities: BTreeMap<Hostname, Activity>,
    failures: BTreeMap<Hostname, Failures>,
    given_up: BTreeMap<Hostname, GivenUp>,
    demands: BTreeMap<Hostname, Demand>,
    desks: Desks,
    hints: Hints,
    windows: Windows,
    turns: Turns,
    dirty: BTreeSet<Hostname>,
    /// Whose orders have spent something since the last plan.
    spent: BTreeSet<(CaId, Hostname)>,
    holds_changed: bool,
    elsewhere: usize,
    refusals: usize,
    fresh_refusals: Vec<Refusal>,
    /// When it was planned last.
    passed: Timestamp,
    ready: Ready,
}

/// What one Ingress asks for.
#[derive(Debug, PartialEq, Eq)]
struct Ask {
    asker: Arc<Asker>,
    certificates: BTreeSet<Hostname>,
    refusals: Vec<Refusal>,
    elsewhere: usize,
}

/// A certificate that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// Everyone who asks; never empty.
    pub askers: BTreeSet<Arc<Asker>>,
    /// In which order certificates came to be wanted.
    pub arrival: u64,
}

/// Which first looks have been completed; nothing is decided before all are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ready {
    requests: bool,
    held: bool,
    notes: bool,
}

impl World {
    /// A world with one CA, of which nothing is known yet.
    #[must_use]
    pub fn new(zones: Zones) -> Self {
        Self::with_cas(zones, Cas::new(Vec::new()))
    }

    /// The same with several.
    #[must_use]
    pub fn with_cas(zones: Zones, cas: Cas) -> Self {
        Self {
            zones,
            asks: BTreeMap::new(),
            wants: BTreeMap::new(),
            arrivals: 0,
            held: BTreeMap::new(),
            claims: BTreeMap::new(),
            ahead: BTreeSet::new(),
            taken: BTreeMap::new(),
            activities: BTreeMap::new(),
            failures: BTreeMap::new(),
            given_up: BTreeMap::new(),
            demands: BTreeMap::new(),
            desks: Desks::new(cas),
            hints: Hints::default(),
            windows: Windows::default(),
            turns: Turns::default(),
            dirty: BTreeSet::new(),
            spent: BTreeSet::new(),
            holds_changed: false,
            elsewhere: 0,
            refusals: 0,
            fresh_refusals: Vec::new(),
            passed: Timestamp::MIN,
            ready: Ready::default(),
        }
    }

    // ---- what Ingresses say ----

    /// An Ingress was seen with these hosts; it replaces what was seen of it before. One that has not changed concerns
    /// nothing, so that a list made anew costs no plan.
    pub fn ask(&mut self, asker: Asker, hosts: &[String]) {
        let key = (asker.namespace.clone(), asker.name.clone());
        let asker = Arc::new(asker);
        let mut ask = Ask {
            asker: Arc::clone(&asker),
            certificates: BTreeSet::new(),
            refusals: Vec::new(),
            elsewhere: 0,
        };
        for text in hosts {
            match meaning(text, &self.zones) {
                Meaning::Certificate(host) => {
                    ask.certificates.insert(host);
                }
                Meaning::Elsewhere => ask.elsewhere += 1,
                Meaning::Refused(why) => {
                    ask.refusals.push(Refusal {
                        asker: Arc::clone(&asker),
                        text: text.clone(),
                        why,
                    });
                }
            }
        }
        if self.asks.get(&key) == Some(&ask) {
            return;
        }
        let before = self.drop_ask(&key);
        let is_the_same = before.as_ref().is_some_and(|before| before.asker == asker);
        let (before, refused) = before.map_or_else(Default::default, |ask| (ask.certificates, ask.refusals));
        for host in before.difference(&ask.certificates) {
            self.unask(host, &key);
        }
        self.elsewhere += ask.elsewhere;
        self.refusals += ask.refusals.len();
        let fresh = ask.refusals.iter().filter(|refusal| !refused.contains(refusal));
        self.fresh_refusals.extend(fresh.cloned());
        for host in &ask.certificates {
            let arrivals = &mut self.arrivals;
            let want = self.wants.entry(host.clone()).or_insert_with(|| {
                *arrivals += 1;
                Want {
                    askers: BTreeSet::new(),
                    arrival: *arrivals,
                }
            });
            // The same Ingress made anew has another UID; the old one does not ask any more.
            want.askers
                .retain(|old| (&old.namespace, &old.name) != (&key.0, &key.1));
            want.askers.insert(Arc::clone(&asker));
            self.dirty.insert(host.clone());
            if !(is_the_same && before.contains(host)) {
                self.try_again(host);
            }
        }
        self.asks.insert(key, ask);
    }

    /// An Ingress is gone.
    pub fn stop_asking(&mut self, namespace: &str, name: &str) {
        let key = (namespace.into(), name.into());
        if let Some(ask) = self.drop_ask(&key) {
            for host in &ask.certificates {
                self.unask(host, &key);
            }
        }
    }

    /// All Ingresses were listed, in the order in which they came to ask; whoever is not among them is gone. Of those that are
    /// new the order is that of the list, so that a restart changes no one's turn.
    pub fn ask_all(&mut self, all: Vec<(Asker, Vec<String>)>) {
        let present: BTreeSet<_> = all
            .iter()
            .map(|(asker, _)| (asker.namespace.clone(), asker.name.clone()))
            .collect();
        let gone: Vec<_> = self
            .asks
            .keys()
            .filter(|key| !present.contains(key))
            .cloned()
            .collect();
        for (namespace, name) in gone {
            self.stop_asking(&namespace, &name);
        }
        for (asker, hosts) in all {
            self.ask(asker, &hosts);
        }
        self.ready.requests = true;
    }

    fn drop_ask(&mut self, key: &(Box<str>, Box<str>)) -> Option<Ask> {
        let ask = self.asks.remove(key)?;
        self.elsewhere -= ask.elsewhere;
        self.refusals -= ask.refusals.len();
        Some(ask)
    }

    fn unask(&mut self, host: &Hostname, key: &(Box<str>, Box<str>)) {
        if let Some(want) = self.wants.get_mut(host) {
            want.askers
                .retain(|asker| (&asker.namespace, &asker.name) != (&key.0, &key.1));
            if want.askers.is_empty() {
                self.wants.remove(host);
                self.taken.remove(host);
                self.turns.leave(host, false);
                self.drop_hint(host);
                self.drop_exclusions(host);
            }
            self.dirty.insert(host.clone());
        }
    }

    // ---- what Secrets hold: `held` ----

    /// The place of `host` was found to be somebody else's.
    pub fn take(&mut self, host: &Hostname, reason: String, seen: Timestamp) {
        let before = self.taken.get(host).filter(|before| before.reason == reason);
        let since = before.map_or(seen, |before| before.since);
        let taken = Taken { reason, since, seen };
        self.taken.insert(host.clone(), taken);
        self.dirty.insert(host.clone());
    }

    /// The place of `host` was found to be free, or ours.
    pub fn free(&mut self, host: &Hostname) {
        if self.taken.remove(host).is_some() {
            self.dirty.insert(host.clone());
        }
    }

    // ---- what is noted, under way, and has failed ----

    /// All notes were read, while nothing ran. What was known of orders and failures before is true no more.
    pub fn note_all(&mut self, orders: Vec<Hostname>, failures: Vec<(Hostname, Failures)>) {
        for host in std::mem::take(&mut self.activities).into_keys() {
            self.desks.forget(&host);
            self.dirty.insert(host);
        }
        for host in std::mem::take(&mut self.failures).into_keys() {
            self.dirty.insert(host);
        }
        for host in std::mem::take(&mut self.given_up).into_keys() {
            self.dirty.insert(host);
        }
        for host in orders {
            self.set_activity(&host, Some(Activity::Noted));
        }
        for (host, failures) in failures {
            self.set_failures(&host, Some(failures));
        }
        self.ready.notes = true;
    }

    /// What is going on for `host` has changed; `None` when nothing is.
    pub fn set_activity(&mut self, host: &Hostname, activity: Option<Activity>) {
        // Nothing is published for a place that is not ours.
        if let Some(Activity::Running(stage)) = &activity
            && (Stage::Publishing..=Stage::Storing).contains(stage)
        {
            self.taken.remove(host);
        }
        match activity {
            Some(activity) => self.activities.insert(host.clone(), activity),
            None => {
                self.desks.forget(host);
                self.activities.remove(host)
            }
        };
        self.dirty.insert(host.clone());
    }

    /// Something that kept orders waiting at `stages` may have been mended: they go on now (P22).
    pub fn wake(&mut self, stages: &[Stage], now: Timestamp) {
        for (host, activity) in &mut self.activities {
            if let Activity::Resting(rest) = activity
                && stages.contains(&rest.stage)
                && rest.until > now
            {
                rest.until = now;
                self.dirty.insert(host.clone());
            }
        }
    }

    /// Somebody has asked for `host` anew: an update that it waits to send, which costs the CA nothing, is tried now (P22). To
    /// look at servers it never waits for long.
    fn try_again(&mut self, host: &Hostname) {
        if let Some(Activity::Resting(rest)) = self.activities.get_mut(host)
            && matches!(rest.stage, Stage::Publishing | Stage::CleaningUp)
        {
            rest.until = rest.until.min(self.passed);
        }
    }

    // ---- questions ----

    /// Whether every first look has been completed.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.ready.requests && self.ready.held && self.ready.notes
    }

    /// Who wants the certificate.
    #[must_use]
    pub fn want(&self, host: &Hostname) -> Option<&Want> {
        self.wants.get(host)
    }

    /// All that is wanted.
    pub fn wants(&self) -> impl Iterator<Item = (&Hostname, &Want)> {
        self.wants.iter()
    }

    /// Everything that claims to hold the certificate: Secrets labeled with its name (S04).
    pub fn claims(&self, host: &Hostname) -> impl Iterator<Item = &Held> {
        self.claims
            .get(host)
            .into_iter()
            .flatten()
            .filter_map(|secret| self.held.get(secret).map(|(_, held)| held))
    }

    /// Somebody else's Secret in the place of the certificate.
    #[must_use]
    pub fn taken(&self, host: &Hostname) -> Option<&Taken> {
        self.taken.get(host)
    }

    /// What is going on for the certificate.
    #[must_use]
    pub fn activity(&self, host: &Hostname) -> Option<&Activity> {
        self.activities.get(host)
    }

    /// Every hostname that was refused.
    pub fn refusals(&self) -> impl Iterator<Item = &Refusal> {
        self.asks.values().flat_map(|ask| &ask.refusals)
    }

    /// How many hostnames are refused.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.refusals
    }

    /// How many hostnames are passed over because they lie outside every zone.
    #[must_use]
    pub fn elsewhere(&self) -> usize {
        self.elsewhere
    }

    /// Takes the refusals that are new since the last call.
    pub fn take_refusals(&mut self) -> Vec<Refusal> {
        std::mem::take(&mut self.fresh_refusals)
    }

    /// The zones by which requests are read.
    #[must_use]
    pub fn zones(&self) -> &Zones {
        &self.zones
    }

    /// The apex of the zone that serves `name`.
    #[must_use]
    pub fn zone_of(&self, name: &DnsName) -> Option<&DnsName> {
        self.zones.of(name).map(|zone| &zone.apex)
    }

    /// When the CA may last have looked at the challenge record of `host` for a certificate of another process: what is
    /// held or has failed for the name or its wildcard tells (P15).
    #[must_use]
    pub fn last_look(&self, host: &Hostname) -> Option<Timestamp> {
        let pair = [
            Hostname::exact(host.base().clone()),
            Hostname::wildcard_of(host.base().clone()),
        ];
        let issued = pair
            .iter()
            .flat_map(|host| self.claims(host))
            .filter_map(|held| held.issued_at);
        let failed = pair
            .iter()
            .filter_map(|host| self.failures(host))
            // Who does not issue for a name, or has paused it, has not looked at it.
            .filter(|failures| failures.refused_by.is_empty() && failures.code != PAUSED)
            .map(|failures| failures.last);
        issued.chain(failed).max()
    }

    /// Whose turn it is.
    #[must_use]
    pub fn turns(&self) -> &Turns {
        &self.turns
    }

    pub(crate) fn turns_mut(&mut self) -> &mut Turns {
        &mut self.turns
    }

    /// Takes what has changed since the last call.
    pub(crate) fn take_changes(&mut self) -> Changes {
        Changes {
            dirty: std::mem::take(&mut self.dirty),
            spent: std::mem::take(&mut self.spent),
            holds: std::mem::take(&mut self.holds_changed),
        }
    }
}

/// What has changed in a world.
pub(crate) struct Changes {
    /// The certificates whose facts have.
    pub(crate) dirty: BTreeSet<Hostname>,
    /// Those whose orders have spent something, or given it back.
    pub(crate) spent: BTreeSet<(CaId, Hostname)>,
    /// Whether holds have.
    pub(crate) holds: bool,
}

#[cfg(test)]
mod tests;

//! What happens in a cluster and around it: Ingresses come and go, Secrets are spoiled, servers fail and mend.

use std::time::Duration;

use faythe_core::cert::{Held, Unreadable};
use faythe_core::name::Hostname;

use super::{DAY_SECS, Event, Sim};
use crate::outside::secret_name;

/// Something mends itself.
pub(super) enum Mend {
    Ca,
    Cluster,
    Curse(Hostname),
    Dns,
    Place(Hostname),
    Rejection(Hostname),
}

impl Sim {
    /// Hosts as their certificates are called; now and then a name with its wildcard.
    pub(super) fn some_hosts(&mut self) -> Vec<String> {
        let last = i64::try_from(self.course.hosts).unwrap() - 1;
        let mut hosts = Vec::new();
        for _ in 0..self.outside.dice.between(1, 3) {
            let number = self.outside.dice.between(0, last);
            let host = self.course.host(usize::try_from(number).unwrap());
            if self.outside.dice.chance(150) {
                hosts.push(format!("*.{host}"));
            }
            hosts.push(host);
        }
        hosts
    }

    pub(super) fn set_ingress(&mut self, name: &str, hosts: Option<Vec<String>>) {
        let now = self.outside.now;
        let before = self
            .outside
            .cluster
            .ingresses
            .get(name)
            .cloned()
            .unwrap_or_default();
        let after = hosts.clone().unwrap_or_default();
        self.outside.cluster.set_ingress(name, hosts);
        for host in after.iter().filter(|host| !before.contains(*host)) {
            self.laws.asked_anew.insert(host.parse().unwrap(), now);
        }
        for host in before.into_iter().chain(after) {
            let host: Hostname = host.parse().unwrap();
            if self.outside.cluster.wants(&host) {
                self.laws.wanted.entry(host).or_insert(now);
            } else {
                self.laws.wanted.remove(&host);
            }
        }
    }

    pub(super) fn some_wanted(&mut self) -> Option<Hostname> {
        let all: Vec<Hostname> = self.laws.wanted.keys().cloned().collect();
        self.outside.dice.pick(&all).cloned()
    }

    pub(super) fn mishap(&mut self) {
        if self.is_quiet() {
            (self.outside.ca.habits.hiccups, self.outside.ca.habits.stuck) = (0, 0);
            return;
        }
        let between = DAY_SECS / self.course.mishaps;
        self.soon(1, between * 2, Event::Mishap);
        let short = self.course.habits.lifetime_hours < 24 * 20;
        let curse = if short { DAY_SECS } else { 3 * DAY_SECS };
        match self.outside.dice.between(0, 12) {
            0 => {
                let last = i64::try_from(self.instances.len()).unwrap() - 1;
                let at = usize::try_from(self.outside.dice.between(0, last)).unwrap();
                self.die(at, 120);
            }
            1 => {
                self.outside.ca.goes(self.outside.now);
                self.soon(10, 7200, Event::Mend(Mend::Ca));
            }
            2 => {
                self.outside.dns.refusing += 1;
                self.soon(10, 7200, Event::Mend(Mend::Dns));
            }
            3 => {
                self.outside.cluster.down += 1;
                self.soon(1, 900, Event::Mend(Mend::Cluster));
            }
            4 => {
                let name = format!("later-{}", self.count);
                let hosts = self.some_hosts();
                self.set_ingress(&name, Some(hosts));
                if self.outside.dice.chance(500) {
                    self.soon(1, 30 * DAY_SECS, Event::Ingress(name, None));
                }
            }
            5..=7 => self.replace_an_ingress(),
            8 => self.spoil_a_secret(),
            9 | 10 => {
                if let Some(host) = self.some_wanted() {
                    self.outside.ca.cursed.insert(host.clone());
                    self.soon(60, curse, Event::Mend(Mend::Curse(host)));
                }
            }
            11 => {
                if let Some(host) = self.some_wanted() {
                    self.outside.ca.rejected.insert(host.clone());
                    self.soon(60, curse, Event::Mend(Mend::Rejection(host)));
                }
            }
            _ => self.squat(),
        }
    }

    /// An Ingress goes, and comes back a moment or a day later, changed or not.
    pub(super) fn replace_an_ingress(&mut self) {
        let all: Vec<(String, Vec<String>)> = self
            .outside
            .cluster
            .ingresses
            .iter()
            .map(|(name, hosts)| (name.clone(), hosts.clone()))
            .collect();
        let Some((name, hosts)) = self.outside.dice.pick(&all).cloned() else {
            return;
        };
        // New hosts first, so that the change falls into the middle of their orders.
        let more = [hosts, self.some_hosts()].concat();
        self.set_ingress(&name, Some(more.clone()));
        let gone = Duration::from_millis(self.outside.dice.between(0, 20_000).unsigned_abs());
        self.after(gone, Event::Ingress(name.clone(), None));
        let away = *self
            .outside
            .dice
            .pick(&[1, 1000, 5000, 60_000, 86_400_000])
            .unwrap();
        self.after(
            gone + Duration::from_millis(away),
            Event::Ingress(name, Some(more)),
        );
    }

    pub(super) fn spoil_a_secret(&mut self) {
        let all: Vec<(Hostname, Held)> = self.outside.cluster.secrets.values().cloned().collect();
        let Some((host, held)) = self.outside.dice.pick(&all).cloned() else {
            return;
        };
        self.laws.meddled.insert(host.clone(), self.outside.now);
        if self.outside.dice.chance(500) {
            self.outside.cluster.delete(&held.secret);
        } else {
            self.outside.cluster.write(
                &host,
                Held {
                    content: Err(Unreadable::KeyMismatch),
                    ..held
                },
            );
        }
    }

    /// Somebody else's Secret takes the place of one that is not there yet.
    pub(super) fn squat(&mut self) {
        let Some(host) = self.some_wanted() else { return };
        if !self.outside.cluster.secrets.contains_key(&secret_name(&host)) {
            let held = format!("somebody's, {}", self.count);
            self.laws.squats(&host, Some(held.clone()), self.outside.now);
            self.outside.cluster.foreign.insert(secret_name(&host), held);
            self.soon(60, DAY_SECS, Event::Mend(Mend::Place(host)));
        }
    }

    /// The CA recalls everything that it has issued, or half of it.
    pub(super) fn recall(&mut self) {
        let some = self.outside.dice.chance(500);
        let held = self.outside.cluster.secrets.values();
        let held = held.filter_map(|(_, held)| held.content.as_ref().ok()?.id.clone());
        let held: Vec<_> = held
            .enumerate()
            .filter(|(place, _)| !some || place % 2 == 0)
            .map(|(_, id)| id)
            .collect();
        let hosts = self.outside.ca.revoke(held.iter());
        self.laws.recalls(hosts, &self.outside);
    }

    pub(super) fn mend(&mut self, mend: &Mend) {
        match mend {
            Mend::Ca => self.outside.ca.comes_back(self.outside.now),
            Mend::Cluster => self.outside.cluster.down -= 1,
            Mend::Curse(host) => drop(self.outside.ca.cursed.remove(host)),
            Mend::Dns => self.outside.dns.refusing -= 1,
            Mend::Place(host) => {
                self.laws.squats(host, None, self.outside.now);
                self.outside.cluster.foreign.remove(&secret_name(host));
            }
            Mend::Rejection(host) => drop(self.outside.ca.rejected.remove(host)),
        }
    }
}

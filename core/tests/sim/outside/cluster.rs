//! The API server: Ingresses, Secrets, notes, the ledger. What is written has to name the version that it replaces.

use std::collections::BTreeMap;

use faythe_core::budget::Record;
use faythe_core::cert::Held;
use faythe_core::name::Hostname;
use faythe_core::order::Note;
use faythe_core::schedule::{Failures, GivenUp};
use jiff::SignedDuration;

/// Everything in the cluster; every change counts a version.
#[derive(Default)]
pub(crate) struct Cluster {
    pub(crate) ingresses: BTreeMap<String, Vec<String>>,
    pub(crate) secrets: BTreeMap<String, (Hostname, Held)>,
    /// Secrets that are somebody else's, and what they hold.
    pub(crate) foreign: BTreeMap<String, String>,
    pub(crate) notes: BTreeMap<Hostname, (u64, Saved)>,
    /// What is saved of the ledger, and how often it was.
    pub(crate) ledger: (u64, Option<Record>),
    /// How many outages it has at once; it does not answer while there is one.
    pub(crate) down: usize,
    /// Changes that watches have not told of.
    pub(crate) untold: Vec<(Vec<Hostname>, Change)>,
    /// How far its clock is ahead of the true time.
    pub(crate) clock_ahead: SignedDuration,
    /// Hosts of which the program has written something.
    pub(crate) written: Vec<Hostname>,
    version: u64,
}

/// A change that a watch tells of.
#[derive(Clone)]
pub(crate) enum Change {
    Ingress(String, Option<Vec<String>>),
    Secret(String, Option<(Hostname, Held)>),
}

/// What is noted of one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Saved {
    pub(crate) order: Option<Note>,
    pub(crate) failures: Option<Failures>,
    pub(crate) given_up: Option<GivenUp>,
}

/// Why the API server did not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Something stands there, or another version than was named.
    Conflict,
    /// Nothing stands there.
    Missing,
}

impl Cluster {
    pub(crate) fn set_ingress(&mut self, name: &str, hosts: Option<Vec<String>>) {
        let before = match &hosts {
            Some(hosts) => self.ingresses.insert(name.to_owned(), hosts.clone()),
            None => self.ingresses.remove(name),
        };
        let concerned = before.iter().chain(&hosts).flatten();
        let concerned = concerned.map(|host| host.parse().unwrap()).collect();
        self.untold
            .push((concerned, Change::Ingress(name.to_owned(), hosts)));
    }

    fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    // ---- Secrets ----

    /// What stands at the place of `host`, and carries our label.
    pub(crate) fn held(&self, host: &Hostname) -> Option<&Held> {
        self.secrets.get(&secret_name(host)).map(|(_, held)| held)
    }

    /// Whether somebody else's Secret stands at the place of `host`.
    pub(crate) fn is_taken(&self, host: &Hostname) -> bool {
        self.foreign.contains_key(&secret_name(host))
    }

    /// Writes a Secret, by whose hand ever; answers what is held now.
    pub(crate) fn write(&mut self, host: &Hostname, mut held: Held) -> Held {
        held.version = self.next_version().to_string().into();
        let name = secret_name(host);
        self.secrets.insert(name.clone(), (host.clone(), held.clone()));
        let change = Change::Secret(name, Some((host.clone(), held.clone())));
        self.untold.push((vec![host.clone()], change));
        held
    }

    /// Writes a Secret in the place of the version that was seen there; a creation where nothing was. An apply to what is
    /// gone meanwhile creates it.
    pub(crate) fn keep(&mut self, host: &Hostname, seen: Option<&str>, held: Held) -> Result<Held, Refusal> {
        let there = self.held(host).map(|held| &*held.version);
        let other = there.is_some_and(|there| seen != Some(there));
        if other || self.is_taken(host) {
            return Err(Refusal::Conflict);
        }
        self.written.push(host.clone());
        Ok(self.write(host, held))
    }

    pub(crate) fn delete(&mut self, name: &str) {
        self.version += 1;
        let concerned = self.secrets.remove(name).map(|(host, _)| host);
        let change = Change::Secret(name.to_owned(), None);
        self.untold.push((concerned.into_iter().collect(), change));
    }

    // ---- notes ----

    /// Writes a note in the place of the version that is known; creates it where none is.
    pub(crate) fn save(&mut self, host: &Hostname, known: Option<u64>, saved: Saved) -> Result<u64, Refusal> {
        match (known, self.notes.get(host)) {
            (None, Some(_)) => return Err(Refusal::Conflict),
            (Some(_), None) => return Err(Refusal::Missing),
            (Some(known), Some((there, _))) if known != *there => return Err(Refusal::Conflict),
            (None, None) | (Some(_), Some(_)) => {}
        }
        self.written.push(host.clone());
        Ok(self.put_note(host, saved))
    }

    /// Removes a note of the version that is known.
    pub(crate) fn forget(&mut self, host: &Hostname, known: u64) -> Result<(), Refusal> {
        match self.notes.get(host) {
            None => Err(Refusal::Missing),
            Some((there, _)) if *there != known => Err(Refusal::Conflict),
            Some(_) => {
                self.version += 1;
                self.notes.remove(host);
                Ok(())
            }
        }
    }

    /// Writes a note, by whose hand ever.
    pub(crate) fn put_note(&mut self, host: &Hostname, saved: Saved) -> u64 {
        let version = self.next_version();
        self.notes.insert(host.clone(), (version, saved));
        version
    }

    /// The order that is noted for `host`.
    pub(crate) fn noted(&self, host: &Hostname) -> Option<&Note> {
        self.notes.get(host).and_then(|(_, saved)| saved.order.as_ref())
    }

    /// Whether some Ingress asks for it. Hosts stand in Ingresses as their certificates are called.
    pub(crate) fn wants(&self, host: &Hostname) -> bool {
        let host = host.to_string();
        self.ingresses.values().flatten().any(|asked| *asked == host)
    }
}

/// The name of the Secret for a host.
pub(crate) fn secret_name(host: &Hostname) -> String {
    host.to_string().replace('*', "wild--card")
}

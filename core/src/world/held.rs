//! The part of the world that Secrets tell: what is held, in which version.
//!
//! Within one watch versions only grow, and what we have read or written ourselves may be known before the watch tells of
//! what was there earlier. A list is the truth, whatever was known before it began: after a restore of etcd versions are
//! lower than they were.

use std::collections::BTreeSet;

use super::World;
use crate::cert::Held;
use crate::name::Hostname;

impl World {
    /// The watch has shown a Secret that carries the host label, claiming `host` if its label can be read. An older
    /// version than is known is passed over.
    pub fn hold(&mut self, host: Option<Hostname>, held: Held) {
        if self.is_outdated(&held) {
            return;
        }
        self.ahead.remove(&held.secret);
        self.put(host, held);
    }

    /// We have read or written a Secret ourselves.
    pub fn hold_ours(&mut self, host: &Hostname, held: Held) {
        if self.is_outdated(&held) {
            return;
        }
        self.ahead.insert(held.secret.clone());
        self.put(Some(host.clone()), held);
    }

    /// A Secret is gone, or has lost its label.
    pub fn release(&mut self, secret: &str) {
        let Some((Some(host), _)) = self.held.remove(secret) else {
            return;
        };
        if let Some(secrets) = self.claims.get_mut(&host) {
            secrets.remove(secret);
            if secrets.is_empty() {
                self.claims.remove(&host);
            }
        }
        self.dirty.insert(host);
    }

    /// All labeled Secrets are being listed from now on: what is known by now is not newer than the list.
    pub fn list_held(&mut self) {
        self.ahead.clear();
    }

    /// All labeled Secrets were listed.
    pub fn hold_all(&mut self, all: Vec<(Option<Hostname>, Held)>) {
        let present: BTreeSet<_> = all.iter().map(|(_, held)| held.secret.clone()).collect();
        let gone: Vec<_> = self
            .held
            .keys()
            .filter(|secret| !present.contains(*secret))
            .cloned()
            .collect();
        for secret in gone {
            self.release(&secret);
        }
        for (host, held) in all {
            if self.ahead.contains(&held.secret) {
                self.hold(host, held);
            } else {
                self.put(host, held);
            }
        }
        self.ready.held = true;
    }

    fn put(&mut self, host: Option<Hostname>, held: Held) {
        if let Some((known_host, known)) = self.held.get(&held.secret)
            && *known_host == host
            && *known == held
        {
            return;
        }
        self.release(&held.secret.clone());
        if let Some(host) = &host {
            self.claims
                .entry(host.clone())
                .or_default()
                .insert(held.secret.clone());
            self.taken.remove(host);
            self.dirty.insert(host.clone());
        }
        self.held.insert(held.secret.clone(), (host, held));
    }

    fn is_outdated(&self, held: &Held) -> bool {
        let known = self.held.get(&held.secret);
        known.is_some_and(|(_, known)| is_older(&held.version, &known.version))
    }
}

/// Whether resource version `a` is older than `b`; those that cannot be compared as numbers are taken as news.
fn is_older(a: &str, b: &str) -> bool {
    matches!((a.parse::<u64>(), b.parse::<u64>()), (Ok(a), Ok(b)) if a < b)
}

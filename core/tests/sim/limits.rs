//! Let's Encrypt's limits to the letter (`docs/rate-limits`, 2026-08-05; Boulder, 2026-08-07), made without the budget of
//! the core, so that neither hides the other's mistakes.

use std::collections::{BTreeMap, BTreeSet};

use faythe_core::Timestamp;
use faythe_core::ari::{CertificateId, Window};
use faythe_core::cert::CertFacts;
use faythe_core::name::Hostname;
use faythe_core::schedule::ahead;
use jiff::SignedDuration;

const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;
/// A certificate for the same names makes an order a renewal for so long.
const RENEWAL: SignedDuration = SignedDuration::from_hours(120 * 24);

/// A token bucket as Boulder has it (GCRA): `count` at most, refilled evenly over `period` seconds.
struct Bucket<K> {
    count: i64,
    interval_ms: i64,
    /// When it will be full again.
    full: BTreeMap<K, i64>,
}

impl<K: Ord + Clone> Bucket<K> {
    fn new(count: i64, period_secs: i64) -> Self {
        Self {
            count,
            interval_ms: period_secs * 1_000 / count,
            full: BTreeMap::new(),
        }
    }

    fn has_one(&self, key: &K, now: i64) -> bool {
        let full = self.full.get(key).copied().unwrap_or(now).max(now);
        full + self.interval_ms - now <= self.interval_ms * self.count
    }

    fn spend(&mut self, key: K, now: i64) {
        let full = self.full.get(&key).copied().unwrap_or(now).max(now) + self.interval_ms;
        self.full.insert(key, full);
    }
}

/// A CA that counts, and a journal of what it saw.
pub(crate) struct Ca {
    orders: Bucket<()>,
    domains: Bucket<String>,
    sets: Bucket<Hostname>,
    failures: Bucket<Hostname>,
    rows: Bucket<Hostname>,
    issued: BTreeMap<Hostname, Timestamp>,
    certificates: BTreeMap<CertificateId, CertFacts>,
    replaced: BTreeSet<CertificateId>,
    /// Hosts whose certificates were revoked.
    revoked: BTreeSet<CertificateId>,
    /// How long a certificate lives, in hours.
    pub(crate) lifetime_hours: i64,
    pub(crate) away: bool,
    serials: u64,
    /// Answers 429.
    pub(crate) limited: usize,
    /// New orders asked for, by host.
    pub(crate) asked: BTreeMap<Hostname, Vec<Timestamp>>,
    /// When new orders were asked for, in order.
    pub(crate) requests: Vec<Timestamp>,
}

/// Why there is no order.
#[derive(Debug)]
pub(crate) enum No {
    Away,
    Limited,
}

impl Ca {
    pub(crate) fn new(lifetime_hours: i64) -> Self {
        Self {
            orders: Bucket::new(300, 3 * HOUR),
            domains: Bucket::new(50, 7 * DAY),
            sets: Bucket::new(5, 7 * DAY),
            failures: Bucket::new(5, HOUR),
            rows: Bucket::new(1_152, 1_152 * DAY),
            issued: BTreeMap::new(),
            certificates: BTreeMap::new(),
            replaced: BTreeSet::new(),
            revoked: BTreeSet::new(),
            lifetime_hours,
            away: false,
            serials: 0,
            limited: 0,
            asked: BTreeMap::new(),
            requests: Vec::new(),
        }
    }

    /// new-order; answers whether it counts as a renewal.
    pub(crate) fn open(
        &mut self,
        host: &Hostname,
        replaces: Option<&CertificateId>,
        now: Timestamp,
    ) -> Result<bool, No> {
        self.requests.push(now);
        self.asked.entry(host.clone()).or_default().push(now);
        if self.away {
            return Err(No::Away);
        }
        let ms = now.as_millisecond();
        let renewal = self.issued.get(host).is_some_and(|at| ahead(*at, RENEWAL) > now);
        let in_window = replaces
            .filter(|id| !self.replaced.contains(*id))
            .is_some_and(|id| {
                let window = self.window(id, now);
                window.is_some_and(|window| window.start() <= now && now < window.end())
            });
        let fits = self.rows.has_one(host, ms)
            && (in_window || (self.sets.has_one(host, ms) && self.failures.has_one(host, ms)))
            && (in_window
                || renewal
                || (self.orders.has_one(&(), ms) && self.domains.has_one(&domain(host), ms)));
        if !fits {
            self.limited += 1;
            return Err(No::Limited);
        }
        if !renewal && !in_window {
            self.orders.spend((), ms);
        }
        if let Some(id) = replaces {
            self.replaced.insert(id.clone());
        }
        Ok(renewal || in_window)
    }

    /// A validation has failed.
    pub(crate) fn fail(&mut self, host: &Hostname, now: Timestamp) {
        self.failures.spend(host.clone(), now.as_millisecond());
        self.rows.spend(host.clone(), now.as_millisecond());
    }

    /// The certificate is made.
    pub(crate) fn issue(&mut self, host: &Hostname, renewal: bool, now: Timestamp) -> CertFacts {
        let ms = now.as_millisecond();
        self.sets.spend(host.clone(), ms);
        if !renewal {
            self.domains.spend(domain(host), ms);
        }
        self.make(host, now)
    }

    /// A certificate that was made at some time before the run, for which nothing is counted any more.
    pub(crate) fn make(&mut self, host: &Hostname, now: Timestamp) -> CertFacts {
        self.serials += 1;
        self.rows.full.remove(host);
        self.issued.insert(host.clone(), now);
        let not_before = ahead(now, SignedDuration::from_hours(-1));
        let serial = format!("{:x}", self.serials);
        let id = CertificateId::parse(&format!("issuer.{serial}")).unwrap();
        let facts = CertFacts {
            names: vec![host.clone()],
            not_before,
            not_after: ahead(not_before, SignedDuration::from_hours(self.lifetime_hours)),
            serial,
            issuer: "Model".into(),
            id: Some(id.clone()),
        };
        self.certificates.insert(id, facts.clone());
        facts
    }

    pub(crate) fn revoke(&mut self, id: &CertificateId) {
        self.revoked.insert(id.clone());
    }

    /// The window as Boulder makes it: about the last third, or half of a short life, a fiftieth of the life to either
    /// side; for what is revoked, half an hour that is past already.
    pub(crate) fn window(&self, id: &CertificateId, now: Timestamp) -> Option<Window> {
        if self.revoked.contains(id) {
            let minutes = |count| ahead(now, -SignedDuration::from_mins(count));
            return Window::new(minutes(60), minutes(30));
        }
        let facts = self.certificates.get(id)?;
        let life = facts.not_before.duration_until(facts.not_after);
        let offset = if life < SignedDuration::from_hours(240) {
            life / 2
        } else {
            life / 3
        };
        let ideal = ahead(facts.not_after, -offset);
        Window::new(ahead(ideal, -(life / 50)), ahead(ideal, life / 50))
    }

    /// The certificate is of no interest any more.
    pub(crate) fn drop_certificate(&mut self, id: &CertificateId) {
        self.certificates.remove(id);
        self.replaced.remove(id);
    }
}

/// Hosts here are `NAME.DOMAIN.test`, and `test` is no public suffix that anybody is below.
fn domain(host: &Hostname) -> String {
    let name = host.base().as_str();
    let labels: Vec<_> = name.rsplit('.').take(2).collect();
    labels.into_iter().rev().collect::<Vec<_>>().join(".")
}

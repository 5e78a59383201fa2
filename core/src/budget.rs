//! The budget: everything a CA counts, counted here first, so that it never has to say no (P17, RFC 8555 §6.6).
//!
//! A [`Ledger`] belongs to one CA and our account there. Nobody makes an order without a [`Grant`], and only the ledger
//! makes grants: `src/ca.rs` takes one by value, so that no path leads around it. How it goes:
//!
//! 1. [`Ledger::block`] says why and until when an order for a host must not be made now, if so.
//! 2. [`Ledger::reserve`] sets aside what the order may cost; [`Ledger::grant`] then hands out the grant, once.
//! 3. [`Ledger::tell`] takes in what became of it. What is set aside counts as spent until the CA has counted it or never
//!    will, so that late answers, slow validations and orders of an earlier process ([`Ledger::adopt`]) are safe.
//!
//! When Let's Encrypt counts what (Boulder, 2026-08): a new order when it is made; a failed authorization when it has
//! failed; a certificate, for its domain and for its set of names, when it is issued. A renewal of the same names is
//! exempt from the limits on orders and domains, and inside its ARI window from all ([`Exemption`]); its certificate is
//! counted for the set all the same.
//!
//! `record` has the saved form, and what must be saved before an order is made. Deliberately absent: who goes first when
//! the budget is short, which is the plan's business, and the pace of requests, which is [`Pace`]'s.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::hash::stable;
use crate::name::{DnsName, Hostname};
use crate::problem::Scope;
use crate::schedule::ahead;

mod limits;
mod meter;
mod pace;
mod record;

pub use limits::{COUNT_MAX, Endpoint, Kind, Limit, Limits, PERIOD_MAX, Preset, Requests};
use meter::Meter;
pub use pace::Pace;
use record::Reservation;
pub use record::{Entry, Record, SavedHold};

/// Leave to make one order. Only a [`Ledger`] makes one; it is used up by the order, and there is no second of its kind:
///
/// ```compile_fail,E0451
/// # use faythe_core::budget::{Exemption, Grant};
/// # use faythe_core::name::Hostname;
/// fn forge(host: Hostname) -> Grant {
///     Grant { host, exemption: Exemption::Nothing }
/// }
/// ```
///
/// ```compile_fail,E0308
/// # use faythe_core::budget::Grant;
/// fn copy(grant: &Grant) -> Grant {
///     grant.clone()
/// }
/// ```
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an order that is not made has to be given back with `Spending::Ended`"]
pub struct Grant {
    host: Hostname,
    exemption: Exemption,
}

/// What an order need not be counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exemption {
    /// It is new to the CA: everything counts.
    Nothing,
    /// The CA has issued for the same names before: neither the account's orders nor the domain's certificates count.
    Renewal,
    /// It also names the certificate that it replaces, inside the window that the CA has suggested: nothing counts.
    Window,
}

/// Something that has become of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spending {
    /// Nothing more will come of it: what it has not spent is given back.
    Ended,
    /// The CA has seen its authorization fail.
    Failed,
    /// The CA has issued the certificate.
    Issued,
    /// The CA has made it, or may have: it has not answered.
    Ordered,
    /// The CA has refused to make it.
    Refused,
}

/// Why an order must not be made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Block {
    /// When it may be made, if nothing else happens.
    pub until: Timestamp,
    /// What keeps it.
    pub limit: Kind,
}

/// What has been granted to a host and is not settled yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Charge {
    exemption: Exemption,
    /// Whether the grant has been handed out.
    granted: bool,
    /// Whether it still counts among the account's pending orders.
    unordered: bool,
}

/// What the CA has counted and will count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    limits: Limits,
    orders: Meter,
    domains: Meter,
    sets: Meter,
    failures: Meter,
    rows: Meter,
    charges: BTreeMap<Hostname, Charge>,
    reservation: Reservation,
    /// When full buckets were forgotten last.
    passed: Timestamp,
    /// Whether everything of an earlier process is known.
    recalled: bool,
}

/// Full buckets do no harm but take room.
const PRUNED_EVERY: SignedDuration = SignedDuration::from_mins(10);
/// There is one account.
const ACCOUNT: u64 = 0;

impl Ledger {
    /// A ledger in which nothing has been counted.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            orders: Meter::new(limits.new_orders),
            domains: Meter::new(limits.certificates_per_domain),
            sets: Meter::new(limits.certificates_per_set),
            failures: Meter::new(limits.failures_per_name),
            rows: Meter::new(limits.failures_in_a_row),
            charges: BTreeMap::new(),
            reservation: Reservation::new(limits.count_anything()),
            passed: Timestamp::MIN,
            recalled: false,
            limits,
        }
    }

    /// The limits that it keeps.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    // ---- questions ----

    /// What keeps an order for `host` from being made now: the limit that holds it longest.
    #[must_use]
    pub fn block(&self, host: &Hostname, exemption: Exemption, now: Timestamp) -> Option<Block> {
        let of_all = (exemption == Exemption::Nothing).then(|| {
            let orders = self.block_of(Kind::NewOrders, ACCOUNT, now);
            let domain = self.block_of(Kind::CertificatesPerDomain, domain_key(host), now);
            orders.max(domain)
        });
        self.own_block(host, exemption, now).max(of_all.flatten())
    }

    /// What keeps an order for `host` from being made now among those limits that concern nobody else.
    #[must_use]
    pub fn own_block(&self, host: &Hostname, exemption: Exemption, now: Timestamp) -> Option<Block> {
        let key = host_key(host);
        // A name that the CA has paused is refused whatever the order is.
        let row = self.block_of(Kind::FailuresInARow, key, now);
        if exemption == Exemption::Window {
            return row;
        }
        let set = self.block_of(Kind::CertificatesPerSet, key, now);
        let failures = self.block_of(Kind::FailuresPerName, key, now);
        row.max(set).max(failures)
    }

    /// How many orders may be made now by our account; `None` for as many as one likes.
    #[must_use]
    pub fn free_orders(&self, now: Timestamp) -> Option<u32> {
        let free = self.orders.free(ACCOUNT, now)?;
        Some(free.min(self.reserved_orders(now)))
    }

    /// When the `nth` order (from 1) may be made by our account, if nothing else happens.
    #[must_use]
    pub fn order_at(&self, nth: u32, now: Timestamp) -> Timestamp {
        self.orders.at(ACCOUNT, nth, now)
    }

    /// How many certificates may be ordered now for the registered domain of `host`; `None` for as many as one likes.
    #[must_use]
    pub fn free_in_domain(&self, host: &Hostname, now: Timestamp) -> Option<u32> {
        self.domains.free(domain_key(host), now)
    }

    /// When the `nth` certificate (from 1) may be ordered for the registered domain of `host`.
    #[must_use]
    pub fn domain_at(&self, host: &Hostname, nth: u32, now: Timestamp) -> Timestamp {
        self.domains.at(domain_key(host), nth, now)
    }

    /// How much is left of a limit that is not of single names or domains, and the least that is left for any of those
    /// that have been used lately; `None` without a limit.
    #[must_use]
    pub fn remaining(&self, kind: Kind, now: Timestamp) -> Option<u32> {
        let meter = self.meter(kind)?;
        let burst = meter.limit()?.burst();
        let used = meter.keys().filter_map(|key| meter.free(key, now));
        Some(used.min().unwrap_or(burst))
    }

    // ---- what happens ----

    /// Sets aside what an order for `host` may cost.
    ///
    /// # Errors
    /// Why it must not be made now.
    pub fn reserve(&mut self, host: &Hostname, exemption: Exemption, now: Timestamp) -> Result<(), Block> {
        if let Some(block) = self.block(host, exemption, now) {
            return Err(block);
        }
        let unordered = exemption == Exemption::Nothing;
        if unordered && self.reserved_orders(now) == 0 {
            self.reservation.run_short();
            return Err(Block {
                until: now,
                limit: Kind::NewOrders,
            });
        }
        self.tell(host, Spending::Ended, now);
        self.charge(
            host,
            Charge {
                exemption,
                granted: false,
                unordered,
            },
        );
        Ok(())
    }

    /// Hands out the grant of what is reserved for `host`; `None` where nothing is, or when it has been handed out.
    pub fn grant(&mut self, host: &Hostname) -> Option<Grant> {
        let charge = self.charges.get_mut(host).filter(|charge| !charge.granted)?;
        charge.granted = true;
        Some(Grant {
            host: host.clone(),
            exemption: charge.exemption,
        })
    }

    /// Takes over an order of an earlier process that is noted: what it may still cost is set aside, whatever is left.
    pub fn adopt(&mut self, host: &Hostname, exemption: Exemption) {
        if !self.charges.contains_key(host) {
            self.charge(
                host,
                Charge {
                    exemption,
                    granted: true,
                    unordered: false,
                },
            );
        }
    }

    /// Takes in what has become of the order for `host`.
    pub fn tell(&mut self, host: &Hostname, what: Spending, now: Timestamp) {
        let (key, domain) = (host_key(host), domain_key(host));
        match what {
            Spending::Ordered => {
                if let Some(charge) = self.charges.get_mut(host)
                    && charge.unordered
                {
                    charge.unordered = false;
                    self.orders.release(ACCOUNT);
                    self.orders.spend(ACCOUNT, now);
                }
            }
            Spending::Ended | Spending::Refused => self.settle(host),
            Spending::Failed => {
                self.settle(host);
                self.failures.spend(key, now);
                self.rows.spend(key, now);
                self.reservation.change(now);
            }
            Spending::Issued => {
                let charge = self.charges.get(host).copied();
                self.settle(host);
                self.sets.spend(key, now);
                if charge.is_none_or(|charge| charge.exemption == Exemption::Nothing) {
                    self.domains.spend(domain, now);
                }
                self.rows.clear(key);
                self.reservation.change(now);
            }
        }
    }

    /// The CA has said that a limit is reached, and when to come back: what was counted here was too little.
    pub fn learn(&mut self, host: &Hostname, scope: &Scope, until: Timestamp, now: Timestamp) {
        match scope {
            // Words that nobody knows are taken for the widest limit there is.
            Scope::Account | Scope::Orders => self.orders.drain(ACCOUNT, until),
            Scope::Below(domain) => self.domains.drain(domain_key_of(domain), until),
            Scope::Name => {
                // Failures are forgiven within minutes, certificates within days.
                let minutes = now.duration_until(until) < SignedDuration::from_hours(1);
                let meter = if minutes {
                    &mut self.failures
                } else {
                    &mut self.sets
                };
                meter.drain(host_key(host), until);
            }
            // No limit.
            Scope::Order(_) | Scope::Questions | Scope::Zone(_) => return,
        }
        self.reservation.change(now);
    }

    /// A certificate that is held was issued at `issued`, by the clock of then; one that was not in the last record is counted
    /// now.
    pub fn recall_issued(&mut self, host: &Hostname, issued: Timestamp, now: Timestamp) {
        if self.reservation.knows(issued) {
            return;
        }
        let issued = self.reservation.moved(issued, now);
        for (meter, key) in [
            (&mut self.sets, host_key(host)),
            (&mut self.domains, domain_key(host)),
        ] {
            meter.spend(key, issued);
        }
    }

    /// So many attempts in a row have failed for `host`, the last one at `last`, by the clock of then; what was not in the last
    /// record is counted now.
    pub fn recall_failed(&mut self, host: &Hostname, count: u32, last: Timestamp, now: Timestamp) {
        if self.reservation.knows(last) {
            return;
        }
        let last = self.reservation.moved(last, now);
        let key = host_key(host);
        for meter in [&mut self.failures, &mut self.rows] {
            let most = meter.limit().map_or(0, Limit::burst);
            // More than a few dozen in a row are spaced by days, and forgiven as fast.
            for _ in 0..count.min(most).min(32) {
                meter.spend(key, last);
            }
        }
    }

    /// Time has passed: forgets full buckets now and then, and makes good for a clock that was set back; says if it was.
    pub fn pass(&mut self, now: Timestamp) -> bool {
        let set_back = now < self.passed;
        if set_back {
            self.mend(now);
        } else if now < ahead(self.passed, PRUNED_EVERY) {
            return false;
        }
        self.passed = now;
        self.meters().into_iter().for_each(|meter| meter.prune(now));
        set_back
    }

    /// Whether what happened before this process, and is not in the record, is still to be recalled.
    #[must_use]
    pub fn has_to_recall(&self) -> bool {
        !self.recalled && self.is_saved()
    }

    /// Everything of an earlier process has been recalled.
    pub fn recalled(&mut self, now: Timestamp) {
        self.recalled = true;
        // Renewals that were counted in vain are forgiven, as far as they are more than there can have been.
        self.mend(now);
    }

    fn mend(&mut self, now: Timestamp) {
        self.meters().into_iter().for_each(|meter| meter.mend(now));
    }

    /// An order is wanted that only what is saved does not allow for.
    pub fn want_more(&mut self, now: Timestamp) {
        if self.orders.free(ACCOUNT, now).is_some_and(|free| free > 0) && self.reserved_orders(now) == 0 {
            self.reservation.run_short();
        }
    }

    fn meters(&mut self) -> [&mut Meter; 5] {
        [
            &mut self.orders,
            &mut self.domains,
            &mut self.sets,
            &mut self.failures,
            &mut self.rows,
        ]
    }

    fn charge(&mut self, host: &Hostname, charge: Charge) {
        let key = host_key(host);
        if charge.unordered {
            self.orders.reserve(ACCOUNT);
        }
        if charge.exemption == Exemption::Nothing {
            self.domains.reserve(domain_key(host));
        }
        // Those exempt from all are counted for their names as well, only not refused.
        for meter in [&mut self.sets, &mut self.failures, &mut self.rows] {
            meter.reserve(key);
        }
        self.charges.insert(host.clone(), charge);
    }

    /// Gives back whatever is set aside for `host`.
    fn settle(&mut self, host: &Hostname) {
        let Some(charge) = self.charges.remove(host) else {
            return;
        };
        let key = host_key(host);
        if charge.unordered {
            self.orders.release(ACCOUNT);
        }
        if charge.exemption == Exemption::Nothing {
            self.domains.release(domain_key(host));
        }
        for meter in [&mut self.sets, &mut self.failures, &mut self.rows] {
            meter.release(key);
        }
    }

    fn block_of(&self, limit: Kind, key: u64, now: Timestamp) -> Option<Block> {
        let meter = self.meter(limit)?;
        (meter.free(key, now)? == 0).then(|| Block {
            until: meter.at(key, 1, now),
            limit,
        })
    }

    fn meter(&self, kind: Kind) -> Option<&Meter> {
        match kind {
            Kind::CertificatesPerDomain => Some(&self.domains),
            Kind::CertificatesPerSet => Some(&self.sets),
            Kind::FailuresInARow => Some(&self.rows),
            Kind::FailuresPerName => Some(&self.failures),
            Kind::NewOrders => Some(&self.orders),
            // Accounts are made once and their keys saved before: a pace is enough.
            Kind::NewAccounts => None,
        }
    }
}

impl Grant {
    /// For whom the order is.
    #[must_use]
    pub fn host(&self) -> &Hostname {
        &self.host
    }

    /// What it is not counted for. Where it is [`Exemption::Window`], the order must name what it replaces.
    #[must_use]
    pub fn exemption(&self) -> Exemption {
        self.exemption
    }
}

/// The domain that a CA takes to be one holder's: one label more than the public suffix, private ones included, as Let's
/// Encrypt has it; a public suffix stands for itself.
#[must_use]
pub fn registered_domain(name: &DnsName) -> &str {
    psl::domain_str(name.as_str()).unwrap_or_else(|| name.as_str())
}

fn domain_key(host: &Hostname) -> u64 {
    domain_key_of(host.base())
}

fn domain_key_of(name: &DnsName) -> u64 {
    stable(&["domain", registered_domain(name)])
}

/// A set of names is one name here.
fn host_key(host: &Hostname) -> u64 {
    let kind = if host.is_wildcard() { "*" } else { "" };
    stable(&["names", kind, host.base().as_str()])
}

#[cfg(test)]
mod tests;

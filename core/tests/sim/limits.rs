//! Let's Encrypt's limits to the letter (`docs/rate-limits`, 2026-08-05; Boulder, 2026-08-07), made without the budget of
//! the core, so that neither hides the other's mistakes.

use std::collections::BTreeMap;

use faythe_core::Timestamp;
use faythe_core::name::Hostname;
use faythe_core::schedule::ahead;
use jiff::SignedDuration;

const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;
/// A certificate for the same names makes an order a renewal for so long.
const RENEWAL: SignedDuration = SignedDuration::from_hours(120 * 24);

/// A token bucket as Boulder has it (GCRA): `count` at most, refilled evenly. What is kept for each key is when it will be
/// full again, in milliseconds.
#[derive(Clone, Copy)]
struct Bucket {
    count: i64,
    interval: i64,
}

const fn bucket(count: i64, period_secs: i64) -> Bucket {
    Bucket {
        count,
        interval: period_secs * 1_000 / count,
    }
}

/// New orders of an account.
const ORDERS: Bucket = bucket(300, 3 * HOUR);
/// Certificates for a registered domain that are no renewal.
const DOMAIN: Bucket = bucket(50, 7 * DAY);
/// Certificates for exactly one set of names.
const SET: Bucket = bucket(5, 7 * DAY);
/// Failed authorizations of a name.
const FAILURES: Bucket = bucket(5, HOUR);
/// Failed authorizations of a name in a row, one of which is forgiven a day; past it the CA pauses the name.
const ROW: Bucket = bucket(1_152, 1_152 * DAY);

impl Bucket {
    /// When there will be one, from now on.
    fn at(self, full: i64, now: i64) -> i64 {
        full.max(now) + self.interval - self.interval * self.count
    }

    fn has_one(self, full: i64, now: i64) -> bool {
        self.at(full, now) <= now
    }

    fn free(self, full: i64, now: i64) -> i64 {
        (now + self.interval * self.count - full.max(now)) / self.interval
    }

    fn spend(self, full: &mut i64, now: i64) {
        *full = (*full).max(now) + self.interval;
    }
}

/// Everything that the CA counts for one account.
#[derive(Default)]
pub(crate) struct Counts {
    orders: i64,
    domains: Vec<i64>,
    numbers_of_domains: BTreeMap<String, usize>,
    names: Vec<Name>,
    numbers: BTreeMap<Hostname, usize>,
    /// How often it has answered 429.
    pub(crate) limited: usize,
}

/// What is counted for one set of names, which is one name here.
pub(crate) struct Name {
    pub(crate) host: Hostname,
    domain: usize,
    set: i64,
    failures: i64,
    row: i64,
    paused: bool,
    /// When a certificate was issued for it last.
    issued: Option<Timestamp>,
    /// When an order was asked for, answered well or not.
    pub(crate) asked: Vec<Timestamp>,
}

/// Answers 429.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limited {
    /// Until a person has visited a page.
    Paused,
    /// Until then; for what, in the CA's words.
    Until(Timestamp, &'static str),
}

impl Counts {
    /// The number of a name.
    pub(crate) fn number(&mut self, host: &Hostname) -> usize {
        if let Some(number) = self.numbers.get(host) {
            return *number;
        }
        let next = self.domains.len();
        let domain = *self.numbers_of_domains.entry(domain(host)).or_insert(next);
        if domain == next {
            self.domains.push(i64::MIN / 2);
        }
        let number = self.names.len();
        self.names.push(Name {
            host: host.clone(),
            domain,
            set: 0,
            failures: 0,
            row: 0,
            paused: false,
            issued: None,
            asked: Vec::new(),
        });
        self.numbers.insert(host.clone(), number);
        number
    }

    /// The number of a name that is known already.
    pub(crate) fn find(&self, host: &Hostname) -> Option<usize> {
        self.numbers.get(host).copied()
    }

    pub(crate) fn name(&self, number: usize) -> &Name {
        &self.names[number]
    }

    /// new-order; answers whether it counts as a renewal. `in_window` says that it names a certificate that it replaces,
    /// inside the window of that.
    pub(crate) fn open(&mut self, number: usize, in_window: bool, now: Timestamp) -> Result<bool, Limited> {
        let ms = now.as_millisecond();
        let name = &self.names[number];
        let renewal = name.issued.is_some_and(|at| ahead(at, RENEWAL) > now);
        if name.paused {
            self.limited += 1;
            return Err(Limited::Paused);
        }
        let mut checks = Vec::with_capacity(4);
        if !in_window {
            checks.push((SET.at(name.set, ms), "exact set of identifiers"));
            checks.push((FAILURES.at(name.failures, ms), "failed authorizations"));
            if !renewal {
                checks.push((ORDERS.at(self.orders, ms), "new orders"));
                checks.push((DOMAIN.at(self.domains[name.domain], ms), "certificates"));
            }
        }
        // Of several limits the one that resets last is told.
        if let Some((at, words)) = checks.into_iter().filter(|(at, _)| *at > ms).max() {
            self.limited += 1;
            // In whole seconds, and a little more.
            let at = Timestamp::from_millisecond(at + 1_000).unwrap();
            return Err(Limited::Until(at, words));
        }
        if !renewal && !in_window {
            ORDERS.spend(&mut self.orders, ms);
        }
        Ok(renewal || in_window)
    }

    /// How many orders the account has left.
    pub(crate) fn orders_left(&self, now: Timestamp) -> i64 {
        let ms = now.as_millisecond();
        ORDERS.free(self.orders, ms)
    }

    /// The domain of a name, how many certificates it has left, and whether the name itself is at no limit.
    pub(crate) fn room(&self, number: usize, now: Timestamp) -> (usize, i64, bool) {
        let (name, ms) = (&self.names[number], now.as_millisecond());
        let free = SET.has_one(name.set, ms) && FAILURES.has_one(name.failures, ms) && !name.paused;
        (name.domain, DOMAIN.free(self.domains[name.domain], ms), free)
    }

    /// A validation has failed.
    pub(crate) fn fail(&mut self, number: usize, now: Timestamp) {
        let (name, ms) = (&mut self.names[number], now.as_millisecond());
        FAILURES.spend(&mut name.failures, ms);
        ROW.spend(&mut name.row, ms);
        name.paused |= !ROW.has_one(name.row, ms);
    }

    /// A certificate is made; whether something was over its limit, which Boulder does not look at here any more.
    pub(crate) fn issue(&mut self, number: usize, renewal: bool, now: Timestamp) -> bool {
        let ms = now.as_millisecond();
        let name = &mut self.names[number];
        let mut over = !renewal && !DOMAIN.has_one(self.domains[name.domain], ms);
        SET.spend(&mut name.set, ms);
        if !renewal {
            over |= !SET.has_one(name.set - SET.interval, ms);
            DOMAIN.spend(&mut self.domains[name.domain], ms);
        }
        self.made(number, now);
        over
    }

    /// A certificate was made of which nothing is counted any more.
    pub(crate) fn made(&mut self, number: usize, now: Timestamp) {
        self.names[number].row = 0;
        self.names[number].issued = Some(now);
    }

    /// It was asked for an order.
    pub(crate) fn asked(&mut self, number: usize, now: Timestamp) {
        self.names[number].asked.push(now);
    }
}

/// Hosts here are `NAME.DOMAIN.test`, and `test` is no public suffix that anybody is below.
pub(crate) fn domain(host: &Hostname) -> String {
    let name = host.base().as_str();
    let labels: Vec<_> = name.rsplit('.').take(2).collect();
    labels.into_iter().rev().collect::<Vec<_>>().join(".")
}

//! A CA with the habits of Boulder or Pebble.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use faythe_core::Timestamp;
use faythe_core::ari::CertificateId;
use faythe_core::cert::CertFacts;
use faythe_core::name::{Hostname, RecordName};
use faythe_core::order::{CaView, Challenge, ChallengeStatus, ChallengeValue, OrderStatus};
use faythe_core::problem::{Problem, ProblemKind};
use faythe_core::schedule::{RESOLVER_CACHE, ahead};
use jiff::SignedDuration;

use super::{Dns, renewal};
use crate::dice::Dice;
use crate::limits::{Counts, Limited};

/// A CA with the habits of Boulder or Pebble.
pub(crate) struct Ca {
    /// Every order ever made; its index is its URL.
    pub(crate) orders: Vec<CaOrder>,
    pub(crate) habits: Habits,
    /// How far its clock is ahead of the true time. By it the CA names times, and judges those that it has named; what it
    /// counts it counts by a clock that nobody sets.
    pub(crate) clock_ahead: SignedDuration,
    /// How many outages it has at once; it does not answer while there is one.
    pub(crate) down: usize,
    /// When it was away, the last time until then at least.
    away: Vec<(Timestamp, Timestamp)>,
    /// Hosts whose validation always fails.
    pub(crate) cursed: BTreeSet<Hostname>,
    /// Hosts for which it will not issue.
    pub(crate) rejected: BTreeSet<Hostname>,
    /// Orders that are due to be looked at or issued, and when.
    pub(crate) agenda: Vec<(Timestamp, usize)>,
    authorized: BTreeMap<Hostname, Timestamp>,
    cache: BTreeMap<RecordName, (Timestamp, BTreeSet<String>)>,
    recent: VecDeque<Timestamp>,
    pub(crate) counts: Counts,
    /// When it said no for a host, or found its order wanting.
    pub(crate) noes: BTreeMap<Hostname, Vec<Timestamp>>,
}

/// How the CA is set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    /// How long a certificate lives, in hours.
    pub(crate) lifetime_hours: i64,
    /// New orders for the same name get the pending one, and valid authorizations are used again.
    pub(crate) reuses: bool,
    /// How many orders an account may make in three hours; `None` for Let's Encrypt's limits to the letter.
    pub(crate) orders_in_three_hours: Option<usize>,
    /// How long an order lives, and a valid authorization, in hours.
    pub(crate) order_hours: i64,
    pub(crate) authorization_hours: i64,
    /// How many validations in a thousand fail for no reason of ours.
    pub(crate) hiccups: i64,
    /// How many orders in a thousand never leave `processing`.
    pub(crate) stuck: i64,
    /// It says when certificates are to be renewed (RFC 9773), and wants to be asked again after about so many hours.
    pub(crate) renewal_info: Option<i64>,
}

/// One order as the CA has it.
pub(crate) struct CaOrder {
    pub(crate) host: Hostname,
    pub(crate) status: OrderStatus,
    pub(crate) created: Timestamp,
    /// When it was found not to be as it should, for the laws.
    pub(crate) failed: Option<Timestamp>,
    /// The certificate was fetched.
    pub(crate) fetched: bool,
    /// When it was issued, by the CA's clock of then.
    pub(super) issued: Timestamp,
    /// Its certificate was revoked.
    pub(super) revoked: bool,
    /// The order whose certificate it said to replace.
    pub(crate) replaces: Option<usize>,
    /// It stays in `processing` for ever.
    pub(crate) stuck: bool,
    /// It was finalized.
    pub(crate) finalized: bool,
    /// When it is over, by the CA's clock.
    pub(crate) expires: Timestamp,
    told: bool,
    renewal: bool,
    problem: Option<Problem>,
}

/// Why the CA did not do what it was asked.
pub(crate) enum CaFault {
    Gone,
    Refused(Problem),
}

const THREE_HOURS: SignedDuration = SignedDuration::from_hours(3);

impl Ca {
    pub(crate) fn new(habits: Habits) -> Self {
        Self {
            orders: Vec::new(),
            habits,
            clock_ahead: SignedDuration::ZERO,
            down: 0,
            away: Vec::new(),
            cursed: BTreeSet::new(),
            rejected: BTreeSet::new(),
            agenda: Vec::new(),
            authorized: BTreeMap::new(),
            cache: BTreeMap::new(),
            recent: VecDeque::new(),
            counts: Counts::default(),
            noes: BTreeMap::new(),
        }
    }

    // ---- outages ----

    /// It is away from now on.
    pub(crate) fn goes(&mut self, now: Timestamp) {
        if self.down == 0 {
            self.away.push((now, Timestamp::MAX));
        }
        self.down += 1;
    }

    /// One of its outages is over.
    pub(crate) fn comes_back(&mut self, now: Timestamp) {
        self.down -= 1;
        if self.down == 0
            && let Some((_, until)) = self.away.last_mut()
        {
            *until = now;
        }
    }

    /// For how long it was there between two times.
    pub(crate) fn was_there(&self, from: Timestamp, until: Timestamp) -> SignedDuration {
        let away = self.away.iter().map(|(gone, back)| {
            let (gone, back) = ((*gone).max(from), (*back).min(until));
            gone.duration_until(back).max(SignedDuration::ZERO)
        });
        away.fold(from.duration_until(until), |there, away| there - away)
    }

    /// Since when it is away, if it is.
    pub(crate) fn away_since(&self) -> Option<Timestamp> {
        let (since, _) = self.away.last().filter(|_| self.down > 0)?;
        Some(*since)
    }

    /// What its clock says.
    pub(crate) fn clock(&self, now: Timestamp) -> Timestamp {
        ahead(now, self.clock_ahead)
    }

    // ---- what it is asked ----

    /// new-order: answers which order, and whether it is a new one.
    pub(crate) fn open(
        &mut self,
        host: &Hostname,
        replaces: Option<&CertificateId>,
        now: Timestamp,
    ) -> Result<(usize, bool), CaFault> {
        let predecessor = replaces.map(|id| self.predecessor(host, id, now)).transpose()?;
        let opened = self.make(host, predecessor, now);
        if opened.is_err() {
            self.noes.entry(host.clone()).or_default().push(now);
        }
        opened
    }

    fn make(
        &mut self,
        host: &Hostname,
        predecessor: Option<(usize, bool)>,
        now: Timestamp,
    ) -> Result<(usize, bool), CaFault> {
        if self.rejected.contains(host) {
            return Err(refused(ProblemKind::RejectedIdentifier, 400, None));
        }
        let in_window = predecessor.is_some_and(|(_, within)| within);
        let renewal = self.count(host, in_window, now)?;
        let clock = self.clock(now);
        let open = |order: &CaOrder| {
            order.host == *host
                && order.expires > clock
                && matches!(order.status, OrderStatus::Pending | OrderStatus::Ready)
                && !order.told
        };
        if self.habits.reuses
            && let Some(known) = self.orders.iter().rposition(open)
        {
            return Ok((known, false));
        }
        let authorized = self.habits.reuses && self.authorized.get(host).is_some_and(|until| *until > clock);
        self.orders.push(CaOrder {
            host: host.clone(),
            status: if authorized {
                OrderStatus::Ready
            } else {
                OrderStatus::Pending
            },
            created: now,
            failed: None,
            fetched: false,
            issued: clock,
            revoked: false,
            replaces: predecessor.map(|(number, _)| number),
            stuck: false,
            finalized: false,
            expires: ahead(clock, SignedDuration::from_hours(self.habits.order_hours)),
            told: false,
            renewal,
            problem: None,
        });
        Ok((self.orders.len() - 1, true))
    }

    /// Counts a new order against what is allowed; answers whether it is a renewal.
    fn count(&mut self, host: &Hostname, in_window: bool, now: Timestamp) -> Result<bool, CaFault> {
        let Some(most) = self.habits.orders_in_three_hours else {
            let number = self.counts.number(host);
            return self
                .counts
                .open(number, in_window, now)
                .map_err(|limited| match limited {
                    Limited::Paused => refused(ProblemKind::RateLimited, 429, None),
                    Limited::Until(at, words) => {
                        let wait = now.duration_until(at).unsigned_abs();
                        CaFault::Refused(Problem {
                            detail: words.to_owned(),
                            ..problem(ProblemKind::RateLimited, Some(429), Some(wait))
                        })
                    }
                });
        };
        while self
            .recent
            .front()
            .is_some_and(|at| ahead(*at, THREE_HOURS) <= now)
        {
            self.recent.pop_front();
        }
        if self.recent.len() >= most {
            let free = ahead(self.recent[0], THREE_HOURS);
            let wait = now.duration_until(free).unsigned_abs();
            return Err(refused(ProblemKind::RateLimited, 429, Some(wait)));
        }
        self.recent.push_back(now);
        Ok(false)
    }

    pub(crate) fn view(&self, order: usize, now: Timestamp) -> Result<CaView, CaFault> {
        let known = self
            .orders
            .get(order)
            .filter(|order| order.expires > self.clock(now))
            .ok_or(CaFault::Gone)?;
        let status = if known.told {
            ChallengeStatus::Processing
        } else {
            ChallengeStatus::Pending
        };
        let challenge = Challenge {
            value: self.value(order),
            status,
        };
        Ok(CaView {
            status: known.status,
            challenges: (known.status == OrderStatus::Pending)
                .then_some(challenge)
                .into_iter()
                .collect(),
            problem: known.problem.clone(),
            expires: Some(known.expires),
            retry_after: None,
        })
    }

    /// The value that proves control for an order.
    pub(crate) fn value(&self, order: usize) -> ChallengeValue {
        let record = self.orders[order].host.challenge_record();
        ChallengeValue {
            record,
            value: format!("value-{order}"),
        }
    }

    /// The order that a value belongs to.
    pub(crate) fn order_of(&self, value: &str) -> Option<&CaOrder> {
        let number: usize = value.strip_prefix("value-")?.parse().ok()?;
        self.orders.get(number)
    }

    /// The CA is told that it may look.
    pub(crate) fn tell(&mut self, order: usize, now: Timestamp, dice: &mut Dice) -> Result<(), CaFault> {
        self.view(order, now)?;
        let known = &mut self.orders[order];
        if known.status == OrderStatus::Pending && !known.told {
            known.told = true;
            let look = ahead(now, SignedDuration::from_millis(dice.between(50, 3000)));
            self.agenda.push((look, order));
        }
        Ok(())
    }

    pub(crate) fn finalize(&mut self, order: usize, now: Timestamp, dice: &mut Dice) -> Result<(), CaFault> {
        self.view(order, now)?;
        let stuck = dice.chance(self.habits.stuck);
        let known = &mut self.orders[order];
        if known.status == OrderStatus::Ready {
            known.status = OrderStatus::Processing;
            known.finalized = true;
            known.stuck = stuck;
            if !stuck {
                let done = ahead(now, SignedDuration::from_millis(dice.between(50, 3000)));
                self.agenda.push((done, order));
            }
        }
        Ok(())
    }

    pub(crate) fn certificate(&mut self, order: usize, now: Timestamp) -> Result<CertFacts, CaFault> {
        self.view(order, now)?;
        let known = &mut self.orders[order];
        known.fetched = true;
        let not_before = renewal::not_before(known);
        Ok(CertFacts {
            names: vec![known.host.clone()],
            not_before,
            not_after: ahead(not_before, SignedDuration::from_hours(self.habits.lifetime_hours)),
            serial: format!("{order:x}"),
            issuer: "Model".into(),
            id: self.habits.renewal_info.map(|_| renewal::id(order)),
        })
    }

    /// Does what is on the agenda for one order. Answers whether it failed because it did not see our value.
    pub(crate) fn act(&mut self, order: usize, dns: &Dns, now: Timestamp, dice: &mut Dice) -> bool {
        let value = self.value(order);
        let status = self.orders[order].status;
        let clock = self.clock(now);
        let number = self.counts.number(&self.orders[order].host.clone());
        if status == OrderStatus::Processing {
            self.orders[order].status = OrderStatus::Valid;
            self.orders[order].issued = clock;
            self.counts.issue(number, self.orders[order].renewal, now);
            return false;
        }
        if status != OrderStatus::Pending {
            return false;
        }
        let fresh = self
            .cache
            .get(&value.record)
            .filter(|(until, _)| *until > now)
            .cloned();
        let (until, seen) =
            fresh.unwrap_or_else(|| (ahead(now, RESOLVER_CACHE), dns.seen(&value.record, now, dice)));
        let sees = seen.contains(&value.value);
        self.cache.insert(value.record, (until, seen));
        let host = self.orders[order].host.clone();
        let unlucky = self.cursed.contains(&host) || dice.chance(self.habits.hiccups);
        let known = &mut self.orders[order];
        if sees && !unlucky {
            known.status = OrderStatus::Ready;
            self.authorized.insert(
                host,
                ahead(clock, SignedDuration::from_hours(self.habits.authorization_hours)),
            );
        } else {
            self.counts.fail(number, now);
            known.status = OrderStatus::Invalid;
            known.failed = Some(now);
            self.noes.entry(host).or_default().push(now);
            known.problem = Some(problem(ProblemKind::Dns, None, None));
        }
        !sees
    }
}

fn problem(kind: ProblemKind, status: Option<u16>, retry_after: Option<std::time::Duration>) -> Problem {
    Problem {
        status,
        kind,
        detail: String::new(),
        retry_after,
    }
}

pub(super) fn refused(kind: ProblemKind, status: u16, retry_after: Option<std::time::Duration>) -> CaFault {
    CaFault::Refused(problem(kind, Some(status), retry_after))
}

//! A whole fleet for months: the real world, planner, ledger and renewal against a CA that counts to the letter. An order is
//! one event here, so that 100,000 hosts fit; its steps are the closed loop's.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::activity::{Activity, Hold, Rest};
use faythe_core::ari::CertificateId;
use faythe_core::budget::{Ledger, Limits, Preset, Spending};
use faythe_core::cas::CaId;
use faythe_core::cert::{CertFacts, Held};
use faythe_core::name::Hostname;
use faythe_core::order::Stage;
use faythe_core::plan::{Action, Planner};
use faythe_core::policy::Policy;
use faythe_core::problem::Scope;
use faythe_core::renewal::SPREAD;
use faythe_core::schedule::{self, Failures, Threshold, after};
use faythe_core::verdict::Turn;
use faythe_core::want::Asker;
use faythe_core::world::{Answer, Question, World};
use faythe_core::zone::{Rule, Zone, Zones};

use crate::certificates::{Ca, No};
use crate::dice::Dice;
use crate::urgency::{Claim, Law, Need};

/// What `src/daemon.rs` sets.
pub(crate) const ORDERS_AT_ONCE: usize = 32;
const GRACE: Duration = Duration::from_secs(8 * 3_600);

mod trouble;

enum Event {
    /// An attempt ends before there is an order, for a fault on our side.
    Unsaved(Hostname),
    /// An order ends, one way or the other.
    End {
        host: Hostname,
        number: usize,
        renewal: bool,
    },
    /// The CA has been asked about a certificate.
    Told(Vec<(Question, CertificateId)>),
}

/// A renewal that has begun.
#[derive(Clone, Copy)]
pub(crate) struct Renewal {
    pub(crate) at: Timestamp,
    /// When its time had come.
    pub(crate) due: Timestamp,
    /// Whether the window of the CA was over.
    pub(crate) late: bool,
    /// Whether less than six parts in thirty-two of its life were left.
    pub(crate) short: bool,
}

/// What an outsider knows of a host.
struct Known {
    namespace: Rc<str>,
    arrival: (Timestamp, usize),
    /// When its certificate begins to be valid, ends, and is due.
    validity: Option<(Timestamp, Timestamp, Timestamp)>,
    /// Whether the CA has made one for this account, and when.
    made: Option<Timestamp>,
    recalled: bool,
    /// Not before this after a failure.
    next_try: Timestamp,
    /// It has asked while the CA was away.
    in_vain: bool,
}

/// A fleet with its CA.
pub(crate) struct Fleet {
    pub(crate) now: Timestamp,
    pub(crate) ca: Ca,
    pub(crate) world: World,
    planner: Planner,
    policy: Policy,
    dice: Dice,
    queue: BTreeMap<(Timestamp, u64), Event>,
    count: u64,
    version: u64,
    /// Hosts for which the CA refuses an order (`rejectedIdentifier`).
    pub(crate) refused: fn(&Hostname) -> bool,
    /// Hosts whose validation always fails.
    pub(crate) cursed: fn(&Hostname) -> bool,
    /// Hosts to whose orders the CA always says that it has failed inside.
    pub(crate) spoiled: fn(&Hostname) -> bool,
    /// The API server takes nothing, and is slow to say so.
    pub(crate) store_away: bool,
    /// How often in a row an attempt has come to rest.
    tries: BTreeMap<Hostname, u32>,
    /// Every certificate that was issued: when, and for whom.
    pub(crate) issued: Vec<(Timestamp, Hostname)>,
    /// When each certificate that is held ends.
    pub(crate) ends: BTreeMap<Hostname, Timestamp>,
    /// How many have ended before they were replaced.
    pub(crate) expired: usize,
    pub(crate) polls: usize,
    /// How many questions about renewal were asked in the second of the last one, and in the fullest one.
    pub(crate) polled: (i64, usize, usize),
    /// Renewals that were due, as they began.
    pub(crate) renewals: Vec<Renewal>,
    /// How long each order has taken, by when it began.
    pub(crate) took: Vec<(Timestamp, Duration)>,
    /// What is known of each host, for the law.
    known: BTreeMap<Hostname, Known>,
    /// Whose order is under way, and whether it counts for a domain.
    orders: BTreeMap<Hostname, Option<usize>>,
    /// Judges who goes first, from when on it is there.
    pub(crate) law: Option<Law>,
    /// The CA has not answered when it was asked last.
    troubled: bool,
    /// When the CA said of a certificate that it should have been replaced by then.
    pub(crate) recalled: BTreeMap<Hostname, Timestamp>,
    /// What Ingresses say before the first look.
    first_asks: Vec<(Asker, Vec<String>)>,
    /// What is held before it.
    first_held: Vec<(Option<Hostname>, Held)>,
}

pub(crate) fn start() -> Timestamp {
    "2027-01-01T00:00:00Z".parse().unwrap()
}

impl Fleet {
    pub(crate) fn new(seed: u64, lifetime_hours: i64) -> Self {
        let policy = Policy {
            zones: Zones::new(vec![Zone {
                apex: "test".parse().unwrap(),
                wildcards: false,
                rule: Rule::flat("ns.test", &[]),
                challenges: None,
            }]),
            threshold: Threshold::Default,
            spread: SPREAD,
            renewals_per_minute: NonZeroU32::new(60),
            issue_grace: GRACE,
            orders_at_once: ORDERS_AT_ONCE,
        };
        let mut world = World::new(policy.zones.clone());
        world.set_ledger(CaId::FIRST, Ledger::new(limits()));
        Self {
            now: start(),
            ca: Ca::new(lifetime_hours),
            world,
            planner: Planner::new(),
            policy,
            dice: Dice::new(seed),
            queue: BTreeMap::new(),
            count: 0,
            version: 0,
            refused: |_| false,
            cursed: |_| false,
            spoiled: |_| false,
            store_away: false,
            tries: BTreeMap::new(),
            issued: Vec::new(),
            ends: BTreeMap::new(),
            expired: 0,
            polls: 0,
            polled: (0, 0, 0),
            renewals: Vec::new(),
            took: Vec::new(),
            known: BTreeMap::new(),
            orders: BTreeMap::new(),
            law: None,
            troubled: false,
            recalled: BTreeMap::new(),
            first_asks: Vec::new(),
            first_held: Vec::new(),
        }
    }

    /// Each host in an Ingress of its own; those of one team in one namespace.
    pub(crate) fn ask(&mut self, hosts: &[Hostname]) {
        self.ask_in(hosts, |number| format!("team-{}", number % 50));
    }

    /// The same, with a namespace for each number.
    pub(crate) fn ask_in(&mut self, hosts: &[Hostname], namespace: impl Fn(usize) -> String) {
        for (number, host) in hosts.iter().enumerate() {
            let namespace = namespace(number);
            let known = Known {
                namespace: namespace.clone().into(),
                arrival: (self.now, self.known.len()),
                validity: None,
                made: None,
                recalled: false,
                next_try: self.now,
                in_vain: false,
            };
            self.known.entry(host.clone()).or_insert(known);
            self.ca.counts.number(host);
            let asker = Asker {
                namespace: namespace.into(),
                name: host.to_string().into(),
                uid: "1".into(),
            };
            if self.world.is_known() {
                self.world.ask(asker, &[host.to_string()]);
            } else {
                self.first_asks.push((asker, vec![host.to_string()]));
            }
        }
    }

    /// They hold certificates of all ages already.
    pub(crate) fn hold_all_ages(&mut self, hosts: &[Hostname]) {
        for host in hosts {
            // Up to where they would have been renewed.
            let life = self.ca.lifetime_of(host) * 3_600;
            let oldest = if life < 240 * 3_600 {
                life * 45 / 100
            } else {
                life * 6 / 10
            };
            let age = Duration::from_secs(self.dice.between(60, oldest).unsigned_abs());
            let at = schedule::ahead(self.now, -jiff::SignedDuration::try_from(age).unwrap());
            let facts = self.ca.make(host, at);
            self.hold(host, facts, Some(at));
        }
    }

    /// They hold young certificates that another tool had made for its own account, whose renewals the CA counts.
    pub(crate) fn hold_of_another(&mut self, hosts: &[Hostname]) {
        let counts_renewals = true;
        let limits = Limits {
            counts_renewals,
            ..limits()
        };
        self.world.set_ledger(CaId::FIRST, Ledger::new(limits));
        for host in hosts {
            let age = self.dice.between(60, self.ca.lifetime_of(host) * 3_600 / 2);
            let at = schedule::ahead(self.now, -jiff::SignedDuration::from_secs(age));
            let facts = self.ca.make_elsewhere(host, at);
            self.hold(host, facts, None);
        }
    }

    /// Everything has been seen.
    pub(crate) fn begin(&mut self) {
        self.world.ask_all(std::mem::take(&mut self.first_asks));
        self.world.hold_all(std::mem::take(&mut self.first_held));
        self.world.note_all(Vec::new(), Vec::new());
    }

    fn hold(&mut self, host: &Hostname, facts: CertFacts, at: Option<Timestamp>) {
        if let Some(known) = self.known.get_mut(host) {
            let due = self.world.rule(host, &self.policy).due_at(host, &facts);
            known.validity = Some((facts.not_before, facts.not_after, due));
            known.made = at;
            (known.recalled, known.in_vain) = (false, false);
        }
        self.version += 1;
        if let Some(end) = self.ends.insert(host.clone(), facts.not_after)
            && end < self.now
        {
            self.expired += 1;
        }
        let held = Held {
            secret: host.to_string().into(),
            version: self.version.to_string().into(),
            content: Ok(facts),
            issued_at: at,
            renew: None,
            made_by: None,
            origin: None,
        };
        if self.world.is_known() {
            self.world.hold(Some(host.clone()), held);
        } else {
            self.first_held.push((Some(host.clone()), held));
        }
    }

    fn later(&mut self, wait_ms: i64, event: Event) {
        self.count += 1;
        let at = after(self.now, Duration::from_millis(wait_ms.unsigned_abs()));
        self.queue.insert((at, self.count), event);
    }

    /// Lets time go on until `end`, or until `done`.
    pub(crate) fn run(&mut self, end: Timestamp, mut done: impl FnMut(&Self) -> bool) {
        while self.now < end && !done(self) {
            let wake = self.turn();
            let next = self.queue.first_key_value().map(|((at, _), _)| *at);
            let Some(at) = next.into_iter().chain(wake).min() else {
                break;
            };
            self.now = at.max(self.now).min(end);
            while let Some(entry) = self.queue.first_entry()
                && entry.key().0 <= self.now
            {
                let event = entry.remove();
                self.happen(event);
            }
        }
    }

    /// They are not asked for any more.
    pub(crate) fn stop(&mut self, hosts: &[Hostname], namespace: &str) {
        for host in hosts {
            self.world.stop_asking(namespace, &host.to_string());
        }
    }

    /// Another process begins with what is in the cluster, of which a Secret may say less than before. Only while nothing
    /// is under way.
    pub(crate) fn restart(&mut self, alter: impl Fn(&mut Held)) {
        assert!(self.orders.is_empty());
        let record = self.world.ledger_mut(CaId::FIRST).record(self.now);
        // As a source has them: in the order in which they came to ask.
        let mut known: Vec<_> = self.known.iter().collect();
        known.sort_by_key(|(_, known)| known.arrival);
        for (host, known) in known {
            let asker = Asker {
                namespace: (*known.namespace).into(),
                name: host.to_string().into(),
                uid: "1".into(),
            };
            self.first_asks.push((asker, vec![host.to_string()]));
            for held in self.world.claims(host) {
                let mut held = held.clone();
                alter(&mut held);
                self.first_held.push((Some(host.clone()), held));
            }
        }
        let mut ledger = Ledger::new(limits());
        ledger.load(&record, self.now);
        self.world = World::new(self.policy.zones.clone());
        self.world.set_ledger(CaId::FIRST, ledger);
        self.planner = Planner::new();
        // Questions that were under way went with the process.
        self.queue.clear();
        self.begin();
    }

    /// What a host that waits for its turn is told.
    pub(crate) fn told(&self, host: &Hostname) -> Option<Turn> {
        self.planner.turn_of(host, &self.world, self.now)
    }

    /// Whether no order is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.orders.is_empty()
    }

    fn turn(&mut self) -> Option<Timestamp> {
        let plan = self.planner.turn(&mut self.world, &self.policy, self.now);
        let mut asked = Vec::new();
        let mut begun = Vec::new();
        let was_troubled = self.troubled;
        for action in plan.actions {
            match action {
                Action::AskHint {
                    certificate,
                    question,
                } => asked.push((question, certificate)),
                Action::Drive { host, .. } => {
                    let claim = self.law.as_ref().and_then(|_| self.claim(&host));
                    self.drive(&host);
                    begun.extend(claim.filter(|_| self.orders.contains_key(&host)));
                }
                Action::Forget(host) => self.world.set_activity(&host, None),
                Action::Steer { .. } => {}
            }
        }
        // While the CA does not answer one asks for all, and who does is gone for a moment.
        if !begun.is_empty() && !was_troubled {
            self.judge(&begun);
        }
        if !asked.is_empty() {
            self.polls += asked.len();
            let second = self.now.as_second();
            let (before, count, most) = self.polled;
            let count = asked.len() + if before == second { count } else { 0 };
            self.polled = (second, count, most.max(count));
            self.later(100, Event::Told(asked));
        }
        // The ledger is saved where that is due, and what waited for it goes on.
        if self
            .world
            .ledger(CaId::FIRST)
            .save_at(self.now)
            .is_some_and(|at| at <= self.now)
        {
            let _ = self.world.ledger_mut(CaId::FIRST).record(self.now);
            self.world.ledger_mut(CaId::FIRST).saved(true, self.now);
            return Some(self.now);
        }
        plan.wake_at
    }

    fn drive(&mut self, host: &Hostname) {
        let Some(_grant) = self.world.grant(host) else {
            self.world.set_activity(host, None);
            return;
        };
        if self.store_away {
            self.later(trouble::SLOW_MS, Event::Unsaved(host.clone()));
            return;
        }
        self.note_renewal(host);
        if (self.spoiled)(host) {
            self.meet_trouble(host);
            return;
        }
        if (self.refused)(host) {
            let number = self.ca.counts.number(host);
            self.ca.counts.asked(number, self.now);
            self.world.tell(host, Spending::Refused, self.now);
            self.fail(host, true);
            return;
        }
        let replaces = self.world.predecessor(host, CaId::FIRST);
        match self.ca.open(host, replaces.as_ref(), self.now) {
            Ok((number, renewal)) => {
                self.troubled = false;
                self.tries.remove(host);
                let domain = self.ca.counts.room(number, self.now).0;
                self.orders.insert(host.clone(), (!renewal).then_some(domain));
                self.world.clear_trouble(CaId::FIRST);
                self.world.tell(host, Spending::Ordered, self.now);
                let takes = self.dice.between(4_000, 15_000);
                self.took
                    .push((self.now, Duration::from_millis(takes.unsigned_abs())));
                let host = host.clone();
                self.later(
                    takes,
                    Event::End {
                        host,
                        number,
                        renewal,
                    },
                );
            }
            Err(No::Away) => {
                self.troubled = true;
                self.world.tell(host, Spending::Ordered, self.now);
                self.world.tell(host, Spending::Ended, self.now);
                self.leave_alone();
                let rest = Rest {
                    noted: false,
                    stage: Stage::Ordering,
                    code: "ca-unreachable".into(),
                    text: String::new(),
                    tries: 1,
                    until: after(self.now, schedule::rest(0)),
                };
                self.put_off(host, rest.until, false);
                self.world.set_activity(host, Some(Activity::Resting(rest)));
            }
            Err(No::Limited) => {
                self.world.tell(host, Spending::Refused, self.now);
                self.world.set_activity(host, None);
            }
        }
    }

    /// The CA has seen it fail.
    fn fail(&mut self, host: &Hostname, parked: bool) {
        let before = self.world.failures(host).map_or(0, |before| before.count);
        let failures = Failures {
            count: before + 1,
            last: self.now,
            clock_ahead: jiff::SignedDuration::ZERO,
            code: "dns".into(),
            text: String::new(),
            not_before: None,
            parked,
            refused_by: Vec::new(),
        };
        self.put_off(host, failures.next_attempt(GRACE, None), true);
        self.world.set_failures(host, Some(failures));
        self.world.set_activity(host, None);
    }

    fn note_renewal(&mut self, host: &Hostname) {
        let rule = self.world.rule(host, &self.policy);
        let facts = self.world.claims(host).next();
        let Some(facts) = facts.and_then(|held| held.content.as_ref().ok()) else {
            return;
        };
        self.renewals.push(Renewal {
            at: self.now,
            due: rule.due_at(host, facts),
            late: rule.window(facts).is_none_or(|window| window.end() <= self.now),
            short: self.now.duration_until(facts.not_after) < facts.lifetime() / 32 * 6,
        });
    }

    /// What an outsider says that a host wants now, if anything.
    fn claim(&self, host: &Hostname) -> Option<Claim> {
        let known = self.known.get(host)?;
        let need = match known.validity {
            _ if known.next_try > self.now || self.orders.contains_key(host) => return None,
            None => Need::New,
            Some((_, end, _)) if end <= self.now => Need::Expired(end),
            Some((.., due)) if due > self.now => return None,
            Some(_) if known.recalled => Need::Recalled,
            Some((from, end, _)) => Need::of_life(from, end, self.now),
        };
        let number = self.ca.counts.find(host)?;
        let (domain, left, name) = self.ca.counts.room(number, self.now);
        let under_way = self.orders.values().filter(|of| **of == Some(domain)).count();
        let counted = known
            .made
            .is_none_or(|at| after(at, Duration::from_secs(110 * 86_400)) < self.now);
        Some(Claim {
            host: host.clone(),
            need,
            namespace: Rc::clone(&known.namespace),
            arrival: known.arrival,
            counted,
            domain,
            room: (left > i64::try_from(under_way).unwrap(), name),
        })
    }

    fn judge(&mut self, begun: &[Claim]) {
        let Some(mut law) = self.law.take() else {
            return;
        };
        // Those who have asked in vain go last, so that what is stuck never holds up what is not.
        let others = self.known.iter().filter(|(_, known)| !known.in_vain);
        let waiting: Vec<_> = others.filter_map(|(host, _)| self.claim(host)).collect();
        law.judge(begun, &waiting, self.ca.counts.orders_left(self.now) > 0);
        self.law = Some(law);
    }

    /// The law begins to be held to what the CA has said before.
    pub(crate) fn hear_all(&mut self) {
        let all: Vec<_> = self.known.keys().cloned().collect();
        all.iter().for_each(|host| self.hear(host));
    }

    /// The CA may have said when it wants the certificate of a host renewed.
    fn hear(&mut self, host: &Hostname) {
        let rule = self.world.rule(host, &self.policy);
        let facts = self.world.claims(host).next();
        if let Some(facts) = facts.and_then(|held| held.content.as_ref().ok())
            && let Some(known) = self.known.get_mut(host)
        {
            known.validity = Some((facts.not_before, facts.not_after, rule.due_at(host, facts)));
            let revoked = facts.id.as_ref().is_some_and(|id| self.ca.is_revoked(id));
            known.recalled = revoked && rule.window(facts).is_some_and(|window| window.end() <= self.now);
        }
    }

    /// It is not tried before this; after a failure it is one of those who come then.
    fn put_off(&mut self, host: &Hostname, until: Timestamp, failed: bool) {
        if let Some(known) = self.known.get_mut(host) {
            known.next_try = until;
            if failed {
                known.arrival.0 = until;
            } else {
                known.in_vain = true;
            }
        }
    }

    /// As the loop does when the CA cannot be reached.
    fn leave_alone(&mut self) {
        let before = self.world.hold_of(CaId::FIRST, &Scope::Account);
        if before.is_some_and(|before| before.until > self.now) {
            return;
        }
        let tries = before.map_or(0, |before| before.tries).saturating_add(1);
        let hold = Hold {
            until: after(self.now, schedule::ca_rest(tries - 1)),
            code: "ca-unreachable".into(),
            text: String::new(),
            tries,
            told: false,
        };
        self.world.set_hold(CaId::FIRST, Scope::Account, hold, self.now);
    }

    fn happen(&mut self, event: Event) {
        if let Event::End { host, .. } = &event {
            self.orders.remove(host);
        }
        match event {
            Event::Unsaved(host) => self.come_to_rest(&host, "store-unavailable"),
            Event::End { host, number, .. } if (self.cursed)(&host) => {
                self.ca.counts.fail(number, self.now);
                self.world.tell(&host, Spending::Failed, self.now);
                self.fail(&host, false);
            }
            Event::End {
                host,
                number,
                renewal,
            } => {
                let facts = self.ca.issue(number, renewal, self.now);
                self.world.tell(&host, Spending::Issued, self.now);
                self.issued.push((self.now, host.clone()));
                self.world.set_failures(&host, None);
                self.hold(&host, facts, Some(self.now));
                self.world.set_activity(&host, None);
            }
            Event::Told(asked) => {
                for (question, id) in asked {
                    let answer = match self.ca.window(&id, self.now) {
                        _ if self.ca.away => Answer::Busy { retry_after: None },
                        None => Answer::Refused,
                        Some(window) => {
                            if window.end() <= self.now
                                && let Some(host) = self.world.asked_for(question)
                            {
                                self.recalled.entry(host.clone()).or_insert(self.now);
                            }
                            Answer::Told {
                                window,
                                retry_after: Some(Duration::from_secs(6 * 3_600)),
                            }
                        }
                    };
                    let host = self.world.asked_for(question).cloned();
                    self.world.hinted(question, answer, self.now);
                    if let Some(host) = host.filter(|_| self.law.is_some()) {
                        self.hear(&host);
                    }
                }
            }
        }
    }
}

pub(crate) fn limits() -> Limits {
    Preset::LetsEncrypt.limits()
}

//! A whole fleet for months: the real world, planner, ledger and renewal against a CA that counts to the letter. An order is
//! one event here, so that 100,000 hosts fit; its steps are the closed loop's.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::activity::{Activity, Hold, Rest};
use faythe_core::ari::CertificateId;
use faythe_core::budget::{Ledger, Limits, Preset, Spending};
use faythe_core::cas::CaId;
use faythe_core::cert::Held;
use faythe_core::name::Hostname;
use faythe_core::order::Stage;
use faythe_core::plan::{Action, Planner};
use faythe_core::policy::Policy;
use faythe_core::problem::Scope;
use faythe_core::renewal::SPREAD;
use faythe_core::schedule::{self, Failures, Threshold, after};
use faythe_core::want::Asker;
use faythe_core::world::{Answer, Question, World};
use faythe_core::zone::{Rule, Zone, Zones};

use crate::certificates::{Ca, No};
use crate::dice::Dice;

/// What `src/daemon.rs` sets.
const ORDERS_AT_ONCE: usize = 32;
const GRACE: Duration = Duration::from_secs(8 * 3_600);

enum Event {
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
    /// Hosts whose validation always fails.
    pub(crate) cursed: fn(&Hostname) -> bool,
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
            cursed: |_| false,
            issued: Vec::new(),
            ends: BTreeMap::new(),
            expired: 0,
            polls: 0,
            polled: (0, 0, 0),
            renewals: Vec::new(),
            took: Vec::new(),
            recalled: BTreeMap::new(),
            first_asks: Vec::new(),
            first_held: Vec::new(),
        }
    }

    /// Each host in an Ingress of its own; those of one team in one namespace.
    pub(crate) fn ask(&mut self, hosts: &[Hostname]) {
        for (number, host) in hosts.iter().enumerate() {
            let asker = Asker {
                namespace: format!("team-{}", number % 50).into(),
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
        // Up to where they would have been renewed.
        let oldest = self.ca.lifetime_hours * 3_600 * 6 / 10;
        for host in hosts {
            let age = Duration::from_secs(self.dice.between(60, oldest).unsigned_abs());
            let at = schedule::ahead(self.now, -jiff::SignedDuration::try_from(age).unwrap());
            let facts = self.ca.make(host, at);
            self.hold(host, facts, at);
        }
    }

    /// Everything has been seen.
    pub(crate) fn begin(&mut self) {
        self.world.ask_all(std::mem::take(&mut self.first_asks));
        self.world.hold_all(std::mem::take(&mut self.first_held));
        self.world.note_all(Vec::new(), Vec::new());
    }

    fn hold(&mut self, host: &Hostname, facts: faythe_core::cert::CertFacts, at: Timestamp) {
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
            issued_at: Some(at),
            renew: false,
            made_by: None,
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

    fn turn(&mut self) -> Option<Timestamp> {
        let plan = self.planner.turn(&mut self.world, &self.policy, self.now);
        let mut asked = Vec::new();
        for action in plan.actions {
            match action {
                Action::AskHint {
                    certificate,
                    question,
                } => asked.push((question, certificate)),
                Action::Drive { host, .. } => self.drive(&host),
                Action::Forget(host) => self.world.set_activity(&host, None),
                Action::Steer { .. } => {}
            }
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
        self.note_renewal(host);
        let replaces = self.world.predecessor(host, CaId::FIRST);
        match self.ca.open(host, replaces.as_ref(), self.now) {
            Ok((number, renewal)) => {
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
                self.world.set_activity(host, Some(Activity::Resting(rest)));
            }
            Err(No::Limited) => {
                self.world.tell(host, Spending::Refused, self.now);
                self.world.set_activity(host, None);
            }
        }
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
        });
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
        match event {
            Event::End { host, number, .. } if (self.cursed)(&host) => {
                self.ca.counts.fail(number, self.now);
                self.world.tell(&host, Spending::Failed, self.now);
                let before = self.world.failures(&host).map_or(0, |before| before.count);
                let failures = Failures {
                    count: before + 1,
                    last: self.now,
                    code: "dns".into(),
                    text: String::new(),
                    not_before: None,
                    parked: false,
                    refused_by: Vec::new(),
                };
                self.world.set_failures(&host, Some(failures));
                self.world.set_activity(&host, None);
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
                self.hold(&host, facts, self.now);
                self.world.set_activity(&host, None);
            }
            Event::Told(asked) => {
                for (question, id) in asked {
                    let answer = match self.ca.window(&id, self.now) {
                        _ if self.ca.away => Answer::Busy,
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
                    self.world.hinted(question, answer, self.now);
                }
            }
        }
    }
}

pub(crate) fn limits() -> Limits {
    Preset::LetsEncrypt.limits()
}

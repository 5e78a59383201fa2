//! Laws of budgets: against a CA that counts for itself, by its own clock and at the moment that suits it least, whatever
//! our clock is set to.

use std::collections::BTreeMap;
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::budget::{Exemption, Kind, Ledger, Limit, Limits, Record, Spending};
use faythe_core::name::Hostname;
use faythe_core::schedule::ahead;
use jiff::SignedDuration;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::cases;
use crate::worlds::start;

/// Few, and far apart, so that every limit is met.
fn limits() -> Limits {
    let limit = |count, secs| Some(Limit::new(count, Duration::from_secs(secs)));
    Limits {
        certificates_per_domain: limit(5, 50_000),
        certificates_per_set: limit(3, 60_000),
        failures_in_a_row: limit(6, 300_000),
        failures_per_name: limit(2, 4_000),
        new_orders: limit(8, 8_000),
        ..Limits::default()
    }
}

/// A bucket as the CA counts it: tokens, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Tokens {
    left: i128,
    seen: Timestamp,
}

/// A CA with the limits, to the letter.
#[derive(Debug)]
struct Counter {
    limits: Limits,
    tokens: BTreeMap<(Kind, String), Tokens>,
}

impl Counter {
    fn tokens(&mut self, kind: Kind, key: &str, now: Timestamp) -> (&mut Tokens, i128) {
        let limit = self.limits.of(kind).unwrap();
        let one = limit.interval().as_nanos();
        let full = one * i128::from(limit.burst());
        let tokens = self.tokens.entry((kind, key.to_owned())).or_insert(Tokens {
            left: full,
            seen: now,
        });
        tokens.left = full.min(tokens.left + tokens.seen.duration_until(now).as_nanos());
        tokens.seen = now;
        (tokens, one)
    }

    fn has(&mut self, kind: Kind, key: &str, now: Timestamp) -> bool {
        let (tokens, one) = self.tokens(kind, key, now);
        tokens.left >= one
    }

    fn spend(&mut self, kind: Kind, key: &str, now: Timestamp) {
        let (tokens, one) = self.tokens(kind, key, now);
        tokens.left -= one;
    }
}

/// How far the order of a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Its grant has been handed out; the CA has not been asked.
    Granted,
    /// The CA has made it, and we have not heard of it.
    Made,
    /// We have heard of it.
    Ordered,
    /// The CA has seen it fail, and we have not heard.
    Failed,
    /// The CA has issued, and we have not heard.
    Issued,
}

#[derive(Clone, Debug)]
enum Event {
    /// An order for the host is wanted.
    Want(usize, Exemption),
    /// Its order goes on by one step, this way where there are several.
    Step(usize, u8),
    Pass(i64),
    /// Our clock is set by so much.
    Set(i64),
    /// The process dies, and another begins with what was saved, and takes up the orders that it had heard of; its clock may
    /// differ from that before by so much.
    Crash(i64),
}

/// Hours, days or a year, back and forth.
fn jump() -> impl Strategy<Value = i64> {
    prop_oneof![
        2 => -50_000..50_000_i64,
        1 => -700_000..700_000_i64,
        1 => prop_oneof![Just(-31_536_000_i64), Just(31_536_000)],
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let exemption = prop_oneof![
        4 => Just(Exemption::Nothing),
        2 => Just(Exemption::Renewal),
        1 => Just(Exemption::Window),
    ];
    prop_oneof![
        8 => (0..7_usize, exemption).prop_map(|(host, exemption)| Event::Want(host, exemption)),
        16 => (0..7_usize, 0..8_u8).prop_map(|(host, way)| Event::Step(host, way)),
        4 => prop_oneof![0..5_i64, 0..2_000_i64, 0..30_000_i64].prop_map(Event::Pass),
        1 => Just(Event::Crash(0)),
    ]
}

/// What happens so fast that the limits are soon reached, under a clock that nobody can trust.
fn astray() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0..7_usize).prop_map(|host| Event::Want(host, Exemption::Nothing)),
        // Straight on.
        32 => (0..7_usize, 1..8_u8).prop_map(|(host, way)| Event::Step(host, way)),
        2 => prop_oneof![0..5_i64, 0..1_000_i64].prop_map(Event::Pass),
        2 => jump().prop_map(Event::Set),
        1 => jump().prop_map(Event::Crash),
    ]
}

fn hosts() -> Vec<Hostname> {
    [
        "a.example.com",
        "*.a.example.com",
        "b.example.com",
        "c.example.com",
        "example.com",
        "x.example.co.uk",
        "y.example.co.uk",
    ]
    .map(|host| host.parse().unwrap())
    .to_vec()
}

struct Course {
    ledger: Ledger,
    saved: Option<Record>,
    counter: Counter,
    orders: BTreeMap<usize, (Phase, Exemption)>,
    /// What certificates and notes tell after a crash.
    issued: Vec<(Hostname, Timestamp)>,
    failed: BTreeMap<Hostname, (u32, Timestamp)>,
    /// By the clock of the CA, and of the API server.
    now: Timestamp,
    clock_ahead: SignedDuration,
    made: usize,
}

impl Course {
    fn new() -> Self {
        Self {
            ledger: Ledger::new(limits()),
            saved: None,
            counter: Counter {
                limits: limits(),
                tokens: BTreeMap::new(),
            },
            orders: BTreeMap::new(),
            issued: Vec::new(),
            failed: BTreeMap::new(),
            now: start(),
            clock_ahead: SignedDuration::ZERO,
            made: 0,
        }
    }

    /// By our clock.
    fn clock(&self) -> Timestamp {
        ahead(self.now, self.clock_ahead)
    }

    fn save(&mut self) {
        self.saved = Some(self.ledger.record(self.clock()));
        self.ledger.saved(true, self.clock());
    }

    fn apply(&mut self, event: &Event) -> Result<(), TestCaseError> {
        self.ledger.pass(self.clock());
        match *event {
            Event::Want(host, exemption) if !self.orders.contains_key(&host) => {
                let name = &hosts()[host];
                if self.ledger.block(name, exemption, self.clock()).is_some() {
                    return Ok(());
                }
                if self.ledger.reserve(name, exemption, self.clock()).is_err() {
                    prop_assert_eq!(self.ledger.save_at(self.clock()), Some(self.clock()));
                    self.save();
                    prop_assert_eq!(self.ledger.reserve(name, exemption, self.clock()), Ok(()));
                }
                let grant = self.ledger.grant(name).unwrap();
                prop_assert_eq!(self.ledger.grant(name), None);
                prop_assert_eq!(grant.exemption(), exemption);
                self.orders.insert(host, (Phase::Granted, exemption));
            }
            Event::Want(..) => {}
            Event::Step(host, way) => self.step(host, way)?,
            Event::Pass(secs) => self.now = ahead(self.now, SignedDuration::from_secs(secs)),
            Event::Set(secs) => {
                let by = SignedDuration::from_secs(secs);
                self.clock_ahead += by;
                self.ledger.clock_set(by);
                self.ledger.set_clock_ahead(self.clock_ahead);
                self.save_at_once();
            }
            Event::Crash(secs) => {
                self.clock_ahead += SignedDuration::from_secs(secs);
                self.crash();
                self.save_at_once();
            }
        }
        Ok(())
    }

    fn save_at_once(&mut self) {
        if self
            .ledger
            .save_at(self.clock())
            .is_some_and(|at| at <= self.clock())
        {
            self.save();
        }
    }

    fn step(&mut self, host: usize, way: u8) -> Result<(), TestCaseError> {
        let Some((phase, exemption)) = self.orders.get(&host).copied() else {
            return Ok(());
        };
        let name = hosts()[host].clone();
        let set = name.to_string();
        let domain = if set.ends_with(".uk") {
            "example.co.uk"
        } else {
            "example.com"
        };
        let (now, clock) = (self.now, self.clock());
        let next = match (phase, way) {
            (Phase::Granted, 0) => {
                self.ledger.tell(&name, Spending::Refused, clock);
                None
            }
            (Phase::Granted, _) => {
                self.arrive(&set, domain, exemption)?;
                Some(Phase::Made)
            }
            (Phase::Made, _) => {
                self.ledger.tell(&name, Spending::Ordered, clock);
                Some(Phase::Ordered)
            }
            (Phase::Ordered, 0) => {
                self.ledger.tell(&name, Spending::Ended, clock);
                None
            }
            (Phase::Ordered, 1..=2) => {
                self.counter.spend(Kind::FailuresPerName, &set, now);
                self.counter.spend(Kind::FailuresInARow, &set, now);
                Some(Phase::Failed)
            }
            (Phase::Ordered, _) => {
                self.counter.spend(Kind::CertificatesPerSet, &set, now);
                if exemption == Exemption::Nothing {
                    self.counter.spend(Kind::CertificatesPerDomain, domain, now);
                }
                self.counter.tokens.remove(&(Kind::FailuresInARow, set));
                Some(Phase::Issued)
            }
            (Phase::Failed, _) => {
                let count = self.failed.get(&name).map_or(0, |(count, _)| *count);
                self.failed.insert(name.clone(), (count + 1, clock));
                self.ledger.tell(&name, Spending::Failed, clock);
                None
            }
            (Phase::Issued, _) => {
                self.failed.remove(&name);
                self.issued.push((name.clone(), clock));
                self.ledger.tell(&name, Spending::Issued, clock);
                None
            }
        };
        match next {
            Some(phase) => self.orders.insert(host, (phase, exemption)),
            None => self.orders.remove(&host),
        };
        Ok(())
    }

    /// A new order arrives at the CA.
    fn arrive(&mut self, set: &str, domain: &str, exemption: Exemption) -> Result<(), TestCaseError> {
        let now = self.now;
        let mut checks = vec![(Kind::FailuresInARow, set)];
        if exemption != Exemption::Window {
            checks.extend([(Kind::CertificatesPerSet, set), (Kind::FailuresPerName, set)]);
        }
        if exemption == Exemption::Nothing {
            checks.extend([(Kind::CertificatesPerDomain, domain), (Kind::NewOrders, "")]);
        }
        for (kind, key) in checks {
            prop_assert!(self.counter.has(kind, key, now), "429 for {set}: {kind:?}");
        }
        if exemption == Exemption::Nothing {
            self.counter.spend(Kind::NewOrders, "", now);
        }
        self.made += 1;
        Ok(())
    }

    fn crash(&mut self) {
        let clock = self.clock();
        self.ledger = Ledger::new(limits());
        self.ledger.set_clock_ahead(self.clock_ahead);
        if let Some(record) = &self.saved {
            self.ledger.load(record, clock);
        }
        for (host, at) in &self.issued {
            self.ledger.recall_issued(host, *at, clock);
        }
        for (host, (count, at)) in &self.failed {
            self.ledger.recall_failed(host, *count, *at, clock);
        }
        self.ledger.recalled(clock);
        // What was granted and never sent, or made and never heard of, is forgotten; what was noted is taken up.
        self.orders
            .retain(|_, (phase, _)| !matches!(phase, Phase::Granted | Phase::Made));
        for (host, (_, exemption)) in &self.orders {
            self.ledger.adopt(&hosts()[*host], *exemption);
        }
    }
}

proptest! {
    #![proptest_config(cases(1_500))]

    #[test]
    fn p17_the_ca_never_has_to_say_no(events in vec(event(), 1..250)) {
        let mut course = Course::new();
        for event in &events {
            course.apply(event)?;
        }
    }

    #[test]
    fn p17_no_clock_that_jumps_makes_the_ca_say_no(events in vec(astray(), 1..250)) {
        let mut course = Course::new();
        for event in &events {
            course.apply(event)?;
        }
    }

    #[test]
    fn p17_what_is_foretold_comes_true(
        used in vec((0..7_usize, 0..300_i64), 0..20),
        nth in 1..12_u32,
    ) {
        // If nothing else happens, the nth order fits when it was said to, and not a second before.
        let mut ledger = Ledger::new(limits());
        let mut now = start();
        for (host, secs) in used {
            ledger.tell(&hosts()[host], Spending::Issued, now);
            now = ahead(now, SignedDuration::from_secs(secs));
        }
        let host = &hosts()[0];
        let at = ledger.domain_at(host, nth, now);
        let fits = |at| {
            let mut ledger = ledger.clone();
            // Those before it are granted as soon as they fit.
            let mut passed = now;
            for _ in 1..nth {
                passed = passed.max(ledger.domain_at(host, 1, passed));
                ledger.tell(&hosts()[2], Spending::Issued, passed);
            }
            passed <= at && ledger.free_in_domain(host, at).unwrap() > 0
        };
        prop_assert!(fits(ahead(at, SignedDuration::from_secs(1))));
        prop_assert!(at == now || !fits(ahead(at, SignedDuration::from_secs(-2))));
    }
}

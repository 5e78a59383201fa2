//! Months of a whole cluster in seconds: the real world, planner and order step between a model shell and a model outside.
//!
//! Time jumps from event to event. There is no heartbeat, so what nobody wakes up for is missed and found out.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use faythe_core::Timestamp;
use faythe_core::name::Hostname;
use faythe_core::policy::Policy;
use faythe_core::schedule::{Threshold, after, ahead};
use faythe_core::zone::{Rule, Zone, Zones};
use jiff::SignedDuration;

use self::life::Mend;
use crate::dice::Dice;
use crate::laws::{GRACE, Laws};
use crate::outside::{Ca, Change, Cluster, Dns, Habits, Outside, secs};
use crate::shell::{Shell, Then};

mod life;

const DAY_SECS: i64 = 86_400;
/// The last days are quiet, so that everything must come to an end: the longest wait is that for an order that never
/// leaves `processing`, which the CA forgets after a week.
const QUIET_DAYS: i64 = 10;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
struct Course {
    hosts: usize,
    days: i64,
    cap: usize,
    habits: Habits,
    /// How many mishaps a day.
    mishaps: i64,
    lag_secs: i64,
}

enum Event {
    /// The CA looks, or makes the certificate.
    Ca(usize),
    Day,
    Forgot(Hostname, u64),
    Ingress(String, Option<Vec<String>>),
    List(u64, u8),
    Mishap,
    Restart,
    Step(u64, Hostname, u64),
    Turn(u64),
    /// Something mends itself.
    Mend(Mend),
    Watch(Timestamp, Change),
}

struct Sim {
    course: Course,
    outside: Outside,
    shell: Option<Shell>,
    /// Which process it is; events of an earlier one are void.
    life: u64,
    queue: BTreeMap<(Timestamp, u64), Event>,
    count: u64,
    turn_at: Option<Timestamp>,
    watch_until: Timestamp,
    laws: Laws,
    end: Timestamp,
    books: (u64, u64),
}

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

impl Sim {
    fn new(course: Course, seed: u64) -> Self {
        let end = secs(start(), course.days * DAY_SECS);
        let outside = Outside {
            now: start(),
            dice: Dice::new(seed),
            ca: Ca::new(course.habits),
            dns: Dns::new(course.lag_secs),
            cluster: Cluster::default(),
        };
        let mut sim = Self {
            course,
            outside,
            shell: None,
            life: 0,
            queue: BTreeMap::new(),
            count: 0,
            turn_at: None,
            watch_until: start(),
            laws: Laws::default(),
            end,
            books: (0, 0),
        };
        for i in 0..course.hosts / 2 {
            let hosts = sim.some_hosts();
            sim.set_ingress(&format!("first-{i}"), Some(hosts));
        }
        sim.after(Duration::ZERO, Event::Restart);
        sim.after(Duration::from_secs(3600), Event::Mishap);
        sim.after(Duration::from_secs(86_400), Event::Day);
        sim
    }

    fn after(&mut self, wait: Duration, event: Event) {
        self.count += 1;
        self.queue
            .insert((after(self.outside.now, wait), self.count), event);
    }

    fn soon(&mut self, low_secs: i64, high_secs: i64, event: Event) {
        let wait = self.outside.dice.between(low_secs, high_secs).unsigned_abs();
        self.after(Duration::from_secs(wait), event);
    }

    fn is_quiet(&self) -> bool {
        self.outside.now
            >= secs(self.end, 0).min(ahead(self.end, SignedDuration::from_hours(-24 * QUIET_DAYS)))
    }

    fn run(&mut self) {
        while let Some(((now, _), event)) = self.queue.pop_first() {
            if now > self.end || !self.laws.broken.is_empty() {
                break;
            }
            self.outside.now = now;
            self.happen(event);
            self.pass_on();
        }
        self.outside.now = self.end;
        if self.laws.broken.is_empty() {
            let verdicts = self.shell.iter().flat_map(|shell| shell.planner.verdicts());
            let verdicts = verdicts.map(|(host, verdict)| {
                (
                    host.clone(),
                    format!("{}: {}", verdict.reason.state().code(), verdict.reason),
                )
            });
            let verdicts = verdicts.collect();
            self.laws.check_end(&self.outside, &verdicts);
        }
    }

    fn happen(&mut self, event: Event) {
        let now = self.outside.now;
        match event {
            Event::Ca(order) => {
                let Outside { ca, dns, dice, .. } = &mut self.outside;
                let unseen = ca.act(order, dns, now, dice);
                if unseen {
                    self.laws.unseen(order, &self.outside);
                }
            }
            Event::Day => {
                let (works, steps) = self.books;
                self.laws.check_day(&self.outside, works, steps);
                self.books = (self.laws.works, self.laws.steps);
                self.after(Duration::from_secs(86_400), Event::Day);
            }
            Event::Forgot(host, life) => {
                if life == self.life
                    && let Some(shell) = &mut self.shell
                {
                    if !self.outside.cluster.down {
                        self.outside.cluster.notes.remove(&host);
                    }
                    shell.forgot(&host);
                    self.turn_soon();
                }
            }
            Event::Ingress(name, hosts) => self.set_ingress(&name, hosts),
            Event::List(life, kind) => self.list(life, kind),
            Event::Mend(mend) => self.mend(&mend),
            Event::Mishap => self.mishap(),
            Event::Restart => {
                self.life += 1;
                self.shell = Some(Shell::new(policy(self.course.cap)));
                self.turn_at = None;
                for kind in 0..3 {
                    self.soon(0, 5, Event::List(self.life, kind));
                }
            }
            Event::Step(life, host, work) if life == self.life => self.step(&host, work),
            Event::Step(..) => {}
            Event::Turn(life) => {
                if life == self.life && self.turn_at == Some(now) {
                    self.turn();
                }
            }
            Event::Watch(when, change) => {
                if self.outside.cluster.down {
                    self.after(Duration::from_secs(1), Event::Watch(when, change));
                } else if let Some(shell) = &mut self.shell {
                    shell.watch(change, when);
                    self.turn_soon();
                }
            }
        }
    }

    /// What the outside has begun on its own account.
    fn pass_on(&mut self) {
        for (at, order) in std::mem::take(&mut self.outside.ca.agenda) {
            self.count += 1;
            self.queue.insert((at, self.count), Event::Ca(order));
        }
        for change in std::mem::take(&mut self.outside.cluster.untold) {
            // In the order in which it happened.
            let delay = SignedDuration::from_millis(self.outside.dice.between(1, 2000));
            self.watch_until = self.watch_until.max(ahead(self.outside.now, delay));
            self.count += 1;
            let event = Event::Watch(self.outside.now, change);
            self.queue.insert((self.watch_until, self.count), event);
        }
    }

    // ---- the process ----

    fn turn_soon(&mut self) {
        self.turn_by(after(self.outside.now, Duration::from_millis(5)));
    }

    fn turn_by(&mut self, at: Timestamp) {
        if self
            .turn_at
            .is_none_or(|planned| planned > at || planned < self.outside.now)
        {
            self.turn_at = Some(at);
            self.count += 1;
            self.queue.insert((at, self.count), Event::Turn(self.life));
        }
    }

    fn turn(&mut self) {
        self.turn_at = None;
        let Some(shell) = &mut self.shell else { return };
        let (begun, forgotten) = shell.turn(self.outside.now, &mut self.laws);
        let wake_at = shell.wake_at;
        for (host, work) in begun {
            self.after(Duration::from_millis(1), Event::Step(self.life, host, work));
        }
        for host in forgotten {
            self.after(Duration::from_millis(50), Event::Forgot(host, self.life));
        }
        if let Some(at) = wake_at {
            self.turn_by(at);
        }
    }

    fn step(&mut self, host: &Hostname, work: u64) {
        let Some(shell) = &mut self.shell else { return };
        match shell.step(host, work, &mut self.outside, &mut self.laws) {
            Some(Then::After(pause)) => {
                self.after(
                    pause.max(Duration::from_millis(1)),
                    Event::Step(self.life, host.clone(), work),
                );
                self.turn_soon();
            }
            Some(Then::Ended) => self.turn_soon(),
            None => {}
        }
        // Steps are where a death hurts.
        if !self.is_quiet() && self.outside.dice.chance(2) {
            self.die();
        }
    }

    fn list(&mut self, life: u64, kind: u8) {
        let Some(shell) = self.shell.as_mut().filter(|_| life == self.life) else {
            return;
        };
        if self.outside.cluster.down {
            self.soon(1, 5, Event::List(life, kind));
            return;
        }
        match kind {
            0 => shell.list_ingresses(&self.outside),
            1 => shell.list_secrets(&self.outside),
            _ => shell.read_notes(&self.outside),
        }
        self.turn_soon();
    }

    fn die(&mut self) {
        if let Some(mut shell) = self.shell.take() {
            shell.die_within_steps(&mut self.outside, &mut self.laws);
            self.laws.crashes += 1;
            self.laws.last_crash = Some(self.outside.now);
            self.soon(1, 120, Event::Restart);
        }
    }
}

fn policy(cap: usize) -> Policy {
    let zone = Zone {
        apex: "example.com".parse().unwrap(),
        wildcards: false,
        rule: Rule::flat("ns.test", &[]),
        challenges: None,
    };
    Policy {
        zones: Zones::new(vec![zone]),
        threshold: Threshold::Default,
        spread: 0,
        renewals_per_minute: None,
        issue_grace: GRACE.unsigned_abs(),
        orders_at_once: cap,
    }
}

/// A course that the seed chooses.
fn course(seed: u64) -> Course {
    let mut dice = Dice::new(seed ^ 0xFA17);
    let days = *dice.pick(&[10, 45, 90]).unwrap();
    Course {
        hosts: usize::try_from(dice.between(5, 60)).unwrap(),
        days: dice.between(40, 150),
        cap: usize::try_from(dice.between(1, 20)).unwrap(),
        habits: Habits {
            lifetime_hours: days * 24,
            reuses: dice.chance(500),
            orders_in_three_hours: usize::try_from(dice.between(20, 300)).unwrap(),
            hiccups: dice.between(0, 50),
            stuck: if days > 20 && dice.chance(300) { 20 } else { 0 },
        },
        mishaps: dice.between(1, 12),
        lag_secs: dice.between(0, 30),
    }
}

/// Runs a course; answers what it saw, or every law that was broken.
fn run(course: Course, seed: u64) -> Result<String, String> {
    let mut sim = Sim::new(course, seed);
    sim.run();
    let Laws {
        turns,
        steps,
        works,
        opened,
        issued,
        crashes,
        broken,
        ..
    } = &sim.laws;
    let mut text = format!(
        "seed {seed}: {} hosts, {} days: {opened} orders asked for, {issued} certificates, {works} works, {steps} steps, \
         {turns} turns, {crashes} crashes",
        course.hosts, course.days
    );
    if broken.is_empty() {
        return Ok(text);
    }
    write!(text, "\n{course:?}\nreplay with FAYTHE_SEED={seed}").unwrap();
    for law in broken.iter().take(10) {
        write!(text, "\n  {law}").unwrap();
    }
    Err(text)
}

#[expect(clippy::print_stdout, reason = "the seed is what replays a run")]
fn check(course: Course, seed: u64) {
    match run(course, seed) {
        Ok(text) => println!("{text}"),
        Err(text) => panic!("{text}"),
    }
}

#[test]
fn the_loop_keeps_every_law_on_known_seeds() {
    for seed in 1..=10 {
        check(course(seed), seed);
    }
}

/// `FAYTHE_SEED=n` replays a run; `FAYTHE_SEEDS=n` tries that many fresh ones.
#[test]
fn the_loop_keeps_every_law_on_fresh_seeds() {
    let number = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("FAYTHE_SEED") {
        check(course(seed), seed);
        return;
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let first = now.as_secs();
    for seed in first..first + number("FAYTHE_SEEDS").unwrap_or(3) {
        check(course(seed), seed);
    }
}

#[test]
fn hundreds_of_hosts_live_through_a_year() {
    let habits = Habits {
        lifetime_hours: 90 * 24,
        reuses: true,
        orders_in_three_hours: 300,
        hiccups: 10,
        stuck: 5,
    };
    let course = Course {
        hosts: 200,
        days: 365,
        cap: 50,
        habits,
        mishaps: 3,
        lag_secs: 10,
    };
    check(course, 1);
}

//! Laws of plans: each holds after every event of every generated course.

use std::collections::BTreeMap;
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::activity::{Activity, Hold, Rest};
use faythe_core::audit::{audit, may_order};
use faythe_core::budget::{Kind, Ledger, Limit, Limits, Record, Spending};
use faythe_core::cas::{CaId, CaKey, Cas};
use faythe_core::cert::{CertFacts, Held};
use faythe_core::name::Hostname;
use faythe_core::order::{Goal, Stage};
use faythe_core::plan::{Action, Plan, Planner};
use faythe_core::policy::Policy;
use faythe_core::problem::Scope;
use faythe_core::schedule::{Demand, Why, ahead};
use faythe_core::verdict::{Gate, State};
use faythe_core::world::{Answer, Question, World};
use jiff::SignedDuration;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::cases;
use crate::worlds::{
    Ending, Event, asker, cas, event, failures, hosts, limits, namespace, other_limits, policy, scopes,
    start, texts, window, zones,
};

/// What the CAs count.
#[derive(Clone, Copy, Debug)]
enum Counting {
    Nothing,
    /// Each the same.
    Alike,
    /// The second one more than the first of this, and less of that.
    Apart,
}

fn counting() -> impl Strategy<Value = Counting> {
    prop_oneof![
        Just(Counting::Nothing),
        Just(Counting::Alike),
        Just(Counting::Apart)
    ]
}

/// A world and its planner on their way through events.
struct Course {
    world: World,
    planner: Planner,
    policy: Policy,
    now: Timestamp,
    /// What the CA is being asked.
    asked: BTreeMap<Hostname, Question>,
    records: BTreeMap<CaId, Record>,
}

impl Course {
    fn new(cap: usize, cas: Cas, counting: Counting, noted: &[usize], failed: &[(usize, i64)]) -> Self {
        let all: Vec<_> = cas.all().map(|(ca, _)| ca).collect();
        let mut world = World::with_cas(zones(), cas);
        for ca in all {
            let limits = match counting {
                Counting::Nothing => continue,
                Counting::Apart if ca != CaId::FIRST => other_limits(),
                Counting::Alike | Counting::Apart => limits(),
            };
            world.set_ledger(ca, Ledger::new(limits));
        }
        world.ask_all(Vec::new());
        world.hold_all(Vec::new());
        let noted = noted.iter().map(|host| hosts().swap_remove(*host)).collect();
        let failed = failed
            .iter()
            .map(|(host, hours)| (hosts().swap_remove(*host), failures(1, -*hours * 3600, false)));
        world.note_all(noted, failed.collect());
        Self {
            world,
            planner: Planner::new(),
            policy: policy(cap),
            now: start(),
            asked: BTreeMap::new(),
            records: BTreeMap::new(),
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Ask(ingress, wish) => self.world.ask(asker(ingress), &texts(&wish)),
            Event::StopAsking(ingress) => self.world.stop_asking(namespace(ingress), &ingress.to_string()),
            Event::Relist(all) => {
                let all = all.iter().map(|(ingress, wish)| (asker(*ingress), texts(wish)));
                self.world.ask_all(all.collect());
            }
            Event::Hold(host, held) => self.world.hold(Some(hosts().swap_remove(host)), held),
            Event::Release(which) => self.world.release(&format!("secret-{}-{}", which / 2, which % 2)),
            Event::Stage(host) => {
                let host = &hosts()[host];
                if self.is_running(host) {
                    self.world
                        .set_activity(host, Some(Activity::Running(Stage::Checking)));
                }
            }
            Event::End(host, how) => self.end(&hosts()[host], how),
            Event::LeaveAlone(ca, scope, secs, told) => {
                let until = ahead(self.now, SignedDuration::from_secs(secs));
                let hold = Hold {
                    until,
                    code: "busy".into(),
                    text: "busy".into(),
                    tries: 1,
                    told,
                };
                self.world
                    .set_hold(self.ca(ca), scopes()[scope].clone(), hold, self.now);
            }
            Event::Hinted(host, window) => {
                let host = &hosts()[host];
                if let Some(question) = self.asked.remove(host) {
                    let answer = window.map_or(Answer::Busy { retry_after: None }, |window| Answer::Told {
                        window: self::window(self.now, window),
                        retry_after: None,
                    });
                    self.world.hinted(question, answer, self.now);
                }
            }
            Event::Answered(ca) => self.world.clear_trouble(self.ca(ca)),
            Event::Exclude(host, ca, secs) => {
                let hold = Hold {
                    until: ahead(self.now, SignedDuration::from_secs(secs)),
                    code: "caa-excludes".into(),
                    text: "CAA".into(),
                    tries: 1,
                    told: false,
                };
                self.world.exclude(&hosts()[host], self.ca(ca), hold);
            }
            Event::Demand(host, force) => {
                let (at, why) = (self.now, Why::Hand);
                self.world.set_demand(&hosts()[host], Demand { at, force, why });
            }
            Event::Pass(secs) => self.now = ahead(self.now, SignedDuration::from_secs(secs)),
        }
    }

    /// The `number`th CA, or the last.
    fn ca(&self, number: usize) -> CaId {
        let (ca, _) = self.world.cas().all().take(number + 1).last().unwrap();
        ca
    }

    fn is_running(&self, host: &Hostname) -> bool {
        matches!(self.world.activity(host), Some(Activity::Running(_)))
    }

    fn end(&mut self, host: &Hostname, how: Ending) {
        if !self.is_running(host) {
            return;
        }
        drop(self.world.grant(host));
        let spending = match how {
            Ending::Blocked(noted) | Ending::Rested(noted, _) => noted.then_some(Spending::Ordered),
            Ending::Failed(_) => Some(Spending::Failed),
            Ending::Refused => Some(Spending::Refused),
            Ending::Settled => None,
            Ending::Stored(_) => Some(Spending::Issued),
        };
        if let Some(spending) = spending {
            self.world.tell(host, Spending::Ordered, self.now);
            self.world.tell(host, spending, self.now);
        } else {
            self.world.tell(host, Spending::Ended, self.now);
        }
        let activity = match how {
            Ending::Blocked(noted) => {
                self.world.take(host, "taken".into(), self.now);
                noted.then_some(Activity::Noted)
            }
            Ending::Failed(parked) => {
                let count = self.world.failures(host).map_or(1, |failures| failures.count + 1);
                let since = start().duration_until(self.now).as_secs();
                self.world
                    .set_failures(host, Some(failures(count, since, parked)));
                None
            }
            Ending::Refused => {
                let before = self.world.failures(host).cloned();
                let since = start().duration_until(self.now).as_secs();
                let mut now = failures(before.as_ref().map_or(1, |before| before.count + 1), since, true);
                let (grace, demand) = (self.policy.issue_grace, self.world.demand(host));
                let before = before.filter(|before| before.next_attempt(grace, demand) > self.now);
                now.refused_by = before.map_or_else(Vec::new, |before| before.refused_by);
                let ca = self.world.ca_of(host);
                now.refused_by
                    .push(self.world.cas().get(ca).unwrap().directory.clone());
                self.world.set_failures(host, Some(now));
                None
            }
            Ending::Rested(noted, secs) => Some(Activity::Resting(Rest {
                noted,
                stage: Stage::Publishing,
                code: "badkey".into(),
                text: "badkey".into(),
                // Few rests in a row cost no place, and many do.
                tries: u32::try_from(secs % 14).unwrap(),
                until: ahead(self.now, SignedDuration::from_secs(secs)),
            })),
            Ending::Settled => None,
            Ending::Stored(held) => {
                self.world.set_failures(host, None);
                self.world.hold(Some(host.clone()), held);
                None
            }
        };
        self.world.set_activity(host, activity);
    }

    fn turn(&mut self) -> Plan {
        let plan = self.planner.turn(&mut self.world, &self.policy, self.now);
        for action in &plan.actions {
            if let Action::AskHint { question, .. } = action
                && let Some(host) = self.world.asked_for(*question)
            {
                self.asked.insert(host.clone(), *question);
            }
        }
        plan
    }

    /// Saves what has to be saved.
    fn save(&mut self) {
        for (ca, _) in self.world.cas().clone().all() {
            let ledger = self.world.ledger_mut(ca);
            if ledger.save_at(self.now).is_some_and(|at| at <= self.now) {
                self.records.insert(ca, ledger.record(self.now));
                ledger.saved(true, self.now);
            }
        }
    }

    /// The same facts in a world of which everything is new.
    fn world_anew(&self) -> World {
        let mut world = World::with_cas(zones(), self.world.cas().clone());
        world.ask_all(Vec::new());
        world.hold_all(Vec::new());
        world.note_all(Vec::new(), Vec::new());
        let mut wants: Vec<_> = self.world.wants().collect();
        wants.sort_by_key(|(_, want)| want.arrival);
        let mut asks = BTreeMap::<_, Vec<String>>::new();
        for (host, want) in wants {
            for asker in &want.askers {
                let hosts = asks.entry(asker).or_default();
                hosts.push(host.to_string());
                world.ask((**asker).clone(), hosts);
            }
        }
        for host in &hosts() {
            for held in self.world.claims(host) {
                world.hold(Some(host.clone()), held.clone());
            }
            if let Some(taken) = self.world.taken(host) {
                world.take(host, taken.reason.clone(), taken.since);
                world.take(host, taken.reason.clone(), taken.seen);
            }
            world.set_ca(host, self.world.ca_of(host));
            world.set_activity(host, self.world.activity(host).cloned());
            world.set_failures(host, self.world.failures(host).cloned());
            if let Some(demand) = self.world.demand(host) {
                world.set_demand(host, demand);
            }
        }
        for (ca, _) in self.world.cas().all() {
            for scope in scopes() {
                if let Some(hold) = self.world.hold_of(ca, &scope) {
                    world.set_hold(ca, scope, hold.clone(), self.now);
                }
            }
            for host in &hosts() {
                if let Some(hold) = self.world.exclusion(host, ca) {
                    world.exclude(host, ca, hold.clone());
                }
            }
        }
        world.inherit(&self.world);
        world
    }

    /// Plans, and holds the plan against every law.
    fn checked_turn(&mut self) -> Result<(), TestCaseError> {
        self.save();
        let mut anew = Self {
            world: self.world_anew(),
            planner: Planner::new(),
            policy: self.policy.clone(),
            now: self.now,
            asked: BTreeMap::new(),
            records: BTreeMap::new(),
        };
        let cas = self.world.cas().clone();
        let pairs = hosts().into_iter();
        let pairs = pairs.flat_map(|host| cas.all().map(move |(ca, _)| (host.clone(), ca)));
        let permitted: Vec<_> = pairs
            .filter(|(host, ca)| {
                let noted = match anew.world.activity(host) {
                    Some(Activity::Noted) => true,
                    Some(Activity::Resting(rest)) => rest.noted && rest.until <= self.now,
                    Some(Activity::Running(_)) | None => false,
                };
                noted && anew.world.ca_of(host) == *ca
                    || may_order(host, *ca, &anew.world, &self.policy, self.now)
            })
            .collect();
        let plan = self.turn();
        let laws = audit(&plan, &self.planner, &self.world, &self.policy, self.now);
        prop_assert!(laws.is_ok(), "{:?}", laws);
        prop_assert!(
            self.planner.running() <= self.policy.orders_at_once + 1,
            "over the cap"
        );
        // What has an end of its own has not outlasted it; how long the rest may take is not the plan's alone.
        let overdue = self.planner.overdue(&self.world, &self.policy, self.now);
        let ends = [State::Failed, State::Held, State::Stalled, State::Valid];
        let stuck = overdue.stuck.iter().find(|(state, _)| ends.contains(state));
        prop_assert_eq!(stuck, None);
        for action in &plan.actions {
            if let Action::Drive {
                host,
                goal: Goal::Wanted,
            } = action
            {
                prop_assert!(
                    permitted.contains(&(host.clone(), self.world.ca_of(host))),
                    "{host} was ordered and must not have been"
                );
            }
        }

        let other = anew.turn();
        let begun = |plan: &Plan| -> Vec<Action> {
            let begins = |action: &&Action| !matches!(action, Action::Steer { .. });
            plan.actions.iter().filter(begins).cloned().collect()
        };
        prop_assert_eq!(begun(&plan), begun(&other), "made anew, the plan is another");
        let said = |planner: &Planner| -> Vec<_> {
            let verdicts = planner.verdicts();
            verdicts
                .map(|(host, verdict)| (host.clone(), verdict.reason.clone()))
                .collect()
        };
        prop_assert_eq!(said(&self.planner), said(&anew.planner));
        let turns = |course: &Self| -> Vec<_> {
            let turn = |host: &Hostname| course.planner.turn_of(host, &course.world, course.now);
            hosts().iter().map(turn).collect()
        };
        prop_assert_eq!(turns(self), turns(&anew));
        for (ca, _) in cas.all() {
            prop_assert_eq!(self.world.ledger(ca), anew.world.ledger(ca));
        }
        for host in hosts() {
            let at = |course: &Self| course.is_running(&host).then(|| course.world.ca_of(&host));
            prop_assert_eq!(at(self), at(&anew));
        }
        for state in State::ALL {
            prop_assert_eq!(self.planner.count(state), anew.planner.count(state));
        }
        prop_assert_eq!(self.planner.running(), anew.planner.running());
        // It may wake once too often, and never too late.
        if let Some(needed) = other.wake_at {
            prop_assert!(plan.wake_at.is_some_and(|at| at <= needed));
        }

        let again = self.turn();
        prop_assert!(
            again.actions.is_empty() && again.changed.is_empty(),
            "{:?}",
            again
        );
        prop_assert_eq!(again.wake_at, plan.wake_at);
        prop_assert_eq!(self.world.refused(), self.world.refusals().count());
        Ok(())
    }
}

proptest! {
    #![proptest_config(cases(600))]

    #[test]
    fn a_plan_that_follows_changes_is_the_plan_made_anew(
        cap in 1..5_usize,
        several in any::<bool>(),
        counting in counting(),
        noted in vec(0..11_usize, 0..3),
        failed in vec((0..11_usize, 0..30_i64), 0..3),
        turns in vec(vec(event(), 1..6), 1..25),
    ) {
        let mut course = Course::new(cap, cas(several), counting, &noted, &failed);
        for events in turns {
            for event in events {
                course.apply(event);
            }
            course.checked_turn()?;
        }
    }

    #[test]
    fn the_same_input_makes_the_same_plans(turns in vec(vec(event(), 1..6), 1..12)) {
        let mut plans = Vec::new();
        for _ in 0..2 {
            let mut course = Course::new(2, cas(true), Counting::Alike, &[1], &[(3, 0)]);
            let made: Vec<Plan> = turns
                .iter()
                .map(|events| {
                    events.iter().cloned().for_each(|event| course.apply(event));
                    course.turn()
                })
                .collect();
            plans.push(made);
        }
        prop_assert_eq!(&plans[0], &plans[1]);
    }

    #[test]
    fn time_alone_is_enough_to_wake_for(
        several in any::<bool>(),
        counting in counting(),
        turns in vec(vec(event(), 1..6), 1..8),
        waits in vec(0..400_000_i64, 1..10),
    ) {
        // A planner that sleeps until it said it would wake misses nothing that one sees that never sleeps.
        let mut course = Course::new(3, cas(several), counting, &[], &[]);
        for events in turns {
            events.into_iter().for_each(|event| course.apply(event));
        }
        let mut wake = course.turn().wake_at;
        for secs in waits {
            course.now = ahead(course.now, SignedDuration::from_secs(secs));
            if wake.is_none_or(|at| course.now < at) {
                let plan = course.turn();
                prop_assert!(plan.actions.is_empty() && plan.changed.is_empty(), "{:?}", plan);
            }
            course.checked_turn()?;
            wake = course.turn().wake_at;
        }
    }
}

/// A certificate for the `host`th name that has so many days of 90 left, so that it is due and has time.
fn due(host: usize, left: i64) -> Held {
    let day = |days| ahead(start(), SignedDuration::from_hours(days * 24));
    Held {
        secret: format!("secret-{host}-0").into(),
        version: "1".into(),
        content: Ok(CertFacts {
            names: vec![hosts().swap_remove(host)],
            not_before: day(left - 90),
            not_after: day(left),
            serial: "01".into(),
            issuer: "Test".into(),
            id: None,
        }),
        issued_at: None,
        renew: None,
        made_by: None,
        origin: None,
    }
}

#[test]
fn p20_what_was_asked_for_in_anothers_place_is_not_ordered_over_and_over() {
    let mut course = Course::new(4, cas(false), Counting::Nothing, &[], &[]);
    let host = hosts().swap_remove(9);
    // One that is replaced by hand, and beside it another that was stored since and is due at once.
    let demand = Demand {
        at: start(),
        force: false,
        why: Why::Hand,
    };
    let mut asked = due(9, 20);
    asked.renew = Some(Box::new(demand));
    let mut stored = due(9, 10);
    stored.secret = "secret-9-1".into();
    course.now = ahead(start(), SignedDuration::from_mins(1));
    stored.issued_at = Some(course.now);
    for event in [
        Event::Ask(0, vec![9]),
        Event::Hold(9, asked),
        Event::Hold(9, stored.clone()),
    ] {
        course.apply(event);
    }
    assert_eq!(course.turn().actions, []);
    // Whoever asks again gets one.
    stored.renew = Some(Box::new(Demand {
        at: course.now,
        force: false,
        why: Why::Hand,
    }));
    stored.version = "2".into();
    course.apply(Event::Hold(9, stored));
    let goal = Goal::Wanted;
    assert_eq!(course.turn().actions, [Action::Drive { host, goal }]);
}

#[test]
fn p24_who_goes_to_another_ca_takes_the_place_of_one_that_has_time_there() {
    let mut course = Course::new(4, cas(true), Counting::Alike, &[], &[]);
    let (one, two) = (course.ca(0), course.ca(1));
    let (b, c) = (hosts().swap_remove(2), hosts().swap_remove(3));
    // Of example.com's certificates none are left at the first CA, and one at the second, and the next one only in hours.
    let counted = ahead(start(), SignedDuration::from_hours(6));
    for (ca, issued) in [(one, 4), (two, 2)] {
        for host in &hosts()[4..4 + issued] {
            course.world.ledger_mut(ca).tell(host, Spending::Issued, counted);
        }
    }
    // c.example.com may be renewed at the second CA only, and keeps the pace behind wild.net.
    for event in [
        Event::Hold(9, due(9, 20)),
        Event::Hold(3, due(3, 25)),
        Event::Exclude(3, 0, 4_000),
        Event::Ask(0, vec![9, 3]),
    ] {
        course.apply(event);
    }
    for _ in 0..3 {
        course.checked_turn().unwrap();
    }
    let gate = |course: &Course| {
        let turn = course.planner.turn_of(&c, &course.world, course.now);
        turn.unwrap().gate
    };
    assert_eq!(gate(&course), Gate::Pace, "only the pace holds it");
    // Nothing serves for b.example.com.
    course.apply(Event::Ask(1, vec![2]));
    for _ in 0..3 {
        course.checked_turn().unwrap();
    }
    assert!(course.is_running(&b));
    assert_eq!(course.world.ca_of(&b), two);
    assert_eq!(gate(&course), Gate::Limit(Kind::CertificatesPerDomain));
}

/// So many of one limit in so many hours, and no other.
fn only(orders: bool, count: u32, hours: u64) -> Limits {
    let limit = Some(Limit::new(count, Duration::from_secs(hours * 3_600)));
    Limits {
        new_orders: limit.filter(|_| orders),
        certificates_per_domain: limit.filter(|_| !orders),
        ..Limits::default()
    }
}

/// Sleeps until the plan says, again and again, until the order for a host begins: at which CA, and after how many seconds.
fn begins(course: &mut Course, host: &Hostname) -> (CaId, i64) {
    for _ in 0..100 {
        course.checked_turn().unwrap();
        let wake_at = course.turn().wake_at;
        if course.is_running(host) {
            let passed = start().duration_until(course.now);
            return (course.world.ca_of(host), passed.as_secs());
        }
        // What is to be saved is saved at once, and looked at.
        course.now = wake_at.unwrap_or(course.now);
    }
    panic!("the order for {host} never begins");
}

#[test]
fn p24_who_waits_for_another_ca_is_looked_at_when_that_is_free() {
    let b = hosts().swap_remove(2);
    let course = |hours| {
        let mut course = Course::new(4, cas(true), Counting::Nothing, &[], &[]);
        for (ca, hours) in [(course.ca(0), 480), (course.ca(1), hours)] {
            let mut ledger = Ledger::new(only(false, 4, hours));
            for host in &hosts()[4..8] {
                ledger.tell(host, Spending::Issued, start());
            }
            course.world.set_ledger(ca, ledger);
        }
        course.apply(Event::Ask(0, vec![2]));
        course
    };
    // The limits of the second CA let the next one through after twelve hours, those of the first after five days.
    let mut limited = course(48);
    let two = limited.ca(1);
    let (at, secs) = begins(&mut limited, &b);
    assert_eq!((at, secs / 60), (two, 12 * 60));
    // A hold that is over soon is waited for; one that lasts longer ends as well.
    for secs in [1_000, 9_000] {
        let mut held = course(48);
        held.world.set_ledger(two, Ledger::new(Limits::default()));
        held.apply(Event::LeaveAlone(1, 1, secs, true));
        assert_eq!(begins(&mut held, &b), (two, secs));
    }
}

#[test]
fn p24_who_may_not_go_to_another_ca_keeps_nobody_from_it() {
    let b = hosts().swap_remove(2);
    let many: Vec<String> = (0..70).map(|i| format!("n{i}.deep.example.com")).collect();
    for recalled in [false, true] {
        let mut order = cas(true);
        if !recalled {
            order = order.with_zone("deep.example.com".parse().unwrap(), &["one".to_owned()]);
        }
        let mut course = Course::new(4, order, Counting::Nothing, &[], &[]);
        let (one, two) = (course.ca(0), course.ca(1));
        let mut ledger = Ledger::new(only(true, 1, 480));
        ledger.tell(&hosts()[0], Spending::Ordered, start());
        ledger.learn(
            &hosts()[0],
            &Scope::Orders,
            ahead(start(), SignedDuration::from_hours(480)),
            start(),
        );
        course.world.set_ledger(one, ledger);
        for (i, name) in many.iter().enumerate().filter(|_| recalled) {
            let mut held = due(0, 80);
            let host: Hostname = name.parse().unwrap();
            held.secret = format!("many-{i}").into();
            held.content.as_mut().unwrap().names = vec![host.clone()];
            // Somebody has asked for another one.
            held.renew = Some(Box::new(Demand {
                at: Timestamp::MIN,
                force: false,
                why: Why::Hand,
            }));
            held.made_by = Some(CaKey::of("https://gone.test/directory"));
            course.world.hold(Some(host), held);
        }
        course.world.ask(asker(0), &many);
        course.apply(Event::Ask(2, vec![2]));
        course.save();
        course.turn();
        assert!(course.is_running(&b), "recalled: {recalled}");
        assert_eq!(course.world.ca_of(&b), two);
        assert_eq!(course.planner.running(), 1);
    }
}

#[test]
fn p24_the_first_ca_of_all_stands_in_where_a_zone_lists_it_second() {
    let b = hosts().swap_remove(2);
    let names = ["two", "one"].map(str::to_owned);
    let mut all: Vec<_> = cas(true).all().map(|(_, ca)| ca.clone()).collect();
    all[0].use_after = Duration::from_secs(60);
    let order = Cas::new(all).with_zone("example.com".parse().unwrap(), &names);
    let mut course = Course::new(4, order, Counting::Nothing, &[], &[]);
    let (one, two) = (course.ca(0), course.ca(1));
    let mut ledger = Ledger::new(only(true, 1, 480));
    // Ten minutes are more than the first one's patience, and less than that of the second.
    ledger.learn(
        &b,
        &Scope::Orders,
        ahead(start(), SignedDuration::from_mins(10)),
        start(),
    );
    course.world.set_ledger(two, ledger);
    course.apply(Event::Ask(0, vec![2]));
    assert_eq!(begins(&mut course, &b), (one, 0));
}

#[test]
fn p24_who_waits_for_a_domain_minds_the_account_behind_it() {
    let b = hosts().swap_remove(2);
    let mut course = Course::new(4, cas(true), Counting::Nothing, &[], &[]);
    let one = course.ca(0);
    // The domain lets the next one through after a quarter of an hour, and the account after a hundred hours.
    let mut ledger = Ledger::new(Limits {
        new_orders: only(true, 2, 200).new_orders,
        ..only(false, 4, 1)
    });
    for host in &hosts()[4..8] {
        ledger.tell(host, Spending::Issued, start());
    }
    let until = ahead(start(), SignedDuration::from_hours(100));
    ledger.learn(&b, &Scope::Orders, until, start());
    course.world.set_ledger(one, ledger);
    course.apply(Event::Ask(0, vec![2]));
    assert_eq!(begins(&mut course, &b), (course.ca(1), 0));
}

//! Laws of names, zones and plans, over generated texts, worlds and sequences of events.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::activity::{Activity, Hold, Rest};
use faythe_core::audit::{audit, may_order};
use faythe_core::cert::{CertFacts, Held, Unreadable, standing, turns_at};
use faythe_core::name::{DnsName, Hostname, RecordName};
use faythe_core::order::{Goal, Stage};
use faythe_core::plan::{Action, Plan, Planner};
use faythe_core::policy::Policy;
use faythe_core::problem::Scope;
use faythe_core::schedule::{Failures, Threshold, ahead, renew_at};
use faythe_core::verdict::State;
use faythe_core::want::Asker;
use faythe_core::world::World;
use faythe_core::zone::{Zone, Zones};
use jiff::SignedDuration;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// What has once failed is kept beside this file and tried first.
fn cases(cases: u32) -> ProptestConfig {
    let kept = FileFailurePersistence::Direct("tests/properties.seeds");
    ProptestConfig {
        cases,
        failure_persistence: Some(Box::new(kept)),
        ..ProptestConfig::default()
    }
}

// ---- names and zones ----

/// Texts as objects have them: mostly names, now and then anything.
fn text() -> impl Strategy<Value = String> {
    let label = prop_oneof![
        8 => "[a-zA-Z0-9]([a-zA-Z0-9-]{0,9}[a-zA-Z0-9])?",
        1 => "[a-z]{60,66}",
        1 => "xn--[a-z0-9-]{1,12}",
        1 => "[a-zäöüßñ一-三]{1,6}",
        1 => "[-_*.a]{0,3}",
        1 => "[0-9１-９]{1,3}",
        1 => "\\PC{0,4}",
    ];
    let start = prop_oneof![4 => Just(""), 1 => Just("*."), 1 => Just("_acme-challenge.")];
    let end = prop_oneof![4 => Just(""), 1 => Just("."), 1 => Just("。")];
    (start, vec(label, 0..6), end)
        .prop_map(|(start, labels, end)| format!("{start}{}{end}", labels.join(".")))
}

fn name() -> impl Strategy<Value = DnsName> {
    vec("[a-c]{1,2}", 1..5).prop_map(|labels| labels.join(".").parse().unwrap())
}

fn any_host() -> impl Strategy<Value = Hostname> {
    (name(), any::<bool>()).prop_map(|(base, wildcard)| {
        if wildcard {
            Hostname::wildcard_of(base)
        } else {
            Hostname::exact(base)
        }
    })
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn p28_what_is_printed_is_read_back(text in text()) {
        if let Ok(host) = Hostname::parse(&text) {
            let printed = host.to_string();
            prop_assert_eq!(Hostname::parse(&printed), Ok(host.clone()));
            prop_assert_eq!(Hostname::parse(&printed.to_uppercase()), Ok(host.clone()));
            prop_assert_eq!(Hostname::parse(&format!("{printed}.")), Ok(host.clone()));
            let record = host.challenge_record();
            prop_assert_eq!(RecordName::parse(record.as_str()), Ok(record));
        }
    }

    #[test]
    fn p27_p28_every_host_fits_the_dns(text in text()) {
        if let Ok(host) = Hostname::parse(&text) {
            let printed = host.to_string();
            let record = host.challenge_record();
            prop_assert!(printed.len() <= 253 && record.as_str().len() <= 253);
            prop_assert!(host.base().labels() > 1);
            for label in host.base().as_str().split('.') {
                prop_assert!((1..=63).contains(&label.len()));
                prop_assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
                prop_assert!(!label.starts_with('-') && !label.ends_with('-'));
            }
            prop_assert!(host.base().as_str().parse::<std::net::IpAddr>().is_err());
        }
    }

    #[test]
    fn a_certificate_covers_its_name_and_a_wildcard_one_label_more(a in any_host(), b in any_host()) {
        prop_assert!(a.covers(&a));
        let below = a.is_wildcard() && !b.is_wildcard() && b.base().parent() == Some(a.base().as_str());
        prop_assert_eq!(a.covers(&b), a == b || below);
        prop_assert_eq!(a.challenge_record() == b.challenge_record(), a.base() == b.base());
    }

    #[test]
    fn p10_the_longest_suffix_serves(apexes in vec(name(), 0..6), host in any_host()) {
        let labels = |name: &DnsName| name.as_str().split('.').rev().map(str::to_owned).collect::<Vec<_>>();
        let longest = apexes
            .iter()
            .filter(|apex| labels(host.base()).starts_with(&labels(apex)))
            .max_by_key(|apex| apex.labels());
        let table = apexes.iter().map(|apex| Zone { apex: apex.clone(), wildcards: true, checks: Vec::new() });
        let zones = Zones::new(table.collect());
        prop_assert_eq!(zones.of(host.base()).map(|zone| &zone.apex), longest);
        if let Some(zone) = zones.of(host.base()) {
            let certificate = zone.certificate_for(&host);
            prop_assert!(certificate.covers(&host));
            prop_assert!(certificate.base().is_at_or_below(&zone.apex));
            prop_assert_eq!(zone.certificate_for(&certificate), certificate, "it serves itself");
        }
    }

    #[test]
    fn a_certificate_is_renewed_within_its_life_and_never_at_once(hours in 1..9000_i64, days in 0..400_u64) {
        let end = ahead(start(), SignedDuration::from_hours(hours));
        for threshold in [Threshold::Default, Threshold::Set(Duration::from_secs(days * 86_400))] {
            let due = renew_at(start(), end, threshold);
            prop_assert!(ahead(start(), SignedDuration::from_hours(hours) / 3) <= due && due <= end);
        }
    }

    #[test]
    fn standing_changes_only_when_it_was_foretold(held in vec(held(0), 0..4), later in 0..200_i64) {
        let host = hosts().swap_remove(0);
        let stands = |now| standing(&host, held.iter(), Threshold::Default, now);
        let later = ahead(start(), SignedDuration::from_hours(later * 24));
        if turns_at(&host, held.iter(), Threshold::Default, start()).is_none_or(|turn| later < turn) {
            prop_assert_eq!(stands(later), stands(start()));
        }
    }
}

// ---- plans ----

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// All certificates that the worlds know: pairs, siblings, apexes, two zones.
fn hosts() -> Vec<Hostname> {
    [
        "a.example.com",
        "*.a.example.com",
        "b.example.com",
        "c.example.com",
        "example.com",
        "*.example.com",
        "x.deep.example.com",
        "y.deep.example.com",
        "*.wild.net",
        "wild.net",
        "*.sub.wild.net",
    ]
    .map(|host| host.parse().unwrap())
    .to_vec()
}

/// What Ingresses say besides.
const TEXTS: [&str; 6] = [
    "s.wild.net",
    "t.wild.net",
    "elsewhere.org",
    "a_b.example.com",
    "*",
    "WILD.net.",
];

fn zones() -> Zones {
    let zone = |apex: &str, wildcards| Zone {
        apex: apex.parse().unwrap(),
        wildcards,
        checks: Vec::new(),
    };
    Zones::new(vec![
        zone("example.com", false),
        zone("wild.net", true),
        zone("deep.example.com", false),
    ])
}

fn scopes() -> [Scope; 3] {
    [
        Scope::Account,
        Scope::Below("deep.example.com".parse().unwrap()),
        Scope::Below("wild.net".parse().unwrap()),
    ]
}

fn policy(cap: usize) -> Policy {
    Policy {
        zones: zones(),
        threshold: Threshold::Default,
        issue_grace: Duration::from_secs(3600),
        orders_at_once: cap,
    }
}

/// One thing that happens. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Event {
    Ask(usize, Vec<usize>),
    StopAsking(usize),
    Relist(Vec<(usize, Vec<usize>)>),
    Hold(usize, Held),
    Release(usize),
    Stage(usize),
    End(usize, Ending),
    LeaveAlone(usize, i64, bool),
    Answered,
    Pass(i64),
}

#[derive(Clone, Debug)]
enum Ending {
    Blocked(bool),
    Failed(bool),
    Rested(bool, i64),
    Settled,
    Stored(Held),
}

/// A Secret for one of the certificates, its times around the start.
fn held(host: usize) -> impl Strategy<Value = Held> {
    let names = prop_oneof![6 => Just(host), 1 => 0..hosts().len()];
    let content = (names, -100..60_i64, 1..100_i64, 0..10_u8);
    (content, 0..9_u32, prop::option::of(-2..40_i64)).prop_map(
        move |((name, from, life, fault), version, issued)| {
            let day = |days| ahead(start(), SignedDuration::from_hours(days * 24));
            let facts = CertFacts {
                names: vec![hosts().swap_remove(name)],
                not_before: day(from),
                not_after: day(from + life),
                serial: "01".into(),
                issuer: "Test".into(),
            };
            Held {
                secret: format!("secret-{host}-{}", version % 2).into(),
                version: version.to_string().into(),
                content: if fault == 0 {
                    Err(Unreadable::NoKey)
                } else {
                    Ok(facts)
                },
                issued_at: issued.map(day),
            }
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let count = hosts().len();
    let wish = || vec(0..count + TEXTS.len(), 0..4);
    let ending = (0..count).prop_flat_map(|host| {
        let how = prop_oneof![
            1 => any::<bool>().prop_map(Ending::Blocked),
            2 => any::<bool>().prop_map(Ending::Failed),
            3 => (any::<bool>(), 0..5000_i64).prop_map(|(noted, secs)| Ending::Rested(noted, secs)),
            1 => Just(Ending::Settled),
            3 => held(host).prop_map(Ending::Stored),
        ];
        how.prop_map(move |how| Event::End(host, how))
    });
    prop_oneof![
        5 => (0..4_usize, wish()).prop_map(|(ingress, hosts)| Event::Ask(ingress, hosts)),
        1 => (0..4_usize).prop_map(Event::StopAsking),
        1 => vec((0..4_usize, wish()), 0..3).prop_map(Event::Relist),
        4 => (0..count).prop_flat_map(|host| held(host).prop_map(move |held| Event::Hold(host, held))),
        1 => (0..2 * count).prop_map(Event::Release),
        1 => (0..count).prop_map(Event::Stage),
        6 => ending,
        1 => (0..3_usize, 0..9000_i64, any::<bool>()).prop_map(|(scope, secs, told)| {
            Event::LeaveAlone(scope, secs, told)
        }),
        1 => Just(Event::Answered),
        4 => prop_oneof![0..10_i64, 0..7200_i64, 0..4_000_000_i64].prop_map(Event::Pass),
    ]
}

/// A world and its planner on their way through events.
struct Course {
    world: World,
    planner: Planner,
    policy: Policy,
    now: Timestamp,
}

impl Course {
    fn new(cap: usize, noted: &[usize], failed: &[(usize, i64)]) -> Self {
        let mut world = World::new(zones());
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
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Ask(ingress, wish) => self.world.ask(asker(ingress), &texts(&wish)),
            Event::StopAsking(ingress) => self.world.stop_asking("web", &ingress.to_string()),
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
            Event::LeaveAlone(scope, secs, told) => {
                let until = ahead(self.now, SignedDuration::from_secs(secs));
                let hold = Hold {
                    until,
                    code: "busy".into(),
                    text: "busy".into(),
                    tries: 1,
                    told,
                };
                self.world.set_hold(scopes()[scope].clone(), hold);
            }
            Event::Answered => self.world.clear_trouble(),
            Event::Pass(secs) => self.now = ahead(self.now, SignedDuration::from_secs(secs)),
        }
    }

    fn is_running(&self, host: &Hostname) -> bool {
        matches!(self.world.activity(host), Some(Activity::Running(_)))
    }

    fn end(&mut self, host: &Hostname, how: Ending) {
        if !self.is_running(host) {
            return;
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
            Ending::Rested(noted, secs) => Some(Activity::Resting(Rest {
                noted,
                stage: Stage::Publishing,
                code: "badkey".into(),
                text: "badkey".into(),
                tries: 1,
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
        self.planner.turn(&mut self.world, &self.policy, self.now)
    }

    /// The same facts in a world of which everything is new.
    fn world_anew(&self) -> World {
        let mut world = World::new(zones());
        world.ask_all(Vec::new());
        world.hold_all(Vec::new());
        world.note_all(Vec::new(), Vec::new());
        let mut wants: Vec<_> = self.world.wants().collect();
        wants.sort_by_key(|(_, want)| want.arrival);
        for (i, (host, _)) in wants.into_iter().enumerate() {
            world.ask(asker(i), &[host.to_string()]);
        }
        for host in &hosts() {
            for held in self.world.claims(host) {
                world.hold(Some(host.clone()), held.clone());
            }
            if let Some(taken) = self.world.taken(host) {
                world.take(host, taken.reason.clone(), taken.since);
                world.take(host, taken.reason.clone(), taken.seen);
            }
            world.set_activity(host, self.world.activity(host).cloned());
            world.set_failures(host, self.world.failures(host).cloned());
        }
        for scope in scopes() {
            if let Some(hold) = self.world.hold_of(&scope) {
                world.set_hold(scope, hold.clone());
            }
        }
        world
    }

    /// Plans, and holds the plan against every law.
    fn checked_turn(&mut self) -> Result<(), TestCaseError> {
        let mut anew = Self {
            world: self.world_anew(),
            planner: Planner::new(),
            policy: self.policy.clone(),
            now: self.now,
        };
        let permitted: Vec<_> = hosts()
            .into_iter()
            .filter(|host| {
                let noted = match anew.world.activity(host) {
                    Some(Activity::Noted) => true,
                    Some(Activity::Resting(rest)) => rest.noted && rest.until <= self.now,
                    Some(Activity::Running(_)) | None => false,
                };
                noted || may_order(host, &anew.world, &self.policy, self.now)
            })
            .collect();
        let plan = self.turn();
        let laws = audit(&plan, &self.planner, &self.world, &self.policy, self.now);
        prop_assert!(laws.is_ok(), "{:?}", laws);
        prop_assert!(
            self.planner.running() <= self.policy.orders_at_once + 1,
            "over the cap"
        );
        for action in &plan.actions {
            if let Action::Drive {
                host,
                goal: Goal::Wanted,
            } = action
            {
                prop_assert!(
                    permitted.contains(host),
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

fn asker(number: usize) -> Asker {
    Asker {
        namespace: "web".into(),
        name: number.to_string().into(),
        uid: "1".into(),
    }
}

fn texts(wish: &[usize]) -> Vec<String> {
    let all = hosts();
    wish.iter()
        .map(|i| {
            all.get(*i)
                .map_or_else(|| TEXTS[i - all.len()].to_owned(), ToString::to_string)
        })
        .collect()
}

fn failures(count: u32, last: i64, parked: bool) -> Failures {
    Failures {
        count,
        last: ahead(start(), SignedDuration::from_secs(last)),
        code: "dns".into(),
        text: "dns".into(),
        not_before: None,
        parked,
    }
}

proptest! {
    #![proptest_config(cases(600))]

    #[test]
    fn a_plan_that_follows_changes_is_the_plan_made_anew(
        cap in 1..5_usize,
        noted in vec(0..11_usize, 0..3),
        failed in vec((0..11_usize, 0..30_i64), 0..3),
        turns in vec(vec(event(), 1..6), 1..25),
    ) {
        let mut course = Course::new(cap, &noted, &failed);
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
            let mut course = Course::new(2, &[1], &[(3, 0)]);
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
        turns in vec(vec(event(), 1..6), 1..8),
        waits in vec(0..400_000_i64, 1..10),
    ) {
        // A planner that sleeps until it said it would wake misses nothing that one sees that never sleeps.
        let mut course = Course::new(3, &[], &[]);
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

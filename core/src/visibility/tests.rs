//! Rounds, quorums, dead servers, clocks and what is said of them.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::zone::DEADLINE;

const START: Timestamp = Timestamp::UNIX_EPOCH;

fn at(millis: u64) -> Timestamp {
    after(START, Duration::from_millis(millis))
}

fn silent() -> Glance {
    Glance::Failed {
        code: "no-answer",
        text: "did not answer".to_owned(),
    }
}

fn hidden() -> Glance {
    Glance::Hidden {
        text: "shows no TXT record".to_owned(),
    }
}

/// The update server, `count` name servers of the zone, and two listed servers.
fn scene(count: usize) -> (Rule, Vec<Check>) {
    let rule = Rule::of_zone("primary", &["r1".to_owned(), "r2".to_owned()]);
    let found = (1..=count).map(|n| Check::of(Role::Authoritative, &format!("ns{n}")));
    let all = servers(&rule, found.collect(), &[]);
    (rule, all)
}

fn names<'a>(checks: &[&'a Check]) -> Vec<&'a str> {
    checks.iter().map(|check| check.server.as_str()).collect()
}

/// Who is looked at now; `None` when the value is visible.
fn due<'a>(
    rule: &Rule,
    all: &'a [Check],
    sight: &Sight,
    health: &Health,
    now: Timestamp,
) -> Option<Vec<&'a str>> {
    match judge(rule, all, sight, health, now) {
        Judgment::NotYet { due, .. } => Some(names(&due)),
        Judgment::Visible { .. } => None,
    }
}

#[test]
fn p09_each_round_begins_when_the_one_before_is_through() {
    let (rule, all) = scene(2);
    let (mut sight, health) = (Sight::new(START), Health::default());
    for (expected, then) in [
        (vec!["primary"], 0..1),
        (vec!["ns1", "ns2"], 1..3),
        (vec!["r1", "r2"], 3..5),
    ] {
        assert_eq!(due(&rule, &all, &sight, &health, START), Some(expected));
        for check in &all[then] {
            sight.take(check, Glance::Shown, START);
        }
    }
    assert_eq!(due(&rule, &all, &sight, &health, START), None);
}

#[test]
fn s10_a_flat_rule_asks_the_update_server_and_the_listed_ones_and_nobody_else() {
    let listed = ["r1", "primary", "r2"].map(str::to_owned);
    let rule = Rule::flat("primary", &listed);
    let found = vec![Check::of(Role::Authoritative, "ns1")];
    let all = servers(&rule, found, &[]);
    assert_eq!(names(&all.iter().collect::<Vec<_>>()), ["primary", "r1", "r2"]);
}

#[test]
fn p03_all_servers_or_the_quorum_must_show_it() {
    let (mut rule, all) = scene(3);
    let health = Health::default();
    let mut sight = Sight::new(START);
    sight.take(&all[0], Glance::Shown, START);
    sight.take(&all[1], Glance::Shown, START);
    sight.take(&all[2], Glance::Shown, START);
    sight.take(&all[3], hidden(), START);
    assert_eq!(due(&rule, &all, &sight, &health, at(10)), Some(vec!["ns3"]));
    rule.quorum = Quorum::AtLeast(2);
    assert_eq!(due(&rule, &all, &sight, &health, at(10)), Some(vec!["r1", "r2"]));
    rule.quorum = Quorum::AtLeast(9);
    assert_eq!(due(&rule, &all, &sight, &health, at(10)), Some(vec!["ns3"]));
}

#[test]
fn p03_a_dead_server_is_done_without_and_named_and_comes_back() {
    let (rule, all) = scene(2);
    let (mut sight, mut health) = (Sight::new(START), Health::default());
    for check in [&all[0], &all[1], &all[3], &all[4]] {
        sight.take(check, Glance::Shown, START);
    }
    for n in 1..=rule.dead_after {
        assert!(
            due(&rule, &all, &sight, &health, at(600)).is_some(),
            "failure {n}"
        );
        sight.take(&all[2], silent(), START);
        health.take(&all[2], &silent(), START);
    }
    let judgment = judge(&rule, &all, &sight, &health, at(600));
    assert_eq!(
        judgment,
        Judgment::Visible {
            without: vec![&all[2]]
        }
    );
    // A minute later one order has to wait for its answer again, ...
    let later = ahead(START, DEAD_FOR);
    assert_eq!(due(&rule, &all, &sight, &health, later), Some(vec!["ns2"]));
    health.take(&all[2], &silent(), later);
    assert_eq!(due(&rule, &all, &sight, &health, later), None);
    // ... and when it answers, it counts again at once.
    health.take(&all[2], &hidden(), later);
    sight.take(&all[2], hidden(), later);
    assert!(due(&rule, &all, &sight, &health, later).is_some());
}

#[test]
fn p03_when_all_servers_are_dead_nothing_is_visible() {
    let (mut rule, all) = scene(2);
    let (mut sight, mut health) = (Sight::new(START), Health::default());
    sight.take(&all[0], Glance::Shown, START);
    for check in &all[1..3] {
        for _ in 0..rule.dead_after {
            health.take(check, &silent(), START);
        }
    }
    for quorum in [Quorum::All, Quorum::AtLeast(0), Quorum::AtLeast(1)] {
        rule.quorum = quorum;
        assert_eq!(due(&rule, &all, &sight, &health, START), Some(vec!["ns1", "ns2"]));
    }
}

#[test]
fn s10_a_required_server_is_never_done_without() {
    let (rule, all) = scene(0);
    let (mut sight, mut health) = (Sight::new(START), Health::default());
    for check in [&all[0], &all[2]] {
        sight.take(check, Glance::Shown, START);
    }
    for _ in 0..100 {
        sight.take(&all[1], silent(), START);
        health.take(&all[1], &silent(), START);
    }
    assert_eq!(due(&rule, &all, &sight, &health, at(600)), Some(vec!["r1"]));
}

#[test]
fn p04_each_server_is_looked_at_on_its_own_clock() {
    let (rule, all) = scene(2);
    let (mut sight, health) = (Sight::new(START), Health::default());
    sight.take(&all[0], Glance::Shown, START);
    sight.take(&all[1], hidden(), START);
    sight.take(&all[2], silent(), at(5));
    let Judgment::NotYet { due, wait } = judge(&rule, &all, &sight, &health, at(6)) else {
        panic!("not all have shown it")
    };
    assert_eq!((due.len(), wait), (0, Duration::from_millis(4)));
    let Judgment::NotYet { due, wait } = judge(&rule, &all, &sight, &health, at(10)) else {
        panic!("not all have shown it")
    };
    // A failure is repeated half a second later at the soonest.
    assert_eq!((names(&due), wait), (vec!["ns1"], Duration::from_millis(495)));
}

#[test]
fn p04_pauses_grow_from_fifty_milliseconds_to_two_seconds() {
    let millis = |looked_for| pause(Duration::from_millis(looked_for)).as_millis();
    assert_eq!([0, 49, 50, 1_000, 5_000].map(millis), [10, 10, 50, 50, 200]);
    assert_eq!(pause(Duration::MAX), Duration::from_secs(2));
    // How late a value is seen at most, and how often a server is asked for one that takes so long.
    let looks = |takes: u64| {
        let (mut time, mut count) = (Duration::ZERO, 1);
        while time < Duration::from_millis(takes) {
            time += pause(time);
            count += 1;
        }
        (count, time.as_millis() - u128::from(takes))
    };
    let (five_seconds, late) = looks(5_000);
    assert!(
        five_seconds <= 70 && late <= 200,
        "{five_seconds} looks, {late} ms late"
    );
    assert!(looks(60_000).0 <= 150);
}

#[test]
fn p01_the_report_names_server_address_answer_and_since_when() {
    let (rule, mut all) = scene(1);
    all[1].address = Some("192.0.2.1:53".parse().unwrap());
    let mut sight = Sight::new(START);
    sight.take(&all[0], Glance::Shown, at(1_000));
    sight.take(&all[1], silent(), at(2_000));
    sight.take(&all[1], silent(), at(3_000));
    assert_eq!(
        sight.report(&all[..3]),
        "primary shows it, since 1970-01-01T00:00:01Z; ns1 (192.0.2.1) did not answer, since 1970-01-01T00:00:02Z; r1 was \
         not asked yet"
    );
    assert_eq!(sight.laggards(&all), [&all[1]]);
    assert!(!sight.is_late(&rule, at(599_999)));
    assert!(sight.is_late(&rule, after(START, DEADLINE)));
}

#[test]
fn p08_the_score_follows_what_a_server_did_lately() {
    let mut health = Health::default();
    let check = Check::of(Role::Authoritative, "ns1");
    assert_eq!(health.score(&check), 100);
    let mut last = 100;
    for _ in 0..40 {
        health.take(&check, &silent(), START);
        assert!(health.score(&check) < last || last == 0);
        last = health.score(&check);
    }
    assert_eq!(last, 0);
    for _ in 0..40 {
        health.take(&check, &hidden(), START);
    }
    assert_eq!(health.score(&check), 100);
    health.prune(ahead(START, jiff::SignedDuration::from_hours(24)));
    assert_eq!(health, Health::default());
}

/// What a server does from some moment on: fails or shows nothing at first, and then perhaps shows the value.
#[derive(Clone, Debug)]
struct Server {
    fails: bool,
    shows_after: Option<u64>,
}

fn server() -> impl Strategy<Value = Server> {
    (any::<bool>(), proptest::option::of(0u64..3_000))
        .prop_map(|(fails, shows_after)| Server { fails, shows_after })
}

fn quorum() -> impl Strategy<Value = Quorum> {
    prop_oneof![Just(Quorum::All), (0u32..6).prop_map(Quorum::AtLeast)]
}

proptest! {
    /// Plays ten seconds in virtual time, each look taking no time.
    #[test]
    fn p03_what_is_visible_was_seen_and_what_can_be_seen_becomes_visible(
        behavior in proptest::collection::vec(server(), 3..8),
        quorum in quorum(),
    ) {
        let (mut rule, all) = scene(behavior.len() - 3);
        rule.quorum = quorum;
        let (mut sight, mut health) = (Sight::new(START), Health::default());
        let mut asked: Vec<(&Check, u64)> = Vec::new();
        let mut clock = 0;
        let visible = loop {
            if clock > 10_000 {
                break None;
            }
            match judge(&rule, &all, &sight, &health, at(clock)) {
                Judgment::Visible { without } => break Some(without),
                Judgment::NotYet { due, wait } => {
                    for check in &due {
                        let place = all.iter().position(|other| other == *check).unwrap();
                        let glance = match &behavior[place] {
                            Server { shows_after: Some(from), .. } if *from <= clock => Glance::Shown,
                            Server { fails: true, .. } => silent(),
                            Server { fails: false, .. } => hidden(),
                        };
                        sight.take(check, glance.clone(), at(clock));
                        health.take(check, &glance, at(clock));
                        asked.push((check, clock));
                    }
                    if due.is_empty() {
                        prop_assert!(!wait.is_zero() && wait <= LONG_PAUSE);
                        clock += u64::try_from(wait.as_millis()).unwrap().max(1);
                    }
                }
            }
        };
        let shown: BTreeSet<&Check> = all.iter().filter(|check| sight.shows(check)).collect();
        let ns: Vec<usize> = (0..all.len()).filter(|n| all[*n].role == Role::Authoritative).collect();
        if let Some(without) = &visible {
            // Whatever is required has shown it, and whoever was done without has failed often enough.
            for check in &all {
                prop_assert!(check.role == Role::Authoritative || shown.contains(check));
            }
            prop_assert!(ns.is_empty() || ns.iter().any(|n| shown.contains(&all[*n])));
            for check in without {
                let failures = asked.iter().filter(|(other, _)| other == check).count();
                prop_assert!(failures >= usize::try_from(rule.dead_after).unwrap());
            }
            if quorum == Quorum::All {
                for n in &ns {
                    prop_assert!(shown.contains(&all[*n]) || without.contains(&&all[*n]));
                }
            }
        } else {
            // Somebody who counts never showed it.
            prop_assert!(behavior.iter().any(|server| server.shows_after.is_none()));
        }
        // A round begins after the one before: nobody of a later role is asked before all required of an earlier one.
        for (check, when) in &asked {
            if check.role == Role::Listed {
                let primary = behavior[0].shows_after.unwrap();
                prop_assert!(primary <= *when);
            }
        }
    }
}

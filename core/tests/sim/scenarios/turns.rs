//! A queue says when each one's turn comes (P17), and that is about when it comes.

use std::collections::BTreeMap;

use faythe_core::Timestamp;
use faythe_core::budget::Kind;
use faythe_core::name::Hostname;
use faythe_core::verdict::Gate;

use super::{Began, DAY, HOUR, MINUTE, check, hosts, later, named, number, report, scaled, seed};
use crate::fleet::{Fleet, start};

/// What every host that waits is told now, and how many of them wait for each gate.
fn told(fleet: &Fleet, hosts: &[Hostname]) -> (BTreeMap<Hostname, Timestamp>, BTreeMap<String, usize>) {
    let mut gates = BTreeMap::new();
    let turns = hosts.iter().filter_map(|host| {
        let turn = fleet.told(host)?;
        *gates.entry(format!("{:?}", turn.gate)).or_default() += 1;
        Some((host.clone(), turn.at))
    });
    (turns.collect(), gates)
}

/// By how much an order has ended earlier or later than was told that it begins, in seconds and as a share of the wait: the
/// worst of all. An order takes some seconds.
fn errors(fleet: &Fleet, since: Timestamp, told: &BTreeMap<Hostname, Timestamp>) -> (i64, f64) {
    let mut worst = (0, 0.0_f64);
    let issued = fleet.issued.iter().filter(|(when, _)| *when >= since);
    let issued: BTreeMap<_, _> = issued.rev().map(|(when, host)| (host, *when)).collect();
    for (host, at) in told {
        let ended = issued[host];
        let error = (at.duration_until(ended).as_secs() - 10).abs();
        let wait = since.duration_until(ended).as_secs();
        worst.0 = worst.0.max(error);
        if error > 15 {
            worst.1 = worst.1.max(error as f64 / wait as f64);
        }
    }
    worst
}

#[test]
fn p17_who_waits_for_the_account_or_its_domain_is_told_when() {
    let began = Began::now();
    let count = scaled(3_000, 700);
    let mut fleet = Fleet::new(seed(), 90 * 24);
    fleet.begin();
    // One domain has more new hosts than it may have certificates, and the last ones wait behind all others.
    let mut all = named("one", 60, 1);
    all.splice(50..50, hosts(count, count));
    fleet.ask(&all);
    fleet.run(later(start(), 20), |_| false);
    let (turns, gates) = told(&fleet, &all);
    assert!(turns.len() > count / 2, "{}", turns.len());
    let domain = format!("{:?}", Gate::Limit(Kind::CertificatesPerDomain));
    assert!(gates[&domain] > 0, "{gates:?}");
    fleet.run(later(start(), 20 * DAY), |fleet| fleet.issued.len() == all.len());
    check(&fleet);
    let (error, _) = errors(&fleet, start(), &turns);
    report(
        "told when, by limits",
        began,
        &format!("{} that wait, {gates:?}: at most {error} s off", turns.len()),
    );
    assert!(error <= 2 * MINUTE, "{error} s");
}

#[test]
fn p17_who_waits_for_the_pace_is_told_when() {
    let began = Began::now();
    let count = scaled(20_000, 600);
    let mut fleet = Fleet::new(seed(), 45 * 24);
    let all = hosts(count, count / 5);
    fleet.ask(&all);
    fleet.hold_all_ages(&all);
    fleet.begin();
    fleet.run(later(start(), 10 * DAY), |_| false);
    // Long enough for some to wait, and too short for any to be urgent.
    fleet.ca.away = true;
    let back = later(start(), 12 * DAY);
    fleet.run(back, |_| false);
    fleet.ca.away = false;
    // The hold that the outage has left is over by then.
    let back = later(back, 6 * MINUTE);
    fleet.run(back, |_| false);
    let (turns, gates) = told(&fleet, &all);
    assert!(gates[&format!("{:?}", Gate::Pace)] > count / 100, "{gates:?}");
    fleet.run(later(back, DAY), |_| false);
    check(&fleet);
    let (error, share) = errors(&fleet, back, &turns);
    report(
        "told when, by the pace",
        began,
        &format!(
            "{} that wait after an outage of two days, {gates:?}: at most {error} s off, and {:.0} % of the wait",
            turns.len(),
            share * 100.0
        ),
    );
    assert!(share <= 0.35, "{share}");
}

#[test]
fn p17_who_waits_for_room_is_told_when() {
    let began = Began::now();
    let count = scaled(10_000, 300);
    let mut fleet = Fleet::new(seed(), 90 * 24);
    let all = hosts(count, count / 5);
    fleet.ask(&all);
    fleet.hold_all_ages(&all);
    fleet.begin();
    fleet.run(later(start(), HOUR), |_| false);
    // They have all expired while nobody looked, and no limit counts their renewals.
    let expired: Vec<_> = all
        .iter()
        .filter(|host| number(host).is_some_and(|number| number % 2 == 0))
        .cloned()
        .collect();
    fleet.let_expire(&expired);
    let since = fleet.now;
    fleet.run(later(since, 1), |_| false);
    let (turns, gates) = told(&fleet, &expired);
    assert!(
        gates[&format!("{:?}", Gate::Room)] > expired.len() / 2,
        "{gates:?}"
    );
    fleet.run(later(since, HOUR), |_| false);
    let (error, share) = errors(&fleet, since, &turns);
    report(
        "told when, by room",
        began,
        &format!(
            "{} that wait, {gates:?}: at most {error} s off, and {:.0} % of the wait",
            turns.len(),
            share * 100.0
        ),
    );
    assert!(share <= 0.35, "{share}");
}

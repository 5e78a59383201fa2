//! What tenants do to others, with every step of an order: names that can never succeed, namespaces made and deleted in a
//! loop.

use std::collections::BTreeMap;
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::name::Hostname;

use super::scenarios::course;
use super::{Event, Sim, start};
use crate::outside::secs;
use crate::scenarios::{Began, report, seed};

/// When each of these first had a certificate, in seconds, and their longest wait for one in all.
fn served(sim: &Sim, hosts: &[Hostname]) -> BTreeMap<Hostname, i64> {
    let orders = sim.outside.ca.orders.iter().filter(|order| order.fetched);
    let mut first: BTreeMap<Hostname, Timestamp> = BTreeMap::new();
    for order in orders.filter(|order| hosts.contains(&order.host)) {
        first.entry(order.host.clone()).or_insert(order.created);
    }
    let since = |at: Timestamp| start().duration_until(at).as_secs();
    first.into_iter().map(|(host, at)| (host, since(at))).collect()
}

fn host(number: usize) -> Hostname {
    format!("h{number}.d{}.test", number % 20).parse().unwrap()
}

/// Every other name is bad: its validation fails, or the CA refuses it; and the value of one never shows at a server.
/// Good ones are served as if alone: the slowest of them begins its order no more than the bad ones take of the places, a
/// minute each, later. For nobody can tell a bad name before it was tried.
#[test]
fn p22_bad_names_are_tried_daily_and_the_good_ones_served_as_if_alone() {
    let began = Began::now();
    let (count, days) = (60, 6);
    let run = |with_bad: bool| {
        let mut course = course(count, days, 1, true);
        course.habits.order_hours = 24;
        let mut sim = Sim::new(course, seed());
        for number in 0..count {
            let (name, is_bad) = (host(number), number % 2 == 1);
            if is_bad && !with_bad {
                continue;
            }
            sim.set_ingress(&name.to_string(), Some(vec![name.to_string()]));
            if !is_bad {
                continue;
            }
            sim.laws.hopeless.insert(name.clone(), Vec::new());
            match number {
                // One is enough to be looked at for days.
                1 => drop(sim.outside.dns.hidden.insert(name.challenge_record())),
                _ if number % 4 == 1 => drop(sim.outside.ca.cursed.insert(name)),
                _ => drop(sim.outside.ca.rejected.insert(name)),
            }
        }
        sim.run();
        let broken = &sim.laws.broken;
        assert!(broken.is_empty(), "seed {}: {broken:#?}", seed());
        sim
    };
    let good: Vec<_> = (0..count).step_by(2).map(host).collect();
    let (sim, alone) = (run(true), run(false));
    let slowest = |sim: &Sim| {
        let served = served(sim, &good);
        assert_eq!(served.len(), good.len());
        served.into_values().max().unwrap()
    };
    let (took, took_alone) = (slowest(&sim), slowest(&alone));
    let tries = sim.laws.hopeless.values().map(Vec::len);
    let (most, least) = (tries.clone().max().unwrap(), tries.min().unwrap());
    report(
        "bad names, step by step",
        began,
        &format!(
            "{} good ones among {count} begin within {took} s, alone within {took_alone} s; each bad one is ordered {least} \
             to {most} times in {days} days, once a day after the first",
            good.len()
        ),
    );
    assert!(took <= took_alone + 60, "{took} s, alone {took_alone} s");
    // Eight hours after the first try, sixteen after the second; then daily.
    assert!(most <= usize::try_from(days).unwrap() + 2, "{most}");
    assert!(least >= 2, "{least}");
}

/// The value of a name never shows at the last server, at CAs whose orders live for an hour, a day, a week: to wait is ours
/// alone. It costs the CA one order at a time, which is kept for as long as it lives, and no question.
#[test]
fn p22_a_value_that_never_shows_costs_the_ca_its_orders_alone() {
    let began = Began::now();
    let days = 16;
    let mut figures = Vec::new();
    for hours in [1, 24, 7 * 24] {
        let mut course = course(8, days, 1, true);
        course.habits.order_hours = hours;
        let mut sim = Sim::new(course, seed());
        for number in 0..8 {
            let name = host(number);
            sim.set_ingress(&name.to_string(), Some(vec![name.to_string()]));
            if number % 2 == 1 {
                sim.outside.dns.hidden.insert(name.challenge_record());
                sim.laws.hopeless.insert(name, Vec::new());
            }
        }
        sim.run();
        let broken = &sim.laws.broken;
        assert!(broken.is_empty(), "{hours} h, seed {}: {broken:#?}", seed());
        let (mut most, mut fullest) = (0, 0);
        for name in (1..8).step_by(2).map(host) {
            let orders = sim.outside.ca.orders.iter();
            let orders: Vec<_> = orders.filter(|order| order.host == name).collect();
            for pair in orders.windows(2) {
                assert!(pair[0].expires <= pair[1].created, "{name} has two at a time");
            }
            for order in &orders {
                let since = orders.iter().filter(|other| other.created >= order.created);
                let within = since.filter(|other| other.created < secs(order.created, 86_400));
                fullest = fullest.max(within.count());
            }
            assert_eq!(sim.outside.ways.asked[&name], orders.len(), "{name}");
            most = most.max(orders.len());
        }
        // As often as the others that cannot succeed; those that live for long, once for each life.
        assert!(fullest <= 3, "{hours} h: {fullest} orders in a day");
        let lives = usize::try_from(days * 24 / hours).unwrap();
        assert!((2..=(lives + 1).min(18)).contains(&most), "{hours} h: {most}");
        figures.push(format!("of {hours} h {most}, {fullest} in a day at most"));
    }
    report(
        "values that never show",
        began,
        &format!(
            "orders for a name in {days} days, {}; never two at a time, and the CA is asked nothing else",
            figures.join("; ")
        ),
    );
}

/// A namespace with three hosts comes and goes every two minutes for a day; twenty hosts of others come meanwhile.
#[test]
fn p18_a_namespace_made_and_deleted_in_a_loop_costs_one_order_for_each_name() {
    let began = Began::now();
    let course = course(23, 13, 1, true);
    let mut sim = Sim::new(course, seed());
    let looped: Vec<String> = (0..3).map(|number| format!("p{number}.loop.test")).collect();
    for cycle in 0..720 {
        let at = Duration::from_secs(cycle * 120);
        sim.after(at, Event::Ingress("preview".into(), Some(looped.clone())));
        // Gone after one second, or after a minute.
        let stays = if cycle % 3 == 0 { 1 } else { 60 };
        let gone = at + Duration::from_secs(stays);
        sim.after(gone, Event::Ingress("preview".into(), None));
    }
    let others: Vec<_> = (0..20).map(host).collect();
    let asked = 12 * 3_600;
    for other in &others {
        let event = Event::Ingress(other.to_string(), Some(vec![other.to_string()]));
        sim.after(Duration::from_secs(asked), event);
    }
    sim.run();
    let broken = &sim.laws.broken;
    assert!(broken.is_empty(), "seed {}: {broken:#?}", seed());
    let orders = sim.outside.ca.orders.iter();
    let of_loop = orders.filter(|order| order.host.to_string().ends_with(".loop.test"));
    let (orders, issued) = (
        of_loop.clone().count(),
        of_loop.filter(|order| order.fetched).count(),
    );
    let begun = served(&sim, &others).into_values().max().unwrap() - i64::try_from(asked).unwrap();
    report(
        "a namespace in a loop",
        began,
        &format!(
            "3 names made and deleted 720 times in a day: {orders} orders, {issued} certificates; 20 hosts of others begin \
             within {begun} s; {} answers 429",
            sim.laws.limited
        ),
    );
    assert_eq!((orders, issued), (3, 3));
    assert!(begun <= 10, "{begun} s");
    assert!(sim.outside.now >= secs(start(), 86_400));
}

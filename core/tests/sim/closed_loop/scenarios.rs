//! Scenarios in which every step of an order counts: crashes, and two that lead by accident.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Course, Event, Faults, Sim, start};
use crate::outside::Habits;
use crate::scenarios::{Began, report, scaled, seed};

mod years;

/// What there is in all of these: a CA with Let's Encrypt's limits, and nothing else that goes wrong.
pub(super) fn course(count: usize, days: i64, leaders: usize, reuses: bool) -> Course {
    Course {
        hosts: count,
        days,
        cap: 32,
        habits: Habits {
            lifetime_hours: 45 * 24,
            reuses,
            orders_in_three_hours: None,
            order_hours: 7 * 24,
            authorization_hours: 7,
            hiccups: 0,
            stuck: 0,
            renewal_info: Some(6),
        },
        mishaps: 0,
        lag_secs: 3,
        leaders,
        starts_ms: 500,
        losses: 0,
        delays: 0,
        faults: Faults::default(),
    }
}

/// A thousand certificates while processes die every ten seconds, or two lead at once, or both.
fn storm(scenario: &str, leaders: usize, dies: bool, reuses: bool) {
    let began = Began::now();
    let count = scaled(1_000, 120);
    let course = course(count, 3, leaders, reuses);
    let mut sim = Sim::new(course, seed());
    for number in 0..count {
        let host = course.host(number);
        sim.set_ingress(&host.clone(), Some(vec![host]));
    }
    if dies {
        sim.after(Duration::from_secs(10), Event::Kill(0));
    }
    sim.run();
    let broken = &sim.laws.broken;
    assert!(broken.is_empty(), "{scenario}, seed {}: {broken:#?}", seed());
    let mut finalized = BTreeMap::<_, usize>::new();
    for order in sim.outside.ca.orders.iter().filter(|order| order.finalized) {
        *finalized.entry(order.host.clone()).or_default() += 1;
    }
    assert_eq!(finalized.len(), count);
    assert!(
        finalized.values().all(|orders| *orders == 1),
        "two orders of a host are finalized"
    );
    assert_eq!(sim.laws.issued, count, "certificates");
    if leaders == 1 && reuses {
        // What a crash leaves behind is handed out again.
        assert_eq!(sim.outside.ca.orders.len(), count, "orders");
    }
    let stored = sim.outside.cluster.secrets.values();
    let last = stored.filter_map(|(_, held)| held.issued_at).max().unwrap();
    report(
        scenario,
        began,
        &format!(
            "{count} certificates in {:.1} h, {} crashes, {} orders, {} of them left to expire and {} made beside another \
             one, none finalized twice, {} answers 429, nothing left behind",
            start().duration_until(last).as_secs_f64() / 3_600.0,
            sim.laws.crashes,
            sim.outside.ca.orders.len(),
            sim.outside.ca.orders.len() - count,
            sim.laws.doubled,
            sim.laws.limited,
        ),
    );
}

#[test]
fn p16_a_crash_every_ten_seconds_costs_no_certificate_and_finalizes_nothing_twice() {
    storm("a crash every 10 s", 1, true, true);
}

#[test]
fn p38_two_leaders_finalize_one_order_for_each_host() {
    storm("two leaders", 2, false, true);
}

#[test]
fn p38_two_leaders_that_crash_finalize_one_order_for_each_host() {
    storm("two leaders, a crash every 10 s", 2, true, true);
}

/// A CA that hands out no order twice, such as Pebble: what a crash or a race leaves is pending, and lapses.
#[test]
fn p38_at_a_ca_that_reuses_nothing_one_order_for_each_host_is_finalized_too() {
    storm("the same at a CA that reuses nothing", 2, true, false);
}

/// What two leaders by accident can really cause: each counts the certificates of a domain for itself until it reads what
/// the other has saved. The CA says so to each once, and what it says holds.
#[test]
fn p17_two_leaders_spend_no_more_than_the_accident_costs() {
    let began = Began::now();
    let count = 80;
    let course = course(count, 15, 2, true);
    let mut sim = Sim::new(course, seed());
    for number in 0..count {
        let host = format!("h{number}.short.test");
        sim.set_ingress(&host.clone(), Some(vec![host]));
    }
    sim.run();
    let broken = &sim.laws.broken;
    assert!(broken.is_empty(), "seed {}: {broken:#?}", seed());
    assert_eq!(sim.laws.issued, count, "certificates");
    report(
        "two leaders, one domain",
        began,
        &format!(
            "{count} certificates in a domain with 50 a week, {} answers 429, none of them again before the time told",
            sim.laws.limited
        ),
    );
    // At most what both had under way.
    assert!(sim.laws.limited <= 2 * course.cap, "{}", sim.laws.limited);
}

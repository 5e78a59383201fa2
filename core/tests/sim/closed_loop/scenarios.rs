//! Scenarios in which every step of an order counts: crashes, and two that lead by accident.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Course, Event, Sim, start};
use crate::outside::Habits;
use crate::scenarios::{Began, report, scaled, seed};

/// A thousand certificates while processes die every ten seconds, or two lead at once, or both.
fn storm(scenario: &str, leaders: usize, dies: bool, reuses: bool) {
    let began = Began::now();
    let count = scaled(1_000, 120);
    let course = Course {
        hosts: count,
        days: 3,
        cap: 32,
        habits: Habits {
            lifetime_hours: 45 * 24,
            reuses,
            orders_in_three_hours: None,
            order_hours: 7 * 24,
            authorization_hours: 7,
            hiccups: 0,
            stuck: 0,
        },
        mishaps: 0,
        lag_secs: 3,
        leaders,
        starts_ms: 500,
        losses: 0,
        delays: 0,
    };
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
             one, none finalized twice, nothing left behind",
            start().duration_until(last).as_secs_f64() / 3_600.0,
            sim.laws.crashes,
            sim.outside.ca.orders.len(),
            sim.outside.ca.orders.len() - count,
            sim.laws.doubled,
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

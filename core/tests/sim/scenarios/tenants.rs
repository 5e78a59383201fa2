//! What tenants and operators bring about: names that can never succeed, namespaces that come and go, restores, restarts.

use faythe_core::Timestamp;
use faythe_core::name::Hostname;

use super::{
    Began, DAY, HOUR, MINUTE, check, hosts, judged, later, longest_wait, named, number, report, scaled, seed,
};
use crate::fleet::{Fleet, start};
use crate::urgency::Law;

/// Half of the names are bad; their namespaces and domains are those of good ones.
fn is_bad(host: &Hostname) -> bool {
    number(host).is_some_and(|number| number / 7 % 2 == 1)
}

/// Half of the bad ones the CA refuses at once.
fn is_refused(host: &Hostname) -> bool {
    is_bad(host) && number(host).is_some_and(|number| number % 2 == 0)
}

/// How often an order was asked for within a day at most, from some time on.
fn most_in_a_day<'a>(fleet: &mut Fleet, from: Timestamp, hosts: impl Iterator<Item = &'a Hostname>) -> usize {
    let mut most = 0;
    for host in hosts {
        let number = fleet.ca.counts.number(host);
        let asked = &fleet.ca.counts.name(number).asked;
        let asked: Vec<_> = asked.iter().filter(|at| **at >= from).collect();
        for (number, at) in asked.iter().enumerate() {
            let within = asked[number..]
                .iter()
                .take_while(|other| ***other < later(**at, DAY));
            most = most.max(within.count());
        }
    }
    most
}

/// HTTP requests of a try whose validation fails: for the order, its authorization, the answer to the challenge, the look that
/// finds it failed, and, as the order of Let's Encrypt does not say why, the authorization again. Each look before that is one
/// more. The adapter's own test counts them at Pebble, whose orders say why.
const FAILING: usize = 5;

/// "At most 3 requests a day" are requests for a certificate: orders. A try whose validation fails takes five HTTP requests in
/// any case, and P22 and S13 have a second eight hours after the first, the third sixteen after that, then one a day. So it is
/// never more than three orders in any 24 hours for a name, and one once that lasts; for a name that the CA refuses it is one
/// request in all. The HTTP requests are told beside.
///
/// Nobody can tell a bad name before it was tried, so the first try of each may come before good ones and takes its share of
/// the account's orders. From then on the good ones are renewed as if alone.
#[test]
fn p22_names_that_never_succeed_hold_up_nobody() {
    let began = Began::now();
    let (count, days) = (scaled(1_000, 120), scaled(60, 35) as i64);
    let run = |all: &[Hostname]| {
        let mut fleet = Fleet::new(seed(), 45 * 24);
        (fleet.refused, fleet.cursed) = (is_refused, is_bad);
        fleet.law = Some(Law::default());
        fleet.begin();
        fleet.ask(all);
        fleet.run(later(start(), days * DAY), |_| false);
        check(&fleet);
        fleet
    };
    let all = hosts(count, count / 5);
    let good: Vec<_> = all.iter().filter(|host| !is_bad(host)).cloned().collect();
    let failing = all
        .iter()
        .filter(|host| is_bad(host) && !is_refused(host))
        .count();
    let (mut fleet, alone) = (run(&all), run(&good));
    let served = |fleet: &Fleet| fleet.issued[good.len() - 1].0.as_second() - start().as_second();
    let (took, took_alone) = (served(&fleet), served(&alone));
    // Renewals.
    let settled = later(start(), 10 * DAY);
    let renewed = |fleet: &Fleet| {
        let renewals = fleet.renewals.iter().filter(|renewal| renewal.at >= settled);
        (renewals.count(), longest_wait(fleet, settled))
    };
    let ((renewals, wait), (renewals_alone, wait_alone)) = (renewed(&fleet), renewed(&alone));
    let refused: Vec<_> = all.iter().filter(|host| is_refused(host)).collect();
    let fails: Vec<_> = all
        .iter()
        .filter(|host| is_bad(host) && !is_refused(host))
        .collect();
    let refusals = most_in_a_day(&mut fleet, start(), refused.into_iter());
    let orders = most_in_a_day(&mut fleet, start(), fails.iter().copied());
    // Every first try has been made by then, and the second.
    let lasting = most_in_a_day(&mut fleet, later(start(), 3 * DAY), fails.into_iter());
    report(
        "half can never succeed",
        began,
        &format!(
            "{} good ones of {count} first served in {:.1} h, alone in {:.1} h, as the first try of {failing} others counts; \
             then {renewals} renewals, the longest wait {:.1} min, alone {renewals_alone} and {:.1} min; for a name whose \
             validation fails never more than {orders} orders in any 24 h, which is {} HTTP requests, and {lasting} once that \
             lasts, which is {}, and one for each look in vain; for a refused name {refusals} HTTP request a day; {} orders, \
             none before a more urgent one",
            good.len(),
            took as f64 / 3_600.0,
            took_alone as f64 / 3_600.0,
            wait as f64 / 60.0,
            wait_alone as f64 / 60.0,
            orders * FAILING,
            lasting * FAILING,
            judged(&fleet)
        ),
    );
    assert!(
        refusals <= 1 && orders <= 2 && lasting <= 1,
        "{refusals} requests, {orders} orders, then {lasting}"
    );
    // What the CA counts for the first tries, and nothing more.
    let shortest = ((good.len() + failing) as i64 - 300).max(0) * 36;
    assert!(took <= shortest + 10 * MINUTE, "{took} s");
    assert!(
        renewals >= good.len() && renewals_alone >= good.len(),
        "{renewals}"
    );
    assert!(wait <= wait_alone + 5 * MINUTE, "{wait} s, alone {wait_alone} s");
}

#[test]
fn p19_restored_secrets_and_restarts_cost_no_order() {
    let began = Began::now();
    let (restored, running) = (scaled(1_000, 200), scaled(5_000, 300));
    for (count, restarts) in [(restored, 1), (running, 48)] {
        let mut fleet = Fleet::new(seed(), 90 * 24);
        let all = hosts(count, count / 5);
        fleet.ask(&all);
        fleet.hold_of_another(&all);
        fleet.begin();
        for hour in 1..=restarts {
            fleet.run(later(start(), hour * HOUR), |_| false);
            fleet.restart(|held| {
                held.version.clone_from(&format!("9{hour}").into());
                held.made_by = None;
            });
        }
        fleet.run(later(start(), (restarts + 24) * HOUR), |_| false);
        check(&fleet);
        assert_eq!(fleet.ca.requests.len(), 0, "{count} hosts");
    }
    report(
        "restores and restarts",
        began,
        &format!(
            "{restored} Secrets restored without anything else: 0 orders; {running} hosts, a restart an hour for two \
             days: 0 orders"
        ),
    );
}

#[test]
fn p18_a_tenant_that_makes_and_deletes_namespaces_in_a_loop_hurts_nobody() {
    let began = Began::now();
    let count = scaled(1_000, 100);
    let mut figures = Vec::new();
    for fresh in [false, true] {
        let mut fleet = Fleet::new(seed(), 90 * 24);
        let all = hosts(count, count / 5);
        fleet.ask(&all);
        fleet.hold_of_another(&all);
        fleet.begin();
        let cycles = DAY / (2 * MINUTE);
        let mut asked = None;
        let others = named("new", 20, 20);
        for cycle in 0..cycles {
            let label = if fresh {
                format!("p{cycle}x")
            } else {
                "p".to_owned()
            };
            let all: Vec<Hostname> = (0..3)
                .map(|number| format!("{label}{number}.loop.test").parse().unwrap())
                .collect();
            let namespace = if fresh {
                format!("preview-{cycle}")
            } else {
                "preview".to_owned()
            };
            fleet.ask_in(&all, |_| namespace.clone());
            if cycle == cycles / 2 {
                asked = Some(fleet.now);
                fleet.ask_in(&others, |number| format!("other-{number}"));
            }
            fleet.run(later(start(), (2 * cycle + 1) * MINUTE), |_| false);
            fleet.stop(&all, &namespace);
            fleet.run(later(start(), (2 * cycle + 2) * MINUTE), |_| false);
        }
        check(&fleet);
        let served = fleet.issued.iter().filter(|(_, host)| others.contains(host));
        let served: Vec<_> = served
            .map(|(at, _)| asked.unwrap().duration_until(*at).as_secs())
            .collect();
        assert_eq!(served.len(), others.len());
        let longest = served.into_iter().max().unwrap();
        assert!(longest <= MINUTE, "{longest} s");
        let orders = fleet.ca.requests.len() - others.len();
        // One each; or what the CA gives one domain in a day.
        let most = if fresh { 50 + 8 } else { 3 };
        assert!(orders <= most, "{orders}");
        let names = if fresh {
            "new names each time"
        } else {
            "the same 3 names"
        };
        figures.push(format!(
            "{names}: {orders} orders, others served within {longest} s"
        ));
    }
    report(
        "namespaces in a loop",
        began,
        &format!(
            "every 2 min for a day beside {count} hosts; {}; 0 answers 429",
            figures.join("; ")
        ),
    );
}

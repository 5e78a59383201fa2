//! What becomes of the order of urgency when attempts rest that the CA has not seen, and when a process begins anew (P17,
//! P22).

use faythe_core::Timestamp;
use faythe_core::name::Hostname;

use super::{Began, DAY, HOUR, MINUTE, check, hosts, judged, later, named, report, scaled, seed};
use crate::fleet::{Fleet, start};
use crate::urgency::Law;

/// So many new hosts and ten that have expired, under the limits of Let's Encrypt.
fn fleet(new: usize) -> (Fleet, Vec<Hostname>) {
    let mut fleet = Fleet::new(seed(), 90 * 24);
    let expired = named("old", 10, 10);
    fleet.ask(&hosts(new, new / 5));
    fleet.ask(&expired);
    fleet.hold_expired(&expired);
    (fleet, expired)
}

/// When each of them was issued.
fn served(fleet: &Fleet, hosts: &[Hostname]) -> Vec<Timestamp> {
    let issued = fleet.issued.iter().filter(|(_, host)| hosts.contains(host));
    issued.map(|(at, _)| *at).collect()
}

#[test]
fn p17_what_has_expired_goes_first_after_trouble_too() {
    let began = Began::now();
    let count = scaled(5_000, 600);
    let mut figures = Vec::new();
    for minutes in [2, 30] {
        let (mut fleet, expired) = fleet(count);
        fleet.store_away = true;
        fleet.begin();
        let back = later(start(), minutes * MINUTE);
        fleet.run(back, |_| false);
        assert!(fleet.issued.is_empty());
        fleet.store_away = false;
        fleet.run(later(back, 3 * HOUR), |_| false);
        assert_eq!(fleet.ca.counts.limited, 0, "429");
        let served = served(&fleet, &expired);
        assert_eq!(served.len(), expired.len());
        let last = back.duration_until(*served.iter().max().unwrap()).as_secs();
        figures.push(format!("after {minutes} min the ten are served within {last} s"));
        // After short trouble as soon as the last attempt in vain has ended and rested; after long trouble they let others go
        // first for a few of its minutes.
        assert!(last <= minutes * MINUTE, "{last} s after {minutes} min");
    }
    report(
        "urgency after trouble",
        began,
        &format!(
            "{count} new hosts and 10 expired certificates all rest while the API server takes nothing: {}, 0 answers 429",
            figures.join(", ")
        ),
    );
}

/// Two names that have expired and always fail at the CA itself go first, and hold up the others for minutes at most.
#[test]
fn p22_two_that_always_fail_starve_nobody() {
    let began = Began::now();
    let count = scaled(5_000, 400);
    let (mut fleet, expired) = fleet(count);
    fleet.spoiled = |host| ["old0.old-d0.test", "old1.old-d1.test"].contains(&host.to_string().as_str());
    fleet.begin();
    let served = count + expired.len() - 2;
    fleet.run(later(start(), 10 * DAY), |fleet| fleet.issued.len() == served);
    assert_eq!((fleet.ca.counts.limited, fleet.issued.len()), (0, served));
    let took = start().duration_until(fleet.now).as_secs();
    let shortest = (served as i64 - 300) * 36;
    report(
        "two that always fail",
        began,
        &format!(
            "{served} others are served in {:.1} h, {:.1} % of the shortest time, 0 answers 429",
            took as f64 / 3_600.0,
            took as f64 / shortest as f64 * 100.0
        ),
    );
    assert!(
        took <= shortest + shortest / 20 + 10 * MINUTE,
        "{took} s, {shortest} s"
    );
}

#[test]
fn p17_a_restart_changes_no_ones_turn() {
    let began = Began::now();
    let count = scaled(5_000, 600);
    let mut fleet = Fleet::new(seed(), 90 * 24);
    fleet.law = Some(Law::default());
    fleet.begin();
    fleet.ask_in(&hosts(count / 2, count / 10), |_| "large".into());
    fleet.ask(&named("k", count / 2, count / 10));
    for part in 1..4 {
        let some = 300 + (count - 300) * part / 4;
        fleet.run(later(start(), 10 * DAY), |fleet| {
            fleet.issued.len() >= some && fleet.is_idle()
        });
        fleet.restart(|_| {});
    }
    fleet.run(later(start(), 10 * DAY), |fleet| fleet.issued.len() == count);
    check(&fleet);
    assert_eq!(fleet.issued.len(), count);
    report(
        "restarts while hosts wait",
        began,
        &format!(
            "{count} new hosts, half of them of one namespace, 3 restarts: {} orders, none before a more urgent one, 0 \
             answers 429",
            judged(&fleet)
        ),
    );
}

//! What `faythe sweep` finds and removes, with everything outside in memory.

use std::sync::{Arc, Mutex};

use faythe::sweep::{self, Fate, Finding, Places, Removal};
use faythe_core::Timestamp;
use faythe_core::order::OrderStatus;
use faythe_core::zone::{Rule, Zone, Zones};

use crate::place::Place;
use crate::rig::{self, Rig};

/// Sweeps a place under a configuration with this zone.
async fn sweep(place: &Place, apex: &str, removal: Removal) -> Vec<Finding> {
    let zones = Zones::new(vec![Zone {
        apex: apex.parse().unwrap(),
        wildcards: false,
        rule: Rule::flat("primary", &[]),
        challenges: None,
    }]);
    let servers = [(apex.parse().unwrap(), vec!["primary".to_owned()])].into();
    let places = Places {
        store: place,
        cas: &rig::cas(),
        desks: &[place],
        dns: place,
        zones: &zones,
        servers: &servers,
        now: "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap(),
    };
    let found = Arc::new(Mutex::new(Vec::new()));
    let mut tell = |finding| found.lock().unwrap().push(finding);
    sweep::run(&places, removal, &mut tell).await.unwrap();
    std::mem::take(&mut *found.lock().unwrap())
}

fn fates(findings: &[Finding]) -> Vec<&Fate> {
    findings.iter().map(|finding| &finding.fate).collect()
}

fn writes_to_the_store(place: &Place) -> usize {
    let state = place.state();
    state.calls("save") + state.calls("forget")
}

/// A place where a process died with its value published, and a foreign value stands beside it.
async fn abandoned() -> Place {
    let rig = Rig::new(&["www.example.com"]);
    rig.place.state().faults.hide = true;
    let mut process = rig.process();
    rig.reach(&mut process, |state| !state.txt.is_empty()).await;
    drop(process);
    let place = rig.place.clone();
    let mut state = place.state();
    state.faults.hide = false;
    for values in state.txt.values_mut() {
        values.insert("foreign".to_owned());
    }
    drop(state);
    place
}

#[tokio::test(start_paused = true)]
async fn p16_a_leftover_is_named_and_removed_and_a_foreign_value_beside_it_stays() {
    let place = abandoned().await;
    place.state().orders[0].status = OrderStatus::Invalid;
    let found = sweep(&place, "example.com", Removal::Nothing).await;
    assert_eq!(fates(&found), [&Fate::Left]);
    let line = found[0].to_string();
    for word in [
        "left over",
        "_acme-challenge.www.example.com",
        "\"value0\"",
        "www.example.com, which has failed",
    ] {
        assert!(line.contains(word), "no {word:?} in {line:?}");
    }
    let writes = writes_to_the_store(&place);
    assert_eq!(
        fates(&sweep(&place, "example.com", Removal::Over).await),
        [&Fate::Removed]
    );
    let left: Vec<String> = place.state().txt.values().flatten().cloned().collect();
    assert_eq!(left, ["foreign"]);
    assert!(
        sweep(&place, "example.com", Removal::Over).await.is_empty(),
        "what is gone is not told again"
    );
    assert_eq!(
        writes_to_the_store(&place),
        writes,
        "a sweep writes nothing to the store"
    );
}

#[tokio::test(start_paused = true)]
async fn p16_the_value_of_an_open_order_stays_unless_all_are_to_go() {
    let place = abandoned().await;
    for removal in [Removal::Nothing, Removal::Over] {
        assert_eq!(
            fates(&sweep(&place, "example.com", removal).await),
            [&Fate::InUse]
        );
    }
    // A CA that cannot be asked settles nothing.
    place.state().faults.ca_is_away = true;
    assert_eq!(
        fates(&sweep(&place, "example.com", Removal::Over).await),
        [&Fate::InUse]
    );
    assert_eq!(
        fates(&sweep(&place, "example.com", Removal::All).await),
        [&Fate::Removed]
    );
    let left: Vec<String> = place.state().txt.values().flatten().cloned().collect();
    assert_eq!(left, ["foreign"]);
}

#[tokio::test(start_paused = true)]
async fn p16_a_value_in_a_zone_that_is_configured_no_more_is_told_and_left() {
    let place = abandoned().await;
    let found = sweep(&place, "other.test", Removal::All).await;
    assert!(
        matches!(fates(&found)[..], [Fate::Failed(why)] if why.contains("not configured")),
        "{found:?}"
    );
    assert!(found[0].needs_attention());
    assert_eq!(place.state().txt.values().flatten().count(), 2);
}

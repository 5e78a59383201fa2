//! Challenges that go elsewhere: by an alias, to a record that another host has too, or nowhere.

use std::time::Duration;

use faythe_core::caa;
use faythe_core::name::{Hostname, RecordName};
use faythe_core::route::{Found, Way};

use crate::rig::Rig;

fn record(host: &str) -> RecordName {
    host.parse::<Hostname>().unwrap().challenge_record()
}

fn alias(rig: &Rig, host: &str, target: &str) {
    let found = Found::Alias {
        target: target.to_owned(),
    };
    rig.place.state().aliases.insert(record(host), found);
}

#[tokio::test(start_paused = true)]
async fn p06_a_value_goes_where_the_alias_leads_and_is_noted_and_withdrawn_there() {
    let rig = Rig::new(&["a.example.com"]);
    alias(&rig, "a.example.com", "x.example.com");
    rig.place.state().faults.hide = true;
    let mut process = rig.process();
    let target = RecordName::parse("x.example.com").unwrap();
    rig.reach(&mut process, |state| !state.txt.is_empty()).await;
    {
        let state = rig.place.state();
        assert_eq!(state.txt.keys().collect::<Vec<_>>(), [&target]);
        let saved = state.notes.values().next().unwrap();
        let (note, _) = saved.order.as_ref().unwrap();
        let route = note.route.as_ref().unwrap();
        assert_eq!((&route.record, route.way), (&target, Way::Delegated));
    }
    rig.place.state().faults.hide = false;
    rig.settled(&mut process).await;
    let state = rig.place.state();
    assert_eq!(state.calls("withdraw x.example.com"), 1);
}

#[tokio::test(start_paused = true)]
async fn p06_an_alias_that_leaves_our_zones_costs_no_order() {
    let rig = Rig::new(&["a.example.com", "b.example.com"]);
    alias(&rig, "a.example.com", "x.vendor.test");
    let mut process = rig.process();
    let other: Hostname = "b.example.com".parse().unwrap();
    rig.reach(&mut process, |state| state.secrets.contains_key(&other))
        .await;
    rig.pass(&mut process, Duration::from_secs(600)).await;
    {
        let state = rig.place.state();
        assert_eq!(state.calls("open a.example.com"), 0);
        assert_eq!(state.calls("publish _acme-challenge.a"), 0);
    }
    // Mended, it is served within a minute.
    rig.place.state().aliases.clear();
    rig.settled(&mut process).await;
    assert_eq!(rig.place.state().calls("open a.example.com"), 1);
}

#[tokio::test(start_paused = true)]
async fn p15_hosts_whose_aliases_lead_to_one_record_stand_together_before_either_is_told() {
    let rig = Rig::new(&["a.example.com", "b.example.com"]);
    for host in ["a.example.com", "b.example.com"] {
        alias(&rig, host, "x.example.com");
    }
    let mut process = rig.process();
    rig.settled(&mut process).await;
    let state = rig.place.state();
    let told = state
        .journal
        .iter()
        .position(|line| line.starts_with("tell"))
        .unwrap();
    let published = state.journal[..told]
        .iter()
        .filter(|line| line.starts_with("publish x.example.com"));
    assert_eq!(published.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn p07_an_alias_that_is_made_meanwhile_is_followed() {
    let rig = Rig::new(&["a.example.com"]);
    rig.place.state().faults.hide = true;
    let mut process = rig.process();
    rig.pass(&mut process, Duration::from_secs(30)).await;
    alias(&rig, "a.example.com", "x.example.com");
    let (old, new) = (
        record("a.example.com"),
        RecordName::parse("x.example.com").unwrap(),
    );
    rig.reach(&mut process, |state| {
        state.txt.contains_key(&new) && !state.txt.contains_key(&old)
    })
    .await;
    rig.place.state().faults.hide = false;
    rig.settled(&mut process).await;
    assert_eq!(rig.place.state().orders.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn p24_what_caa_records_exclude_costs_no_order_until_they_do_not() {
    let rig = Rig::new(&["a.example.com"]);
    let record = |value: &str| caa::Record {
        critical: false,
        tag: "issue".to_owned(),
        value: value.to_owned(),
    };
    rig.place.state().caa = vec![record("other.test")];
    let mut process = rig.process();
    rig.pass(&mut process, Duration::from_secs(3600)).await;
    assert_eq!(rig.place.state().calls("open"), 0);
    rig.place.state().caa = vec![record("ca.test")];
    rig.settled(&mut process).await;
    assert_eq!(rig.place.state().calls("open a.example.com"), 1);
}

//! Our clock is ahead for a while, and is set: what was written down meanwhile holds nothing up for as long as it was.

use std::time::Duration;

use faythe_core::cert::{CertFacts, Held};
use faythe_core::name::Hostname;
use faythe_core::schedule::{after, ahead};
use jiff::SignedDuration;
use tokio::time::Instant;

use crate::rig::{GRACE, Rig};

const YEAR: SignedDuration = SignedDuration::from_hours(365 * 24);
const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn p22_neither_a_ca_in_trouble_nor_a_rest_outlasts_the_clock() {
    let rig = Rig::new(&["a.example.com", "b.example.com"]);
    rig.set_clock(YEAR);
    let b: Hostname = "b.example.com".parse().unwrap();
    rig.place.state().faults.refuse_updates = [b.challenge_record()].into();
    let mut process = rig.process();
    rig.pass(&mut process, MINUTE).await;
    // What TLS to the CA makes of such a clock.
    rig.place.state().faults.ca_is_away = true;
    rig.show_requests(
        &process,
        &["a.example.com", "b.example.com", "c.example.com"].map(str::to_owned),
    );
    rig.pass(&mut process, MINUTE).await;
    rig.set_clock(-YEAR);
    rig.place.state().faults.ca_is_away = false;
    rig.place.state().faults.refuse_updates.clear();
    let began = Instant::now();
    let hosts = ["a", "b", "c"].map(|name| format!("{name}.example.com").parse().unwrap());
    rig.reach(&mut process, |state| {
        hosts.iter().all(|host| state.secrets.contains_key(host))
    })
    .await;
    assert!(began.elapsed() < 7 * MINUTE, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn s13_what_failed_by_a_clock_that_was_ahead_keeps_the_grace_and_no_more() {
    for restarted in [false, true] {
        let rig = Rig::new(&["a.example.com"]);
        rig.set_clock(YEAR);
        rig.place.state().faults.fail_validation = true;
        let mut process = rig.process();
        let failed = |state: &crate::place::State| state.notes.values().any(|note| note.failures.is_some());
        rig.reach(&mut process, failed).await;
        rig.pass(&mut process, MINUTE).await;
        rig.place.state().faults.fail_validation = false;
        rig.set_clock(-YEAR);
        if restarted {
            process = rig.process();
        }
        rig.pass(&mut process, GRACE - 2 * MINUTE).await;
        assert_eq!(rig.place.state().orders.len(), 1);
        let began = Instant::now();
        rig.settled(&mut process).await;
        assert!(began.elapsed() < 3 * MINUTE, "{:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn s13_a_clock_that_jumps_ahead_ends_no_grace_over_a_restart_too() {
    for restarted in [false, true] {
        let rig = Rig::new(&["a.example.com"]);
        // The API server's clock goes on as it was.
        rig.witness.tell(rig.clock()());
        rig.place.state().faults.fail_validation = true;
        let mut process = rig.process();
        let failed = |state: &crate::place::State| state.notes.values().any(|note| note.failures.is_some());
        rig.reach(&mut process, failed).await;
        rig.place.state().faults.fail_validation = false;
        if restarted {
            drop(process);
            rig.set_clock(YEAR);
            process = rig.process();
        } else {
            rig.pass(&mut process, MINUTE).await;
            rig.set_clock(YEAR);
        }
        rig.pass(&mut process, GRACE / 2).await;
        rig.set_clock(-YEAR);
        rig.pass(&mut process, GRACE / 2 - 2 * MINUTE).await;
        assert_eq!(rig.place.state().orders.len(), 1, "restarted: {restarted}");
        let began = Instant::now();
        rig.settled(&mut process).await;
        assert!(began.elapsed() < 3 * MINUTE, "{:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn p20_a_certificate_that_was_stored_by_a_clock_that_was_ahead_is_renewed_when_it_is_due() {
    let rig = Rig::new(&["a.example.com"]);
    let now = rig.clock()();
    let hours = |hours| ahead(now, SignedDuration::from_hours(hours));
    let name: Hostname = "a.example.com".parse().unwrap();
    let facts = CertFacts {
        names: vec![name.clone()],
        not_before: hours(-90),
        not_after: hours(70),
        serial: "01".into(),
        issuer: "Test".into(),
        id: None,
    };
    let held = Held {
        secret: "a.example.com".into(),
        version: "0".into(),
        content: Ok(facts.clone()),
        issued_at: Some(after(now, 5 * 3 * GRACE)),
        renew: None,
        made_by: None,
        origin: None,
    };
    rig.place.state().secrets.insert(name.clone(), held);
    let mut process = rig.process();
    let began = Instant::now();
    rig.reach(&mut process, |state| {
        let content = state.secrets[&name].content.as_ref();
        content.is_ok_and(|renewed| renewed.not_after > facts.not_after)
    })
    .await;
    assert!(began.elapsed() < MINUTE, "{:?}", began.elapsed());
}

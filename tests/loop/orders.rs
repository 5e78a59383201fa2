//! Orders with which the CA does what it need not: it keeps them waiting, loses what it made, or tells odd times.

use std::time::Duration;

use faythe_core::budget::{Limit, Limits};
use faythe_core::name::Hostname;
use faythe_core::problem::{Problem, ProblemKind};
use tokio::time::Instant;

use crate::rig::{AT_ONCE, Rig};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn s06_a_ca_that_asks_for_a_day_with_some_orders_holds_up_no_other() {
    let slow: Vec<String> = (0..AT_ONCE)
        .map(|number| format!("s{number}.example.com"))
        .collect();
    let rig = Rig::new(&slow.iter().map(String::as_str).collect::<Vec<_>>());
    rig.place.state().faults.stall = Some((AT_ONCE, 24 * HOUR));
    let mut process = rig.process();
    rig.reach(&mut process, |state| state.calls("finalize") == AT_ONCE)
        .await;
    let mut hosts = slow.clone();
    hosts.push("z.example.com".to_owned());
    rig.show_requests(&process, &hosts);
    let began = Instant::now();
    let other: Hostname = "z.example.com".parse().unwrap();
    rig.reach(&mut process, |state| state.secrets.contains_key(&other))
        .await;
    assert!(began.elapsed() <= Duration::from_secs(5), "{:?}", began.elapsed());
    // Once the CA has come to an end with them, that is seen within an hour.
    rig.place.state().faults.stall = None;
    rig.pass(&mut process, HOUR + Duration::from_secs(60)).await;
    let state = rig.place.state();
    assert_eq!(
        (state.secrets.len(), state.orders.len()),
        (AT_ONCE + 1, AT_ONCE + 1)
    );
}

#[tokio::test(start_paused = true)]
async fn p23_a_certificate_that_is_not_to_be_had_costs_no_other() {
    let rig = Rig::new(&["a.example.com"]);
    rig.place.state().faults.lose_certificates = true;
    let mut process = rig.process();
    rig.pass(&mut process, 3 * HOUR).await;
    let downloads = rig.place.state().calls("download");
    assert!((10..100).contains(&downloads), "{downloads} downloads");
    rig.place.state().faults.lose_certificates = false;
    rig.settled(&mut process).await;
    assert_eq!(rig.place.state().orders.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn p17_a_certificate_that_may_yet_be_made_counts_when_its_order_is_given_up() {
    let mut rig = Rig::new(&["a.example.com"]);
    rig.limits = Limits {
        certificates_per_set: Some(Limit::new(2, 168 * HOUR)),
        ..Limits::default()
    };
    rig.place.state().faults.stall = Some((usize::MAX, Duration::ZERO));
    let mut process = rig.process();
    rig.pass(&mut process, 8 * HOUR).await;
    assert_eq!(rig.place.state().orders.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn p17_p23_an_order_that_is_made_and_not_to_be_read_is_counted_and_kept() {
    for (crash, mute) in [(false, 0), (true, 0), (false, 1)] {
        let mut rig = Rig::new(&["a.example.com"]);
        rig.limits.new_orders = Some(Limit::new(1, 168 * HOUR));
        {
            let faults = &mut rig.place.state().faults;
            (faults.ca_misses, faults.mute_notes) = (vec!["read", "resume"], mute);
        }
        let mut process = rig.process();
        if crash {
            rig.reach(&mut process, |state| !state.notes.is_empty()).await;
            drop(process);
            process = rig.process();
        }
        rig.settled(&mut process).await;
        assert!(rig.place.state().faults.ca_misses.is_empty());
        // Another one would be one too many for the CA.
        rig.show_requests(
            &process,
            &["a.example.com".to_owned(), "b.example.com".to_owned()],
        );
        rig.pass(&mut process, HOUR).await;
        assert_eq!(rig.place.state().orders.len(), 1, "{crash} {mute}");
    }
}

#[tokio::test(start_paused = true)]
async fn p23_an_order_that_is_past_when_it_is_made_tells_of_a_clock_alone() {
    let rig = Rig::new(&["a.example.com"]);
    rig.place.state().faults.expires = Some("2025-12-31T16:00:00Z".parse().unwrap());
    let mut process = rig.process();
    rig.settled(&mut process).await;
    assert_eq!(rig.place.state().orders.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn p23_orders_that_expire_too_soon_do_not_follow_each_other_at_once() {
    let rig = Rig::new(&["a.example.com"]);
    {
        let faults = &mut rig.place.state().faults;
        faults.hide = true;
        faults.expires = Some("2026-01-01T00:00:10Z".parse().unwrap());
    }
    let mut process = rig.process();
    rig.pass(&mut process, Duration::from_secs(65)).await;
    assert_eq!(rig.place.state().orders.len(), 1);
    rig.place.state().faults.hide = false;
    rig.settled(&mut process).await;
    assert_eq!(rig.place.state().orders.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn p23_a_csr_that_is_refused_for_ever_ends_the_order() {
    let rig = Rig::new(&["a.example.com"]);
    rig.place.state().faults.refuse_requests = Some(Problem {
        status: Some(403),
        kind: ProblemKind::OrderNotReady,
        detail: "not yet".into(),
        retry_after: None,
    });
    let mut process = rig.process();
    rig.pass(&mut process, HOUR * 3 / 4).await;
    assert_eq!(rig.place.state().orders.len(), 2);
    rig.place.state().faults.refuse_requests = None;
    rig.settled(&mut process).await;
}

#[tokio::test(start_paused = true)]
async fn p23_a_certificate_that_begins_later_is_stored_then() {
    let rig = Rig::new(&["a.example.com"]);
    rig.place.state().faults.begins = Some(2);
    let mut process = rig.process();
    rig.pass(&mut process, 24 * HOUR + Duration::from_secs(10)).await;
    let state = rig.place.state();
    assert_eq!((state.secrets.len(), state.orders.len()), (1, 1));
    assert!(state.calls("save failure") == 0 && state.notes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn p23_an_order_that_lapsed_while_nobody_was_there_is_followed_by_another_after_a_minute() {
    let rig = Rig::new(&["a.example.com"]);
    {
        let faults = &mut rig.place.state().faults;
        faults.hide = true;
        faults.expires = Some("2026-01-01T00:10:00Z".parse().unwrap());
    }
    let mut process = rig.process();
    rig.reach(&mut process, |state| !state.notes.is_empty()).await;
    drop(process);
    tokio::time::sleep(HOUR).await;
    rig.place.state().faults.hide = false;
    let began = Instant::now();
    rig.settled(&mut rig.process()).await;
    let took = began.elapsed();
    // As after any order of no use: what has gone by does not tell a lapse from a clock that is wrong.
    assert!((50..90).contains(&took.as_secs()), "{took:?}");
    assert_eq!(rig.place.state().orders.len(), 2);
}

//! The process ends at any call, before or after its effect; the next one goes on.

use std::time::Duration;

use faythe::store::secrets::SeenSecret;
use tokio::time::{Instant, sleep};

use crate::place::Side;
use crate::rig::Rig;

/// More calls than an issuance makes.
const CALLS: usize = 40;
/// As many as it makes.
const WHOLE_WAY: usize = 15;

#[tokio::test(start_paused = true)]
async fn p16_p18_a_crash_at_any_call_costs_no_certificate_and_leaves_nothing() {
    let mut extra = Vec::new();
    for at in 1..CALLS {
        for side in [Side::Before, Side::After] {
            let rig = Rig::new(&["a.example.com"]);
            rig.place.state().fuse = Some((at, side));
            rig.settled_or_crashed(rig.process()).await;
            let began = Instant::now();
            rig.settled(&mut rig.process()).await;
            let took = began.elapsed();
            // Nothing that the dead process may have done keeps the one order of a record waiting.
            assert!(
                took < Duration::from_secs(2),
                "{took:?} after call {at}, {side:?}"
            );
            let state = rig.place.state();
            match state.orders.len() {
                1 => {}
                2 => extra.push((state.journal[at - 1].clone(), side)),
                more => panic!("{more} orders after a crash at call {at}, {side:?}"),
            }
            let at_keeping = (state.journal.get(at - 1)).is_some_and(|call| call.starts_with("keep"));
            assert_eq!(
                state.calls("keep"),
                1 + usize::from(at_keeping && side == Side::Before),
                "call {at}, {side:?}"
            );
        }
    }
    // Only between the CA's answer and our note of it is an order lost sight of.
    let expected = [
        ("open a.example.com".to_owned(), Side::After),
        ("save note a.example.com".to_owned(), Side::Before),
    ];
    assert_eq!(extra, expected);
}

#[tokio::test(start_paused = true)]
async fn p16_a_crash_around_an_order_that_cannot_be_read_yet_leaves_nothing() {
    for at in 1..CALLS {
        let rig = Rig::new(&["a.example.com"]);
        rig.place.state().faults.ca_misses = vec!["read", "resume"];
        rig.place.state().fuse = Some((at, Side::After));
        rig.settled_or_crashed(rig.process()).await;
        rig.settled(&mut rig.process()).await;
        let state = rig.place.state();
        let lost = state
            .journal
            .get(at - 1)
            .is_some_and(|call| call.starts_with("open"));
        assert_eq!(state.orders.len(), 1 + usize::from(lost), "call {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn p15_a_crash_in_the_middle_of_a_pair_settles_both() {
    for at in 1..2 * CALLS {
        let rig = Rig::new(&["a.example.com", "*.a.example.com"]);
        rig.place.state().fuse = Some((at, Side::After));
        rig.settled_or_crashed(rig.process()).await;
        let began = Instant::now();
        rig.settled(&mut rig.process()).await;
        assert!(rig.place.state().orders.len() <= 4, "call {at}");
        let took = began.elapsed();
        assert!(took < Duration::from_secs(75), "{took:?} after call {at}");
    }
}

/// The other half of a pair is asked for after a crash; the CA's resolver, which the place has, may remember what it saw
/// for the first half.
#[tokio::test(start_paused = true)]
async fn p15_after_a_crash_the_other_of_a_pair_waits_for_the_looks_of_the_dead() {
    for (host, other) in [
        ("a.example.com", "*.a.example.com"),
        ("*.a.example.com", "a.example.com"),
    ] {
        for at in 1..=WHOLE_WAY {
            let rig = Rig::new(&[host, other]);
            rig.place.state().fuse = Some((at, Side::After));
            let process = rig.blind_process();
            rig.show_requests(&process, &[host.to_owned()]);
            process
                .secrets
                .unbounded_send(SeenSecret::All(Vec::new()))
                .unwrap();
            rig.settled_or_crashed(process).await;
            sleep(Duration::from_secs(1)).await;
            let began = Instant::now();
            rig.settled(&mut rig.process()).await;
            let took = began.elapsed();
            assert!(took < Duration::from_secs(75), "{took:?} after call {at}");
            let told = rig.place.state().journal[..at]
                .iter()
                .any(|line| line.starts_with("tell"));
            assert_eq!(
                took > Duration::from_secs(50),
                told,
                "{took:?} after call {at} of {host}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wish_that_vanishes_at_any_call_leaves_nothing() {
    for at in 2..CALLS {
        let rig = Rig::new(&["a.example.com"]);
        let mut process = rig.process();
        rig.reach(&mut process, |state| {
            state.journal.len() >= at || !state.secrets.is_empty()
        })
        .await;
        rig.show_requests(&process, &[]);
        rig.reach(&mut process, |state| {
            state.txt.is_empty() && state.notes.is_empty()
        })
        .await;
        assert!(rig.place.state().orders.len() <= 1);
    }
}

#[tokio::test(start_paused = true)]
async fn p16_a_note_whose_answer_is_lost_is_not_left_where_nobody_asks_any_more() {
    let rig = Rig::new(&["a.example.com"]);
    rig.place.state().faults.mute_notes = 1;
    let mut process = rig.process();
    rig.reach(&mut process, |state| !state.notes.is_empty()).await;
    rig.show_requests(&process, &[]);
    rig.reach(&mut process, |state| state.notes.is_empty()).await;
    let state = rig.place.state();
    assert_eq!(state.calls("tell"), 0);
    assert!(state.txt.is_empty());
}

#[tokio::test(start_paused = true)]
async fn p16_a_note_whose_removal_is_not_answered_is_saved_again_before_its_order_goes_on() {
    let rig = Rig::new(&["a.example.com"]);
    rig.place.state().faults.hide = true;
    let mut process = rig.process();
    // Long enough to have rested more than once, so that it is cleaned up when nobody asks.
    rig.pass(&mut process, Duration::from_secs(30)).await;
    rig.place.state().faults.mute_notes = 1;
    rig.show_requests(&process, &[]);
    rig.reach(&mut process, |state| state.notes.is_empty()).await;
    rig.show_requests(&process, &["a.example.com".to_owned()]);
    rig.place.state().faults.hide = false;
    rig.settled(&mut process).await;
    let state = rig.place.state();
    assert_eq!((state.orders.len(), state.calls("save note")), (1, 2));
}

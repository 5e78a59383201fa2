//! The process ends at any call, before or after its effect; the next one goes on.

use crate::place::Side;
use crate::rig::Rig;

/// More calls than an issuance makes.
const CALLS: usize = 40;

#[tokio::test(start_paused = true)]
async fn p16_p18_a_crash_at_any_call_costs_no_certificate_and_leaves_nothing() {
    let mut extra = Vec::new();
    for at in 1..CALLS {
        for side in [Side::Before, Side::After] {
            let rig = Rig::new(&["a.example.com"]);
            rig.place.state().fuse = Some((at, side));
            rig.settled_or_crashed(rig.process()).await;
            rig.settled(&mut rig.process()).await;
            let state = rig.place.state();
            match state.orders.len() {
                1 => {}
                2 => extra.push((state.journal[at - 1].clone(), side)),
                more => panic!("{more} orders after a crash at call {at}, {side:?}"),
            }
            assert_eq!(
                state.calls("keep"),
                1 + usize::from(at == 13 && side == Side::Before),
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
async fn p15_a_crash_in_the_middle_of_a_pair_settles_both() {
    for at in 1..2 * CALLS {
        let rig = Rig::new(&["a.example.com", "*.a.example.com"]);
        rig.place.state().fuse = Some((at, Side::After));
        rig.settled_or_crashed(rig.process()).await;
        rig.settled(&mut rig.process()).await;
        assert!(rig.place.state().orders.len() <= 4, "call {at}");
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

//! What the CA allows, and when it wants certificates renewed.

use std::time::Duration;

use faythe_core::ari::{RenewalInfo, Window};
use faythe_core::budget::{Limit, Limits, Preset};
use faythe_core::problem::{Problem, ProblemKind};
use faythe_core::schedule::after;
use jiff::{SignedDuration, Timestamp};

use crate::rig::{GRACE, Rig};

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn hosts(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("h{number:02}.example.com"))
        .collect()
}

fn rig(count: usize) -> Rig {
    let hosts = hosts(count);
    Rig::new(&hosts.iter().map(String::as_str).collect::<Vec<_>>())
}

/// How many orders there were, and how many of them named what they replace.
fn counts(rig: &Rig) -> (usize, usize) {
    let state = rig.place.state();
    (state.orders.len(), state.replacing)
}

fn info(from: u64, to: u64) -> RenewalInfo {
    RenewalInfo {
        window: Window::new(
            after(start(), Duration::from_secs(from)),
            after(start(), Duration::from_secs(to)),
        )
        .unwrap(),
        explanation: None,
        retry_after: Some(Duration::from_secs(60)),
    }
}

#[tokio::test(start_paused = true)]
async fn p17_no_more_is_ordered_than_the_ca_allows_over_a_crash_too() {
    let mut rig = rig(20);
    // Six at once, and then one a minute.
    rig.limits = Limits {
        new_orders: Some(Limit::new(6, Duration::from_secs(360))),
        ..Limits::default()
    };
    let mut process = rig.process();
    rig.pass(&mut process, Duration::from_secs(30)).await;
    let opened = rig.place.state().orders.len();
    assert!((5..=6).contains(&opened), "{opened} at first");
    drop(process);

    // Its heir knows what was used, and guesses rather too much than too little.
    let mut process = rig.process();
    rig.pass(&mut process, Duration::from_secs(60)).await;
    let opened = rig.place.state().orders.len();
    assert!(opened <= 7, "{opened} after a crash");
    rig.settled(&mut process).await;
    let state = rig.place.state();
    assert_eq!(state.orders.len(), 20);
    let saved = state.calls("save ledger");
    assert!((2..=20).contains(&saved), "saved {saved} times");
}

#[tokio::test(start_paused = true)]
async fn p36_without_limits_no_ledger_is_written_and_it_is_read_with_the_notes_alone() {
    let rig = rig(5);
    let mut process = rig.process();
    rig.settled(&mut process).await;
    rig.pass(&mut process, GRACE).await;
    let state = rig.place.state();
    assert_eq!(state.calls("save ledger"), 0);
    assert_eq!(state.calls("ledger"), state.calls("notes"));
}

#[tokio::test(start_paused = true)]
async fn p17_a_clock_that_jumps_neither_earns_an_order_nor_costs_one() {
    let mut rig = rig(20);
    rig.limits = Limits {
        new_orders: Some(Limit::new(6, Duration::from_secs(360))),
        ..Limits::default()
    };
    let opened = |rig: &Rig| rig.place.state().orders.len();
    let mut process = rig.process();
    rig.pass(&mut process, Duration::from_secs(30)).await;
    for hours in [48, -72] {
        let before = opened(&rig);
        rig.set_clock(SignedDuration::from_hours(hours));
        rig.pass(&mut process, Duration::from_secs(120)).await;
        let orders = opened(&rig) - before;
        assert!((1..=3).contains(&orders), "{orders} in two minutes");
    }
    rig.settled(&mut process).await;
}

#[tokio::test(start_paused = true)]
async fn p17_a_time_that_the_ca_names_while_we_end_is_saved() {
    let refused = || {
        let rig = rig(1);
        rig.place.state().faults.refuse_orders = Some(Problem {
            status: Some(429),
            kind: ProblemKind::RateLimited,
            detail: "too many new orders (300) from this account in the last 3h0m0s".to_owned(),
            retry_after: Some(Duration::from_secs(3_600)),
        });
        rig
    };
    let before = refused();
    before.pass(&mut before.process(), Duration::from_secs(1)).await;
    let at = before
        .place
        .state()
        .journal
        .iter()
        .position(|call| call.starts_with("open"));
    let rig = refused();
    let process = rig.process();
    let stop = process.stop.clone();
    rig.place.state().at_call = Some((at.unwrap() + 1, Box::new(move || stop.cancel())));
    process.end().await.unwrap();
    let state = rig.place.state();
    assert_eq!(state.calls("open"), 1);
    assert_eq!(state.ledger.as_ref().map(|ledger| ledger.holds.len()), Some(1));
}

/// The CA is asked for no order before the time that it has named, by an heir of a killed process and by another instance.
async fn check_heirs_wait(limits: Limits) {
    let asked = |rig: &Rig| rig.place.state().calls("open");
    let mut rig = rig(3);
    rig.limits = limits;
    rig.place.state().faults.refuse_orders = Some(Problem {
        status: Some(429),
        kind: ProblemKind::RateLimited,
        detail: "too many new orders (300) from this account in the last 3h0m0s".to_owned(),
        retry_after: Some(Duration::from_secs(3_600)),
    });
    let mut process = rig.process();
    rig.pass(&mut process, Duration::from_secs(60)).await;
    let refused = asked(&rig);
    assert!(refused >= 1);
    let saves = rig.place.state().calls("save ledger");
    assert!((1..=5).contains(&saves), "{saves} writes");
    drop(process);

    let mut heir = rig.process();
    rig.pass(&mut heir, Duration::from_secs(600)).await;
    assert_eq!(asked(&rig), refused);
    drop(heir);
    // It has read them before it led, and reads them again when it does.
    let (mut office, mut second) = rig.candidate();
    rig.pass(&mut second, Duration::from_secs(60)).await;
    office.begin(None);
    rig.pass(&mut second, Duration::from_secs(2_700)).await;
    assert_eq!(asked(&rig), refused);
    rig.place.state().faults.refuse_orders = None;
    rig.settled(&mut second).await;
    assert_eq!(asked(&rig), refused + 3);
}

#[tokio::test(start_paused = true)]
async fn p17_a_time_that_the_ca_has_named_holds_over_a_crash_and_a_take_over() {
    check_heirs_wait(Preset::LetsEncrypt.limits()).await;
}

#[tokio::test(start_paused = true)]
async fn p17_so_it_does_where_nothing_is_counted() {
    check_heirs_wait(Limits::default()).await;
}

#[tokio::test(start_paused = true)]
async fn p21_a_window_that_moves_into_the_past_renews_at_once_and_once() {
    let rig = rig(12);
    let year = 365 * 86_400;
    rig.place.state().renewal = Some(info(year, 2 * year));
    let mut process = rig.process();
    rig.settled(&mut process).await;
    // What was stored within the grace would only be followed by another like it.
    rig.pass(&mut process, GRACE).await;
    assert_eq!(counts(&rig), (12, 0));

    // All are revoked: the window lies in the past from now on, for the new certificates as well.
    rig.place.state().renewal = Some(info(0, 60));
    rig.pass(&mut process, Duration::from_secs(600)).await;
    assert_eq!(counts(&rig), (24, 12));
    rig.pass(&mut process, Duration::from_secs(3_600)).await;
    assert_eq!(rig.place.state().orders.len(), 24, "it must not loop");
}

#[tokio::test(start_paused = true)]
async fn p17_what_the_ca_does_not_take_for_a_replacement_counts_for_its_set() {
    let mut rig = rig(1);
    let hour = 3_600;
    // The first certificate leaves no room for a second, for half a day.
    rig.limits = Limits {
        certificates_per_set: Some(Limit::new(1, Duration::from_secs(12 * hour))),
        ..Limits::default()
    };
    {
        let mut state = rig.place.state();
        state.renewal = Some(info(9 * hour, 11 * hour));
        state.faults.begins = Some(1);
    }
    let mut process = rig.process();
    rig.settled(&mut process).await;
    rig.place.state().faults.refuse_orders = Some(Problem {
        status: Some(409),
        kind: ProblemKind::AlreadyReplaced,
        detail: "it has a successor".to_owned(),
        retry_after: None,
    });
    rig.pass(&mut process, Duration::from_secs(11 * hour)).await;
    // Inside its window it needs no room, but where it cannot name what it replaces.
    assert_eq!(rig.place.state().calls("open"), 2);
    rig.place.state().faults.refuse_orders = None;
    rig.pass(&mut process, Duration::from_secs(hour - 60)).await;
    assert_eq!(counts(&rig), (1, 0));
    rig.pass(&mut process, Duration::from_secs(600)).await;
    assert_eq!(counts(&rig), (2, 0));
}

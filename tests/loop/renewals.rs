//! What a CA says when it is asked about renewals, and what it costs to ask.

use std::time::Duration;

use faythe_core::ari::{RenewalInfo, Window};
use faythe_core::problem::{Problem, ProblemKind};
use faythe_core::schedule::after;
use jiff::Timestamp;

use crate::rig::Rig;

const YEAR: u64 = 365 * 86_400;
const HOUR: Duration = Duration::from_secs(3_600);

/// A window, in seconds after the start.
fn info(from: u64, to: u64) -> RenewalInfo {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let at = |secs| after(start, Duration::from_secs(secs));
    RenewalInfo {
        window: Window::new(at(from), at(to)).unwrap(),
        explanation: None,
        retry_after: None,
    }
}

/// The same of a CA that wants to be asked often.
fn often(from: u64, to: u64) -> RenewalInfo {
    RenewalInfo {
        retry_after: Some(HOUR / 6),
        ..info(from, to)
    }
}

fn rig(count: usize) -> Rig {
    let hosts: Vec<_> = (0..count)
        .map(|number| format!("h{number:02}.example.com"))
        .collect();
    Rig::new(&hosts.iter().map(String::as_str).collect::<Vec<_>>())
}

fn limited(wait: Duration) -> Problem {
    Problem {
        status: Some(429),
        kind: ProblemKind::RateLimited,
        detail: "too many requests".to_owned(),
        retry_after: Some(wait),
    }
}

#[tokio::test(start_paused = true)]
async fn p22_a_wait_that_the_ca_names_keeps_all_questions_away_over_a_restart() {
    let rig = rig(24);
    let asked = || rig.place.state().questions;
    rig.place.state().renewal = Some(info(YEAR, 2 * YEAR));
    rig.place.state().faults.refuse_questions = Some(limited(2 * HOUR));
    let mut process = rig.process();
    rig.settled(&mut process).await;
    rig.pass(&mut process, HOUR / 2).await;
    // Those that were under way together.
    let refused = asked();
    assert!((1..=8).contains(&refused), "{refused}");
    drop(process);
    let mut heir = rig.process();
    rig.pass(&mut heir, HOUR).await;
    assert_eq!(asked(), refused);
    // Then they are asked one after the other, and what is told counts.
    rig.place.state().faults.refuse_questions = None;
    rig.pass(&mut heir, HOUR).await;
    assert!(asked() >= refused + 24, "{} after {refused}", asked());
}

#[tokio::test(start_paused = true)]
async fn p20_a_ca_that_always_tells_windows_in_the_past_costs_few_certificates() {
    let rig = rig(1);
    rig.place.state().renewal = Some(info(0, 60));
    let orders = || rig.place.state().orders.len();
    let mut process = rig.process();
    rig.pass(&mut process, 50 * HOUR).await;
    // The second after a grace of 8 hours, the third after 16 more, the fourth after 32 more.
    assert_eq!(orders(), 3);
    drop(process);
    let mut heir = rig.process();
    rig.pass(&mut heir, 30 * HOUR).await;
    assert_eq!(
        orders(),
        4,
        "how many they are in a row is known to the next process"
    );
}

#[tokio::test(start_paused = true)]
async fn p21_what_has_only_just_been_stored_and_is_recalled_is_replaced_at_once() {
    let rig = rig(3);
    rig.place.state().renewal = Some(often(YEAR, 2 * YEAR));
    let mut process = rig.process();
    rig.settled(&mut process).await;
    rig.pass(&mut process, HOUR / 4).await;
    assert_eq!(rig.place.state().orders.len(), 3);
    rig.place.state().renewal = Some(often(0, 60));
    rig.pass(&mut process, HOUR / 4).await;
    assert_eq!(rig.place.state().orders.len(), 6);
    // Those that came after them were never told another window.
    rig.pass(&mut process, 4 * HOUR).await;
    assert_eq!(rig.place.state().orders.len(), 6, "it must not loop");
}

#[tokio::test(start_paused = true)]
async fn p21_what_is_recalled_just_before_a_restart_is_replaced_right_after_it() {
    let rig = rig(3);
    rig.place.state().renewal = Some(often(YEAR, 2 * YEAR));
    let mut process = rig.process();
    rig.settled(&mut process).await;
    rig.pass(&mut process, HOUR / 4).await;
    // It is heard of while the CA makes no orders.
    rig.place.state().faults.ca_is_away = true;
    rig.place.state().renewal = Some(often(0, 60));
    rig.pass(&mut process, HOUR / 4).await;
    process.stop.cancel();
    process.end().await.unwrap();
    assert_eq!(rig.place.state().orders.len(), 3);
    rig.place.state().faults.ca_is_away = false;
    let mut heir = rig.process();
    rig.pass(&mut heir, HOUR / 60).await;
    assert_eq!(rig.place.state().orders.len(), 6);
}

#[tokio::test(start_paused = true)]
async fn p20_an_order_under_way_is_gone_on_with_though_the_ca_moves_the_window() {
    let rig = rig(1);
    rig.place.state().renewal = Some(often(YEAR, 2 * YEAR));
    let mut process = rig.process();
    rig.settled(&mut process).await;
    let held = || rig.place.state().secrets.values().cloned().collect::<Vec<_>>();
    let before = held();
    // Recalled; what its order has published is not to be seen yet.
    rig.place.state().faults.hide = true;
    rig.place.state().renewal = Some(often(0, 60));
    rig.pass(&mut process, HOUR / 2).await;
    assert_eq!(rig.place.state().orders.len(), 2);
    drop(process);
    let mut heir = rig.process();
    rig.pass(&mut heir, HOUR / 4).await;
    rig.place.state().renewal = Some(often(YEAR, 2 * YEAR));
    rig.pass(&mut heir, HOUR / 2).await;
    // Its own heir has never been told anything else.
    drop(heir);
    rig.place.state().windows.clear();
    let mut heir = rig.process();
    rig.pass(&mut heir, HOUR / 4).await;
    rig.place.state().faults.hide = false;
    rig.pass(&mut heir, HOUR / 2).await;
    assert_eq!(rig.place.state().orders.len(), 2);
    assert_ne!(held(), before);
}

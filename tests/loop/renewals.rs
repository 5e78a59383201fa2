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

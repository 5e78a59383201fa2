//! Laws of names, zones and plans, over generated texts, worlds and sequences of events.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod budgets;
mod holds;
mod names;
mod plans;
mod renewals;
mod worlds;

use std::env;

use proptest::prelude::ProptestConfig;
use proptest::test_runner::FileFailurePersistence;

/// So many cases, and `FAYTHE_TIMES` as many where a run is to look farther. What has once failed is kept beside this file
/// and tried first.
#[expect(
    clippy::disallowed_methods,
    reason = "how far a run looks is said from outside"
)]
fn cases(cases: u32) -> ProptestConfig {
    let kept = FileFailurePersistence::Direct("tests/properties/seeds.txt");
    let times = env::var("FAYTHE_TIMES").ok();
    let times = times.map_or(1, |times| times.parse::<u32>().unwrap());
    ProptestConfig {
        cases: cases.saturating_mul(times),
        failure_persistence: Some(Box::new(kept)),
        ..ProptestConfig::default()
    }
}

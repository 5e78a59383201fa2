//! Laws of names, zones and plans, over generated texts, worlds and sequences of events.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod budgets;
mod holds;
mod names;
mod plans;
mod worlds;

use proptest::prelude::ProptestConfig;
use proptest::test_runner::FileFailurePersistence;

/// What has once failed is kept beside this file and tried first.
fn cases(cases: u32) -> ProptestConfig {
    let kept = FileFailurePersistence::Direct("tests/properties/seeds.txt");
    ProptestConfig {
        cases,
        failure_persistence: Some(Box::new(kept)),
        ..ProptestConfig::default()
    }
}

//! A model of `src/clock.rs` and of how `src/run.rs` reads it: the loop knows when the clock was set, and how far it is
//! ahead of the API server's and the CA's.

use faythe_core::Timestamp;
use faythe_core::cas::CaId;
use faythe_core::schedule::ahead;
use jiff::SignedDuration;

use super::Shell;
use crate::outside::{ALIKE, Outside};

/// A smaller step is none; many add up.
const STEP: SignedDuration = SignedDuration::from_secs(1);

/// What the clock said when it was last known whether it had been set, and a clock that nobody sets.
pub(super) struct Steps {
    clock: Timestamp,
    steady: Timestamp,
}

impl Shell {
    /// What time it is. Where the clock has been set, the world is told first.
    pub(super) fn now(&mut self, outside: &Outside) -> Timestamp {
        let now = outside.clock();
        let here = Steps {
            clock: now,
            steady: outside.now,
        };
        let before = self.steps.get_or_insert(Steps { ..here });
        let expected = ahead(before.clock, before.steady.duration_until(outside.now));
        let by = expected.duration_until(now);
        if by.abs() >= STEP {
            *before = here;
            self.world.clock_set(by, now);
        }
        if outside.cluster.down == 0 {
            self.witness = Some(ahead(outside.now, outside.cluster.clock_ahead).duration_until(outside.now));
        }
        if let Some(theirs) = self.witness {
            let by = outside.clock_ahead + theirs;
            self.world.set_clock_ahead(if by.abs() < ALIKE {
                SignedDuration::ZERO
            } else {
                by
            });
        }
        self.world.set_ca_clock_ahead(CaId::FIRST, outside.ahead_of_ca());
        now
    }
}

//! The part of the world that a clock which was ahead, and has been set, has left wrong.

use jiff::Timestamp;

use super::World;
use crate::activity::Activity;
use crate::schedule::set_back;

impl World {
    /// The clock has been set back: what was written down by it while it was ahead would hold everything up for as long
    /// as it was.
    pub(super) fn mend_times(&mut self, now: Timestamp) {
        let (before, clock_ahead) = (self.passed.max(now), self.desks.clock_ahead);
        self.desks.mend(before, now);
        self.holds_changed = true;
        for (host, activity) in &mut self.activities {
            if let Activity::Resting(rest) = activity {
                rest.until = set_back(rest.until, before, now);
                self.dirty.insert(host.clone());
            }
        }
        for (host, failures) in &mut self.failures {
            *failures = failures.clone().by(now, clock_ahead);
            self.dirty.insert(host.clone());
        }
        for (host, given_up) in &mut self.given_up {
            *given_up = given_up.clone().by(now, clock_ahead);
            self.dirty.insert(host.clone());
        }
        for taken in self.taken.values_mut() {
            (taken.since, taken.seen) = (taken.since.min(now), taken.seen.min(now));
        }
        for (host, held) in self.held.values_mut() {
            let true_by_now = held.clone().by(now);
            if *held != true_by_now {
                *held = true_by_now;
                self.dirty.extend(host.clone());
            }
        }
    }
}

//! The CA is away for hours to days. Whoever has to renew meanwhile waits, and asks now and then.

use super::super::{DAY_SECS, Event, Sim};
use super::Relief;

impl Sim {
    /// At most so long that a certificate which becomes due when it begins outlives it.
    pub(super) fn take_the_ca_away(&mut self) {
        if self.outside.ca.down > 0 {
            return;
        }
        let longest = (self.course.habits.lifetime_hours * 3_600 / 4).min(4 * DAY_SECS);
        let longest = *self.outside.dice.pick(&[6 * 3_600, DAY_SECS, longest]).unwrap();
        self.outside.ca.goes(self.outside.now);
        self.soon(3_600, longest, Event::Relief(Relief::Outage));
    }
}

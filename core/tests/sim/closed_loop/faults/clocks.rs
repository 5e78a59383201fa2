//! Clocks are set: that of the machine on which the program runs, by seconds, hours or days, forwards or back, and right
//! again after a while; now and then that of the API server, by which the program knows how wrong its own is; and the CA's,
//! by which it names all its times.

use std::time::Duration;

use faythe_core::schedule::after;
use jiff::SignedDuration;

use super::super::{DAY_SECS, Sim};
use super::Relief;
use crate::closed_loop::Event;

/// The loop looks at its clock at least this often.
const HEARTBEAT_MS: i64 = 5_000;

impl Sim {
    /// The CA's own clock goes wrong, by minutes to hours, and stays so for up to days.
    pub(super) fn set_the_cas_clock(&mut self) {
        if !self.outside.ca.clock_ahead.is_zero() {
            return;
        }
        let most = *self.outside.dice.pick(&[600, 3_600, 6 * 3_600]).unwrap();
        let by = SignedDuration::from_secs(self.outside.dice.between(60, most));
        let by = if self.outside.dice.chance(500) { by } else { -by };
        self.let_the_cas_clock_be(by);
        self.soon(600, 3 * DAY_SECS, Event::Relief(Relief::CaClock));
    }

    pub(super) fn set_the_cas_clock_right(&mut self) {
        self.let_the_cas_clock_be(SignedDuration::ZERO);
    }

    fn let_the_cas_clock_be(&mut self, ahead: SignedDuration) {
        self.outside.ca.clock_ahead = ahead;
        self.laws.ca_clock_is_set(ahead, self.outside.now);
    }

    pub(super) fn set_a_clock(&mut self) {
        if !self.outside.clock_ahead.is_zero() {
            return;
        }
        let most = *self
            .outside
            .dice
            .pick(&[5, 90, 3_600, 12 * 3_600, 3 * DAY_SECS])
            .unwrap();
        let by = self.outside.dice.between(1, most);
        let by = SignedDuration::from_secs(if self.outside.dice.chance(500) { by } else { -by });
        if self.outside.dice.chance(200) {
            self.outside.cluster.clock_ahead = by;
        } else {
            self.set_our_clock(by);
        }
        self.soon(1, 6 * 3_600, Event::Relief(Relief::Clocks));
    }

    pub(super) fn set_clocks_right(&mut self) {
        self.outside.cluster.clock_ahead = SignedDuration::ZERO;
        if !self.outside.clock_ahead.is_zero() {
            self.set_our_clock(SignedDuration::ZERO);
        }
    }

    /// Whatever waits does so by a clock that nobody sets; the loop sees that it was set at its next heartbeat.
    fn set_our_clock(&mut self, ahead: SignedDuration) {
        let now = self.outside.now;
        self.laws.clock_is_set(ahead, now);
        self.outside.clock_ahead = ahead;
        for at in 0..self.instances.len() {
            let heartbeat = self.outside.dice.between(1, HEARTBEAT_MS).unsigned_abs();
            self.instances[at].turn_at = None;
            self.turn_by(at, after(now, Duration::from_millis(heartbeat)));
        }
    }
}

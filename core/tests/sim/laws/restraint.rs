//! A CA in trouble is not pressed (P22).

use faythe_core::schedule::ahead;
use jiff::SignedDuration;

use super::Laws;
use crate::outside::Outside;

/// Long before this the waits have become as long as they get: five minutes, of all orders together.
const SETTLED: SignedDuration = SignedDuration::from_hours(2);
/// A dozen in an hour, and as many until the waits have doubled, of each process that begins afresh: each by one order, or
/// by a name and its wildcard, which go together.
const TRIES_AN_HOUR: usize = 24;

impl Laws {
    /// A CA that is away for long is asked a few times an hour, however many wait for it.
    pub(crate) fn check_restraint(&mut self, outside: &Outside) {
        let long = outside
            .ca
            .away_since()
            .is_some_and(|since| ahead(since, SETTLED) <= outside.now);
        if !long || self.leaders > 1 {
            return;
        }
        let hour = ahead(outside.now, SignedDuration::from_hours(-1));
        let starts = self.starts.iter().filter(|at| **at > hour).count();
        let tries = outside.ways.in_vain.iter().filter(|at| **at > hour).count();
        let words = format!("the CA is away, and was asked {tries} times in an hour");
        // At first nobody knows.
        let tried = TRIES_AN_HOUR * (starts + 2) + (starts + 1) * self.orders_at_once;
        self.law(tries <= tried, outside.now, &words);
    }
}
